use clap::{Args, Subcommand};
use model::{ApprovalId, Digest, Foreign};
use serde_json::{Value, json};
use token::approval::{self, Verdict};

use super::show;
use crate::{
    client::{self, Client, Context},
    failure::{Exit, Failure, Result},
    output::{self, Answer as Printed, Table, fields},
};

/// How long a signed answer may be used, in seconds.
const ANSWER_SECONDS: u32 = 120;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List requests that you may look at.
    List {
        /// Also those that are over.
        #[arg(long)]
        all: bool,
    },
    /// Show one request: what will run, for whom, and who has to say yes.
    Show { id: ApprovalId },
}

/// Answer a request.
#[derive(Args)]
pub(crate) struct Answer {
    /// Which request.
    id: ApprovalId,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Printed> {
        let mut client = Client::sign_in(context).await?;
        match self {
            Self::List { all } => {
                let query = if all { "" } else { "?state=waiting" };
                let document = client.get(&format!("/v1/approvals{query}")).await?;
                let mut table = Table::new(&["ID", "STATE", "WHAT", "FOR", "NEEDS", "UNTIL"]);
                for request in show::rows(&document) {
                    table.row([
                        show::cell(request, "id"),
                        show::cell(request, "state"),
                        headline(request),
                        show::cell(request, "chain"),
                        demands(request),
                        show::cell(request, "expires"),
                    ]);
                }
                let text =
                    if show::rows(&document).is_empty() { "none".to_owned() } else { table.text() };
                Ok(Printed::new(document, text))
            }
            Self::Show { id } => {
                let document = client.get(&path(id)).await?;
                let text = request(&document);
                Ok(Printed::new(document, text))
            }
        }
    }
}

impl Answer {
    pub(super) async fn run(self, context: &Context, verdict: Verdict) -> Result<Printed> {
        let mut client = Client::sign_in(context).await?;
        let document = client.get(&path(self.id)).await?;
        output::talk(&request(&document));
        let word = match verdict {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        };
        super::confirm(self.yes, &format!("{word} this?"))?;
        let proof = sign(&client, self.id, &document, verdict)?;
        let answered =
            client.post(&format!("{}/answer", path(self.id)), json!({ "proof": proof })).await?;
        let text = match (verdict, show::cell(&answered, "state").as_str()) {
            (Verdict::Approve, "approved") => {
                "APPROVED; the same call can be made again now".to_owned()
            }
            (Verdict::Approve, state) => format!("you have approved; the request is {state}"),
            (Verdict::Deny, _) => "DENIED".to_owned(),
        };
        Ok(Printed::new(answered, text))
    }
}

/// Signs exactly what was shown.
fn sign(client: &Client, id: ApprovalId, document: &Value, verdict: Verdict) -> Result<String> {
    let unsound = || {
        Failure::new("answer_unsound", "the server's request cannot be signed").exit(Exit::Failed)
    };
    if document["id"].as_str() != Some(&id.to_string())
        || document["issuer"].as_str() != Some(client.issuer())
    {
        return Err(unsound().why("it is not the request that was asked for"));
    }
    let digest: Option<Digest> = document["binding"].as_str().and_then(|text| text.parse().ok());
    let (Some(digest), Some(nonce)) = (digest, document["nonce"].as_str()) else {
        return Err(unsound().why("it has no binding or no nonce"));
    };
    let now = client::now();
    let statement = approval::Approval {
        iss: client.identity().to_owned(),
        aud: client.issuer().to_owned(),
        approval: id,
        digest,
        nonce: nonce.to_owned(),
        verdict,
        reason: None,
        iat: now,
        exp: now.plus_seconds(ANSWER_SECONDS),
    };
    approval::create(client.key(), &statement)
        .map_err(|error| Failure::new("not_signed", "nothing could be signed").because(&error))
}

fn path(id: ApprovalId) -> String {
    format!("/v1/approvals/{id}")
}

/// What will run, in one line.
fn headline(request: &Value) -> String {
    let shown = &request["shown"];
    match show::cell(shown, "tool").as_str() {
        "" => format!("{} {}", show::cell(shown, "verb"), show::cell(shown, "resource")),
        tool => format!("{}/{tool}", show::cell(shown, "system")),
    }
}

fn demands(request: &Value) -> String {
    let demands = request["demands"].as_array().map(Vec::as_slice).unwrap_or_default();
    let demand = |demand: &Value| {
        format!("{} of {}", show::cell(demand, "quorum"), show::cell(demand, "group"))
    };
    demands.iter().map(demand).collect::<Vec<_>>().join(", ")
}

/// Everything that an approver has to see: what will run and for whom first, what others wrote last.
fn request(document: &Value) -> String {
    let answers = document["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answer = |answer: &Value| {
        let word = if answer["approve"] == true { "yes" } else { "no" };
        format!("{word} by {} ({})", show::cell(answer, "by"), show::cell(answer, "at"))
    };
    let policies = document["demands"].as_array().map(Vec::as_slice).unwrap_or_default();
    let policies: Vec<String> =
        policies.iter().map(|demand| show::cell(demand, "policy")).collect();
    let known = [
        ("what", headline(document)),
        ("amount", show::cell(document, "amount")),
        ("asked by", show::cell(document, "chain").replace(' ', " → ")),
        ("task", show::cell(document, "task")),
        ("needs", demands(document)),
        ("because of", policies.join(", ")),
        ("cannot answer", show::cell(document, "party")),
        ("said so far", answers.iter().map(answer).collect::<Vec<_>>().join(", ")),
        ("state", show::cell(document, "state")),
        ("asked", show::cell(document, "asked")),
        ("no answer by", show::cell(document, "expires")),
        ("binding", show::cell(document, "binding")),
    ];
    let known = fields(known.into_iter().filter(|(_, text)| !text.is_empty()));
    let id = show::cell(document, "id");
    let mut text = format!("REQUEST {id}\n{known}");
    // What is done comes first; what somebody wrote about it comes last, and is never mistaken for ours.
    for (member, title) in [
        ("arguments", "exactly these arguments"),
        ("effects", "which does"),
        ("act", "exactly this"),
        ("purpose", "in the words of who asked"),
    ] {
        match &document["shown"][member] {
            Value::Null => {}
            value => text += &format!("\n\n{title}:\n{}", block(value)),
        }
    }
    text
}

/// A value over several lines, each escaped.
fn block(value: &Value) -> String {
    let lines = match value {
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        other => format!("{other:#}").lines().map(str::to_owned).collect::<Vec<_>>(),
    };
    let line = |line: &String| format!("  | {}", Foreign::new(line.as_str()));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}
