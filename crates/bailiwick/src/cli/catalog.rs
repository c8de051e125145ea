use std::path::PathBuf;

use clap::Subcommand;
use decide::InputMethod;
use model::{Digest, Name, Verb};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) mod diff;
mod edit;
mod propose;
mod trial;

use super::show::{self, People};
use crate::{
    client::{Client, Context},
    failure::{Exit, Failure, Result},
    output::Answer,
    toml_input,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the tools of a server, how they are defined, and what they were accepted to do.
    Show {
        server: Name,
        /// Show one tool with its whole definition.
        #[arg(long)]
        tool: Option<String>,
    },
    /// Show what is not as it was accepted: tools that are new, changed or gone, and what changed in them.
    Diff {
        server: Name,
        /// Only this tool.
        #[arg(long)]
        tool: Option<String>,
    },
    /// Print a mapping file that guesses what tools do. It is in force when somebody accepts it, and not before.
    Propose {
        server: Name,
        /// Only this tool.
        #[arg(long)]
        tool: Option<String>,
    },
    /// Edit a mapping file in your editor ($VISUAL, $EDITOR), then try it on recorded calls. It is in force when somebody
    /// accepts it, and not before.
    Edit(edit::Edit),
    /// Try a mapping file on recorded calls, or on one that is given: what each would do, and what it does now.
    Test(trial::Trial),
    /// Accept what tools do, from a file, as they are defined now.
    Accept {
        /// TOML: server, and [[tool]] with name, digest and [[tool.effect]] with verb, resource, id.
        file: PathBuf,
    },
}

/// The file of `catalog accept`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    server: Name,
    tool: Vec<Tool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    /// The definition that was looked at; left out, the one that the server shows now.
    digest: Option<Digest>,
    effect: Vec<Effect>,
    #[serde(default)]
    additional_arguments: bool,
    /// What the server may ask of clients in the middle of a call, such as `elicitation/create`.
    #[serde(default)]
    input_requests: Vec<InputMethod>,
}

/// What a call does; `id`, `amount` and `currency` are expressions over its arguments.
#[derive(Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    verb: Verb,
    resource: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Name>>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Show { server, tool: None } => {
                let document = Client::sign_in(context).await?.get(&path(&server)).await?;
                let text = table(&document);
                Ok(Answer::new(document, text))
            }
            Self::Show { server, tool: Some(name) } => {
                let document = Client::sign_in(context).await?.get(&path(&server)).await?;
                let tool = find(&document, &server, &name)?.clone();
                let text = show::readable(&tool, &People::none());
                Ok(Answer::new(tool, text))
            }
            Self::Diff { server, tool } => {
                let document = part(context, &server, "diff", "name", tool).await?;
                let text = diff::text(&document, server.as_str());
                Ok(Answer::new(document, text))
            }
            Self::Propose { server, tool } => {
                let document = part(context, &server, "proposal", "tool", tool).await?;
                let text = propose::text(&document, server.as_str());
                Ok(Answer::new(document, text))
            }
            Self::Edit(edit) => edit.run(Client::sign_in(context)).await,
            Self::Test(trial) => trial.run(Client::sign_in(context)).await,
            Self::Accept { file } => {
                let wish: Acceptance = toml_input::read(&file)?;
                let mut client = Client::sign_in(context).await?;
                let catalog = client.get(&path(&wish.server)).await?;
                let tools = wish.tool.iter().map(|tool| accepted(tool, &wish.server, &catalog));
                let body = json!({ "tools": tools.collect::<Result<Vec<_>>>()? });
                let document = client.post(&format!("{}/accept", path(&wish.server)), body).await?;
                let mut text = table(&document);
                if document["changed"] == false {
                    text = format!("nothing changes\n\n{text}");
                }
                Ok(Answer::new(document, text))
            }
        }
    }
}

/// One view of a server's tools, of all or of one.
async fn part(
    context: &Context,
    server: &Name,
    view: &str,
    member: &str,
    tool: Option<String>,
) -> Result<Value> {
    let mut client = Client::sign_in(context).await?;
    let mut document = client.get(&format!("{}/{view}", path(server))).await?;
    if let Some(name) = tool {
        find(&client.get(&path(server)).await?, server, &name)?;
        if let Some(tools) = document["tools"].as_array_mut() {
            tools.retain(|tool| tool[member] == name);
        }
    }
    Ok(document)
}

fn path(server: &Name) -> String {
    format!("/v1/catalog/{server}")
}

fn accepted(tool: &Tool, server: &Name, catalog: &Value) -> Result<Value> {
    let digest = match tool.digest {
        Some(digest) => json!(digest),
        None => find(catalog, server, &tool.name)?["digest"].clone(),
    };
    Ok(json!({
        "tool": tool.name,
        "digest": digest,
        "mapping": {
            "effects": tool.effect,
            "additional_arguments": tool.additional_arguments,
            "input_requests": tool.input_requests,
        },
    }))
}

fn find<'a>(catalog: &'a Value, server: &Name, name: &str) -> Result<&'a Value> {
    show::rows(catalog).iter().find(|tool| tool["name"] == name).ok_or_else(|| {
        Failure::new("not_found", format!("`{server}` has no tool `{}`", model::Foreign::new(name)))
            .why("it has not shown one of that name")
            .next(format!("look at its tools again: bailiwick server refresh {server}"))
            .exit(Exit::NotFound)
    })
}

fn table(catalog: &Value) -> String {
    let effects = |tool: &Value| {
        let effects = tool["mapping"]["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let effect = |effect: &Value| {
            format!("{} {}", show::cell(effect, "verb"), show::cell(effect, "resource"))
        };
        let asks =
            tool["mapping"]["input_requests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ask = |method: &Value| format!("asks for {}", show::text(method));
        effects.iter().map(effect).chain(asks.iter().map(ask)).collect::<Vec<_>>().join(", ")
    };
    let mut table = crate::output::Table::new(&["TOOL", "STATE", "DOES", "DIGEST"]);
    for tool in show::rows(catalog) {
        table.row([
            show::cell(tool, "name"),
            show::cell(tool, "state"),
            effects(tool),
            show::cell(tool, "digest"),
        ]);
    }
    table.text()
}
