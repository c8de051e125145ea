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
    /// Of its parameters `name`, `arguments` and `_meta` count here, and those of [`super::inputs`]; whatever else stands there
    /// is neither decided on nor sent on.
    ///
    /// # Errors
    /// The name or the arguments are missing or of the wrong type.
    pub fn of(message: &'m Message) -> Result<Self, EnvelopeError> {
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

/// The parameters of another request, without what it says about itself and without answers.
pub fn method_params(message: &Message) -> Json {
    let beside = ["_meta", "inputResponses", "requestState"];
    match message.params() {
        Some(Json::Object(members)) => {
            let kept = members.iter().filter(|(name, _)| !beside.contains(&name.as_str()));
            Json::Object(kept.cloned().collect())
        }
        _ => Json::Object(Vec::new()),
    }
}

/// The body of a `tools/call` request. `arguments` and `meta`, and `inputs` where there are any, are a JSON object's bytes and
/// stand in the body unchanged.
pub fn tool_call_request(
    id: &RequestId,
    name: &str,
    arguments: &[u8],
    inputs: Option<&[u8]>,
    meta: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(384 + arguments.len());
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    body.extend_from_slice(&id.to_json().canonical());
    body.extend_from_slice(b",\"method\":\"tools/call\",\"params\":{\"name\":");
    body.extend_from_slice(&Json::String(name.to_owned()).canonical());
    body.extend_from_slice(b",\"arguments\":");
    body.extend_from_slice(arguments);
    if let Some(members) = inputs.and_then(members) {
        body.push(b',');
        body.extend_from_slice(members);
    }
    if let Some(meta) = meta {
        body.extend_from_slice(b",\"_meta\":");
        body.extend_from_slice(meta);
    }
    body.extend_from_slice(b"}}");
    body
}

/// The body of a request for another method of the protocol. `params`, without `_meta`, and `meta`, and `inputs` where there are
/// any, are a JSON object's bytes and stand in the body unchanged.
pub fn method_request(
    id: &RequestId,
    method: &str,
    params: &[u8],
    inputs: Option<&[u8]>,
    meta: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(384 + params.len());
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    body.extend_from_slice(&id.to_json().canonical());
    body.extend_from_slice(b",\"method\":");
    body.extend_from_slice(&Json::String(method.to_owned()).canonical());
    body.extend_from_slice(b",\"params\":{");
    let meta = meta.map(|meta| [b"\"_meta\":", meta].concat());
    let parts = [members(params), inputs.and_then(members), meta.as_deref()];
    for (at, part) in parts.into_iter().flatten().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(part);
    }
    body.extend_from_slice(b"}}");
    body
}

/// What stands between the braces of an object; `None` where nothing does.
fn members(object: &[u8]) -> Option<&[u8]> {
    object.strip_prefix(b"{")?.strip_suffix(b"}").filter(|members| !members.is_empty())
}

/// What `Mcp-Name` says of such a request.
pub(crate) fn name_of(method: &str, params: &[u8]) -> Option<String> {
    let source = named_by(method)?;
    let params = ijson::parse(params, Limits { bytes: MAX_BYTES, depth: MAX_DEPTH }).ok()?;
    params.member(source)?.as_str().map(str::to_owned)
}
