use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use model::Name;
use serde_json::{Value, json};

use super::{Acceptance, find, path, propose, trial};
use crate::{
    cli::show,
    client::Client,
    failure::{Exit, Failure, Result},
    files,
    output::Answer,
    toml_input,
};

/// What opens where neither `$VISUAL` nor `$EDITOR` says otherwise.
const EDITOR: &str = "vi";

/// Edit what tools do.
#[derive(Args)]
pub(crate) struct Edit {
    server: Name,
    /// The mapping file. Where it is not there yet it begins with what is accepted, and a guess at the rest.
    file: PathBuf,
    /// Begin with this tool alone.
    #[arg(long)]
    tool: Option<String>,
    /// Try it on so many of the newest recorded calls. Their arguments are opened, and that is recorded.
    #[arg(long, default_value_t = trial::CALLS, value_parser = trial::calls())]
    calls: u16,
}

impl Edit {
    pub(super) async fn run(self, client: impl Future<Output = Result<Client>>) -> Result<Answer> {
        let mut client = client.await?;
        if !self.file.try_exists().map_err(|error| files::unreadable(&self.file, &error))? {
            let text = self.beginning(&mut client).await?;
            files::write_new(&self.file, text.as_bytes())?;
        }
        open(&self.file)?;
        self.check_server()?;
        let accept = format!(
            "Nothing of it is in force. If this is what you mean: bailiwick catalog accept {}",
            self.file.display()
        );
        match trial::recorded_calls(&self.file, self.calls, &mut client).await {
            Ok(tried) => {
                let text = format!("{}\n\n{accept}", tried.text);
                Ok(Answer::new(tried.document, text).exit(tried.exit))
            }
            // A mapping can be sound without a call to try it on.
            Err(failure) if failure.exit == Exit::NotFound && failure.code == trial::NO_CALLS => {
                let document = json!({ "server": self.server, "calls": [] });
                Ok(Answer::new(document, format!("{}\n{accept}", failure.what)))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Refuses a file about another server: it would be tried there, and accepted for it.
    fn check_server(&self) -> Result<()> {
        let wish: Acceptance = toml_input::read(&self.file)?;
        if wish.server == self.server {
            return Ok(());
        }
        let (file, server) = (self.file.display(), &self.server);
        let what = format!("`{file}` is about `{}`, not about `{server}`", wish.server);
        Err(Failure::new("server_differs", what)
            .why("it would be tried on that server's calls, and accepted for its tools")
            .next("correct `server` in the file, or name that server, or another file"))
    }

    async fn beginning(&self, client: &mut Client) -> Result<String> {
        let catalog = client.get(&path(&self.server)).await?;
        if let Some(tool) = &self.tool {
            find(&catalog, &self.server, tool)?;
        }
        let proposal = client.get(&format!("{}/proposal", path(&self.server))).await?;
        let accepted = show::rows(&catalog).iter().filter(|tool| tool["state"] == "accepted");
        let accepted = accepted.map(|tool| {
            json!({ "tool": tool["name"], "digest": tool["digest"], "mapping": tool["mapping"], "state": "accepted" })
        });
        let guessed = show::rows(&proposal).iter().cloned();
        let mut tools: Vec<Value> = accepted.chain(guessed).collect();
        tools.retain(|tool| self.tool.as_ref().is_none_or(|only| tool["tool"] == **only));
        let server = self.server.as_str();
        let head = format!(
            "# What the tools of `{server}` do: as it was accepted, and a guess where nobody has accepted a tool as it is now.\n\
             # Nothing of this file is in force before `catalog accept`.\n"
        );
        Ok(propose::file(&head, server, &tools))
    }
}

/// Opens a file in the user's editor and waits until it is closed. What the variables say may have arguments of its own.
fn open(file: &Path) -> Result<()> {
    let said = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
    let editor = said.filter(|editor| !editor.trim().is_empty()).unwrap_or(EDITOR.to_owned());
    let failed = || Failure::new("editor_failed", format!("`{editor}` did not edit the file"));
    let next =
        format!("set $EDITOR, or edit `{}` yourself and try it: catalog test", file.display());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file);
    match shell.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed().why(format!("it ended with {status}")).next(next)),
        Err(error) => Err(failed().because(&error).next(next)),
    }
}
