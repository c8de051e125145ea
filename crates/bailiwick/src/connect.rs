//! `connect`: for MCP clients that cannot prove possession of a key. It holds the agent's key, gets the tokens, proves every
//! request, and speaks plain MCP with its own client: on stdin and stdout, or on a loopback address.
//!
//! It decides nothing and stores nothing: whatever it passes on is decided by the gateway, message by message.

mod config;
mod loopback;
mod session;
mod stdio;
mod token;

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::{failure::Result, output::Answer};
pub(crate) use config::ConnectConfig;
use session::Session;
pub(crate) use token::AgentToken;

/// Where to, and what proves the agent.
#[derive(Debug, Clone, Args)]
pub(crate) struct Way {
    /// The gateway's URL for the server: `https://GATEWAY/mcp/SERVER`; for the tools of all servers: `https://GATEWAY/mcp`.
    url: String,
    #[command(flatten)]
    credentials: Credentials,
}

/// What proves the agent, and what it works on.
#[derive(Debug, Clone, Args)]
struct Credentials {
    /// Who the agent is: the file that `agent show NAME -o json` prints.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The agent's private key.
    #[arg(long, value_name = "FILE")]
    agent_key: PathBuf,
    /// The task's token, as `task open --token-file` wrote it.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    #[command(flatten)]
    way: Way,
    /// Serve MCP over HTTP on this loopback address, instead of stdin and stdout.
    #[arg(long, value_name = "ADDRESS", requires = "password")]
    listen: Option<SocketAddr>,
    /// What clients must send as `Authorization: Bearer …` there; the file is made where there is none.
    #[arg(long, value_name = "FILE", requires = "listen")]
    password: Option<PathBuf>,
}

impl Connect {
    pub(crate) async fn run(self) -> Result<Answer> {
        let Way { url, credentials } = self.way;
        let session = Session::open(&url, credentials).await?;
        match self.listen.zip(self.password) {
            Some((address, password)) => loopback::serve(session, address, &password).await,
            None => stdio::serve(session).await,
        }
    }
}
