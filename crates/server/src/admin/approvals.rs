use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{ApprovalRecord, Engine, Standing};
use govern::AnswerApproval;
use model::{
    ActionId, ApprovalId, Digest, EntryId, IdentityId, Money, Name, TaskId, Timestamp, ijson,
};
use serde::{Deserialize, Serialize};

use super::catalog::{self, ToolDiff};
use crate::{
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    problem::Problem,
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/approvals", |filter| on(filter, list)),
    Route::session(Method::GET, "/v1/approvals/{id}", |filter| on(filter, get)),
    Route::session(Method::POST, "/v1/approvals/{id}/answer", |filter| on(filter, answer)),
];

/// The most requests in one answer; the newest are shown.
const MAX_LISTED: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    state: Option<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Waiting,
    Approved,
    Denied,
    Expired,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAnswer {
    /// The statement that the person signed with their own key.
    proof: String,
}

#[derive(Serialize)]
struct Approvals {
    items: Vec<Approval>,
}

/// Everything that an approver has to see, and what their signature has to name.
#[derive(Serialize)]
struct Approval {
    id: ApprovalId,
    state: Stage,
    /// Used up: the action that it was for has begun.
    used: bool,
    action: ActionId,
    chain: Vec<IdentityId>,
    /// One party with the asker; none of them can answer.
    party: Vec<IdentityId>,
    task: Option<TaskId>,
    demands: Vec<Demand>,
    /// Canonical arguments, effects and accepted texts.
    shown: ijson::Json,
    amount: Option<Money>,
    asked: Timestamp,
    expires: Timestamp,
    answers: Vec<Answer>,
    /// The handles of the people who occur in this, by identity: what a person can recognize.
    people: BTreeMap<String, Name>,
    /// What a set of policies would change, while it waits; for somebody who may look at those in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Policies>,
    /// How tools that are to be accepted differ from what was accepted before, while it waits; for somebody who may look at
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<ToolDiff>>,
    /// Why the caller cannot answer; absent where they can, as far as the request tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    barred: Option<Barred>,
    /// For the signed answer: its audience, what it binds, and the nonce.
    issuer: String,
    binding: Digest,
    nonce: String,
}

/// What approving a set of policies means, against those in force now.
#[derive(Serialize)]
struct Policies {
    changes: Vec<Change>,
    /// What is allowed and still looks like a mistake.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    policy: Name,
    /// Its effect in force; `null` for one that comes.
    before: Option<&'static str>,
    /// Its effect afterwards; `null` for one that goes.
    after: Option<&'static str>,
}

#[derive(Serialize)]
struct Demand {
    policy: String,
    group: Name,
    quorum: u8,
}

#[derive(Serialize)]
struct Answer {
    by: IdentityId,
    approve: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    teams: Vec<Name>,
    at: Timestamp,
    entry: EntryId,
}

#[derive(Serialize)]
struct Barred {
    /// `conflict` or `not_yours`, as an answer would be refused.
    code: &'static str,
    why: String,
}

impl From<Standing> for Stage {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Waiting => Self::Waiting,
            Standing::Approved => Self::Approved,
            Standing::Denied => Self::Denied,
            Standing::Expired => Self::Expired,
        }
    }
}

fn show(engine: &Engine, record: &ApprovalRecord, caller: &decide::Caller) -> Approval {
    let demand = |it: &decide::DemandRecord| Demand {
        policy: it.policy.clone(),
        group: it.group.clone(),
        quorum: it.quorum,
    };
    let answer = |it: &decide::ApprovalAnswer| Answer {
        by: it.by.clone(),
        approve: it.approve,
        reason: it.reason.clone(),
        teams: it.teams.clone(),
        at: it.at,
        entry: it.entry,
    };
    Approval {
        id: record.id,
        state: record.standing(engine.context().now()).into(),
        used: engine.tasks().is_approval_used(record.id),
        action: record.action,
        chain: record.chain.clone(),
        party: record.party.clone(),
        task: record.task,
        demands: record.demands.iter().map(demand).collect(),
        shown: record.shown.clone(),
        amount: record.amount,
        asked: record.asked,
        expires: record.expires,
        answers: record.answers.iter().map(answer).collect(),
        people: people(engine, record),
        policies: None,
        tools: None,
        barred: barred(engine, record, caller),
        issuer: engine.issuer().url.clone(),
        binding: record.binding,
        nonce: record.nonce.clone(),
    }
}

