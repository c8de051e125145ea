use std::path::{Path, PathBuf};

use clap::Subcommand;
use model::Name;
use serde::Deserialize;
use serde_json::{Value, json};

use super::show::{self, People};
use crate::{
    client::{Client, Context},
    connect::{AgentToken, ConnectConfig},
    failure::Result,
    input::{self, Part},
    output::Answer,
    toml_input,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Register an agent from a file and put it into operation.
    Register {
        /// TOML: name, blueprint, owner, purpose, public_key, and [version] with model, prompt, tools, image.
        file: PathBuf,
    },
    /// Show one agent.
    Show { name: Name },
    /// List agents.
    List,
    /// Let an agent act no longer, until it is reinstated.
    Suspend {
        name: Name,
        /// Why; kept in the record.
        #[arg(long)]
        reason: String,
    },
    /// Let a suspended agent act again.
    Reinstate { name: Name },
    /// Print what an MCP client's configuration says to work as this agent, through `bailiwick connect`.
    ConnectConfig(ConnectConfig),
    /// Get a token of this agent's that is bound to no key, for an MCP client with nothing but a fixed header. Its blueprint has to
    /// say `sender = "bearer"`; whoever reads the token can use it, until it ends.
    Token(AgentToken),
    /// End an agent's life. Its name is never given again.
    Retire {
        name: Name,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// The file of `agent register`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    name: Name,
    blueprint: Name,
    /// A handle.
    owner: Name,
    deputy: Option<Name>,
    purpose: String,
    /// A file with a JWK.
    public_key: PathBuf,
    version: Version,
}

/// What the agent is made of: digests, or files to hash.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    model: String,
    prompt: Part,
    tools: Part,
    image: Part,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Register { file } => {
                let body = registration(&file)?;
                let document = Client::sign_in(context).await?.post("/v1/agents", body).await?;
                let text = format!("registered\n{}", whole(&document));
                Ok(Answer::new(document, text))
            }
            Self::Show { name } => {
                let document =
                    Client::sign_in(context).await?.get(&format!("/v1/agents/{name}")).await?;
                let text = whole(&document);
                Ok(Answer::new(document, text))
            }
            Self::List => {
                let document = Client::sign_in(context).await?.list("/v1/agents").await?;
                let text = show::table(&document, COLUMNS);
                Ok(Answer::new(document, text))
            }
            Self::Suspend { name, reason } => {
                step(context, &name, "suspend", json!({ "reason": reason })).await
            }
            Self::Reinstate { name } => step(context, &name, "reinstate", json!({})).await,
            Self::ConnectConfig(wish) => wish.run(),
            Self::Token(wish) => wish.run().await,
            Self::Retire { name, yes } => {
                super::confirm(yes, &format!("retire `{name}` for good?"))?;
                step(context, &name, "retire", json!({})).await
            }
        }
    }
}

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("BLUEPRINT", "blueprint"),
    ("OWNER", "owner"),
    ("MODEL", "version.model"),
    ("SENDER", "sender"),
    ("PURPOSE", "purpose"),
];

/// Everything about one agent.
fn whole(document: &Value) -> String {
    let people = People::of(document);
    let mut document = document.clone();
    if let Some(members) = document.as_object_mut() {
        members.remove("people");
    }
    show::readable(&document, &people)
}

async fn step(context: &Context, name: &Name, step: &str, body: Value) -> Result<Answer> {
    let document =
        Client::sign_in(context).await?.post(&format!("/v1/agents/{name}/{step}"), body).await?;
    let state = show::cell(&document, "state");
    Ok(Answer::new(document, format!("`{name}` is {state}")))
}

fn registration(file: &Path) -> Result<Value> {
    let wish: Registration = toml_input::read(file)?;
    let Version { model, prompt, tools, image } = &wish.version;
    let mut body = json!({
        "name": wish.name,
        "blueprint": wish.blueprint,
        "owner": wish.owner,
        "purpose": wish.purpose,
        "version": {
            "model": model,
            "prompt": prompt.digest(file)?,
            "tools": tools.digest(file)?,
            "image": image.digest(file)?,
        },
        "key": input::public_key(&input::beside(file, &wish.public_key))?,
    });
    if let Some(deputy) = wish.deputy {
        body["deputy"] = json!(deputy);
    }
    Ok(body)
}
