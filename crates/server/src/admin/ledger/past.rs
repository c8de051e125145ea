//! What was: governance at a moment, and the course of a task.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use govern::ReadGovernance;
use insight::{Found, Moment, Page};
use ledger::Entry;
use model::{Digest, IdentityId, Name, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Payload, Shown, blocking, cursor, opened, search, show};
use crate::{
    body::{Params, Segment},
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::Shared,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Then {
    /// The moment; now, when left out.
    at: Option<Timestamp>,
    /// Objects of this kind alone.
    object: Option<String>,
    /// The object with this key alone.
    key: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    limit: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Governance {
    /// The moment.
    at: Timestamp,
    /// Each object as it was then; what changed last comes first.
    items: Vec<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// How many entries the ledger has, and how many of them this was made from.
    size: u64,
    indexed: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

/// One governed object.
#[derive(Serialize)]
struct Object {
    object: String,
    key: String,
    version: u64,
    digest: Digest,
    /// When it became so, and by whom.
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<IdentityId>,
    /// The entry that says so.
    index: u64,
    hash: Digest,
    #[serde(flatten)]
    content: Payload,
}

/// What an entry says of its object.
#[derive(Deserialize)]
struct Said {
    object: String,
    key: String,
    version: u64,
    digest: Digest,
}

#[derive(Serialize)]
pub(super) struct Chain {
    task: TaskId,
    /// The oldest first; each names those that it follows from.
    entries: Vec<Shown>,
    /// Whether there are older ones that are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    size: u64,
    indexed: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

/// `GET /v1/ledger/governance`: an act of its own, since what objects held is opened.
pub(super) async fn governance(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(then): Params<Then>,
) -> Result<Json<Governance>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Ledger", "entries")?;
    if then.at.is_none() && then.after.is_some() {
        let what = "`after` goes with the `at` of the page before";
        return Err(Problem::new(Fault::Invalid, what));
    }
    let at = then.at.unwrap_or_else(|| engine.context().now());
    let object = then.object.map(search::said).transpose()?;
    let key = then.key.map(search::said).transpose()?;
    let moment = Moment { at, object, key };
    let question = moment.query().to_json();
    let after = then.after.map(|text| cursor::read(engine, &question, &text)).transpose()?;
    engine.allow(&caller, ReadGovernance { of: question.clone() }).await?;
    let limit = search::limit(then.limit);
    let search = move |index: &insight::Index| index.governance_at(&moment, after, limit);
    let Page { found, indexed, size } = server.search.run(search).await?;
    let Found { entries, rest } = found;
    let log = engine.log().clone();
    let open = move || entries.iter().filter_map(|entry| object_of(&log, entry)).collect();
    let items: Vec<Object> = blocking(open).await?;
    let people = names::handles(engine, &caller, &items);
    let next = rest.map(|rest| cursor::write(engine, &question, rest));
    Ok(Json(Governance { at, items, next, size, indexed, people }))
}

/// `GET /v1/ledger/chain/{id}`
pub(super) async fn chain(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(task): Segment,
) -> Result<Json<Chain>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Ledger", "entries")?;
    let task: TaskId = names::id(&task)?;
    let found = server.search.run(move |index| index.chain(task)).await?;
    let insight::Chain { entries, cut, indexed, size } = found;
    if entries.is_empty() {
        return Err(search::nothing_found("entry of task", task, indexed, size));
    }
    let entries = show(engine, entries, false).await?;
    let people = names::handles(engine, &caller, &entries);
    Ok(Json(Chain { task, entries, cut, size, indexed, people }))
}

fn object_of(log: &ledger::Log, entry: &Entry) -> Option<Object> {
    let body: Value = entry.leaf.body.to_value();
    let Said { object, key, version, digest } = serde_json::from_value(body).ok()?;
    Some(Object {
        object,
        key,
        version,
        digest,
        at: entry.leaf.at,
        person: entry.leaf.person.clone(),
        index: entry.index,
        hash: entry.hash,
        content: opened(log, entry),
    })
}
