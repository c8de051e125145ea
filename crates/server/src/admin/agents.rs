use axum::{Json, extract::State, http::Method, routing::on};
use decide::{AgentRecord, Engine};
use govern::{ChangeState, NewVersion, Register};
use model::{Digest, IdentityId, ModelName, Name, Sender, State as LifeState, Timestamp, ijson};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    page::{self, Listed, Listing, Paging},
    problem::Problem,
    route::{Route, Shared},
    wire::{Created, thumbprints},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/agents", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/agents", |filter| on(filter, register)),
    Route::session(Method::GET, "/v1/agents/{name}", |filter| on(filter, get)),
    Route::session(Method::POST, "/v1/agents/{name}/suspend", |filter| on(filter, suspend)),
    Route::session(Method::POST, "/v1/agents/{name}/reinstate", |filter| on(filter, reinstate)),
    Route::session(Method::POST, "/v1/agents/{name}/retire", |filter| on(filter, retire)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgent {
    name: Name,
    blueprint: Name,
    owner: String,
    deputy: Option<String>,
    purpose: String,
    version: Parts,
    key: ijson::Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    model: ModelName,
    prompt: Digest,
    tools: Digest,
    image: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// A body that says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Agent {
    id: IdentityId,
    uri: String,
    name: Name,
    blueprint: Name,
    owner: Option<IdentityId>,
    deputy: Option<IdentityId>,
    purpose: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    version: Version,
    keys: Vec<String>,
    /// What has to come with its tokens, as its blueprint says.
    sender: Sender,
}

#[derive(Serialize)]
struct Version {
    digest: Digest,
    model: String,
    prompt: Digest,
    tools: Digest,
    image: Digest,
    attested_by: Option<String>,
    accepted_by: IdentityId,
}

fn show(engine: &Engine, record: AgentRecord) -> Agent {
    let AgentRecord { agent, keys, .. } = record;
    let blueprint = engine.directory().blueprint(&agent.blueprint);
    let sender = blueprint.map(|blueprint| blueprint.sender).unwrap_or_default();
    let (owner, state) = (agent.state.owner().cloned(), agent.state.name());
    let (reason, since) = match agent.state {
        LifeState::Active { since, .. } => (None, Some(since)),
        LifeState::Suspended { reason, .. } | LifeState::Quarantined { reason, .. } => {
            (Some(reason), None)
        }
        LifeState::Retired { at } => (None, Some(at)),
        LifeState::Requested { .. } | LifeState::Approved { .. } | LifeState::Retiring { .. } => {
            (None, None)
        }
    };
    Agent {
        uri: engine.context().realm.uri(&agent.id),
        name: agent.id.name().clone(),
        id: agent.id,
        blueprint: agent.blueprint,
        owner,
        deputy: agent.deputy,
        purpose: agent.purpose,
        state,
        reason,
        since,
        version: Version {
            digest: agent.version.digest,
            model: agent.version.model,
            prompt: agent.version.prompt,
            tools: agent.version.tools,
            image: agent.version.image,
            attested_by: agent.version.attested_by,
            accepted_by: agent.version.accepted_by,
        },
        keys: thumbprints(&keys),
        sender,
    }
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Agent>>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Registration", "agents")?;
    Ok(Json(page::page(engine, &caller, paging, |record| show(engine, record)).await?))
}

async fn get(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
) -> Result<Json<Listed<Agent>>, Problem> {
    let id = names::agent(&name)?;
    server.engine.look(&caller, "Registration", &id.to_string())?;
    Ok(Json(find(&server.engine, &caller, &id).await?))
}

/// Checked before it is decided, so that nobody is asked to approve what cannot be done.
async fn register(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewAgent>,
) -> Result<Created<Listed<Agent>>, Problem> {
    let engine = &server.engine;
    let Parts { model, prompt, tools, image } = wish.version;
    let act = Register {
        name: wish.name,
        blueprint: wish.blueprint,
        owner: names::person(engine, &wish.owner).await?,
        deputy: names::maybe_person(engine, wish.deputy.as_deref()).await?,
        purpose: wish.purpose,
        version: NewVersion { model, prompt, tools, image },
        key: wish.key,
    };
    govern::check_registration(engine.directory(), &act)?;
    // Whose key it is shows only to those who may look at agents; to others when they are allowed to claim it.
    if engine.sees(&caller, "Registration", "agents") {
        govern::check_key(engine, &act).await?;
    }
    let id = govern::register(engine, engine.allow(&caller, act).await?).await?;
    Ok(Created(find(engine, &caller, &id).await?))
}

async fn suspend(
    State(server): State<Shared>,
    caller: Caller,
    Segment(name): Segment,
    Body(Why { reason }): Body<Why>,
) -> Result<Json<Listed<Agent>>, Problem> {
    let id = names::agent(&name)?;
    let step = ChangeState::Suspend { agent: id.name().clone(), reason };
    change(&server.engine, caller, &id, step).await
}

/// Looks before it is decided: what is asked for is the end of the suspension that there is now.
async fn reinstate(
    State(server): State<Shared>,
    caller: Caller,
    Segment(name): Segment,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Listed<Agent>>, Problem> {
    let (engine, id) = (&server.engine, names::agent(&name)?);
    engine.look(&caller.0, "Registration", &id.to_string())?;
    let step = ChangeState::reinstate(engine.directory(), id.name().clone())?;
    change(engine, caller, &id, step).await
}

async fn retire(
    State(server): State<Shared>,
    caller: Caller,
    Segment(name): Segment,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Listed<Agent>>, Problem> {
    let id = names::agent(&name)?;
    change(&server.engine, caller, &id, ChangeState::Retire { agent: id.name().clone() }).await
}

async fn change(
    engine: &std::sync::Arc<Engine>,
    Caller(caller): Caller,
    id: &IdentityId,
    step: ChangeState,
) -> Result<Json<Listed<Agent>>, Problem> {
    govern::change_state(engine, engine.allow(&caller, step).await?).await?;
    Ok(Json(find(engine, &caller, id).await?))
}

async fn find(
    engine: &Engine,
    caller: &decide::Caller,
    id: &IdentityId,
) -> Result<Listed<Agent>, Problem> {
    let agent = page::one(engine, caller, id.to_string(), |record| show(engine, record)).await?;
    agent.ok_or_else(|| Problem::not_found("agent", id.name()))
}
