//! `ledger at`.

use clap::Args;
use model::Timestamp;
use serde_json::{Value, json};

use super::show::behind;
use crate::{
    cli::show::{self, People},
    client::{Client, Context, query},
    failure::Result,
    moment,
    output::Answer,
};

/// Show governance as it was at a moment: every object with what it held then. That is recorded.
#[derive(Args)]
pub(crate) struct At {
    #[command(flatten)]
    context: Context,
    /// `2027-01-31` (its first moment), `2027-01-31T12:00:00Z`, or `now`.
    #[arg(value_parser = read)]
    moment: Moment,
    /// Objects of one kind: `agent`, `person`, `blueprint`, `grant`, `server`, `tool`, `policy_set`, `stop`, `approval`, `account`.
    #[arg(long, value_name = "KIND")]
    object: Option<String>,
    /// The object with this key, for example `agent/support-bot`.
    #[arg(long, value_name = "KEY")]
    object_key: Option<String>,
}

/// A moment, or whatever it is when the server reads it.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Now,
    At(Timestamp),
}

fn read(text: &str) -> std::result::Result<Moment, String> {
    if text == "now" { Ok(Moment::Now) } else { moment::read(text).map(Moment::At) }
}

impl At {
    pub(super) async fn run(self) -> Result<Answer> {
        let Self { context, moment, object, object_key } = self;
        let mut client = Client::sign_in(&context).await?;
        let mut at = match moment {
            Moment::Now => None,
            Moment::At(at) => Some(at.millis().to_string()),
        };
        let (mut items, mut people) = (Vec::new(), serde_json::Map::new());
        let mut after = None;
        let mut whole = loop {
            let members = [
                ("at", at),
                ("object", object.clone()),
                ("key", object_key.clone()),
                ("after", after),
            ];
            let mut page = client.get(&query("/v1/ledger/governance", members)).await?;
            items.extend(show::rows(&page).iter().cloned());
            if let Some(Value::Object(named)) = page.get_mut("people").map(Value::take) {
                people.extend(named);
            }
            at = Some(page["at"].to_string());
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break page,
            }
        };
        items.sort_by_cached_key(|item| (show::cell(item, "object"), show::cell(item, "key")));
        whole["items"] = json!(items);
        whole["people"] = json!(people);
        let text = format!("{}{}", objects(&whole), behind(&whole));
        Ok(Answer::new(whole, text))
    }
}

fn objects(document: &Value) -> String {
    let people = People::of(document);
    let headings = ["KIND", "KEY", "STATE", "SINCE", "BY", "VERSION", "WHAT"];
    show::table_of(document, &headings, |item| {
        let content = &item["content"];
        let (state, what) = match item["state"].as_str() {
            Some("open") => standing(&show::cell(item, "object"), content, &people),
            _ => (String::new(), show::cell(item, "reason")),
        };
        vec![vec![
            show::cell(item, "object"),
            people.name(&show::cell(item, "key")),
            state,
            show::cell(item, "at"),
            people.handle(show::cell(item, "person")),
            show::cell(item, "version"),
            what,
        ]]
    })
}

/// How an object stood, and what a reader wants to know of it first.
pub(crate) fn standing(object: &str, content: &Value, people: &People) -> (String, String) {
    let cell = |way: &str| people.handle(show::cell(content, way));
    match object {
        "agent" => {
            let (owner, why) = (cell("agent.state.owner"), cell("agent.state.reason"));
            let said = [("owner", owner), ("blueprint", cell("agent.blueprint")), ("why", why)];
            (cell("agent.state.name"), named(said))
        }
        "person" => {
            let teams = cell("person.teams");
            (String::new(), named([("handle", cell("person.handle")), ("teams", teams)]))
        }
        "grant" => {
            let state = if content["revoked"] == true { "revoked" } else { "given" };
            let rights = show::rights(&content["authority"]).into_iter();
            let rights = rights.map(|(right, until)| format!("{right} until {until}"));
            let rights = rights.collect::<Vec<_>>().join("; ");
            (state.to_owned(), named([("holder", cell("holder")), ("may", rights)]))
        }
        "stop" => {
            let state = if content["resumed"] == true { "ended" } else { "in force" };
            let scope = show::text(&content["order"]["scope"]);
            (state.to_owned(), named([("scope", scope), ("why", cell("order.reason"))]))
        }
        "policy_set" => {
            let files = content["sources"].as_array().into_iter().flatten();
            let files = files.map(|file| show::cell(file, "name")).collect::<Vec<_>>().join(" ");
            ("in force".to_owned(), named([("files", files)]))
        }
        "server" => (String::new(), named([("url", cell("url"))])),
        "tool" => {
            let gone = content["gone"] == true;
            let state = match content["mapping"].is_null() {
                _ if gone => "gone",
                true => "not accepted",
                false => "accepted",
            };
            (state.to_owned(), named([("by", cell("accepted_by"))]))
        }
        "account" => (cell("state"), named([("person", cell("person"))])),
        _ => (String::new(), String::new()),
    }
}

fn named<const N: usize>(said: [(&str, String); N]) -> String {
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>().join(", ")
}
