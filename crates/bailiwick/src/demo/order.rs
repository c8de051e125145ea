//! What the director and an agent's process say to each other: one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line to an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// Comes back with the answer; answers may overtake each other.
    pub(super) id: u64,
    pub(super) order: Order,
}

/// What an agent is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// Know who you are and where you work. Comes first, once.
    Be {
        /// Your own URI.
        uri: String,
        /// The digest of what you are made of.
        version: String,
        /// The authorization server.
        issuer: String,
        /// The resource that tokens are for.
        resource: String,
        /// Where that resource is called.
        endpoint: String,
    },
    /// Exchange a token that was meant for you for one that you can call with.
    Exchange { subject: String },
    /// Exchange it for one that a sub-agent can exchange, with these verbs on these resources only.
    HandOver { subject: String, to: String, verbs: Vec<String>, resources: String },
    /// Call a tool with your latest token.
    Call { tool: String, arguments: Value },
}

/// One line from an agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answer {
    pub(super) id: u64,
    /// `permit`, `hold`, `step_up` or `deny`; `error` where nobody decided.
    pub(super) verdict: String,
    pub(super) code: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) next: Option<String>,
    pub(super) policies: Vec<String>,
    pub(super) approval: Option<String>,
    /// Nothing was done, and the same may succeed in a moment.
    pub(super) retryable: bool,
    /// Names the attempt in the ledger.
    pub(super) action: Option<String>,
    /// A token that is meant for somebody else.
    pub(super) token: Option<String>,
    /// What the tool answered.
    pub(super) result: Option<Value>,
    pub(super) ms: u64,
}
