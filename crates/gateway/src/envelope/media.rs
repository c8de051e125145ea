//! What a client sends and what it takes: `Content-Type` and `Accept`.

use http::{HeaderMap, StatusCode, header};

/// What nearly every client of MCP accepts, word for word, so that it need not be taken apart.
const BOTH: &str = "application/json, text/event-stream";

/// What a client takes for an answer, beside JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// Whether it takes an event stream.
    pub event_stream: bool,
}

/// Why a client and this side cannot exchange bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The body is not declared as JSON.
    #[error("`content-type` must be `application/json`")]
    ContentType,
    /// The client takes no JSON.
    #[error("`accept` must allow `application/json`")]
    Accept,
}

/// Checks that the body is declared as JSON, and reads what the client takes. No `Accept` means everything
/// ([RFC 9110 §12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).
///
/// # Errors
/// The body is not declared as JSON, or the client takes none.
pub fn accepts(headers: &HeaderMap) -> Result<Accepts, MediaError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let json = types.next().and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !json || types.next().is_some() {
        return Err(MediaError::ContentType);
    }
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let first = accepted.next();
    if first.is_none_or(|first| first == BOTH) && accepted.next().is_none() {
        return Ok(Accepts { event_stream: true });
    }
    if !allows(headers, "application", "json") {
        return Err(MediaError::Accept);
    }
    Ok(Accepts { event_stream: allows(headers, "text", "event-stream") })
}

impl MediaError {
    /// The HTTP status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept => StatusCode::NOT_ACCEPTABLE,
        }
    }
}

/// Whether a content type is JSON. Its parameters do not matter: JSON is UTF-8 whatever they say.
pub(crate) fn is_json(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case("application/json")
}

/// Whether a content type is an event stream.
pub(crate) fn is_event_stream(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case("text/event-stream")
}

fn essence(media: &str) -> &str {
    media.split(';').next().unwrap_or_default().trim()
}

/// Whether the most specific range that covers the type has a weight above zero.
fn allows(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(','));
    let mut best = None;
    for range in ranges {
        let (found_kind, found_subtype) = essence(range).split_once('/').unwrap_or_default();
        let rank = match (found_kind, found_subtype) {
            ("*", "*") => 0,
            (found, "*") if found.eq_ignore_ascii_case(kind) => 1,
            (found, sub)
                if found.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) =>
            {
                2
            }
            _ => continue,
        };
        let allowed = weight(range) > 0.0;
        best = match best {
            Some((ranked, before)) if ranked > rank || (ranked == rank && before) => best,
            _ => Some((rank, allowed)),
        };
    }
    best.is_some_and(|(_, allowed)| allowed)
}

/// The `q` parameter of a media range; 1 where it has none or one that cannot be read.
fn weight(range: &str) -> f32 {
    let parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let weights = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weights.last().and_then(|(_, weight)| weight.trim().parse().ok()).unwrap_or(1.0)
}
