mod link;

use clap::{Args, Subcommand};
use gateway::PROGRAM;
use model::Name;
use serde_json::{Value, json};

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
        #[command(flatten)]
        oauth: Box<Oauth>,
    },
    /// List servers.
    List,
    /// Look at a server's tools again. One whose definition changed is quarantined.
    Refresh { name: Name },
    /// Lend your account at a server that acts for each person: prints where to consent, then takes the code shown there.
    Link {
        name: Name,
        /// What the page showed.
        #[arg(long)]
        code: Option<String>,
    },
    /// Take an account back; its calls are cut.
    Unlink {
        name: Name,
        /// Whose, where it is not your own.
        #[arg(long)]
        person: Option<String>,
    },
    /// List accounts that are linked: your own, or everybody's where you govern.
    Links,
}

/// How tokens for a protected server are bought.
#[derive(Args)]
pub(crate) struct Oauth {
    /// Whose token it takes: each `person`'s own, or the `gateway`'s.
    #[arg(long = "oauth", value_name = "WHOSE", value_parser = ["person", "gateway"], conflicts_with_all = ["credential", "program"])]
    whose: Option<String>,
    /// The one authorization server that is believed.
    #[arg(long, value_name = "URL", requires = "whose")]
    issuer: Option<String>,
    /// The client that was registered for this gateway by hand at that issuer.
    #[arg(long, value_name = "ID", requires_all = ["whose", "issuer"])]
    client: Option<String>,
    /// Where its secret is, as for `--credential`.
    #[arg(long, value_name = "REFERENCE", requires = "client", conflicts_with = "client_key")]
    client_secret: Option<String>,
    /// Where its private key is, likewise.
    #[arg(long, value_name = "REFERENCE", requires = "client")]
    client_key: Option<String>,
    /// A scope to ask for, where the server does not say which; may be repeated.
    #[arg(long = "scope", requires = "whose")]
    scopes: Vec<String>,
    /// The server is one of MCP 2025-03-26: its own origin issues its tokens.
    #[arg(long, requires = "whose")]
    without_metadata: bool,
}

impl Oauth {
    /// The members of the API's `oauth`, where it was asked for.
    fn json(self) -> Option<Value> {
        let whose = self.whose?;
        let some = |value: Option<String>| value.map(Value::from);
        let client = self.client.map(|id| {
            let members = [
                ("id", Some(Value::from(id))),
                ("secret", some(self.client_secret)),
                ("key", some(self.client_key)),
            ];
            given(members)
        });
        Some(given([
            ("whose", Some(Value::from(whose))),
            ("issuer", some(self.issuer)),
            ("client", client),
            ("scopes", Some(json!(self.scopes))),
            ("without_metadata", Some(json!(self.without_metadata))),
        ]))
    }
}

/// An object of the members that are there.
fn given<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Add { name, url, program, internal, credential, classes, oauth } => {
                let url = url.or_else(|| program.map(|program| format!("{PROGRAM}{program}")));
                let oauth = oauth.json();
                let personal = oauth.as_ref().is_some_and(|oauth| oauth["whose"] == "person");
                let mut body = json!({
                    "name": name,
                    "url": url,
                    "internal": internal,
                    "credential": credential,
                    "default_classes": classes,
                });
                if let Some(oauth) = oauth {
                    body["oauth"] = oauth;
                }
                let document = Client::sign_in(context).await?.post("/v1/servers", body).await?;
                if personal {
                    let callback = match show::cell(&document, "callback") {
                        none if none.is_empty() => none,
                        url => format!(
                            "at its issuer, allow the client to send people back to this address alone:\n\n  {url}\n\n"
                        ),
                    };
                    let text = format!(
                        "server `{name}` is added; it shows its tools to people\n\n{callback}\
                         link your account: bailiwick server link {name}, then server refresh {name}"
                    );
                    return Ok(Answer::new(document, text));
                }
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
                        ("TOKENS OF", "oauth.whose"),
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
            Self::Link { name, code } => link::link(context, &name, code).await,
            Self::Unlink { name, person } => link::unlink(context, &name, person).await,
            Self::Links => link::list(context).await,
        }
    }
}

fn tools(document: &serde_json::Value) -> String {
    show::table(document, &[("TOOL", "name"), ("STATE", "state"), ("DIGEST", "digest")])
}
