use std::path::PathBuf;

use clap::Subcommand;
use model::{Name, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::show::{self, People};
use crate::{
    client::{Client, Context, Method},
    failure::{Failure, Result},
    files::{self, Reserved},
    input::{self, Allow, Amount},
    output::{Answer, fields},
    toml_input,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Give an agent a piece of work, with part of your own right. Prints the token to hand over.
    Open {
        /// Who works.
        #[arg(long)]
        agent: Name,
        /// What it is for, in a word or two; policies read it.
        #[arg(long)]
        purpose: String,
        /// What is to be done, in your own words.
        #[arg(long, default_value = "")]
        intent: String,
        /// What the agent is told.
        #[arg(long, default_value = "", conflicts_with = "prompt_file")]
        prompt: String,
        /// The same, from a file.
        #[arg(long, value_name = "FILE")]
        prompt_file: Option<PathBuf>,
        /// What it may spend, as `50.00 EUR`.
        #[arg(long)]
        budget: Option<Amount>,
        /// How long it may take.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
        /// TOML with [[allow]]: less than all that you and the agent have in common.
        #[arg(long, value_name = "FILE")]
        allow: Option<PathBuf>,
        /// Write the token into this file instead of printing it.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// List tasks, the newest first: those that you opened, for an administrator all.
    List {
        /// Only what was given to this agent.
        #[arg(long)]
        agent: Option<Name>,
        /// Only tasks of which something is parked.
        #[arg(long)]
        parked: bool,
    },
    /// Let a task go on that was parked, because its agent was refused the same again and again.
    Unpark { task: TaskId },
    /// End a task; everything that it created ends with it.
    End { task: TaskId },
}

/// The file of `--allow`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Narrower {
    /// How often the agent may pass it on.
    #[serde(default)]
    depth: u8,
    allow: Vec<Allow>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Open {
                agent,
                purpose,
                intent,
                prompt,
                prompt_file,
                budget,
                seconds,
                allow,
                token_file,
            } => {
                let prompt = match prompt_file {
                    Some(file) => files::read_text(&file)?,
                    None => prompt,
                };
                let mut body = json!({
                    "agent": agent, "purpose": purpose, "intent": intent, "prompt": prompt, "seconds": seconds,
                });
                if let Some(Amount(budget)) = budget {
                    body["budget"] = json!(budget);
                }
                if let Some(file) = allow {
                    let narrower: Narrower = toml_input::read(&file)?;
                    body["authority"] = input::authority(&narrower.allow, narrower.depth)?;
                }
                // Before anything is opened: a token that can be kept nowhere opens nothing.
                let place = match &token_file {
                    Some(file) => Some((file.display(), Reserved::new(file)?)),
                    None => None,
                };
                let mut document = Client::sign_in(context).await?.post("/v1/tasks", body).await?;
                let task = show::cell(&document, "task");
                if let Some((file, place)) = place {
                    let token = document["token"].take();
                    let filled = place.fill(token.as_str().unwrap_or_default().as_bytes());
                    filled.map_err(|error| {
                        Failure::new("file_unwritable", format!("`{file}` cannot be written"))
                            .because(&error)
                            .next(open_all_the_same(&task))
                    })?;
                    document["token"] = json!(format!("file:{file}"));
                }
                let text = fields([
                    ("task", show::cell(&document, "task")),
                    ("until", show::cell(&document, "expires")),
                    ("token", show::cell(&document, "token")),
                ]);
                Ok(Answer::new(
                    document,
                    format!("hand this to `{agent}`; nobody else can use it\n{text}"),
                )
                .unprinted(open_all_the_same(&task)))
            }
            Self::List { agent, parked } => {
                let agent = agent.map(|agent| format!("&agent={agent}")).unwrap_or_default();
                let path = format!("/v1/tasks?parked={parked}{agent}");
                let document = Client::sign_in(context).await?.list(&path).await?;
                let text = listed(&document);
                Ok(Answer::new(document, text))
            }
            Self::Unpark { task } => {
                let path = format!("/v1/tasks/{task}/unpark");
                let document = Client::sign_in(context).await?.post(&path, json!({})).await?;
                let text = match document["changed"].as_bool() {
                    Some(false) => format!("task {task} is not parked"),
                    _ => format!("task {task} goes on"),
                };
                Ok(Answer::new(document, text))
            }
            Self::End { task } => {
                let path = format!("/v1/tasks/{task}");
                let document =
                    Client::sign_in(context).await?.call(Method::DELETE, &path, None).await?;
                let text = format!("task {task} has ended\n{}", show::members(&document));
                Ok(Answer::new(document, text))
            }
        }
    }
}

fn listed(document: &Value) -> String {
    let people = People::of(document);
    let headings = ["TASK", "AGENT", "FOR", "STATE", "UNTIL", "SPENT", "PURPOSE"];
    let line = |task: &Value| {
        let spent = match &task["budget"] {
            Value::Null => String::new(),
            _ => format!("{} of {}", show::cell(task, "spent"), show::cell(task, "budget")),
        };
        let person = people.handle(show::cell(task, "person"));
        let [id, agent, state, until, purpose] =
            ["task", "agent", "state", "expires", "purpose"].map(|member| show::cell(task, member));
        vec![vec![id, agent, person, state, until, spent, purpose]]
    };
    show::table_of(document, &headings, line)
}

/// What to do about a task whose token nobody has.
fn open_all_the_same(task: &str) -> String {
    format!(
        "task {task} is open, and its token is shown only once: end it with `bailiwick task end {task}`, then open another"
    )
}
