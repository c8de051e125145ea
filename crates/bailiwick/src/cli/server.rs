use clap::Subcommand;
use gateway::PROGRAM;
use model::Name;
use serde_json::json;

use super::show;
use crate::{
    client::{Client, Context},
    failure::Result,
    output::Answer,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add or move an MCP server behind the gateway, and look at its tools.
    Add {
        name: Name,
        /// Its MCP endpoint.
        #[arg(long, required_unless_present = "program")]
        url: Option<String>,
        /// A program on the node's machine instead: the name that [programs] of the node's configuration gives it.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "internal", "credential"])]
        program: Option<Name>,
        /// Let its address be loopback or private, and its URL plain `http`.
        #[arg(long)]
        internal: bool,
        /// Where its bearer token is: `env:NAME` or `file:PATH`, as the node that calls it sees them.
        #[arg(long, value_name = "REFERENCE")]
        credential: Option<String>,
        /// A data class of everything in it that nobody declared otherwise; may be repeated.
        #[arg(long = "class")]
        classes: Vec<Name>,
    },
    /// List servers.
    List,
    /// Look at a server's tools again. One whose definition changed is quarantined.
    Refresh { name: Name },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Add { name, url, program, internal, credential, classes } => {
                let url = url.or_else(|| program.map(|program| format!("{PROGRAM}{program}")));
                let body = json!({
                    "name": name,
                    "url": url,
                    "internal": internal,
                    "credential": credential,
                    "default_classes": classes,
                });
                let document = Client::sign_in(context).await?.post("/v1/servers", body).await?;
                let text = tools(&document);
                let next = format!(
                    "accept what they do: bailiwick catalog show {name}, then catalog accept FILE"
                );
                Ok(Answer::new(
                    document,
                    format!("server `{name}` is added with these tools\n\n{text}\n\n{next}"),
                ))
            }
            Self::List => {
                let document = Client::sign_in(context).await?.list("/v1/servers").await?;
                let text = show::table(
                    &document,
                    &[
                        ("NAME", "name"),
                        ("URL", "url"),
                        ("INTERNAL", "internal"),
                        ("CREDENTIAL", "credential"),
                        ("CLASSES", "default_classes"),
                    ],
                );
                Ok(Answer::new(document, text))
            }
            Self::Refresh { name } => {
                let path = format!("/v1/servers/{name}/refresh");
                let document = Client::sign_in(context).await?.post(&path, json!({})).await?;
                let text = tools(&document);
                Ok(Answer::new(document, text))
            }
        }
    }
}

fn tools(document: &serde_json::Value) -> String {
    show::table(document, &[("TOOL", "name"), ("STATE", "state"), ("DIGEST", "digest")])
}
