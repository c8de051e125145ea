//! A token without a key, for an MCP client that sends a fixed header and nothing else.

use clap::Args;
use serde_json::json;

use super::{Way, session::Door};
use crate::{agent::Key, failure::Result, output::Answer};

#[derive(Debug, Clone, Args)]
pub(crate) struct AgentToken {
    #[command(flatten)]
    way: Way,
}

impl AgentToken {
    pub(crate) async fn run(self) -> Result<Answer> {
        let Way { url, agent, agent_key, token } = self.way;
        let door = Door::find(&url, &agent, &agent_key, token).await?;
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