/// The same with what takes a moment to find out, for one request.
fn show_whole(engine: &Engine, record: &ApprovalRecord, caller: &decide::Caller) -> Approval {
    let known = show(engine, record, caller);
    if record.standing(engine.context().now()) != Standing::Waiting {
        return known;
    }
    let (policies, tools) = (policies(engine, record, caller), tools(engine, record, caller));
    Approval { policies, tools, ..known }
}

fn tools(
    engine: &Engine,
    record: &ApprovalRecord,
    caller: &decide::Caller,
) -> Option<Vec<ToolDiff>> {
    let (server, tools) = govern::asked_tools(&record.shown)?;
    let sees = engine.sees(caller, "Tool", server.as_str());
    sees.then(|| catalog::asked(engine, &server, &tools))
}

fn policies(engine: &Engine, record: &ApprovalRecord, caller: &decide::Caller) -> Option<Policies> {
    if !engine.sees(caller, "PolicySet", "current") {
        return None;
    }
    let files = govern::asked_policies(&record.shown)?;
    let change =
        |it: decide::PolicyChange| Change { policy: it.id, before: it.before, after: it.after };
    Some(Policies {
        changes: engine.policy_changes(&files).into_iter().map(change).collect(),
        // What no longer loads is refused when it is asked for again; whoever answers should know now.
        warnings: govern::check_policies(engine, &files)
            .unwrap_or_else(|why| vec![format!("these policies do not load now: {why}")]),
    })
}

fn people(engine: &Engine, record: &ApprovalRecord) -> BTreeMap<String, Name> {
    let mut named = BTreeSet::new();
    named.extend(record.chain.iter().chain(&record.party).map(IdentityId::to_string));
    named.extend(record.answers.iter().map(|answer| answer.by.to_string()));
    texts(&record.shown, &mut |text| {
        named.insert(text.to_owned());
    });
    let handle = |text: String| {
        let person = engine.directory().person(&text.parse().ok()?)?;
        Some((text, person.person.handle.clone()))
    };
    named.into_iter().filter_map(handle).collect()
}

/// Every text within a value that could be a person's identity. Its depth is bounded: it was parsed with a limit.
fn texts(value: &ijson::Json, see: &mut impl FnMut(&str)) {
    match value {
        ijson::Json::String(text) if text.starts_with("person/") => see(text),
        ijson::Json::Array(items) => items.iter().for_each(|item| texts(item, see)),
        ijson::Json::Object(members) => members.iter().for_each(|(_, value)| texts(value, see)),
        _ => {}
    }
}

fn barred(engine: &Engine, record: &ApprovalRecord, caller: &decide::Caller) -> Option<Barred> {
    let entry = engine.directory().person(&caller.person)?;
    let why = govern::may_answer(record, &entry.person, engine.context().now()).err()?;
    let code = if matches!(why, govern::Error::NotYours(_)) { "not_yours" } else { "conflict" };
    Some(Barred { code, why: why.to_string() })
}

/// What the caller may look at, the newest first; what others are asked stays out.
async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(filter): Params<Filter>,
) -> Result<Json<Approvals>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Registration", &caller.person.to_string())?;
    let now = engine.context().now();
    let wanted = |record: &ApprovalRecord| {
        filter.state.is_none_or(|state| state == record.standing(now).into())
    };
    let records = engine.directory().approvals();
    let seen = records.iter().rev().filter(|record| {
        wanted(record) && engine.sees(&caller, "Approval", &record.id.to_string())
    });
    Ok(Json(Approvals {
        items: seen.take(MAX_LISTED).map(|record| show(engine, record, &caller)).collect(),
    }))
}

async fn get(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(id): Segment,
) -> Result<Json<Approval>, Problem> {
    let engine = &server.engine;
    let id: ApprovalId = names::id(&id)?;
    engine.look(&caller, "Approval", &id.to_string())?;
    let record =
        engine.directory().approval(id).ok_or_else(|| Problem::not_found("approval", id))?;
    Ok(Json(show_whole(engine, &record, &caller)))
}

async fn answer(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(id): Segment,
    Body(wish): Body<NewAnswer>,
) -> Result<Json<Approval>, Problem> {
    let engine = &server.engine;
    let act = AnswerApproval { id: names::id(&id)?, proof: wish.proof };
    let record = govern::answer(engine, engine.allow(&caller, act).await?).await?;
    Ok(Json(show(engine, &record, &caller)))
}
