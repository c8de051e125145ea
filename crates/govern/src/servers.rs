use std::sync::Arc;

use decide::{
    Act, Allowed, Changes, Engine, FoundTool, Mapping, ServerEntry, ServerRecord, ToolRecord,
    check_named, compile,
};
use model::{Digest, Name, Verb, ijson::Json};
use store::{Expect, Row};

use crate::{Error, agents::json};

/// The most tools of one server.
const MAX_TOOLS: usize = 1_000;

/// Adds or moves an MCP server behind the gateway.
#[derive(Debug, Clone)]
pub struct AddServer {
    /// The server.
    pub server: ServerRecord,
}

impl Act for AddServer {
    fn verb(&self) -> Verb {
        Verb::Create
    }

    fn target(&self) -> (&'static str, String) {
        ("Server", self.server.name.to_string())
    }

    fn shown(&self) -> Json {
        json(&self.server)
    }
}

/// Adds a server together with the tools it has shown. None of them is accepted by that.
///
/// # Errors
/// Too many tools, or the store fails.
pub async fn add_server(
    engine: &Arc<Engine>,
    allowed: Allowed<AddServer>,
    tools: Vec<FoundTool>,
) -> Result<(), Error> {
    let server = allowed.act().server.clone();
    check_server(&server)?;
    check_tools(&server.name, &tools)?;
    engine.looked_at(&server.name);
    let known = names(engine, &server.name);
    engine
        .change(&allowed, move |changes| {
            changes.put(&server, Expect::Any, true)?;
            put_tools(changes, &server.name, &known, &tools)
        })
        .await
}

/// Whether a server's description makes sense, so that nobody is asked to approve what cannot be used.
///
/// # Errors
/// [`Error::Invalid`]
pub fn check_server(server: &ServerRecord) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::Invalid(format!("`{}`: {why}", server.name)));
    let client = server.oauth.as_ref().and_then(|oauth| oauth.client.as_ref());
    let proofs = client.into_iter().flat_map(|client| [&client.secret, &client.key]);
    let is_reference = |it: &&String| it.starts_with("env:") || it.starts_with("file:");
    if !proofs.chain([&server.credential]).flatten().all(|it| is_reference(&it)) {
        return wrong("a secret is named by where it is: `env:NAME` or `file:PATH`");
    }
    let Some(oauth) = &server.oauth else { return Ok(()) };
    if server.credential.is_some() {
        return wrong("its token is bought, or it is a secret that was handed over, not both");
    }
    oauth.check().or_else(wrong)
}

/// Asks a server again which tools it has. It accepts nothing: a tool that is new or changed waits for a person.
#[derive(Debug, Clone)]
pub struct RefreshTools {
    /// The server.
    pub server: Name,
}

impl Act for RefreshTools {
    fn verb(&self) -> Verb {
        Verb::List
    }

    fn target(&self) -> (&'static str, String) {
        ("Server", self.server.to_string())
    }

    fn shown(&self) -> Json {
        Json::object([("server", json(&self.server))])
    }
}

/// Notes what a server's tools look like now. One that changed or is gone is out of force; one that was gone and is shown
/// again as it was accepted is back.
///
/// # Errors
/// Too many tools, or the store fails.
pub async fn record_tools<A>(
    engine: &Arc<Engine>,
    allowed: &Allowed<A>,
    server: Name,
    tools: Vec<FoundTool>,
) -> Result<(), Error> {
    check_tools(&server, &tools)?;
    engine.looked_at(&server);
    let known = names(engine, &server);
    engine.change(allowed, move |changes| put_tools(changes, &server, &known, &tools)).await
}

/// The names of the tools that a server is known to have.
fn names(engine: &Engine, server: &Name) -> Vec<String> {
    let entry = engine.directory().server(server);
    entry.map(|entry| entry.tools.into_keys().collect()).unwrap_or_default()
}

fn check_tools(server: &Name, tools: &[FoundTool]) -> Result<(), Error> {
    if tools.len() > MAX_TOOLS {
        return Err(Error::Invalid(format!(
            "`{server}` shows {} tools; at most {MAX_TOOLS} are kept",
            tools.len()
        )));
    }
    Ok(())
}

fn put_tools(
    changes: &mut Changes<'_, '_>,
    server: &Name,
    known: &[String],
    tools: &[FoundTool],
) -> Result<(), Error> {
    for tool in tools {
        match row(changes, server, &tool.name)? {
            None => {
                let (name, definition) = (tool.name.clone(), tool.definition.clone());
                let record = ToolRecord::found(server.clone(), name, definition);
                changes.put(&record, Expect::Any, false)?;
            }
            Some(row) => {
                if let Some(next) = row.value.shown(&tool.definition) {
                    changes.put(&next, Expect::Any, next.is_held())?;
                }
            }
        }
    }
    for name in known.iter().filter(|name| tools.iter().all(|tool| tool.name != **name)) {
        if let Some(next) = row(changes, server, name)?.and_then(|row| row.value.withdrawn()) {
            changes.put(&next, Expect::Any, false)?;
        }
    }
    Ok(())
}

fn row(
    changes: &mut Changes<'_, '_>,
    server: &Name,
    tool: &str,
) -> Result<Option<Row<ToolRecord>>, Error> {
    Ok(changes.get(&format!("{server}/{tool}"))?)
}

/// What a person takes one tool to mean.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Acceptance {
    /// The tool.
    pub tool: String,
    /// What its calls do.
    pub mapping: Mapping,
}

