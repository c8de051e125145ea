use std::path::PathBuf;

use clap::Subcommand;
use model::Name;
use serde::Deserialize;
use serde_json::json;

use super::show::{self, People};
use crate::{
    client::{Client, Context, Method},
    failure::Result,
    input::{self, Allow},
    output::Answer,
    toml_input,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Give a person a right, from a file.
    Give {
        /// TOML: name, holder, depth, and [[allow]] with verbs, resources, until.
        file: PathBuf,
    },
    /// Take a right back; in force at once.
    Revoke {
        name: Name,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
    /// List rights.
    List,
}

/// The file of `grant give`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gift {
    name: Name,
    /// A handle.
    holder: Name,
    /// How often the holder may pass it on; an agent that works for them needs at least one.
    #[serde(default = "one")]
    depth: u8,
    allow: Vec<Allow>,
}

const fn one() -> u8 {
    1
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Give { file } => {
                let gift: Gift = toml_input::read(&file)?;
                let body = json!({
                    "name": gift.name,
                    "holder": gift.holder,
                    "authority": input::authority(&gift.allow, gift.depth)?,
                });
                let document = Client::sign_in(context).await?.post("/v1/grants", body).await?;
                Ok(Answer::new(document, format!("`{}` holds `{}`", gift.holder, gift.name)))
            }
            Self::Revoke { name, yes } => {
                super::confirm(yes, &format!("revoke `{name}`?"))?;
                let path = format!("/v1/grants/{name}");
                let document =
                    Client::sign_in(context).await?.call(Method::DELETE, &path, None).await?;
                Ok(Answer::new(document, format!("`{name}` is revoked")))
            }
            Self::List => {
                let document = Client::sign_in(context).await?.list("/v1/grants").await?;
                let people = People::of(&document);
                let headings =
                    ["NAME", "HOLDER", "MAY", "UNTIL", "REVOKED", "GIVEN BY", "BY WAY OF"];
                let text = show::table_of(&document, &headings, |row| {
                    let cell = |way: &str| people.handle(show::cell(row, way));
                    show::with_rights(
                        &[cell("name"), cell("holder")],
                        &row["authority"],
                        &[cell("revoked"), cell("given_by"), cell("provenance")],
                    )
                });
                Ok(Answer::new(document, text))
            }
        }
    }
}
