//! Result responses to a client.

use model::ijson::Json;

use super::{Era, LEGACY_VERSIONS, MODERN_VERSION, RequestId};

/// How long a client may keep what `server/discover` says, in milliseconds.
const DISCOVER_TTL_MS: i64 = 60_000;

/// How this side introduces itself.
#[derive(Debug, Clone, Copy)]
pub struct ServerInfo<'a> {
    /// The server's name.
    pub name: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// What a model should know before it uses the server.
    pub instructions: Option<&'a str>,
}

/// What one client is offered, beside tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Proposals for arguments.
    pub completions: bool,
    /// Servers' logs from a level on.
    pub logging: bool,
    /// Prompts.
    pub prompts: bool,
    /// Resources.
    pub resources: bool,
    /// To be told when a resource changes.
    pub subscriptions: bool,
    /// To be told when a list changes.
    pub changes: bool,
}

/// The response with a result whose bytes stand unchanged.
pub fn reply(id: &RequestId, result: &[u8]) -> Vec<u8> {
    let mut response = Vec::with_capacity(64 + result.len());
    response.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    response.extend_from_slice(&id.to_json().canonical());
    response.extend_from_slice(b",\"result\":");
    response.extend_from_slice(result);
    response.push(b'}');
    response
}

/// The response to `initialize`: the requested version where it is one with a handshake, else the newest such
/// ([MCP 2025-11-25, lifecycle](https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle)).
pub fn initialize(
    id: &RequestId,
    requested: Option<&str>,
    server: &ServerInfo<'_>,
    capabilities: Capabilities,
) -> Vec<u8> {
    let known = LEGACY_VERSIONS.into_iter().find(|version| Some(*version) == requested);
    let mut members = vec![
        ("protocolVersion", text(known.unwrap_or(LEGACY_VERSIONS[0]))),
        ("capabilities", capabilities.to_json()),
        ("serverInfo", server.to_json()),
    ];
    members.extend(server.instructions.map(|instructions| ("instructions", text(instructions))));
    reply(id, &Json::object(members).canonical())
}

/// The response to `server/discover`
/// ([MCP 2026-07-28](https://modelcontextprotocol.io/specification/2026-07-28/server/discover)).
pub fn discover(id: &RequestId, server: &ServerInfo<'_>, capabilities: Capabilities) -> Vec<u8> {
    let versions = [MODERN_VERSION].into_iter().chain(LEGACY_VERSIONS).map(text).collect();
    let mut members = vec![
        ("supportedVersions", Json::Array(versions)),
        ("capabilities", capabilities.to_json()),
    ];
    members.extend(modern(server, Some(DISCOVER_TTL_MS)));
    members.extend(server.instructions.map(|instructions| ("instructions", text(instructions))));
    reply(id, &Json::object(members).canonical())
}

/// The response to `tools/list`: the definitions' bytes stand unchanged. The list is one caller's own, so a cache must
/// not share it; `ttl_ms` is how long that caller may keep it.
pub fn tools_list<'t>(
    id: &RequestId,
    era: Era,
    server: &ServerInfo<'_>,
    tools: impl IntoIterator<Item = &'t [u8]>,
    ttl_ms: u32,
) -> Vec<u8> {
    let head = match era {
        Era::Legacy => Vec::new(),
        Era::Modern => modern(server, Some(ttl_ms.into())),
    };
    let mut result = Json::object(head).canonical();
    result.pop();
    result.extend_from_slice(if era == Era::Modern { b",\"tools\":[" } else { b"\"tools\":[" });
    for (at, tool) in tools.into_iter().enumerate() {
        if at > 0 {
            result.push(b',');
        }
        result.extend_from_slice(tool);
    }
    result.extend_from_slice(b"]}");
    reply(id, &result)
}

/// The response to a legacy `ping`.
pub fn pong(id: &RequestId) -> Vec<u8> {
    reply(id, b"{}")
}

/// The response to a `tools/call` that the model should read about: the tool's own way to say that it failed. `facts`
/// say the same to programs, as a member of `_meta` of that name.
pub fn tool_error(
    id: &RequestId,
    era: Era,
    server: &ServerInfo<'_>,
    message: &str,
    facts: (&str, Json),
) -> Vec<u8> {
    let content = Json::object([("type", text("text")), ("text", text(message))]);
    let mut members = vec![("content", Json::Array(vec![content])), ("isError", Json::Bool(true))];
    let mut meta = vec![facts];
    if era == Era::Modern {
        members.push(("resultType", text("complete")));
        meta.push(introduction(server));
    }
    members.push(("_meta", Json::object(meta)));
    reply(id, &Json::object(members).canonical())
}

/// One event of an event stream that carries a message
/// ([HTML, server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html)).
pub fn event(message: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(24 + message.len());
    event.extend_from_slice(b"event: message\n");
    // A line break in JSON stands between values only; in an event it would end the data.
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    event
}

impl ServerInfo<'_> {
    fn to_json(self) -> Json {
        Json::object([("name", text(self.name)), ("version", text(self.version))])
    }
}

fn modern(server: &ServerInfo<'_>, ttl_ms: Option<i64>) -> Vec<(&'static str, Json)> {
    let introduced = Json::object([introduction(server)]);
    let mut members = vec![("resultType", text("complete")), ("_meta", introduced)];
    if let Some(ttl_ms) = ttl_ms {
        members.push(("ttlMs", Json::Integer(ttl_ms)));
        members.push(("cacheScope", text("private")));
    }
    members
}

fn introduction(server: &ServerInfo<'_>) -> (&'static str, Json) {
    ("io.modelcontextprotocol/serverInfo", server.to_json())
}

impl Capabilities {
    fn to_json(self) -> Json {
        let all = [
            ("completions", self.completions),
            ("logging", self.logging),
            ("prompts", self.prompts),
            ("resources", self.resources),
            ("tools", true),
        ];
        let offered = all.into_iter().filter(|(_, offered)| *offered);
        Json::object(offered.map(|(name, _)| {
            let has_changes = matches!(name, "prompts" | "resources" | "tools");
            let told = [
                ("listChanged", has_changes && self.changes),
                ("subscribe", name == "resources" && self.subscriptions),
            ];
            let told = told.into_iter().filter(|(_, told)| *told);
            (name, Json::object(told.map(|(what, _)| (what, Json::Bool(true)))))
        }))
    }
}

fn text(text: &str) -> Json {
    Json::String(text.to_owned())
}
