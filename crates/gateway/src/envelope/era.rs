//! Which revision of MCP a request speaks, and whether its headers agree with its body.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use model::{Foreign, ijson::Json};

use super::{Code, EnvelopeError, Fault, Message, Mirror, message::quoted};

/// The revision in which each request stands for itself.
pub const MODERN_VERSION: &str = "2026-07-28";
/// The revisions with a handshake and sessions, newest first.
pub const LEGACY_VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// Names of MCP's headers.
pub mod header_name {
    use http::HeaderName;

    /// The revision that the request speaks.
    pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
    /// The request's method.
    pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
    /// What the method is applied to: a tool, a prompt, a resource.
    pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
    /// The session of the revisions before 2026-07-28.
    pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
}

pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How a request is served ([MCP versioning](https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2025-11-25 and before: a handshake, then requests of a session.
    Legacy,
    /// 2026-07-28: each request says all that is needed.
    Modern,
}

/// Why headers and body do not make one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header that the revision demands is missing.
    #[error("header `{0}` is missing")]
    Missing(String),
    /// A header stands twice: which one counts would depend on the reader.
    #[error("header `{0}` is given more than once")]
    Repeated(String),
    /// A header is not text, or not the Base64 form that it claims to be.
    #[error("header `{0}` cannot be read")]
    Unreadable(String),
    /// A header says something else than the body.
    #[error("header `{header}` says `{sent}`, the body says `{body}`")]
    Mismatch {
        /// The header.
        header: String,
        /// Its value.
        sent: Foreign,
        /// The body's value.
        body: Foreign,
    },
    /// A header stands for a value that the body does not have.
    #[error("header `{0}` stands for a value that is not in the body")]
    Unexpected(String),
    /// The body's `_meta` lacks what the revision demands.
    #[error("`params._meta` has no `{0}` of the right type")]
    Meta(&'static str),
    /// The body names nothing that the header could stand for.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A revision that is not spoken here.
    #[error(
        "protocol version `{0}` is not supported; use {MODERN_VERSION} or {legacy}",
        legacy = LEGACY_VERSIONS.join(", ")
    )]
    Unsupported(Foreign),
}

impl Era {
    /// Decides how a request is served, and checks what its headers say against its body
    /// ([MCP 2026-07-28, server validation](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#server-validation)).
    ///
    /// `initialize` opens a legacy session. A request without the version header and without a version in its body is
    /// one of 2025-03-26, which knew neither.
    ///
    /// # Errors
    /// The version is not supported, a demanded header or `_meta` member is missing, or headers and body disagree.
    pub fn of(headers: &HeaderMap, message: &Message) -> Result<Self, HeaderError> {
        let sent = single(headers, &header_name::PROTOCOL_VERSION)?;
        // 2026-07-28 has no handshake: there it is a method like any other that nobody knows.
        let opens = message.method() == "initialize" && sent != Some(MODERN_VERSION);
        let body = if opens {
            message.param("protocolVersion")
        } else {
            message.meta().and_then(|meta| meta.member(META_VERSION))
        };
        let body = match body {
            None => None,
            Some(Json::String(version)) => Some(version.as_str()),
            Some(_) if opens => return Err(EnvelopeError::Params.into()),
            Some(_) => return Err(HeaderError::Meta(META_VERSION)),
        };
        if let (Some(sent), Some(body)) = (sent, body) {
            equal(&header_name::PROTOCOL_VERSION, sent, body)?;
        }
        let era = match sent {
            _ if opens => Self::Legacy,
            None if body.is_some() => return Err(missing(&header_name::PROTOCOL_VERSION)),
            None => Self::Legacy,
            Some(MODERN_VERSION) => Self::Modern,
            Some(version) if LEGACY_VERSIONS.contains(&version) => Self::Legacy,
            Some(version) => return Err(HeaderError::Unsupported(quoted(version))),
        };
        // The revision leaves open which headers a notification carries, and a legacy request needs none.
        let demanded = era == Self::Modern && message.id().is_some();
        if demanded {
            body.ok_or(HeaderError::Meta(META_VERSION))?;
            let declared = message.meta().and_then(|meta| meta.member(META_CLIENT_CAPABILITIES));
            if !matches!(declared, Some(Json::Object(_))) {
                return Err(HeaderError::Meta(META_CLIENT_CAPABILITIES));
            }
        }
        agree(headers, message, demanded)?;
        Ok(era)
    }
}

