//! A server's tools, each with the digest of its definition as it was received.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use decide::METHOD;
use model::{
    Digest, Foreign,
    ijson::{self, Json, JsonError, Limits},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Server, UpstreamError, link::Link, methods::Offers};
use crate::{
    envelope::{Code, Era, MAX_DEPTH, Mirror, MirrorError},
    sse::MAX_EVENT,
};

/// The most tools of one server: a model chooses badly among hundreds already.
const MAX_TOOLS: usize = 1024;
/// The most pages of a list.
const MAX_PAGES: usize = 64;
/// The longest definition of a tool, in bytes.
const MAX_DEFINITION: usize = 256 * 1024;
/// The longest name of a tool, in bytes. MCP recommends 128.
const MAX_NAME: usize = 256;

/// What a server lists.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Tools in the server's order, then what the server offers beside tools.
    pub tools: Vec<ToolDefinition>,
    /// Definitions that cannot be offered; one bad definition does not take away the others.
    pub refused: Vec<RefusedTool>,
}

/// A tool as its server defines it.
#[derive(Debug, Clone)]
pub struct ToolDefinition {
    name: String,
    bytes: Box<str>,
    digest: Digest,
    definition: Json,
    mirror: Mirror,
}

/// A tool that cannot be offered.
#[derive(Debug, Clone)]
pub struct RefusedTool {
    /// Its name, where it has one.
    pub name: Option<Foreign>,
    /// What is wrong with it.
    pub error: ToolError,
}

/// Why a tool cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// Too long, not JSON, or JSON that two readers may understand differently.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// No name, or one that hides something.
    #[error("the tool has no name of 1 to {MAX_NAME} bytes without control characters")]
    Name,
    /// No schema of its arguments.
    #[error("the tool has no `inputSchema` object")]
    Schema,
    /// Headers that its arguments cannot be repeated in.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// A name that is kept for methods of the protocol.
    #[error("names that start with `{METHOD}` are kept for methods of the protocol")]
    Reserved,
    /// Another tool has the same name.
    #[error("the server lists more than one tool of this name")]
    Repeated,
}

impl ToolDefinition {
    pub(super) fn read(raw: &RawValue, era: Era) -> Result<Self, RefusedTool> {
        let read = Self::of(raw, era)?;
        if read.name.starts_with(METHOD) {
            let name = Some(Foreign::new(read.name.chars().take(64).collect::<String>()));
            return Err(RefusedTool { name, error: ToolError::Reserved });
        }
        Ok(read)
    }

    /// The entry of a method of the protocol.
    pub(super) fn of_method(raw: &RawValue) -> Result<Self, RefusedTool> {
        Self::of(raw, Era::Legacy)
    }

    fn of(raw: &RawValue, era: Era) -> Result<Self, RefusedTool> {
        let limits = Limits { bytes: MAX_DEFINITION, depth: MAX_DEPTH };
        let bytes = raw.get();
        let definition = ijson::parse(bytes.as_bytes(), limits)
            .map_err(|error| RefusedTool { name: None, error: error.into() })?;
        let name = definition.member("name").and_then(Json::as_str).map(str::to_owned);
        let refused = |error| {
            let name = name.as_ref().map(|name| name.chars().take(64).collect::<String>());
            RefusedTool { name: name.map(Foreign::new), error }
        };
        let plain = |name: &&String| {
            (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
        };
        let checked = name.as_ref().filter(plain).ok_or_else(|| refused(ToolError::Name))?.clone();
        let schema = definition.member("inputSchema");
        let Some(schema @ Json::Object(_)) = schema else {
            return Err(refused(ToolError::Schema));
        };
        let mirror = match era {
            Era::Modern => Mirror::of(schema).map_err(|error| refused(error.into()))?,
            Era::Legacy => Mirror::default(),
        };
        let sha256 = digest(&SHA256, bytes.as_bytes());
        let digest = Digest(sha256.as_ref().try_into().expect("SHA-256 has 32 bytes"));
        Ok(Self { name: checked, bytes: bytes.into(), digest, definition, mirror })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The definition, byte for byte as the server sent it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// The same as a text.
    pub fn text(&self) -> &str {
        &self.bytes
    }

    /// SHA-256 of [`ToolDefinition::bytes`]: what an acceptance is pinned to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The definition, read.
    pub fn definition(&self) -> &Json {
        &self.definition
    }

    /// The schema of its arguments, an object.
    pub fn input_schema(&self) -> &Json {
        self.definition.member("inputSchema").unwrap_or(&Json::Null)
    }

    /// Which arguments it wants repeated as headers.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }
}

#[derive(Deserialize)]
struct Page<'b> {
    #[serde(borrow)]
    tools: Vec<&'b RawValue>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

/// Reads the whole list, page by page.
pub(super) async fn list(
    server: &Arc<Server>,
    link: &Arc<Link>,
    deadline: Instant,
) -> Result<Listing, UpstreamError> {
    let mut listing = Listing { tools: Vec::new(), refused: Vec::new() };
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = Json::object(cursor.map(|cursor| ("cursor", Json::String(cursor))));
        let (result, _) = server.ask(link, "tools/list", params, MAX_EVENT, deadline).await?;
        let offers = *server.offers();
        let result = match result {
            Ok(result) => result,
            // It offers no tools, but something else.
            Err(error) if error.code == Code::MethodNotFound.number() && offers.any() => {
                return Ok(listing.with(offers));
            }
            Err(error) => return Err(error.refused("tools/list")),
        };
        let page: Page<'_> = serde_json::from_str(result.get())
            .map_err(|_| UpstreamError::Malformed("its list has no `tools`"))?;
        for raw in page.tools {
            match ToolDefinition::read(raw, link.era()) {
                Ok(tool) => listing.tools.push(tool),
                Err(refused) => listing.refused.push(refused),
            }
            if listing.tools.len() + listing.refused.len() > MAX_TOOLS {
                return Err(UpstreamError::TooManyTools(MAX_TOOLS));
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            listing.refuse_repeated();
            return Ok(listing.with(offers));
        }
    }
    Err(UpstreamError::TooManyTools(MAX_TOOLS))
}

impl Listing {
    /// With the entries of what the server offers beside tools.
    fn with(mut self, offers: Offers) -> Self {
        self.tools.extend(offers.definitions());
        self
    }

    /// Refuses all tools that share a name: which of them a call would reach is the server's secret.
    fn refuse_repeated(&mut self) {
        let mut count: HashMap<&str, usize> = HashMap::new();
        for tool in &self.tools {
            *count.entry(tool.name()).or_default() += 1;
        }
        let repeated: Vec<String> = count
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .map(|(name, _)| name.into())
            .collect();
        self.tools.retain(|tool| !repeated.iter().any(|name| name == tool.name()));
        self.refused.extend(repeated.into_iter().map(|name| RefusedTool {
            name: Some(Foreign::new(name)),
            error: ToolError::Repeated,
        }));
    }
}
