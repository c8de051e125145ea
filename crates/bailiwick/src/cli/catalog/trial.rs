use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::{Args, builder::TypedValueParser};
use model::{Foreign, Money, Name};
use serde_json::{Value, json};

use super::{Acceptance, accepted, path};
use crate::{
    cli::show,
    client::Client,
    failure::{Exit, Failure, Result},
    output::Answer,
    toml_input,
};

/// How many entries of the ledger are read at a time, and how often at most.
const PAGE: u64 = 1_000;
const MAX_PAGES: u64 = 50;

/// Try a mapping.
#[derive(Args)]
pub(crate) struct Trial {
    /// TOML, as `catalog accept` takes it.
    file: PathBuf,
    /// Another server than the one that the file names.
    #[arg(long, value_name = "SERVER")]
    on: Option<Name>,
    /// Try one call of this tool instead of recorded ones.
    #[arg(long, requires = "arguments")]
    tool: Option<String>,
    /// Its arguments, as JSON.
    #[arg(long, requires = "tool", value_name = "JSON")]
    arguments: Option<String>,
    /// So many of the newest recorded calls. Their arguments are opened, and that is recorded.
    #[arg(long, default_value_t = CALLS, conflicts_with = "tool", value_parser = calls())]
    calls: u16,
}

/// On how many calls a mapping is tried where nobody says.
pub(super) const CALLS: u16 = 20;

/// The code of a failure for want of recorded calls.
pub(super) const NO_CALLS: &str = "no_calls";

/// On how many calls a mapping may be tried.
pub(super) fn calls() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..=500)
}

/// Tries a mapping file on the newest recorded calls.
pub(super) async fn recorded_calls(file: &Path, calls: u16, client: &mut Client) -> Result<Answer> {
    let trial = Trial { file: file.to_owned(), on: None, tool: None, arguments: None, calls };
    trial.run_with(client).await
}

/// A call, and what the ledger says of it if it was made.
struct Call {
    recorded: Option<Value>,
    tool: String,
    arguments: Value,
}

impl Trial {
    pub(super) async fn run(self, client: impl Future<Output = Result<Client>>) -> Result<Answer> {
        // What can be refused without a server is.
        let _: Acceptance = toml_input::read(&self.file)?;
        self.given()?;
        self.run_with(&mut client.await?).await
    }

