use std::path::PathBuf;

use clap::Subcommand;
use model::{Name, Sender};
use serde::Deserialize;
use serde_json::json;

use super::show::{self, People};
use crate::{
    client::{Client, Context},
    failure::Result,
    input::{self, Allow},
    output::Answer,
    toml_input,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add or replace a template from a file.
    Add {
        /// TOML: name, purpose, owner, token_ttl_seconds, sender, and [[allow]] with verbs, resources, until.
        file: PathBuf,
    },
    /// List templates.
    List,
}

/// The file of `blueprint add`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: Name,
    purpose: String,
    /// A handle.
    owner: Name,
    deputy: Option<Name>,
    #[serde(default = "five_minutes")]
    token_ttl_seconds: u32,
    #[serde(default)]
    children: Vec<Name>,
    /// How often an agent may pass its right on.
    #[serde(default)]
    depth: u8,
    /// `bearer` where clients of such agents cannot prove possession of a key.
    #[serde(default)]
    sender: Sender,
    allow: Vec<Allow>,
}

const fn five_minutes() -> u32 {
    300
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Add { file } => {
                let template: Template = toml_input::read(&file)?;
                let mut body = json!({
                    "name": template.name,
                    "purpose": template.purpose,
                    "owner": template.owner,
                    "authority": input::authority(&template.allow, template.depth)?,
                    "token_ttl_seconds": template.token_ttl_seconds,
                    "children": template.children,
                    "sender": template.sender,
                });
                if let Some(deputy) = &template.deputy {
                    body["deputy"] = json!(deputy);
                }
                let document = Client::sign_in(context).await?.post("/v1/blueprints", body).await?;
                let text = match document["changed"].as_bool() {
                    Some(false) => {
                        format!("blueprint `{}` is in force like this already", template.name)
                    }
                    _ => format!("blueprint `{}` is in force", template.name),
                };
                Ok(Answer::new(document, text))
            }
            Self::List => {
                let document = Client::sign_in(context).await?.list("/v1/blueprints").await?;
                let people = People::of(&document);
                let headings =
                    ["NAME", "OWNER", "MAY", "UNTIL", "TOKEN", "SENDER", "CHILDREN", "PURPOSE"];
                let text = show::table_of(&document, &headings, |row| {
                    let cell = |way: &str| people.handle(show::cell(row, way));
                    let token = format!("{} s", cell("token_ttl_seconds"));
                    show::with_rights(
                        &[cell("name"), cell("owner")],
                        &row["authority"],
                        &[token, cell("sender"), cell("children"), cell("purpose")],
                    )
                });
                Ok(Answer::new(document, text))
            }
        }
    }
}