/// Accepts what tools of a server do, as they are defined now.
#[derive(Debug, Clone)]
pub struct AcceptTools {
    /// The server.
    pub server: Name,
    /// Each tool with its meaning.
    pub tools: Vec<Acceptance>,
    /// The pins of the definitions that were looked at, in the order of `tools`.
    pub digests: Vec<model::Digest>,
}

impl Act for AcceptTools {
    fn verb(&self) -> Verb {
        Verb::Update
    }

    fn target(&self) -> (&'static str, String) {
        ("Tool", self.server.to_string())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("definitions", json(&self.digests)),
            ("server", json(&self.server)),
            ("tools", json(&self.tools)),
        ])
    }
}

/// The tools, with the pins of their definitions, that a request for an approval shows, where it is one for accepting tools.
pub fn asked_tools(shown: &Json) -> Option<(Name, Vec<(String, Digest)>)> {
    let named =
        shown.member("resource")?.as_str()?.strip_prefix("bailiwick/Tool/")?.parse().ok()?;
    let act = shown.member("act")?;
    let (Json::Array(tools), Json::Array(digests)) =
        (act.member("tools")?, act.member("definitions")?)
    else {
        return None;
    };
    let tools = tools.iter().zip(digests).filter_map(|(tool, digest)| {
        Some((tool.member("tool")?.as_str()?.to_owned(), digest.as_str()?.parse().ok()?))
    });
    Some((named, tools.collect()))
}

/// Whether tools could be accepted like this, so that nobody is asked to approve what cannot be done.
///
/// # Errors
/// As [`accept_tools`].
pub fn check_acceptance(engine: &Engine, wish: &AcceptTools) -> Result<(), Error> {
    let server = known_server(engine, &wish.server)?;
    for (acceptance, digest) in wish.tools.iter().zip(&wish.digests) {
        let entry = server.tools.get(&acceptance.tool);
        let entry = entry.ok_or_else(|| unknown_tool(&wish.server, &acceptance.tool))?;
        accepted(ToolRecord::clone(&entry.record), &server, acceptance, digest)?;
    }
    check_kinds(engine, wish)
}

/// Whether all these tools are accepted like this already.
///
/// # Errors
/// The server is unknown.
pub fn is_accepted(engine: &Engine, wish: &AcceptTools) -> Result<bool, Error> {
    let server = known_server(engine, &wish.server)?;
    let same = |(acceptance, digest): (&Acceptance, &Digest)| {
        server.tools.get(&acceptance.tool).is_some_and(|entry| {
            entry.accepted.is_some()
                && entry.record.digest == *digest
                && entry.record.mapping.as_ref() == Some(&acceptance.mapping)
        })
    };
    Ok(wish.tools.iter().zip(&wish.digests).all(same))
}

/// Accepts tools. A definition that changed since it was looked at is refused.
///
/// # Errors
/// An unknown tool, a mapping that does not compile or with whose resource types the policies in force would not load, or a
/// definition that changed meanwhile.
pub async fn accept_tools(
    engine: &Arc<Engine>,
    allowed: Allowed<AcceptTools>,
) -> Result<(), Error> {
    let wish = allowed.act().clone();
    let by = allowed.caller().person.clone();
    let server = known_server(engine, &wish.server)?;
    check_kinds(engine, &wish)?;
    engine
        .change(&allowed, move |changes| {
            for (acceptance, digest) in wish.tools.iter().zip(&wish.digests) {
                let row = row(changes, &wish.server, &acceptance.tool)?;
                let row = row.ok_or_else(|| unknown_tool(&wish.server, &acceptance.tool))?;
                let record = accepted(row.value, &server, acceptance, digest)?;
                let record = ToolRecord { accepted_by: Some(by.clone()), ..record };
                changes.put(&record, Expect::Version(row.version), true)?;
            }
            Ok(())
        })
        .await
}

/// The tool with its meaning, when it is still what was looked at and the meaning compiles.
fn accepted(
    tool: ToolRecord,
    server: &ServerEntry,
    acceptance: &Acceptance,
    digest: &model::Digest,
) -> Result<ToolRecord, Error> {
    let key = format!("{}/{}", tool.server, tool.name);
    if tool.gone {
        return Err(Error::Conflict(format!("its server no longer shows `{key}`")));
    }
    if tool.digest != *digest {
        return Err(Error::Conflict(format!(
            "the definition of `{key}` changed; look at it again"
        )));
    }
    compile(&tool, &acceptance.mapping, &server.record.default_classes)
        .and_then(|_| check_named(&tool.definition, &acceptance.mapping))
        .map_err(|why| Error::Mapping { tool: acceptance.tool.clone(), why })?;
    Ok(ToolRecord { mapping: Some(acceptance.mapping.clone()), former: None, ..tool })
}

/// Policies that do not load any more could neither be changed nor withdrawn, also by whoever governs.
fn check_kinds(engine: &Engine, wish: &AcceptTools) -> Result<(), Error> {
    let effects = wish.tools.iter().flat_map(|acceptance| &acceptance.mapping.effects);
    engine.check_kinds(effects.map(|effect| effect.resource.as_str())).map_err(|why| {
        let server = &wish.server;
        Error::Invalid(format!(
            "with these resource types of `{server}` the policies in force do not load: {why}"
        ))
    })
}

fn known_server(engine: &Engine, name: &Name) -> Result<ServerEntry, Error> {
    let server = engine.directory().server(name);
    server.ok_or_else(|| Error::NotFound { kind: "server", name: name.to_string() })
}

fn unknown_tool(server: &Name, tool: &str) -> Error {
    Error::NotFound { kind: "tool", name: format!("{server}/{tool}") }
}
