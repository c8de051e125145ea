//! `ledger show`.

use clap::Args;
use model::{ActionId, TaskId};
use serde_json::Value;

use crate::{
    cli::show::{self, People},
    client::{Client, Context},
    failure::{Exit, Failure, Result},
    output::{Answer, Table},
};

/// Show entries, from the server.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    context: Context,
    /// The first position; the newest entries when left out.
    #[arg(long)]
    from: Option<u64>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
    /// Only what belongs to one action.
    #[arg(long)]
    action: Option<ActionId>,
    /// Only what belongs to one task.
    #[arg(long)]
    task: Option<TaskId>,
    /// Open sealed payloads, too. That is recorded.
    #[arg(long)]
    payload: bool,
}

impl Show {
    pub(super) async fn run(self) -> Result<Answer> {
        let Self { context, from, limit, action, task, payload } = self;
        let mut query: Vec<String> = Vec::new();
        query.extend(from.map(|from| format!("from={from}")));
        query.extend(limit.map(|limit| format!("limit={limit}")));
        query.extend(action.map(|action| format!("action={action}")));
        query.extend(task.map(|task| format!("task={task}")));
        if payload {
            query.push("payload=true".to_owned());
        }
        let path = format!("/v1/ledger/entries?{}", query.join("&"));
        let document = Client::sign_in(&context).await?.get(path.trim_end_matches('?')).await?;
        let wanted = (action.map(|id| ("action", id.to_string())))
            .or(task.map(|id| ("task", id.to_string())));
        let none = show::rows(&document).is_empty() && document["next"].is_null();
        match wanted {
            Some((kind, id)) if none => Err(nothing_of(kind, &id)),
            _ => {
                let text = if none { "no entries".to_owned() } else { entries(&document) };
                Ok(Answer::new(document, text))
            }
        }
    }
}

fn nothing_of(kind: &str, id: &str) -> Failure {
    Failure::new("not_found", format!("the ledger has no entry of {kind} `{id}`"))
        .why(format!("this ledger never recorded anything of such a {kind}, at these positions"))
        .next(format!(
            "look for the {kind}'s id with `bailiwick ledger show`, and leave out `--from`"
        ))
        .exit(Exit::NotFound)
}

/// What an entry is about, in the words of its own body: the tool and what it does to which type of thing, or the object.
fn what(body: &Value, people: &People) -> String {
    const TELLING: [&str; 11] = [
        "use_as", "audience", "agent", "purpose", "scope", "method", "status", "code", "reserve",
        "spent", "calls",
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
                Some(entry) => format!("erased by entry {entry}"),
                None => show::text(said.unwrap_or(&Value::Null)),
            });
        }
        table.row(cells);
    }
    let more = document["next"]
        .as_u64()
        .map(|next| format!("\n\nmore: --from {next}"))
        .unwrap_or_default();
    let table = if rows.is_empty() { "nothing so far".to_owned() } else { table.text() };
    format!("{table}{more}")
}
