use clap::{Args, Subcommand};
use model::{ApprovalId, Digest, Foreign};
use serde_json::{Value, json};
use token::approval::{self, Verdict};

use super::{
    catalog::diff,
    show::{self, People},
};
use crate::{
    client::{self, Client, Context},
    failure::{Exit, Failure, Result, TELL_US},
    output::{self, Answer as Printed, Table, fields},
};

/// How long a signed answer may be used, in seconds.
const ANSWER_SECONDS: u32 = 120;
/// The longest reason of an answer, in bytes: what the server takes.
const MAX_REASON: usize = 500;

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

/// Say yes to a request.
#[derive(Args)]
pub(crate) struct Approve {
    /// Which request.
    id: ApprovalId,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

/// Say no to a request.
#[derive(Args)]
pub(crate) struct Deny {
    /// Which request.
    id: ApprovalId,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
    /// Why; whoever asked reads it, and the record keeps it.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
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
                        People::of(request).names(&request["chain"]).join(" → "),
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

impl Approve {
    pub(super) async fn run(self, context: &Context) -> Result<Printed> {
        answer(context, self.id, self.yes, Verdict::Approve, None).await
    }
}

impl Deny {
    pub(super) async fn run(self, context: &Context) -> Result<Printed> {
        answer(context, self.id, self.yes, Verdict::Deny, self.reason).await
    }
}

/// Shows the request, asks, and signs. Whoever cannot answer is told so before anything is asked.
async fn answer(
    context: &Context,
    id: ApprovalId,
    yes: bool,
    verdict: Verdict,
    reason: Option<String>,
) -> Result<Printed> {
    let mut client = Client::sign_in(context).await?;
    let document = client.get(&path(id)).await?;
    if let Some(barred) = barred(&document) {
        return Err(barred);
    }
    output::talk(&request(&document));
    let word = match verdict {
        Verdict::Approve => "approve",
        Verdict::Deny => "deny",
    };
    super::confirm(yes, &format!("{word} this?"))?;
    let proof = sign(&client, id, &document, verdict, reason)?;
    let answered = client.post(&format!("{}/answer", path(id)), json!({ "proof": proof })).await?;
    let text = match (verdict, show::cell(&answered, "state").as_str()) {
        (Verdict::Approve, "approved") => {
            "APPROVED; the same call can be made again now".to_owned()
        }
        (Verdict::Approve, state) => format!("you have approved; the request is {state}"),
        (Verdict::Deny, _) => format!("DENIED; {}", refused_until(&answered)),
    };
    Ok(Printed::new(answered, text))
}

/// Why this person cannot answer, as the server would refuse the answer.
fn barred(document: &Value) -> Option<Failure> {
    let barred = document["barred"].as_object()?;
    let text = |member: &str| barred.get(member).map(show::text).unwrap_or_default();
    let (code, why) = (text("code"), Foreign::new(text("why")).to_string());
    let failure = Failure::new(code.clone(), "you cannot answer this request").why(why);
    Some(match code.as_str() {
        "not_yours" => failure
            .next("ask somebody else of the team that is asked; `bailiwick approval show` names it")
            .exit(Exit::NotPermitted),
        _ if document["state"] == "denied" => {
            failure.next(refused_until(document)).exit(Exit::Conflict)
        }
        _ => failure.next("look at it with `bailiwick approval show`").exit(Exit::Conflict),
    })
}

/// How long a no counts, for exactly what was asked.
fn refused_until(document: &Value) -> String {
    let until = show::cell(document, "expires");
    format!("exactly this stays refused until {until}; then it can be asked again")
}

fn reason(text: &str) -> std::result::Result<String, String> {
    match text.trim() {
        "" => Err("a reason says something".to_owned()),
        text if text.len() > MAX_REASON => Err(format!("a reason has at most {MAX_REASON} bytes")),
        text => Ok(text.to_owned()),
    }
}

/// Signs exactly what was shown.
fn sign(
    client: &Client,
    id: ApprovalId,
    document: &Value,
    verdict: Verdict,
    reason: Option<String>,
) -> Result<String> {
    let unsound = |why: &str| {
        Failure::new("answer_unsound", "the server's request cannot be signed")
            .why(why)
            .next("check that `--server` is a Bailiwick, of this version")
    };
    if document["id"].as_str() != Some(&id.to_string())
        || document["issuer"].as_str() != Some(client.issuer())
    {
        return Err(unsound("it is not the request that was asked for"));
    }
    let digest: Option<Digest> = document["binding"].as_str().and_then(|text| text.parse().ok());
    let (Some(digest), Some(nonce)) = (digest, document["nonce"].as_str()) else {
        return Err(unsound("it has no binding or no nonce"));
    };
    let now = client::now();
    let statement = approval::Approval {
        iss: client.identity().to_owned(),
        aud: client.issuer().to_owned(),
        approval: id,
        digest,
        nonce: nonce.to_owned(),
        verdict,
        reason,
        iat: now,
        exp: now.plus_seconds(ANSWER_SECONDS),
    };
    approval::create(client.key(), &statement).map_err(|error| {
        Failure::new("not_signed", "nothing could be signed").because(&error).next(TELL_US)
    })
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
    let people = People::of(document);
    let answers = document["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answer = |answer: &Value| {
        let word = if answer["approve"] == true { "yes" } else { "no" };
        let why = answer["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        let by = people.name(&show::cell(answer, "by"));
        format!("{word} by {by} ({}){why}", show::cell(answer, "at"))
    };
    let policies = document["demands"].as_array().map(Vec::as_slice).unwrap_or_default();
    let policies: Vec<String> =
        policies.iter().map(|demand| show::cell(demand, "policy")).collect();
    let binding = show::cell(document, "binding");
    let known = [
        ("what", headline(document)),
        ("amount", show::cell(document, "amount")),
        ("asked by", people.names(&document["chain"]).join(" → ")),
        ("task", show::cell(document, "task")),
        ("needs", demands(document)),
        ("because of", policies.join(", ")),
        ("cannot answer", people.names(&document["party"]).join(", ")),
        ("said so far", answers.iter().map(answer).collect::<Vec<_>>().join(", ")),
        ("state", show::cell(document, "state")),
        ("asked", show::cell(document, "asked")),
        ("no answer by", show::cell(document, "expires")),
        ("you would sign", format!("SHA-256 {binding}")),
    ];
    let known = fields(known.into_iter().filter(|(_, text)| !text.is_empty()));
    let id = show::cell(document, "id");
    let mut text = format!("REQUEST {id}\n{known}");
    text += &replaced(&document["policies"]);
    if let Some(tools) = document["tools"].as_array().filter(|tools| !tools.is_empty()) {
        let told = diff::told(tools).join("\n");
        text +=
            &format!("\n\nthis accepts what was not accepted before:\n{}", set_in(told.trim_end()));
    }
    // What is done comes first; what somebody wrote about it comes last, and is never mistaken for ours.
    for (member, title) in [
        ("arguments", "exactly these arguments"),
        ("effects", "which does"),
        ("act", "exactly this"),
        ("purpose", "in the words of who asked"),
    ] {
        let shown = match (member, &document["shown"][member]) {
            (_, Value::Null) => continue,
            // Arguments mean what the tool takes them to mean: they are shown as they are sent.
            ("arguments", value) => lines(&format!("{value:#}")),
            (_, value) => show::readable(value, &people),
        };
        text += &format!("\n\n{title}:\n{}", set_in(&shown));
    }
    text
}

/// What a set of policies would change, what goes away first: it is what the files do not show.
fn replaced(policies: &Value) -> String {
    if policies.is_null() {
        return String::new();
    }
    let changes = policies["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let effect = |change: &Value, when: &str| match change[when].as_str() {
        Some("soft_forbid") => "forbid unless approved".to_owned(),
        _ => show::cell(change, when),
    };
    let mut lines = [Vec::new(), Vec::new(), Vec::new()];
    let mut lost = 0;
    for change in changes {
        let (before, after) = (effect(change, "before"), effect(change, "after"));
        let (kind, word, effects) = match (before.as_str(), after.as_str()) {
            (_, "") => (0, "REMOVED", before.clone()),
            ("", _) => (2, "ADDED  ", after.clone()),
            _ if before == after => (1, "CHANGED", after.clone()),
            _ => (1, "CHANGED", format!("{before} → {after}")),
        };
        lost += usize::from(before.starts_with("forbid") && !after.starts_with("forbid"));
        let policy = Foreign::new(show::cell(change, "policy"));
        lines[kind].push(format!("  {word}  {effects}  {policy}"));
    }
    let mut text = "\n\nthis replaces the policies in force:".to_owned();
    for line in lines.concat() {
        text += &format!("\n{line}");
    }
    if changes.is_empty() {
        text += "\n  no policy changes";
    }
    if lost > 0 {
        text += &format!(
            "\n  WARNING: {lost} of the policies that forbid something now will no longer do so"
        );
    }
    for warning in policies["warnings"].as_array().into_iter().flatten() {
        text += &format!("\n  WARNING: {}", Foreign::new(show::text(warning)));
    }
    text
}

/// Lines, each escaped.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("  {}", Foreign::new(line))).collect::<Vec<_>>().join("\n")
}

/// Lines that are escaped already, each behind a mark, so that none is mistaken for ours.
fn set_in(lines: &str) -> String {
    lines.lines().map(|line| format!("  |{line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approver_reads_what_a_set_of_policies_takes_away_before_what_it_brings() {
        let shown = replaced(&json!({
            "changes": [
                { "policy": "all", "before": null, "after": "permit" },
                { "policy": "limit", "before": "soft_forbid", "after": null },
                { "policy": "night", "before": "forbid", "after": "permit" },
                { "policy": "reads", "before": "permit", "after": "permit" },
            ],
            "warnings": ["x.cedar:1:1: `all` names\u{1b}[2J no system"],
        }));
        let expected = "\n\nthis replaces the policies in force:\
            \n  REMOVED  forbid unless approved  limit\
            \n  CHANGED  forbid → permit  night\
            \n  CHANGED  permit  reads\
            \n  ADDED    permit  all\
            \n  WARNING: 2 of the policies that forbid something now will no longer do so\
            \n  WARNING: x.cedar:1:1: `all` names\\u{1b}[2J no system";
        assert_eq!(shown, expected);
        assert_eq!(replaced(&Value::Null), "", "what is no set of policies has nothing of it");
    }
}