impl HeaderError {
    /// The error response for it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::malformed(code, self.to_string());
        match self {
            Self::Missing(_)
            | Self::Repeated(_)
            | Self::Unreadable(_)
            | Self::Mismatch { .. }
            | Self::Unexpected(_) => fault(Code::HeaderMismatch),
            Self::Meta(_) => fault(Code::InvalidParams),
            Self::Envelope(error) => error.fault(),
            Self::Unsupported(requested) => {
                let supported = [MODERN_VERSION].iter().chain(&LEGACY_VERSIONS);
                let supported = supported.map(|version| Json::String((*version).to_owned()));
                fault(Code::UnsupportedVersion).with_data(Json::object([
                    ("supported", Json::Array(supported.collect())),
                    ("requested", Json::String(requested.to_string())),
                ]))
            }
        }
    }
}

/// Checks `Mcp-Method` and `Mcp-Name`: where they stand they must be right, and they must stand where demanded.
fn agree(headers: &HeaderMap, message: &Message, demanded: bool) -> Result<(), HeaderError> {
    match single(headers, &header_name::METHOD)? {
        Some(sent) => equal(&header_name::METHOD, sent, message.method())?,
        None if demanded => return Err(missing(&header_name::METHOD)),
        None => {}
    }
    let Some(source) = named_by(message.method()) else { return Ok(()) };
    let Some(sent) = single(headers, &header_name::NAME)? else {
        return if demanded { Err(missing(&header_name::NAME)) } else { Ok(()) };
    };
    let sent = decode(sent).ok_or_else(|| unreadable(&header_name::NAME))?;
    let body = message.param(source).and_then(Json::as_str).ok_or(EnvelopeError::Name)?;
    equal(&header_name::NAME, &sent, body)
}

/// The parameter that `Mcp-Name` repeats.
pub(super) fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// The headers with which a client sends a message: the counterpart of [`Era::of`]. `agreed` is the revision of the
/// handshake, where there was one, and `mirror` says which arguments are repeated.
pub fn request_headers(message: &Message, agreed: Option<&str>, mirror: &Mirror) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let both = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, both);
    let said = message.meta().and_then(|meta| meta.member(META_VERSION)).and_then(Json::as_str);
    let version = match message.method() {
        "initialize" => None,
        _ => said.or(agreed),
    };
    // What is no header text is no revision either, and is refused by whoever reads the body.
    let version = version.and_then(|version| HeaderValue::from_str(version).ok());
    headers.extend(version.map(|version| (header_name::PROTOCOL_VERSION, version)));
    if said.is_some() {
        headers.insert(header_name::METHOD, encode(message.method()));
        let name = named_by(message.method()).and_then(|source| message.param(source)?.as_str());
        headers.extend(name.map(|name| (header_name::NAME, encode(name))));
        headers.extend(message.param("arguments").map(|it| mirror.headers(it)).unwrap_or_default());
    }
    headers
}

/// The one value of a header, where it stands.
pub(super) fn single<'h>(
    headers: &'h HeaderMap,
    name: &http::HeaderName,
) -> Result<Option<&'h str>, HeaderError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderError::Repeated(name.to_string()));
    }
    value.to_str().map(Some).map_err(|_| unreadable(name))
}

pub(super) fn equal(name: &http::HeaderName, sent: &str, body: &str) -> Result<(), HeaderError> {
    if sent == body {
        return Ok(());
    }
    let (sent, body) = (quoted(sent), quoted(body));
    Err(HeaderError::Mismatch { header: name.to_string(), sent, body })
}

pub(super) fn missing(name: &http::HeaderName) -> HeaderError {
    HeaderError::Missing(name.to_string())
}

pub(super) fn unreadable(name: &http::HeaderName) -> HeaderError {
    HeaderError::Unreadable(name.to_string())
}

/// How a value that is no plain header text is marked
/// ([MCP 2026-07-28, value encoding](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#value-encoding)).
const BASE64: (&str, &str) = ("=?base64?", "?=");

/// The text that a header value stands for; `None` when its Base64 form is broken.
pub(super) fn decode(sent: &str) -> Option<Cow<'_, str>> {
    match sent.strip_prefix(BASE64.0).and_then(|sent| sent.strip_suffix(BASE64.1)) {
        None => Some(Cow::Borrowed(sent)),
        Some(encoded) => {
            let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            Some(Cow::Owned(text))
        }
    }
}

/// The header value that stands for a text.
pub(crate) fn encode(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
        && !(text.starts_with(BASE64.0) && text.ends_with(BASE64.1));
    let value = if plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{}{}{}", BASE64.0, STANDARD.encode(text), BASE64.1))
    };
    HeaderValue::from_str(&value).expect("visible ASCII and inner spaces are a header value")
}
