use std::path::{Path, PathBuf};

use clap::Subcommand;
use model::Name;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ledger::{behind, standing},
    show::{self, People},
};
use crate::{
    client::{Client, Context, query},
    connect::{AgentToken, ConnectConfig},
    failure::{Exit, Failure, Result},
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
    /// Show what became of an agent, the newest first: who changed it when, and its versions as the ledger has them.
    History {
        name: Name,
        /// Open what it held then, too: its state, and why. That is recorded.
        #[arg(long)]
        payload: bool,
        /// Go on where the page before ended, which says what to give here.
        #[arg(long, value_name = "NEXT")]
        after: Option<String>,
    },
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
            Self::History { name, payload, after } => history(context, &name, payload, after).await,
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

/// The governance entries of an agent.
async fn history(
    context: &Context,
    name: &Name,
    payload: bool,
    after: Option<String>,
) -> Result<Answer> {
    let members = [
        ("object", Some("agent".to_owned())),
        ("key", Some(format!("agent/{name}"))),
        ("payload", payload.then(|| "true".to_owned())),
        ("after", after),
    ];
    let path = query("/v1/ledger/entries", members);
    let document = Client::sign_in(context).await?.get(&path).await?;
    if show::rows(&document).is_empty() && document["next"].is_null() {
        let what = format!("the ledger has no entry of an agent `{name}`");
        return Err(Failure::new("not_found", what)
            .why("an agent is in the ledger from its registration on, and stays there")
            .next("look at the list and correct the name: `bailiwick agent list`")
            .exit(Exit::NotFound));
    }
    let people = People::of(&document);
    let mut headings = vec!["INDEX", "AT", "BY", "VERSION", "DIGEST", "WIDENS"];
    headings.extend(payload.then_some(["STATE", "WHAT"]).into_iter().flatten());
    let text = show::table_of(&document, &headings, |row| {
        let leaf = &row["leaf"];
        let mut cells = vec![
            show::cell(row, "index"),
            show::cell(leaf, "at"),
            people.handle(show::cell(leaf, "person")),
            show::cell(leaf, "body.version"),
            show::cell(leaf, "body.digest"),
            show::cell(leaf, "body.widens"),
        ];
        if payload {
            let (state, what) = match &row["payload"]["content"] {
                Value::Null => (String::new(), show::cell(row, "payload.reason")),
                content => standing("agent", content, &people),
            };
            cells.extend([state, what]);
        }
        vec![cells]
    });
    let text = format!("{text}{}", behind(&document));
    Ok(Answer::new(document, text))
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
