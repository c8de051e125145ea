//! `ledger show`.

use clap::Args;
use model::{ActionId, Foreign, TaskId, Timestamp};
use serde_json::Value;

use crate::{
    cli::show::{self, People},
    client::{Client, Context, query},
    failure::{Exit, Failure, Result},
    moment,
    output::{Answer, Table},
};

/// Show entries, from the server: the newest first, or those that fit all that is said.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    context: Context,
    /// All entries in order, from this position on.
    #[arg(long, conflicts_with_all = ["after", "text"])]
    from: Option<u64>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
    /// Go on where the page before ended, which says what to give here.
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
    /// Open sealed payloads, too. That is recorded.
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    filter: Filter,
}

/// What entries are about; all that is said must hold.
#[derive(Args)]
#[command(next_help_heading = "Which entries")]
struct Filter {
    /// What belongs to one action.
    #[arg(long)]
    action: Option<ActionId>,
    /// What belongs to one task.
    #[arg(long)]
    task: Option<TaskId>,
    /// What an agent did, and the tasks that were opened for it.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// What was done by or for a person, by handle or pseudonym.
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// Attempts on a system.
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Attempts with a tool.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Attempts on one thing, written `system/Kind/id`.
    #[arg(long)]
    resource: Option<String>,
    /// Decisions that came to this.
    #[arg(long, value_parser = ["permit", "hold", "step_up", "deny"])]
    verdict: Option<String>,
    /// Entries of a kind, for example `decision`.
    #[arg(long)]
    kind: Option<String>,
    /// What was done with a token: its id, or the leaf hash of its entry.
    #[arg(long, value_name = "TOKEN")]
    credential: Option<String>,
    /// Changes of governed objects of a kind, for example `grant`.
    #[arg(long, value_name = "KIND")]
    object: Option<String>,
    /// Changes of the object with this key, for example `agent/support-bot`.
    #[arg(long, value_name = "KEY")]
    object_key: Option<String>,
    /// From this moment on: `2027-01-31`, or `2027-01-31T12:00:00Z`.
    #[arg(long, value_name = "MOMENT", value_parser = moment::read)]
    since: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment::read)]
    until: Option<Timestamp>,
    /// Words that all occur in the payload. Payloads are opened for it, and that is recorded.
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
}

