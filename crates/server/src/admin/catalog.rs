use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Effect as Did, Mapping as Meaning, ToolEntry};
use govern::{AcceptTools, Acceptance};
use model::{Digest, IdentityId, Name, Verb};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Segment},
    caller::Caller,
    names,
    problem::Problem,
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/catalog/{server}", |filter| on(filter, show)),
    Route::session(Method::POST, "/v1/catalog/{server}/accept", |filter| on(filter, accept)),
];

#[derive(Serialize)]
struct Catalog {
    server: Name,
    tools: Vec<Tool>,
}

#[derive(Serialize)]
struct Changed {
    #[serde(flatten)]
    catalog: Catalog,
    /// `false` where all of it was accepted like this before.
    changed: bool,
}

#[derive(Serialize)]
struct Tool {
    name: String,
    /// The definition as the server sent it, byte for byte: the digest is over it.
    definition: String,
    digest: Digest,
    mapping: Option<Mapping>,
    accepted_by: Option<IdentityId>,
    /// Whether calls pass: accepted, still as pinned, and the mapping compiles.
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    effects: Vec<Effect>,
    #[serde(default)]
    additional_arguments: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    verb: Verb,
    resource: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Name>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    tools: Vec<AcceptedTool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedTool {
    tool: String,
    digest: Digest,
    mapping: Mapping,
}

impl From<Meaning> for Mapping {
    fn from(mapping: Meaning) -> Self {
        let effect = |it: Did| Effect {
            verb: it.verb,
            resource: it.resource,
            id: it.id,
            amount: it.amount,
            currency: it.currency,
            classes: it.classes,
        };
        Self {
            effects: mapping.effects.into_iter().map(effect).collect(),
            additional_arguments: mapping.additional_arguments,
        }
    }
}

impl From<Mapping> for Meaning {
    fn from(mapping: Mapping) -> Self {
        let effect = |it: Effect| Did {
            verb: it.verb,
            resource: it.resource,
            id: it.id,
            amount: it.amount,
            currency: it.currency,
            classes: it.classes,
        };
        Self {
            effects: mapping.effects.into_iter().map(effect).collect(),
            additional_arguments: mapping.additional_arguments,
        }
    }
}

fn tool(entry: &ToolEntry) -> Tool {
    let record = &entry.record;
    Tool {
        name: record.name.clone(),
        definition: record.definition.clone(),
        digest: record.digest,
        mapping: record.mapping.clone().map(Mapping::from),
        accepted_by: record.accepted_by.clone(),
        accepted: entry.accepted.is_some(),
    }
}

async fn show(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
) -> Result<Json<Catalog>, Problem> {
    let name = names::name(&name)?;
    server.engine.look(&caller, "Tool", name.as_str())?;
    catalog(&server, name).map(Json)
}

/// Checked before it is decided, so that nobody is asked to approve what cannot be done, or what is so already.
async fn accept(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(wish): Body<Accepted>,
) -> Result<Json<Changed>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    let digests = wish.tools.iter().map(|tool| tool.digest).collect();
    let accepted = |it: AcceptedTool| Acceptance { tool: it.tool, mapping: it.mapping.into() };
    let tools = wish.tools.into_iter().map(accepted).collect();
    let act = AcceptTools { server: name.clone(), tools, digests };
    engine.look(&caller, "Tool", name.as_str())?;
    govern::check_acceptance(engine, &act)?;
    let changed = !govern::is_accepted(engine, &act)?;
    if changed {
        govern::accept_tools(engine, engine.allow(&caller, act).await?).await?;
    }
    Ok(Json(Changed { catalog: catalog(&server, name)?, changed }))
}

fn catalog(server: &Shared, name: Name) -> Result<Catalog, Problem> {
    let entry = server
        .engine
        .directory()
        .server(&name)
        .ok_or_else(|| Problem::not_found("server", &name))?;
    Ok(Catalog { server: name, tools: entry.tools.values().map(tool).collect() })
}
