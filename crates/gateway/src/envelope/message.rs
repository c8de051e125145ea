//! One JSON-RPC request or notification.

use std::fmt;

use decide::MAX_INPUTS;
use model::{
    Foreign,
    ijson::{self, Json, JsonError, Limits},
};

use super::{Code, Fault};

/// The longest message, in bytes: a tool call is text that a model wrote, not a file.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of a message.
pub const MAX_DEPTH: u8 = 64;
/// The longest method, tool name or textual id, in bytes. MCP recommends 128 for a tool's name.
const MAX_NAME: usize = 256;
/// How the methods of all notifications start in MCP.
const NOTIFICATIONS: &str = "notifications/";
/// How much of a foreign name an error repeats, in characters.
const MAX_QUOTED: usize = 64;

/// A request, or a notification when it has no id.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    id: Option<RequestId>,
    method: String,
    params: Option<Json>,
    progress: Option<RequestId>,
}

/// What pairs a response with its request. Never null and never a fraction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// A whole number within ±2^53.
    Number(i64),
    /// A text of at most 256 bytes.
    Text(String),
}

/// Why bytes are no message, or a message is no tool call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too long, not JSON, or JSON that two readers may understand differently.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Several messages in one list.
    #[error("a batch of messages is refused; send each message by itself")]
    Batch,
    /// Neither an object nor a list.
    #[error("a message is a JSON object")]
    NotAnObject,
    /// A response, although nothing was asked.
    #[error("a response stands here where a request was expected")]
    Response,
    /// A member that JSON-RPC does not have.
    #[error("a message has no member `{0}`; only `jsonrpc`, `id`, `method` and `params`")]
    UnknownMember(Foreign),
    /// Not version 2.0.
    #[error("`jsonrpc` must be `2.0`")]
    Version,
    /// The id is null, a fraction, too long, or of another type.
    #[error("`id` must be a text of at most {MAX_NAME} bytes or a whole number")]
    Id,
    /// A request without an id.
    #[error("a message without `id` is a notification; its method starts with `{NOTIFICATIONS}`")]
    NoId,
    /// The method is missing, empty, too long, or of another type.
    #[error("`method` must be a text of 1 to {MAX_NAME} bytes")]
    Method,
    /// The parameters are not an object.
    #[error("`params` must be an object")]
    Params,
    /// `_meta` is not an object.
    #[error("`params._meta` must be an object")]
    Meta,
    /// The progress token is neither a text nor a whole number, or too long.
    #[error(
        "`params._meta.progressToken` must be a text of at most {MAX_NAME} bytes or a whole number"
    )]
    ProgressToken,
    /// The tool's name is missing, empty, too long, of another type, or hides something.
    #[error(
        "`params.name` must be a tool's name: 1 to {MAX_NAME} bytes without control characters"
    )]
    Name,
    /// The arguments are not an object.
    #[error("`params.arguments` must be an object")]
    Arguments,
    /// Not the answers to what a server asked.
    #[error(
        "`params.inputResponses` must be an object of at most {MAX_INPUTS} results of `elicitation/create`, `roots/list` or `sampling/createMessage`"
    )]
    InputResponses,
    /// What a server wants back is no text, or is not what this client got for this call.
    #[error(
        "`params.requestState` must be what the last answer to this very call said; begin again"
    )]
    RequestState,
    /// Not a level of logs.
    #[error(
        "a level is `debug`, `info`, `notice`, `warning`, `error`, `critical`, `alert` or `emergency`"
    )]
    Level,
    /// The result of nothing that was asked, in a form that nothing here asks for.
    #[error("a response has an `id` that is a text, and either `result` or `error`, both objects")]
    NoAnswer,
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A request or a notification.
    Message(Message),
    /// A response to what a server asked before 2026-07-28.
    Response(Response),
}

/// A client's response.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The id of the question.
    pub id: String,
    /// The result, or the error, both objects.
    pub outcome: Result<Json, Json>,
}

impl Incoming {
    /// Reads one message.
    ///
    /// # Errors
    /// The bytes are not I-JSON within the limits, a batch, or not JSON-RPC 2.0 as MCP narrows it.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let members = members(bytes)?;
        if members.iter().any(|(name, _)| matches!(name.as_str(), "result" | "error")) {
            return Response::of(members).map(Self::Response);
        }
        Message::of(members).map(Self::Message)
    }
}

impl Response {
    fn of(members: Vec<(String, Json)>) -> Result<Self, EnvelopeError> {
        let (mut id, mut outcome, mut version) = (None, None, None);
        for (name, value) in members {
            match (name.as_str(), value) {
                ("id", Json::String(text)) if text.len() <= MAX_NAME => id = Some(text),
                ("jsonrpc", value) => version = Some(value),
                ("result", value @ Json::Object(_)) if outcome.is_none() => {
                    outcome = Some(Ok(value));
                }
                ("error", value @ Json::Object(_)) if outcome.is_none() => {
                    outcome = Some(Err(value));
                }
                _ => return Err(EnvelopeError::NoAnswer),
            }
        }
        if version.as_ref().and_then(Json::as_str) != Some("2.0") {
            return Err(EnvelopeError::Version);
        }
        match (id, outcome) {
            (Some(id), Some(outcome)) => Ok(Self { id, outcome }),
            _ => Err(EnvelopeError::NoAnswer),
        }
    }
}

