//! JSON-RPC error responses.

use http::StatusCode;
use model::ijson::Json;

use super::{Era, RequestId};

/// What went wrong, as a number that programs act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Not I-JSON ([JSON-RPC 2.0 §5.1](https://www.jsonrpc.org/specification#error_object)).
    ParseError,
    /// Not a request.
    InvalidRequest,
    /// No such method, or none that is passed on.
    MethodNotFound,
    /// Parameters that the method does not take.
    InvalidParams,
    /// This side failed.
    Internal,
    /// The headers say something else than the body
    /// ([MCP 2026-07-28](https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes)).
    HeaderMismatch,
    /// The client did not declare a capability that the request needs.
    MissingCapability,
    /// A protocol version that is not spoken here.
    UnsupportedVersion,
    /// Refused by decision. MCP wants codes of one's own outside of JSON-RPC's range; this is HTTP's number for it.
    Denied,
    /// Refused because something needed is down for the moment; a later try may succeed.
    Unavailable,
}

/// An error response in the making.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    code: Code,
    message: String,
    data: Option<Json>,
    malformed: bool,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::ParseError => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::HeaderMismatch => -32020,
            Self::MissingCapability => -32021,
            Self::UnsupportedVersion => -32022,
            Self::Denied => 403,
            Self::Unavailable => 503,
        }
    }
}

impl Fault {
    /// An error about a well-formed request.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, malformed: false }
    }

    /// An error about a request that could not be understood: HTTP says 400, too.
    pub(super) fn malformed(code: Code, message: impl Into<String>) -> Self {
        Self { malformed: true, ..Self::new(code, message) }
    }

    /// Adds what a program may act on.
    #[must_use]
    pub fn with_data(self, data: Json) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status that carries the response
    /// ([MCP 2026-07-28](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http)).
    /// A denial is 200: clients take 403 for a challenge to authorize again.
    pub fn status(&self, era: Era) -> StatusCode {
        match self.code {
            _ if self.malformed => StatusCode::BAD_REQUEST,
            Code::HeaderMismatch | Code::MissingCapability | Code::UnsupportedVersion => {
                StatusCode::BAD_REQUEST
            }
            Code::MethodNotFound if era == Era::Modern => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        }
    }

    /// The body of the response. Without an id, which then could not be read, the response has none.
    pub fn response(&self, id: Option<&RequestId>) -> Vec<u8> {
        let mut error = vec![
            ("code", Json::Integer(self.code.number())),
            ("message", Json::String(self.message.clone())),
        ];
        error.extend(self.data.clone().map(|data| ("data", data)));
        let mut response =
            vec![("jsonrpc", Json::String("2.0".to_owned())), ("error", Json::object(error))];
        response.extend(id.map(|id| ("id", id.to_json())));
        Json::object(response).canonical()
    }
}
