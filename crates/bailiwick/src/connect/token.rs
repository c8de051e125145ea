//! A token without a key, for an MCP client that sends a fixed header and nothing else.

use clap::Args;
use serde_json::json;

use super::{Credentials, session::Door};
use crate::{agent::Key, failure::Result, output::Answer};

#[derive(Debug, Clone, Args)]
pub(crate) struct AgentToken {
    /// The gateway's URL for the server: `https://GATEWAY/mcp/SERVER`. Such a token is for one server, never for all.
    url: String,
    #[command(flatten)]
    credentials: Credentials,
}

impl AgentToken {
    pub(crate) async fn run(self) -> Result<Answer> {
        let door = Door::find(&self.url, self.credentials).await?;
        let granted = door.exchange(Key::None).await?;
        let document = json!({
            "access_token": granted.token,
            "expires_in": granted.seconds,
            "token_type": "Bearer",
            "audience": door.audience(),
        });
        Ok(Answer::new(document, granted.token))
    }
}