fn members(bytes: &[u8]) -> Result<Vec<(String, Json)>, EnvelopeError> {
    match ijson::parse(bytes, Limits { bytes: MAX_BYTES, depth: MAX_DEPTH })? {
        Json::Object(members) => Ok(members),
        Json::Array(_) => Err(EnvelopeError::Batch),
        _ => Err(EnvelopeError::NotAnObject),
    }
}

impl Message {
    /// Reads one request or notification.
    ///
    /// # Errors
    /// The bytes are not I-JSON within the limits, a batch, a response, or not JSON-RPC 2.0 as MCP narrows it.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::of(members(bytes)?)
    }

    fn of(members: Vec<(String, Json)>) -> Result<Self, EnvelopeError> {
        let (mut id, mut method, mut params, mut version) = (None, None, None, None);
        for (name, value) in members {
            match name.as_str() {
                "id" => id = Some(value),
                "jsonrpc" => version = Some(value),
                "method" => method = Some(value),
                "params" => params = Some(value),
                "result" | "error" => return Err(EnvelopeError::Response),
                _ => return Err(EnvelopeError::UnknownMember(quoted(&name))),
            }
        }
        if version.as_ref().and_then(Json::as_str) != Some("2.0") {
            return Err(EnvelopeError::Version);
        }
        let Some(Json::String(method)) = method else { return Err(EnvelopeError::Method) };
        if method.is_empty() || method.len() > MAX_NAME {
            return Err(EnvelopeError::Method);
        }
        // Who leaves the id out of a request would never hear what became of it.
        if id.is_none() && !method.starts_with(NOTIFICATIONS) {
            return Err(EnvelopeError::NoId);
        }
        if !matches!(params, None | Some(Json::Object(_))) {
            return Err(EnvelopeError::Params);
        }
        let id = id.map(RequestId::try_from).transpose()?;
        let mut message = Self { id, method, params, progress: None };
        let meta = message.meta();
        if !matches!(meta, None | Some(Json::Object(_))) {
            return Err(EnvelopeError::Meta);
        }
        let token = meta.and_then(|meta| meta.member("progressToken")).cloned();
        let token = token.map(RequestId::try_from).transpose();
        message.progress = token.map_err(|_| EnvelopeError::ProgressToken)?;
        Ok(message)
    }

    /// What a response must repeat; `None` for a notification, which gets no response.
    pub fn id(&self) -> Option<&RequestId> {
        self.id.as_ref()
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The parameters, an object where there are any.
    pub fn params(&self) -> Option<&Json> {
        self.params.as_ref()
    }

    /// One parameter.
    pub fn param(&self, name: &str) -> Option<&Json> {
        self.params.as_ref().and_then(|params| params.member(name))
    }

    /// The `_meta` object.
    pub fn meta(&self) -> Option<&Json> {
        self.param("_meta")
    }

    /// What progress of this request is to be told under; of the same form as an id.
    pub fn progress_token(&self) -> Option<&RequestId> {
        self.progress.as_ref()
    }
}

impl EnvelopeError {
    /// The error response for it.
    pub fn fault(&self) -> Fault {
        let code = match self {
            Self::Json(_) => Code::ParseError,
            Self::Batch
            | Self::NotAnObject
            | Self::Response
            | Self::NoAnswer
            | Self::UnknownMember(_)
            | Self::Version
            | Self::Id
            | Self::NoId
            | Self::Method => Code::InvalidRequest,
            Self::Params
            | Self::Meta
            | Self::ProgressToken
            | Self::Name
            | Self::Arguments
            | Self::InputResponses
            | Self::RequestState
            | Self::Level => Code::InvalidParams,
        };
        Fault::malformed(code, self.to_string())
    }
}

impl TryFrom<Json> for RequestId {
    type Error = EnvelopeError;

    fn try_from(value: Json) -> Result<Self, EnvelopeError> {
        match value {
            Json::Integer(number) => Ok(Self::Number(number)),
            Json::String(text) if text.len() <= MAX_NAME => Ok(Self::Text(text)),
            _ => Err(EnvelopeError::Id),
        }
    }
}

impl RequestId {
    /// The id as a JSON value.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Number(number) => Json::Integer(*number),
            Self::Text(text) => Json::String(text.clone()),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{}", Foreign::new(text.as_str())),
        }
    }
}

/// Whether a text can name a tool.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

/// The beginning of a foreign text, fit for an error message.
pub(super) fn quoted(text: &str) -> Foreign {
    Foreign::new(text.chars().take(MAX_QUOTED).collect::<String>())
}
