//! Readers of what a server sends, for `cargo xtask fuzz`.

use serde_json::value::RawValue;

use super::{Client, Reply, ToolDefinition, lacks, message::ServerMessage};
use crate::envelope::{Able, Era, RequestId};

/// What a message of a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The response, as the client gets it.
    Reply(Reply),
    /// A notification; of progress, under which token.
    Notification(Option<String>),
    /// A request to the client: its id in JSON, and its method.
    Request(String, String),
}

/// Reads a message in answer to the request `own`, whose client calls it `theirs`; `None` where it is refused.
pub fn message(bytes: &[u8], own: &RequestId, theirs: &RequestId) -> Option<Heard> {
    let message = ServerMessage::read(bytes, own).ok()?;
    let client = Client {
        id: theirs.clone(),
        progress: None,
        able: Able::default(),
        lacks: lacks("a-tool", Era::Modern, Era::Legacy),
        room: None,
        max: bytes.len(),
    };
    if let Some(reply) = Reply::of(&message, &client) {
        return Some(Heard::Reply(reply));
    }
    match message {
        ServerMessage::Request { id, method } => Some(Heard::Request(id.get().to_owned(), method)),
        ServerMessage::Notification { progress, .. } => {
            Some(Heard::Notification(progress.map(|token| token.get().to_owned())))
        }
        _ => None,
    }
}

/// Reads a tool's definition out of a list; `None` where it is refused.
pub fn tool(definition: &str, era: Era) -> Option<ToolDefinition> {
    let raw: &RawValue = serde_json::from_str(definition).ok()?;
    ToolDefinition::read(raw, era).ok()
}
