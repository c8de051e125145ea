use std::collections::BTreeMap;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{EraseSubject, MAX_REASON_BYTES, Subject};
use govern::{ChangeHold, change_hold, check_hold};
use model::Name;
use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::POST, "/v1/ledger/erasures", |filter| on(filter, erase)),
    Route::session(Method::GET, "/v1/ledger/holds", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/ledger/holds", |filter| on(filter, lay)),
    Route::session(Method::POST, "/v1/ledger/holds/lift", |filter| on(filter, lift)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// `agent/NAME`, a person by pseudonym or handle, `handle/NAME` of somebody who was never enrolled; to be held, also `task/ID`.
    subject: String,
    reason: String,
}

#[derive(Serialize)]
struct Erasure {
    subject: Subject,
    /// The entry that says so.
    entry: u64,
    /// The names of the keys that are destroyed.
    keys: Vec<String>,
    /// How many payloads were sealed under them.
    payloads: u64,
}

#[derive(Serialize)]
struct Holds {
    items: Vec<Hold>,
    /// The handles of the people who occur in the items, by identity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

#[derive(Serialize)]
struct Hold {
    subject: Subject,
    reason: String,
    by: model::IdentityId,
}

#[derive(Serialize)]
struct Held {
    subject: Subject,
    held: bool,
}

async fn erase(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<Wish>,
) -> Result<Json<Erasure>, Problem> {
    let engine = &server.engine;
    let subject = names::subject(engine, &wish.subject).await?;
    // Nobody is asked to approve what cannot be; and whoever may not look at holds does not learn of them by an answer.
    if engine.sees(&caller, "Ledger", "holds") {
        engine.check_erasure(&subject)?;
        engine.check_sealed(&subject).await?;
    }
    let act = EraseSubject { subject: subject.clone(), reason: given(wish.reason)? };
    let allowed = engine.allow(&caller, act).await?;
    let decide::Erasure { entry, keys, payloads } = engine.erase(allowed).await?;
    Ok(Json(Erasure { subject, entry, keys, payloads }))
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Json<Holds>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Ledger", "holds")?;
    let show = |it: decide::HoldRecord| Hold { subject: it.subject, reason: it.reason, by: it.by };
    let items: Vec<Hold> = engine.directory().holds().into_iter().map(show).collect();
    let people = names::handles(engine, &caller, &items);
    Ok(Json(Holds { items, people }))
}

async fn lay(
    state: State<Shared>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Result<Json<Held>, Problem> {
    change(state, caller, wish, false).await
}

async fn lift(
    state: State<Shared>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Result<Json<Held>, Problem> {
    change(state, caller, wish, true).await
}

async fn change(
    State(server): State<Shared>,
    Caller(caller): Caller,
    wish: Wish,
    lift: bool,
) -> Result<Json<Held>, Problem> {
    let engine = &server.engine;
    let subject = names::subject(engine, &wish.subject).await?;
    let act = ChangeHold { subject: subject.clone(), reason: given(wish.reason)?, lift };
    if engine.sees(&caller, "Ledger", "holds") {
        check_hold(engine, &act)?;
    }
    let allowed = engine.allow(&caller, act).await?;
    change_hold(engine, allowed).await?;
    Ok(Json(Held { subject, held: !lift }))
}

/// A reason there has to be, of some sentences.
fn given(reason: String) -> Result<String, Problem> {
    match reason.trim().len() {
        1..=MAX_REASON_BYTES => Ok(reason),
        length => {
            let what = format!("`reason` has {length} bytes; say it in 1 to {MAX_REASON_BYTES}");
            Err(Problem::new(Fault::Invalid, what))
        }
    }
}
