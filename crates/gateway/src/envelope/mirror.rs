//! Tool arguments that are repeated as `Mcp-Param-…` headers.
//!
//! [MCP 2026-07-28, custom headers](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#custom-headers-from-tool-parameters):
//! a tool's schema marks them by `x-mcp-header`; a client must send them and a reader of the body must check them.

use http::{HeaderMap, HeaderName, HeaderValue};
use model::ijson::{self, Json, Limits};

use super::{
    HeaderError,
    era::{decode, encode, equal, missing, single, unreadable},
};

/// The mark in a schema.
const MARK: &str = "x-mcp-header";
/// The most marks in one schema: each is a header of every call.
const MAX_MARKS: usize = 32;
/// The longest spelling of a number, in bytes: the longest whole one has 17.
const MAX_NUMBER: usize = 32;
/// Members of a schema that hold values, not schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];

/// Which arguments of a tool are repeated as headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mirror(Vec<Mirrored>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirrored {
    path: Vec<String>,
    header: HeaderName,
}

/// Why a tool's marks are invalid; such a tool must not be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// The mark is not a header name, or too long.
    #[error("`x-mcp-header` is not a header name")]
    Name,
    /// Two marks name one header.
    #[error("two `x-mcp-header` name the same header")]
    Repeated,
    /// The marked argument is not a text, a whole number or a truth value.
    #[error("`x-mcp-header` marks an argument that is neither string, integer nor boolean")]
    Kind,
    /// The mark stands where no argument has one place.
    #[error("`x-mcp-header` stands where it does not mark one argument")]
    Place,
    /// More marks than a request can carry.
    #[error("more than {MAX_MARKS} arguments are marked by `x-mcp-header`")]
    TooMany,
}

impl Mirror {
    /// Reads the marks of a tool's input schema.
    ///
    /// # Errors
    /// A mark breaks the rules of the revision.
    pub fn of(schema: &Json) -> Result<Self, MirrorError> {
        let mut mirror = Self::default();
        if schema.member(MARK).is_some() {
            return Err(MirrorError::Place);
        }
        mirror.collect(schema, &mut Vec::new())?;
        Ok(mirror)
    }

    /// Whether no argument is repeated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers that go with a call of these arguments.
    pub fn headers(&self, arguments: &Json) -> HeaderMap {
        let found = self.0.iter().filter_map(|mirrored| {
            let text = text(value(arguments, &mirrored.path)?)?;
            Some((mirrored.header.clone(), encode(&text)))
        });
        found.collect::<HeaderMap<HeaderValue>>()
    }

    /// Checks the headers of a call against its arguments.
    ///
    /// # Errors
    /// A header is missing, stands for nothing, or says something else.
    pub fn check(&self, headers: &HeaderMap, arguments: &Json) -> Result<(), HeaderError> {
        for Mirrored { path, header } in &self.0 {
            let sent = single(headers, header)?;
            let value = value(arguments, path).filter(|value| **value != Json::Null);
            match (sent, value.and_then(text)) {
                (None, None) => {}
                (None, Some(_)) => return Err(missing(header)),
                (Some(_), None) => return Err(HeaderError::Unexpected(header.to_string())),
                (Some(sent), Some(body)) => {
                    let sent = decode(sent).ok_or_else(|| unreadable(header))?;
                    if !same_number(&sent, value) {
                        equal(header, &sent, &body)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn collect(&mut self, schema: &Json, path: &mut Vec<String>) -> Result<(), MirrorError> {
        let Json::Object(members) = schema else { return Ok(()) };
        for (name, value) in members {
            match name.as_str() {
                MARK => self.mark(schema, value, path)?,
                "properties" => {
                    let Json::Object(properties) = value else { continue };
                    for (property, schema) in properties {
                        path.push(property.clone());
                        self.collect(schema, path)?;
                        path.pop();
                    }
                }
                values if VALUES.contains(&values) => {}
                _ if is_marked(value) => return Err(MirrorError::Place),
                _ => {}
            }
        }
        Ok(())
    }

    fn mark(&mut self, schema: &Json, mark: &Json, path: &[String]) -> Result<(), MirrorError> {
        let name = mark.as_str().filter(|name| !name.is_empty()).ok_or(MirrorError::Name)?;
        let header = HeaderName::try_from(format!("mcp-param-{name}"));
        let header = header.map_err(|_| MirrorError::Name)?;
        if self.0.iter().any(|other| other.header == header) {
            return Err(MirrorError::Repeated);
        }
        let kind = schema.member("type").and_then(Json::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(MirrorError::Kind);
        }
        if self.0.len() == MAX_MARKS {
            return Err(MirrorError::TooMany);
        }
        self.0.push(Mirrored { path: path.to_vec(), header });
        Ok(())
    }
}

/// Whether a mark stands anywhere in what is not a plain chain of properties.
fn is_marked(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => members.iter().any(|(name, value)| {
            name == MARK || (!VALUES.contains(&name.as_str()) && is_marked(value))
        }),
        Json::Array(values) => values.iter().any(is_marked),
        _ => false,
    }
}

fn value<'j>(arguments: &'j Json, path: &[String]) -> Option<&'j Json> {
    path.iter().try_fold(arguments, |value, name| value.member(name))
}

fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Integer(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Whether a header says the same number in another way, such as `42.0` for 42, by the reading that the body had.
fn same_number(sent: &str, value: Option<&Json>) -> bool {
    let limits = Limits { bytes: MAX_NUMBER, depth: 0 };
    let number = value.filter(|value| matches!(value, Json::Integer(_)));
    number.is_some_and(|number| ijson::parse(sent.as_bytes(), limits).as_ref() == Ok(number))
}
