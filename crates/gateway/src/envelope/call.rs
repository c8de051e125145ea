//! `tools/call`: read from a client's message, written for an upstream.

use model::ijson::{self, Json, Limits};

use super::{
    EnvelopeError, MAX_BYTES, MAX_DEPTH, Message, RequestId, era::named_by, message::is_name,
};

/// What a client calls, out of the one reading of its message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToolCall<'m> {
    /// The tool.
    pub name: &'m str,
    /// Its arguments, an object; empty where the client sent none.
    pub arguments: &'m Json,
    /// What the client said about the request itself.
    pub meta: Option<&'m Json>,
}

static NO_ARGUMENTS: Json = Json::Object(Vec::new());

impl<'m> ToolCall<'m> {
    /// The call in a message whose method is `tools/call`.
    ///
    /// Of its parameters `name`, `arguments` and `_meta` count. Answers to a server's question are refused, since none
    /// was passed on; whatever else stands there is neither decided on nor sent on.
    ///
    /// # Errors
    /// The name or the arguments are missing or of the wrong type.
    pub fn of(message: &'m Message) -> Result<Self, EnvelopeError> {
        refuse_unasked(message)?;
        let name = message.param("name").and_then(Json::as_str).filter(|name| is_name(name));
        let arguments = message.param("arguments").unwrap_or(&NO_ARGUMENTS);
        if !matches!(arguments, Json::Object(_)) {
            return Err(EnvelopeError::Arguments);
        }
        Ok(Self { name: name.ok_or(EnvelopeError::Name)?, arguments, meta: message.meta() })
    }

    /// The arguments as they are decided on, digested and sent on.
    pub fn canonical_arguments(&self) -> Vec<u8> {
        self.arguments.canonical()
    }
}

/// The parameters of another request, without what it says about itself.
///
/// # Errors
/// It answers a question that nobody passed on.
pub fn method_params(message: &Message) -> Result<Json, EnvelopeError> {
    refuse_unasked(message)?;
    let members = match message.params() {
        Some(Json::Object(members)) => members.iter().filter(|(name, _)| name != "_meta").cloned(),
        _ => return Ok(Json::Object(Vec::new())),
    };
    Ok(Json::Object(members.collect()))
}

fn refuse_unasked(message: &Message) -> Result<(), EnvelopeError> {
    for unasked in ["inputResponses", "requestState"] {
        if message.param(unasked).is_some() {
            return Err(EnvelopeError::UnaskedInput(unasked));
        }
    }
    Ok(())
}

/// The body of a `tools/call` request. `arguments` and `meta` are JSON objects' bytes and stand in the body unchanged.
pub fn tool_call_request(
    id: &RequestId,
    name: &str,
    arguments: &[u8],
    meta: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(384 + arguments.len());
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    body.extend_from_slice(&id.to_json().canonical());
    body.extend_from_slice(b",\"method\":\"tools/call\",\"params\":{\"name\":");
    body.extend_from_slice(&Json::String(name.to_owned()).canonical());
    body.extend_from_slice(b",\"arguments\":");
    body.extend_from_slice(arguments);
    if let Some(meta) = meta {
        body.extend_from_slice(b",\"_meta\":");
        body.extend_from_slice(meta);
    }
    body.extend_from_slice(b"}}");
    body
}

/// The body of a request for another method of the protocol. `params` are a JSON object's bytes without `_meta`; they and
/// those of `meta` stand in the body unchanged.
pub fn method_request(id: &RequestId, method: &str, params: &[u8], meta: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::with_capacity(384 + params.len());
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    body.extend_from_slice(&id.to_json().canonical());
    body.extend_from_slice(b",\"method\":");
    body.extend_from_slice(&Json::String(method.to_owned()).canonical());
    body.extend_from_slice(b",\"params\":");
    body.extend_from_slice(params);
    if let Some(meta) = meta {
        body.pop();
        body.extend_from_slice(if params == b"{}" { b"\"_meta\":" } else { b",\"_meta\":" });
        body.extend_from_slice(meta);
        body.push(b'}');
    }
    body.push(b'}');
    body
}

/// What `Mcp-Name` says of such a request.
pub(crate) fn name_of(method: &str, params: &[u8]) -> Option<String> {
    let source = named_by(method)?;
    let params = ijson::parse(params, Limits { bytes: MAX_BYTES, depth: MAX_DEPTH }).ok()?;
    params.member(source)?.as_str().map(str::to_owned)
}