    async fn run_with(self, client: &mut Client) -> Result<Answer> {
        let wish: Acceptance = toml_input::read(&self.file)?;
        let server = self.on.clone().unwrap_or(wish.server);
        let catalog = client.get(&path(&server)).await?;
        let tools = wish.tool.iter().map(|tool| accepted(tool, &server, &catalog));
        let tools = tools.collect::<Result<Vec<_>>>()?;
        let calls = match self.given()? {
            Some(call) => vec![call],
            None => {
                let names = wish.tool.iter().map(|tool| tool.name.as_str()).collect();
                recorded(client, &server, &names, usize::from(self.calls)).await?
            }
        };
        let asked: Vec<Value> = calls
            .iter()
            .map(|call| json!({ "tool": call.tool, "arguments": call.arguments }))
            .collect();
        let body = json!({ "tools": tools, "calls": asked });
        let mut tried = client.post(&format!("{}/try", path(&server)), body).await?;
        let results = tried["calls"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if calls.is_empty() {
            return Err(no_calls(&server));
        }
        let refuses = |(call, result): (&Call, &Value)| {
            // What is refused now and was refused when it was made is no fault of the mapping.
            let is_news = call.recorded.is_none() || result["differs"] == true;
            is_news && result["proposed"]["refused"].is_object()
        };
        let refused = calls.iter().zip(&results).any(refuses);
        let told = calls.into_iter().zip(results).map(|(call, result)| told(call, result));
        let told: Vec<Value> = told.collect();
        let text = told.iter().map(text).collect::<Vec<_>>().join("\n\n");
        let exit = if refused { Exit::No } else { Exit::Done };
        Ok(Answer::new(json!({ "server": server, "calls": told }), text).exit(exit))
    }

    fn given(&self) -> Result<Option<Call>> {
        let (Some(tool), Some(arguments)) = (&self.tool, &self.arguments) else { return Ok(None) };
        let arguments = serde_json::from_str(arguments).map_err(|error| {
            Failure::new("arguments_unreadable", "the arguments are no JSON")
                .because(&error)
                .next(
                    "write them as the tool takes them: `--arguments '{\"order_id\": \"A-1001\"}'`",
                )
                .exit(Exit::Usage)
        })?;
        Ok(Some(Call { recorded: None, tool: tool.clone(), arguments }))
    }
}

/// The newest recorded calls of tools, each set of arguments once. Only what is tried is opened.
async fn recorded(
    client: &mut Client,
    server: &Name,
    tools: &BTreeSet<&str>,
    wanted: usize,
) -> Result<Vec<Call>> {
    let newest = client.get("/v1/ledger/entries?limit=1").await?;
    let mut end = newest["size"].as_u64().unwrap_or_default();
    let (mut calls, mut seen) = (Vec::new(), BTreeSet::new());
    for _ in 0..MAX_PAGES {
        let from = end.saturating_sub(PAGE);
        if end == 0 || calls.len() >= wanted {
            break;
        }
        let page = format!("/v1/ledger/entries?from={from}&limit={}", end - from);
        for entry in show::rows(&client.get(&page).await?).iter().rev() {
            let (leaf, body) = (&entry["leaf"], &entry["leaf"]["body"]);
            let tool = body["tool"].as_str().unwrap_or_default();
            let ours = leaf["kind"] == "decision" && body["system"] == server.as_str();
            if !ours || !tools.contains(tool) || calls.len() >= wanted {
                continue;
            }
            if !seen.insert((tool.to_owned(), body["call"].to_string())) {
                continue;
            }
            let index = show::cell(entry, "index");
            let opened = client.get(&format!("/v1/ledger/entries/{index}?payload=true")).await?;
            // What was refused is kept together with the reason.
            let content = opened["payload"].get("content");
            let arguments = match leaf["verdict"] == "permit" {
                true => content,
                false => content.and_then(|content| content.get("arguments")),
            };
            if let Some(arguments) = arguments.cloned() {
                let recorded = Some(entry.clone());
                calls.push(Call { recorded, tool: tool.to_owned(), arguments });
            }
        }
        end = from;
    }
    Ok(calls)
}

/// A mapping that is sound, and that nothing can be tried on.
fn no_calls(server: &Name) -> Failure {
    Failure::new(NO_CALLS, format!("no call of these tools of `{server}` is recorded"))
        .why("there is nothing to try the mapping on, or its arguments were erased")
        .next("give a call: --tool NAME --arguments JSON")
        .exit(Exit::NotFound)
}

/// One tried call as answers have it.
fn told(call: Call, mut result: Value) -> Value {
    if let Value::Object(members) = &mut result {
        // Of what was recorded, secrets are left out; what a mapping makes of such an argument is not what it made of the call.
        let scrubbed = call.recorded.is_some() && call.arguments.to_string().contains("[secret:");
        members.insert("scrubbed".to_owned(), json!(scrubbed));
        members.insert("arguments".to_owned(), call.arguments);
        if let Some(entry) = call.recorded {
            let leaf = &entry["leaf"];
            let recorded = json!({
                "index": entry["index"], "at": leaf["at"], "verdict": leaf["verdict"], "action": leaf["action"],
            });
            members.insert("recorded".to_owned(), recorded);
        }
    }
    result
}

fn text(call: &Value) -> String {
    let recorded = match call.get("recorded") {
        Some(entry) => format!(
            "  entry {} of {}: {}",
            show::cell(entry, "index"),
            show::cell(entry, "at"),
            show::cell(entry, "verdict")
        ),
        None => String::new(),
    };
    let mut lines = vec![
        format!("{}{}", Foreign::new(show::cell(call, "tool")), Foreign::new(recorded)),
        format!("  arguments  {}", Foreign::new(call["arguments"].to_string())),
    ];
    if call["scrubbed"] == true {
        lines.push(
            "  arguments  (secrets were left out of them when they were recorded)".to_owned(),
        );
    }
    lines.extend(reading("would be", &call["proposed"]));
    match call["differs"] == true {
        true => lines.extend(reading("is now", &call["in_force"])),
        false => lines.push("  is now     the same".to_owned()),
    }
    lines.join("\n")
}

fn reading(heading: &str, reading: &Value) -> Vec<String> {
    let refused = &reading["refused"];
    if refused.is_object() {
        let (code, reason) = (show::cell(refused, "code"), show::cell(refused, "reason"));
        return vec![format!(
            "  {heading:9}  refused: {} ({})",
            Foreign::new(reason),
            Foreign::new(code)
        )];
    }
    let effects = reading["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let effect = |effect: &Value| {
        let mut line = format!("{} {}", show::cell(effect, "verb"), show::cell(effect, "resource"));
        if let Ok(amount) = serde_json::from_value::<Money>(effect["amount"].clone()) {
            line += &format!(", {amount}");
        }
        let classes = show::cell(effect, "classes");
        let classes = if classes.is_empty() { classes } else { format!(" [{classes}]") };
        format!("  {heading:9}  {}{}", Foreign::new(line), Foreign::new(classes))
    };
    effects.iter().map(effect).collect()
}
