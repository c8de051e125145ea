mod trial;

use std::collections::BTreeSet;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{
    Effect as Did, Engine, InputMethod, Mapping as Meaning, ServerEntry, ToolEntry, ToolState,
};
use govern::{AcceptTools, Acceptance};
use model::{Digest, IdentityId, Name, Verb};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    body::{Body, Segment},
    caller::Caller,
    names,
    problem::Problem,
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/catalog/{server}", |filter| on(filter, show)),
    Route::session(Method::GET, "/v1/catalog/{server}/diff", |filter| on(filter, diff)),
    Route::session(Method::GET, "/v1/catalog/{server}/proposal", |filter| on(filter, proposal)),
    Route::session(Method::POST, "/v1/catalog/{server}/try", |filter| on(filter, trial::run)),
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
    /// `accepted`, `not_accepted`, `quarantined` or `gone`.
    state: &'static str,
}

#[derive(Serialize)]
struct Differing {
    server: Name,
    tools: Vec<ToolDiff>,
}

/// A tool that is not what a person accepted.
#[derive(Serialize)]
pub(super) struct ToolDiff {
    name: String,
    state: &'static str,
    /// What was accepted last, if anything was.
    accepted: Option<AcceptedForm>,
    /// What the server shows; `None` where it shows the tool no longer.
    shown: Option<Form>,
    /// From what was accepted to what is shown; nothing, where only the bytes differ.
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Form {
    digest: Digest,
    definition: String,
}

#[derive(Serialize)]
struct AcceptedForm {
    #[serde(flatten)]
    form: Form,
    mapping: Mapping,
    accepted_by: IdentityId,
}

#[derive(Serialize)]
struct Difference {
    /// RFC 6901
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

#[derive(Serialize)]
struct Proposals {
    server: Name,
    tools: Vec<Proposal>,
}

/// What a tool that nobody has accepted as it is probably does.
#[derive(Serialize)]
struct Proposal {
    tool: String,
    digest: Digest,
    state: &'static str,
    mapping: Option<Mapping>,
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    effects: Vec<Effect>,
    #[serde(default)]
    additional_arguments: bool,
    /// What the server may ask of clients in the middle of a call.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    input_requests: BTreeSet<InputMethod>,
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
            input_requests: mapping.input_requests,
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
            input_requests: mapping.input_requests,
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
        state: entry.state().name(),
    }
}

/// How a tool differs from what was accepted; nothing, where it does not, or is gone and nobody ever accepted it.
fn differing(entry: &ToolEntry) -> Option<ToolDiff> {
    let (record, state) = (&entry.record, entry.state());
    let form = |definition: &str, digest| Form { digest, definition: definition.to_owned() };
    let accepted = match (&record.former, &record.mapping, &record.accepted_by) {
        (Some(former), ..) => Some(AcceptedForm {
            form: form(&former.definition, former.digest),
            mapping: former.mapping.clone().into(),
            accepted_by: former.accepted_by.clone(),
        }),
        (None, Some(mapping), Some(by)) => Some(AcceptedForm {
            form: form(&record.definition, record.digest),
            mapping: mapping.clone().into(),
            accepted_by: by.clone(),
        }),
        _ => None,
    };
    if state == ToolState::Accepted || (record.gone && accepted.is_none()) {
        return None;
    }
    let before = accepted.as_ref().map(|accepted| accepted.form.definition.as_str());
    let difference = |one: decide::Difference| Difference {
        at: one.at,
        before: one.before.map(|value| value.to_value()),
        after: one.after.map(|value| value.to_value()),
    };
    let differences = match record.gone {
        true => Vec::new(),
        false => decide::differences(before, &record.definition),
    };
    Some(ToolDiff {
        name: record.name.clone(),
        state: state.name(),
        shown: (!record.gone).then(|| form(&record.definition, record.digest)),
        accepted,
        differences: differences.into_iter().map(difference).collect(),
    })
}

/// How the tools that a request asks to accept differ from what was accepted, as far as they are still what it asks about.
pub(super) fn asked(engine: &Engine, name: &Name, tools: &[(String, Digest)]) -> Vec<ToolDiff> {
    let Some(entry) = engine.directory().server(name) else { return Vec::new() };
    let asked = tools.iter().filter_map(|(tool, digest)| {
        entry.tools.get(tool).filter(|tool| tool.record.digest == *digest)
    });
    asked.filter_map(differing).collect()
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

async fn diff(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
) -> Result<Json<Differing>, Problem> {
    let name = names::name(&name)?;
    server.engine.look(&caller, "Tool", name.as_str())?;
    let entry = known(&server, &name)?;
    Ok(Json(Differing {
        server: name,
        tools: entry.tools.values().filter_map(differing).collect(),
    }))
}

async fn proposal(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
) -> Result<Json<Proposals>, Problem> {
    let name = names::name(&name)?;
    server.engine.look(&caller, "Tool", name.as_str())?;
    let entry = known(&server, &name)?;
    let open =
        |tool: &&ToolEntry| matches!(tool.state(), ToolState::NotAccepted | ToolState::Quarantined);
    let proposal = |tool: &ToolEntry| {
        let govern::Proposal { mapping, notes } = govern::propose(&entry, tool);
        Proposal {
            tool: tool.record.name.clone(),
            digest: tool.record.digest,
            state: tool.state().name(),
            mapping: mapping.map(Mapping::from),
            notes,
        }
    };
    let tools = entry.tools.values().filter(open).map(proposal).collect();
    Ok(Json(Proposals { server: name, tools }))
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
    let act = wish_of(name.clone(), wish.tools);
    engine.look(&caller, "Tool", name.as_str())?;
    govern::check_acceptance(engine, &act)?;
    let changed = !govern::is_accepted(engine, &act)?;
    if changed {
        govern::accept_tools(engine, engine.allow(&caller, act).await?).await?;
    }
    Ok(Json(Changed { catalog: catalog(&server, name)?, changed }))
}

fn wish_of(server: Name, tools: Vec<AcceptedTool>) -> AcceptTools {
    let digests = tools.iter().map(|tool| tool.digest).collect();
    let accepted = |it: AcceptedTool| Acceptance { tool: it.tool, mapping: it.mapping.into() };
    AcceptTools { server, tools: tools.into_iter().map(accepted).collect(), digests }
}

fn catalog(server: &Shared, name: Name) -> Result<Catalog, Problem> {
    let entry = known(server, &name)?;
    Ok(Catalog { server: name, tools: entry.tools.values().map(tool).collect() })
}

fn known(server: &Shared, name: &Name) -> Result<ServerEntry, Problem> {
    let entry = server.engine.directory().server(name);
    entry.ok_or_else(|| Problem::not_found("server", name))
}
