use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use model::Foreign;
use serde_json::{Value, json};

use super::show;
use crate::{
    client::{Client, Context, Method},
    failure::{Exit, Failure, Result},
    files,
    output::{self, Answer},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put policies into force, in place of all before them.
    Apply {
        /// Files of Cedar policies, or folders with `*.cedar` files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Check whether policies would load; exit status 3 where they would not.
    Check {
        /// Files of Cedar policies, or folders with `*.cedar` files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Show the policies in force.
    Show,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Apply { paths } => {
                let body = json!({ "files": read(&paths)? });
                let mut client = Client::sign_in(context).await?;
                // Before they are asked for, which may end in waiting: who asks should know first.
                let checked = client.post("/v1/policies/check", body.clone()).await?;
                warn(&checked);
                if let Some(problem) = checked["problem"].as_str() {
                    return Err(unsound(problem));
                }
                let document = client.call(Method::PUT, "/v1/policies", Some(body)).await?;
                let word = if document["changed"] == false {
                    "nothing changes; in force"
                } else {
                    "in force"
                };
                let text = format!("{word}: {}", names(&document));
                Ok(Answer::new(document, text))
            }
            Self::Check { paths } => {
                let body = json!({ "files": read(&paths)? });
                let document =
                    Client::sign_in(context).await?.post("/v1/policies/check", body).await?;
                warn(&document);
                match document["problem"].as_str().map(Foreign::new) {
                    None => Ok(Answer::new(document, "these policies would load")),
                    Some(problem) => {
                        let text = lines(problem.raw());
                        Ok(Answer::new(document, format!("these policies would not load\n{text}"))
                            .exit(Exit::No))
                    }
                }
            }
            Self::Show => {
                let document = Client::sign_in(context).await?.get("/v1/policies").await?;
                let files = document["files"].as_array().map(Vec::as_slice).unwrap_or_default();
                let file = |file: &Value| {
                    let text = |member: &str| file[member].as_str().unwrap_or_default();
                    format!("// {}\n{}", Foreign::new(text("name")), lines(text("text")))
                };
                let text = files.iter().map(file).collect::<Vec<_>>().join("\n\n");
                Ok(Answer::new(
                    document,
                    if text.is_empty() {
                        "only the guard pack is in force".to_owned()
                    } else {
                        text
                    },
                ))
            }
        }
    }
}

/// The same status as of `check`: nothing failed, the answer is no.
fn unsound(problem: &str) -> Failure {
    Failure::new("policies_unsound", "these policies do not load, and those in force stay")
        .why(lines(problem))
        .next("correct them; `bailiwick policy check` says whether they would load")
        .exit(Exit::No)
}

/// Says on stderr what is allowed and still looks like a mistake.
fn warn(document: &Value) {
    for warning in document["warnings"].as_array().into_iter().flatten() {
        output::talk(&format!("warning: {}", Foreign::new(show::text(warning))));
    }
}

/// Foreign text of several lines, each escaped.
fn lines(text: &str) -> String {
    text.lines().map(|line| Foreign::new(line).to_string()).collect::<Vec<_>>().join("\n")
}

fn names(document: &Value) -> String {
    let files = document["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |file: &Value| Foreign::new(file["name"].as_str().unwrap_or_default()).to_string();
    files.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The files, and those of the folders by name.
fn read(paths: &[PathBuf]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(cedar_files(path)?);
        } else {
            all.push(path.clone());
        }
    }
    if all.is_empty() {
        return Err(Failure::new("no_policies", "no policies are named")
            .why("there is no `*.cedar` file in any of these folders")
            .next("name a file, or a folder with some")
            .exit(Exit::NotFound));
    }
    let file = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(json!({ "name": name, "text": files::read_text(path)? }))
    };
    all.iter().map(file).collect()
}

fn cedar_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| files::unreadable(folder, &error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
