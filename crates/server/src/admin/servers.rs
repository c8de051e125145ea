use std::sync::Arc;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{AccountRecord, Engine, OauthRecord, ServerRecord, Whose};
use govern::{AddServer, FoundTool, RefreshTools};
use model::{Digest, Name};
use serde::{Deserialize, Serialize};

use crate::{
    Server,
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    page::{self, Listing, Paging},
    problem::{Fault, Problem},
    route::{Route, Shared},
    wire::Created,
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/servers", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/servers", |filter| on(filter, add)),
    Route::session(Method::POST, "/v1/servers/{name}/refresh", |filter| on(filter, refresh)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewServer {
    name: Name,
    url: String,
    #[serde(default)]
    internal: bool,
    credential: Option<String>,
    #[serde(default)]
    default_classes: Vec<Name>,
    oauth: Option<OauthRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Upstream {
    name: Name,
    url: String,
    internal: bool,
    credential: Option<String>,
    default_classes: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth: Option<OauthRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<String>,
}

#[derive(Serialize)]
struct Tools {
    name: Name,
    tools: Vec<Tool>,
}

#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    tools: Tools,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<String>,
}

#[derive(Serialize)]
struct Tool {
    name: String,
    digest: Digest,
    accepted: bool,
    state: &'static str,
}

fn show(server: &Server, record: ServerRecord) -> Upstream {
    Upstream {
        callback: callback(server, &record),
        name: record.name,
        url: record.url,
        internal: record.internal,
        credential: record.credential,
        default_classes: record.default_classes,
        oauth: record.oauth,
    }
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Upstream>>, Problem> {
    server.engine.look(&caller, "Server", "servers")?;
    let show = |record| show(&server, record);
    Ok(Json(page::page(&server.engine, &caller, paging, show).await?))
}

/// Where people have to come back to who link accounts there, which whoever registers the client at its issuer has to say.
fn callback(server: &Server, record: &ServerRecord) -> Option<String> {
    let oauth = record.oauth.as_ref().filter(|oauth| oauth.whose == Whose::Person)?;
    let issuer = oauth.issuer.as_ref().filter(|_| oauth.client.is_some())?;
    Some(server.linking.as_ref()?.callback(issuer))
}

/// What can never be dialled is refused before anybody is asked. Else decides first: dialling sends the server's secret, so nobody makes this node dial who may not add the server.
async fn add(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewServer>,
) -> Result<Created<Added>, Problem> {
    let engine = &server.engine;
    let record = ServerRecord {
        name: wish.name,
        url: wish.url,
        internal: wish.internal,
        credential: wish.credential,
        default_classes: wish.default_classes,
        oauth: wish.oauth,
    };
    let (name, callback) = (record.name.clone(), callback(&server, &record));
    if engine.sees(&caller, "Server", "servers") {
        govern::check_server(&record)?;
        (server.dialable)(&record).map_err(|why| Problem::new(Fault::Invalid, why))?;
    }
    let allowed = engine.allow(&caller, AddServer { server: record.clone() }).await?;
    // Whose account should show them? Where the caller has none there, none is in force until somebody looks.
    let personal = record.oauth.as_ref().is_some_and(|oauth| oauth.whose == Whose::Person);
    let account = engine.account(&record, &caller.person).filter(|_| personal);
    let tools = match (personal, account) {
        (true, None) => Vec::new(),
        (_, account) => discover(&server, record, account).await?,
    };
    govern::add_server(engine, allowed, tools).await?;
    Ok(Created(Added { tools: tools_of(engine, name), callback }))
}

async fn refresh(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Tools>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    let allowed = engine.allow(&caller, RefreshTools { server: name.clone() }).await?;
    let entry =
        engine.directory().server(&name).ok_or_else(|| Problem::not_found("server", &name))?;
    let account = engine.account_of(&entry.record, &caller)?;
    let tools = discover(&server, ServerRecord::clone(&entry.record), account).await?;
    govern::record_tools(engine, &allowed, name.clone(), tools).await?;
    Ok(Json(tools_of(engine, name)))
}

async fn discover(
    server: &Server,
    record: ServerRecord,
    account: Option<Arc<AccountRecord>>,
) -> Result<Vec<FoundTool>, Problem> {
    let name = record.name.clone();
    let found = (server.discover)(record, account).await;
    found.map_err(|why| {
        Problem::new(Fault::Upstream, format!("`{name}` did not list its tools: {why}"))
    })
}

fn tools_of(engine: &Engine, name: Name) -> Tools {
    let entries = engine.directory().server(&name).map(|server| server.tools).unwrap_or_default();
    let tool = |entry: decide::ToolEntry| Tool {
        name: entry.record.name.clone(),
        digest: entry.record.digest,
        accepted: entry.accepted.is_some(),
        state: entry.state().name(),
    };
    Tools { name, tools: entries.into_values().map(tool).collect() }
}
