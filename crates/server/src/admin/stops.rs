use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Engine, MAX_REASON_BYTES, Resume, Stop, StopReport, StopScope};
use model::{EntryId, IdentityId, IdentityKind, Name, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/stops", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/stops", |filter| on(filter, order)),
    Route::session(Method::POST, "/v1/stops/resume", |filter| on(filter, resume)),
];

/// How long a stop waits for the name of an owner.
const LOOKUP_BOUND: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// `all`, `agent:NAME` and so on; an owner by pseudonym or handle.
    scope: String,
    reason: String,
}

#[derive(Serialize)]
struct Stops {
    /// Rises with each stop or resume that this node hears of, also again.
    epoch: u64,
    orders: Vec<Order>,
    /// The handles of the people who occur in the orders, by identity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

#[derive(Serialize)]
struct Order {
    id: EntryId,
    scope: StopScope,
    by: IdentityId,
    at: Timestamp,
    reason: String,
}

/// How a stop went. Only `final` is done.
#[derive(Serialize)]
struct Report {
    order: EntryId,
    scope: StopScope,
    /// Whether anything of that name is known; a stop of a name that nobody has is in force all the same.
    known: bool,
    ordered: Timestamp,
    in_force: Vec<Acknowledged>,
    #[serde(rename = "final")]
    is_final: Option<Timestamp>,
    /// How many calls on their way were cut.
    cut: usize,
    /// Whether the order survives this process; `false` needs a person at once.
    durable: bool,
}

#[derive(Serialize)]
struct Acknowledged {
    point: String,
    at: Timestamp,
}

#[derive(Serialize)]
struct Resumed {
    scope: StopScope,
    orders: Vec<EntryId>,
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Json<Stops>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Stop", "orders")?;
    let show = |it: decide::Order| Order {
        id: it.id,
        scope: it.scope,
        by: it.by,
        at: it.at,
        reason: it.reason,
    };
    let orders: Vec<Order> = engine.stops().orders().into_iter().map(show).collect();
    let people = names::handles(engine, &caller, &orders);
    Ok(Json(Stops { epoch: engine.stops().epoch(), orders, people }))
}

async fn order(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<Wish>,
) -> Result<Json<Report>, Problem> {
    let engine = &server.engine;
    let scope = scope(engine, &wish.scope).await?;
    let known = is_known(engine, &scope);
    let stop = Stop { scope, reason: bounded(wish.reason)? };
    let allowed = engine.allow(&caller, stop).await?;
    Ok(Json(report(engine.stop(&allowed).await, known)))
}

async fn resume(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<Wish>,
) -> Result<Json<Resumed>, Problem> {
    let engine = &server.engine;
    let scope = scope(engine, &wish.scope).await?;
    let resume = Resume::of(engine.stops(), scope.clone(), bounded(wish.reason)?)?;
    let allowed = engine.allow(&caller, resume).await?;
    let orders = engine.resume(&allowed).await?;
    Ok(Json(Resumed { scope, orders }))
}

/// A reason is some sentences: each stop in force keeps its own.
fn bounded(reason: String) -> Result<String, Problem> {
    if reason.len() <= MAX_REASON_BYTES {
        return Ok(reason);
    }
    let (length, most) = (reason.len(), MAX_REASON_BYTES);
    let what = format!("`reason` has {length} bytes; say it in at most {most}");
    Err(Problem::new(Fault::Invalid, what))
}

/// A stop must not fail for want of a database: an owner who cannot be looked up is taken as written.
async fn scope(engine: &Engine, text: &str) -> Result<StopScope, Problem> {
    let scope: StopScope = text
        .parse()
        .map_err(|why: decide::NotAScope| Problem::new(Fault::Invalid, why.to_string()))?;
    if let StopScope::Owner(name) = &scope {
        let found = tokio::time::timeout(LOOKUP_BOUND, names::person(engine, name.as_str())).await;
        if let Ok(Ok(person)) = found {
            return Ok(StopScope::Owner(person.name().clone()));
        }
    }
    Ok(scope)
}

fn is_known(engine: &Engine, scope: &StopScope) -> bool {
    let directory = engine.directory();
    let identity = |kind, name: &model::Name| IdentityId::new(kind, name.clone());
    match scope {
        StopScope::Agent(name) => directory.agent(&identity(IdentityKind::Agent, name)).is_some(),
        StopScope::Owner(name) => directory.person(&identity(IdentityKind::Person, name)).is_some(),
        StopScope::Blueprint(name) => directory.blueprint(name).is_some(),
        StopScope::System(name) => directory.server(name).is_some(),
        StopScope::Task(id) => engine.tasks().task(*id).is_some(),
        StopScope::All | StopScope::Model(_) | StopScope::Delegation(_) | StopScope::Action(_) => {
            true
        }
    }
}

fn report(report: StopReport, known: bool) -> Report {
    let acknowledged = |it: decide::Acknowledgement| Acknowledged { point: it.point, at: it.at };
    Report {
        order: report.order,
        scope: report.scope,
        known,
        ordered: report.ordered,
        in_force: report.in_force.into_iter().map(acknowledged).collect(),
        is_final: report.is_final,
        cut: report.cut,
        durable: report.durable,
    }
}
