//! JSON-RPC messages as a server sends them, read without touching what they carry.

use std::borrow::Cow;

use model::{Foreign, ijson::Json};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    UpstreamError,
    name::{InOurName, without_ours},
};
use crate::envelope::RequestId;

/// The longest id of a server's request, in bytes.
const MAX_ID: usize = 256;

/// One message of a server.
pub(super) enum ServerMessage<'b> {
    /// The result of our request, and whether it says of what type it is, as since 2026-07-28.
    Result { raw: Cow<'b, RawValue>, is_error: bool, is_typed: bool },
    /// The result of our request is that the client has to answer something first.
    InputRequired { raw: Cow<'b, RawValue> },
    /// The error of our request.
    Error { raw: Cow<'b, RawValue>, error: RpcError },
    /// A message that wants no answer; of progress, under which token; to a listener, to which request.
    Notification { progress: Option<&'b RawValue>, subscription: Option<&'b RawValue> },
    /// A request to the client.
    Request { id: &'b RawValue, method: String },
}

/// A JSON-RPC error.
#[derive(Debug, Deserialize)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Option<ErrorData>,
}

/// What an error about the revision tells; other errors carry what they like.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ErrorData {
    Versions { supported: Vec<String> },
    Other(serde::de::IgnoredAny),
}

/// JSON-RPC has these members and no others; a name that comes twice is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'b> {
    jsonrpc: String,
    #[serde(default, borrow)]
    id: Option<&'b RawValue>,
    method: Option<String>,
    #[serde(default, borrow)]
    params: Option<&'b RawValue>,
    #[serde(default, borrow)]
    result: Option<&'b RawValue>,
    #[serde(default, borrow)]
    error: Option<&'b RawValue>,
}

/// What a notification of progress is about.
#[derive(Deserialize)]
struct Progress<'b> {
    #[serde(rename = "progressToken", borrow)]
    token: &'b RawValue,
}

/// To which listener a notification goes.
#[derive(Deserialize)]
struct Listened<'b> {
    #[serde(rename = "_meta", default, borrow)]
    meta: Option<Subscription<'b>>,
}

#[derive(Deserialize)]
struct Subscription<'b> {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId", default, borrow)]
    subscription: Option<&'b RawValue>,
}

/// The members of a result that decide what becomes of it.
#[derive(Deserialize)]
struct ResultHead {
    #[serde(rename = "resultType")]
    result_type: Option<String>,
    #[serde(rename = "isError")]
    is_error: Option<bool>,
    #[serde(rename = "_meta", default)]
    meta: InOurName,
}

/// The member of an error in which programs look for more.
#[derive(Deserialize)]
struct ErrorHead {
    #[serde(default)]
    data: InOurName,
}

impl<'b> ServerMessage<'b> {
    /// Reads one message in answer to the request `own`.
    pub(super) fn read(bytes: &'b [u8], own: &RequestId) -> Result<Self, UpstreamError> {
        let wire: Wire<'b> = serde_json::from_slice(bytes)
            .map_err(|_| UpstreamError::Malformed("it is not a JSON-RPC object"))?;
        if wire.jsonrpc != "2.0" {
            return Err(UpstreamError::Malformed("`jsonrpc` is not `2.0`"));
        }
        match wire {
            Wire { method: Some(method), id, params, result: None, error: None, .. } => match id {
                Some(id) if id.get().len() > MAX_ID => {
                    Err(UpstreamError::Malformed("the id of its request is too long"))
                }
                Some(id) => Ok(Self::Request { id, method }),
                None => {
                    let params = params.map(RawValue::get);
                    let progress = params.filter(|_| method == "notifications/progress");
                    let progress = progress.and_then(|params| serde_json::from_str(params).ok());
                    let progress = progress.map(|Progress { token }| token);
                    let listened = params.and_then(|params| serde_json::from_str(params).ok());
                    let subscription = listened.and_then(|Listened { meta }| meta?.subscription);
                    Ok(Self::Notification { progress, subscription })
                }
            },
            Wire { result: Some(raw), id, error: None, method: None, params: None, .. } => {
                if id.is_none_or(|id| !is(id, own)) {
                    return Err(UpstreamError::ForeignId);
                }
                Self::result(raw)
            }
            Wire { error: Some(raw), id, result: None, method: None, params: None, .. } => {
                // Without an id it is still the answer to the one request of this HTTP exchange.
                if id.is_some_and(|id| !is(id, own)) {
                    return Err(UpstreamError::ForeignId);
                }
                let error = serde_json::from_str(raw.get())
                    .map_err(|_| UpstreamError::Malformed("its `error` has no code or message"))?;
                let head: ErrorHead = serde_json::from_str(raw.get())
                    .map_err(|_| UpstreamError::Malformed("its `error` is not a plain object"))?;
                Ok(Self::Error { raw: clean(raw, head.data, "data")?, error })
            }
            _ => Err(UpstreamError::Malformed("it is neither request, notification nor response")),
        }
    }

    fn result(raw: &'b RawValue) -> Result<Self, UpstreamError> {
        let malformed = || UpstreamError::Malformed("its `result` is not a plain object");
        // A list would do for the reader of the members.
        if !raw.get().starts_with('{') {
            return Err(malformed());
        }
        let head: ResultHead = serde_json::from_str(raw.get()).map_err(|_| malformed())?;
        let raw = clean(raw, head.meta, "_meta")?;
        match head.result_type.as_deref() {
            None | Some("complete") => {
                let is_error = head.is_error.unwrap_or(false);
                Ok(Self::Result { raw, is_error, is_typed: head.result_type.is_some() })
            }
            Some("input_required") => Ok(Self::InputRequired { raw }),
            Some(_) => Err(UpstreamError::Malformed("its `resultType` is unknown")),
        }
    }
}

impl RpcError {
    /// The revisions that the server names.
    pub(super) fn supported(&self) -> &[String] {
        match &self.data {
            Some(ErrorData::Versions { supported }) => supported,
            _ => &[],
        }
    }

    pub(super) fn refused(self, method: &'static str) -> UpstreamError {
        let message = Foreign::new(self.message.chars().take(200).collect::<String>());
        UpstreamError::Refused { method, code: self.code, message }
    }
}

/// The response to a server's own request, whose id is `id` in JSON.
pub(super) fn response(id: &str, outcome: &Result<Json, Json>) -> Vec<u8> {
    let (member, value) = match outcome {
        Ok(result) => ("result", result),
        Err(error) => ("error", error),
    };
    let start = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":");
    [start.as_bytes(), &value.canonical(), b"}"].concat()
}

/// A result or an error, without what it says in our name.
fn clean<'b>(
    raw: &'b RawValue,
    InOurName(found): InOurName,
    within: &str,
) -> Result<Cow<'b, RawValue>, UpstreamError> {
    if !found {
        return Ok(Cow::Borrowed(raw));
    }
    let text = String::from_utf8(without_ours(raw, within)?).ok();
    let clean = text.and_then(|text| RawValue::from_string(text).ok());
    clean.map(Cow::Owned).ok_or(UpstreamError::Malformed("it speaks in the gateway's name"))
}

/// Our ids are whole numbers, which have one spelling.
pub(super) fn is(id: &RawValue, own: &RequestId) -> bool {
    id.get().as_bytes() == own.to_json().canonical()
}