impl Filter {
    /// What is asked for, as members of a query.
    fn members(self) -> [(&'static str, Option<String>); 15] {
        let millis = |moment: Option<Timestamp>| moment.map(|moment| moment.millis().to_string());
        [
            ("action", self.action.map(|id| id.to_string())),
            ("task", self.task.map(|id| id.to_string())),
            ("agent", self.agent),
            ("person", self.person),
            ("system", self.system),
            ("tool", self.tool),
            ("resource", self.resource),
            ("verdict", self.verdict),
            ("kind", self.kind),
            ("credential", self.credential),
            ("object", self.object),
            ("key", self.object_key),
            ("since", millis(self.since)),
            ("until", millis(self.until)),
            ("text", self.text),
        ]
    }
}

impl Show {
    pub(super) async fn run(self) -> Result<Answer> {
        let Self { context, from, limit, after, payload, filter } = self;
        let one = (filter.action.map(|id| ("action", id.to_string())))
            .or(filter.task.map(|id| ("task", id.to_string())));
        let page = [
            ("from", from.map(|from| from.to_string())),
            ("limit", limit.map(|limit| limit.to_string())),
            ("after", after),
            ("payload", payload.then(|| "true".to_owned())),
        ];
        let path = query("/v1/ledger/entries", page.into_iter().chain(filter.members()));
        let document = Client::sign_in(&context).await?.get(&path).await?;
        let none = show::rows(&document).is_empty() && document["next"].is_null();
        match one {
            // While the index is made, not to have found it says nothing.
            Some((kind, id)) if none && behind(&document).is_empty() => Err(nothing_of(kind, &id)),
            _ => {
                let text = if none { "no entries".to_owned() } else { entries(&document) };
                let text = format!("{text}{}", behind(&document));
                Ok(Answer::new(document, text))
            }
        }
    }
}

fn nothing_of(kind: &str, id: &str) -> Failure {
    Failure::new("not_found", format!("the ledger has no entry of {kind} `{id}`"))
        .why(format!("this ledger never recorded anything of such a {kind}, or nothing that fits the rest, too"))
        .next(format!("look for the {kind}'s id with `bailiwick ledger show`, and say nothing but it"))
        .exit(Exit::NotFound)
}

/// What the answer does not have: the rest of it, what was not searched, what is not indexed yet.
pub(crate) fn behind(document: &Value) -> String {
    let mut said = String::new();
    match &document["next"] {
        Value::Number(next) => said += &format!("\n\nmore: --from {next}"),
        Value::String(next) => {
            said += &format!("\n\nmore: --after {}", Foreign::new(next.as_str()));
        }
        _ => {}
    }
    if let Some(opened) = document["opened"].as_u64() {
        said += &format!("\n\npayloads searched: {opened}");
        if let Some(gone) = document["gone"].as_u64().filter(|gone| *gone > 0) {
            said += &format!("; {gone} more are erased or cannot be opened");
        }
    }
    let count = |member: &str| document[member].as_u64().unwrap_or_default();
    let (indexed, size) = (count("indexed"), count("size"));
    if indexed < size && !document["next"].is_number() {
        said +=
            &format!("\n\nindexed up to {indexed} of {size} entries: newer ones may be missing");
    }
    said
}

/// What an entry is about, in the words of its own body: the tool and what it does to which type of thing, or the object.
fn what(body: &Value, people: &People) -> String {
    const TELLING: [&str; 14] = [
        "use_as", "audience", "agent", "purpose", "scope", "method", "status", "code", "reserve",
        "spent", "calls", "opened", "gone", "found",
    ];
    let (members, between) = match body.get("object") {
        Some(_) => (["object", "key"], " "),
        None => (["system", "tool"], "/"),
    };
    let thing = members.map(|member| show::cell(body, member)).into_iter();
    let thing = thing.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(between);
    let effects = body["effects"].as_array().into_iter().flatten();
    let effects =
        effects.map(|it| format!("{} {}", show::cell(it, "verb"), show::cell(it, "kind")));
    let effects = effects.collect::<Vec<_>>().join(", ");
    let rest = TELLING.iter().map(|member| people.handle(show::cell(body, member)));
    let said = [thing, effects].into_iter().chain(rest).filter(|text| !text.is_empty());
    said.collect::<Vec<_>>().join(" ")
}

fn entries(document: &Value) -> String {
    let rows = show::rows(document);
    let people = People::of(document);
    let opened = rows.iter().any(|row| row.get("payload").is_some());
    let mut headings =
        vec!["INDEX", "AT", "KIND", "VERDICT", "PERSON", "AGENT", "WHAT", "ACTION", "TASK"];
    if opened {
        headings.push("PAYLOAD");
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let leaf = &row["leaf"];
        let mut cells = vec![
            show::cell(row, "index"),
            show::cell(leaf, "at"),
            show::cell(leaf, "kind"),
            show::cell(leaf, "verdict"),
            people.handle(show::cell(leaf, "person")),
            show::cell(leaf, "agent.id"),
            what(&leaf["body"], &people),
            show::cell(leaf, "action"),
            show::cell(leaf, "task"),
        ];
        if opened {
            let payload = &row["payload"];
            let said = payload.get("content").or_else(|| payload.get("reason"));
            cells.push(match payload["by"].as_u64() {
                // `erased` or `expired`.
                Some(entry) => format!("{} by entry {entry}", show::cell(payload, "state")),
                None => show::text(said.unwrap_or(&Value::Null)),
            });
        }
        table.row(cells);
    }
    if rows.is_empty() { "nothing so far".to_owned() } else { table.text() }
}
