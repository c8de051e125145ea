//! What an MCP client's configuration says so that the client starts `connect`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Way;
use crate::{
    failure::{Failure, Result},
    files,
    output::Answer,
};

#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectConfig {
    #[command(flatten)]
    way: Way,
    /// Whose configuration it is for.
    #[arg(long, value_enum, default_value = "claude")]
    client: Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// JSON with `mcpServers`: Claude Desktop, Claude Code, Cursor and many others.
    Claude,
    /// JSON with `servers`: VS Code's `mcp.json`.
    Vscode,
    /// TOML: Codex's `config.toml`.
    Codex,
}

impl ConnectConfig {
    /// The entry to add; all paths are whole, since nobody knows in which folder the client starts programs.
    pub(crate) fn run(self) -> Result<Answer> {
        let name = server_name(&self.way.url)?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new("program_unknown", "it is unknown where this program lies")
                .because(&error)
                .next("start it by its whole path")
        })?;
        let Way { url, credentials } = &self.way;
        let arguments = [
            "connect".to_owned(),
            url.clone(),
            "--agent".to_owned(),
            whole(&credentials.agent)?,
            "--agent-key".to_owned(),
            whole(&credentials.agent_key)?,
            "--token".to_owned(),
            // The task may be opened later.
            absolute(&credentials.token)?.display().to_string(),
        ];
        let program = program.display().to_string();
        let (document, text) = match self.client {
            Client::Claude => {
                let entry = json!({ "command": program, "args": arguments });
                pretty(json!({ "mcpServers": { name: entry } }))
            }
            Client::Vscode => {
                let entry = json!({ "type": "stdio", "command": program, "args": arguments });
                pretty(json!({ "servers": { name: entry } }))
            }
            Client::Codex => {
                let entry = toml::Table::from_iter([
                    ("command".to_owned(), program.into()),
                    ("args".to_owned(), arguments.to_vec().into()),
                ]);
                let servers = toml::Table::from_iter([(name, toml::Value::Table(entry))]);
                let whole = toml::Table::from_iter([("mcp_servers".to_owned(), servers.into())]);
                (json!({ "toml": whole.to_string() }), whole.to_string())
            }
        };
        Ok(Answer::new(document, text))
    }
}

/// A client lists a server under the name that the gateway's URL ends with, and all of them under the gateway's own.
fn server_name(url: &str) -> Result<String> {
    let url = url.trim_end_matches('/');
    if url.ends_with("/mcp") {
        return Ok("bailiwick".to_owned());
    }
    let name = url.rsplit_once("/mcp/").map(|(_, name)| name.to_owned());
    name.filter(|name| name.parse::<model::Name>().is_ok()).ok_or_else(|| {
        Failure::new("url_refused", format!("`{url}` names no server"))
            .why("the gateway's URL for a server ends with `/mcp/SERVER`, and its URL for all of them with `/mcp`")
            .next("name it as in `http://127.0.0.1:8181/mcp/support-desk`")
    })
}

/// The whole path of a file that is there.
fn whole(path: &Path) -> Result<String> {
    let found = std::fs::canonicalize(path).map_err(|error| files::unreadable(path, &error))?;
    Ok(found.display().to_string())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| files::unreadable(path, &error))
}

fn pretty(document: Value) -> (Value, String) {
    let text = format!("{document:#}");
    (document, text)
}
