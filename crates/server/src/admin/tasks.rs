use std::collections::BTreeMap;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{EndTask, OpenTask, UnparkTask};
use model::{Authority, IdentityId, Money, Name, Seconds, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::{Route, Shared},
    wire::Created,
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/tasks", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/tasks", |filter| on(filter, open)),
    Route::session(Method::DELETE, "/v1/tasks/{id}", |filter| on(filter, end)),
    Route::session(Method::POST, "/v1/tasks/{id}/unpark", |filter| on(filter, unpark)),
];

/// How many tasks a page has when nobody says, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// The most tasks that one request looks at for those that its caller may see: each is a decision, of some microseconds.
const MAX_SCAN: usize = 5_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only tasks that were given to this agent.
    agent: Option<String>,
    /// Only tasks of which something is parked.
    #[serde(default)]
    parked: bool,
    /// The `next` of the page before.
    after: Option<TaskId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Tasks {
    /// The newest first.
    items: Vec<Shown>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<TaskId>,
    /// The handles of the people who occur in the items, by identity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

#[derive(Serialize)]
struct Shown {
    task: TaskId,
    agent: IdentityId,
    /// For whom.
    person: IdentityId,
    purpose: String,
    state: Stage,
    /// When it ends by itself.
    expires: Timestamp,
    /// How many calls were dispatched.
    calls: u64,
    /// `null` where it may spend nothing.
    budget: Option<Money>,
    spent: Option<Money>,
    /// The agents of which nothing in it is done at the moment.
    parked: Vec<IdentityId>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Open,
    Parked,
    Ended,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTask {
    agent: String,
    purpose: String,
    #[serde(default)]
    intent: String,
    #[serde(default)]
    prompt: String,
    authority: Option<Authority>,
    budget: Option<Money>,
    seconds: Seconds,
}

#[derive(Serialize)]
struct Task {
    task: TaskId,
    /// The hand-over token: the agent named in it, and nobody else, exchanges it.
    token: String,
    expires: Timestamp,
    authority: Authority,
    /// The ledger entry of the token's issuance.
    index: u64,
}

#[derive(Serialize)]
struct Ended {
    task: TaskId,
    calls: u64,
    /// `null` where the task had no budget.
    spent: Option<Money>,
}

/// A body that says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Unparked {
    task: TaskId,
    /// `false` where it was not parked.
    changed: bool,
}

/// What the caller may look at of the tasks that are remembered: until shortly after their time is over.
async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Tasks>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Registration", &caller.person.to_string())?;
    let now = engine.context().now();
    let agent = wanted.agent.as_deref().map(names::agent).transpose()?;
    let fits = |task: &decide::Task| {
        agent.as_ref().is_none_or(|agent| task.agent == *agent)
            && (!wanted.parked || matches!(Stage::of(task, now), Stage::Parked))
    };
    let mut ids = engine.tasks().newest(fits);
    ids.retain(|id| wanted.after.is_none_or(|after| *id < after));
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    // Where more are left than are looked at, the next page goes on behind these, whatever is there.
    let scanned = ids.get(MAX_SCAN).and_then(|_| ids.get(MAX_SCAN - 1)).copied();
    let sees = |id: &TaskId| engine.sees(&caller, "Task", &id.to_string());
    let mut seen = ids.into_iter().take(MAX_SCAN).filter(sees);
    let page: Vec<TaskId> = seen.by_ref().take(limit).collect();
    // That there is a next page says that there is something to see on it.
    let next = seen.next().map_or(scanned, |_| page.last().copied());
    let shown = |id: TaskId| Some(Shown::of(id, engine.tasks().task(id)?, now));
    let items: Vec<Shown> = page.into_iter().filter_map(shown).collect();
    let people = names::handles(engine, &caller, &items);
    Ok(Json(Tasks { items, next, people }))
}

impl Shown {
    fn of(id: TaskId, task: decide::Task, now: Timestamp) -> Self {
        let (state, spent) = (Stage::of(&task, now), task.money_spent());
        Self {
            task: id,
            agent: task.agent,
            person: task.person,
            purpose: task.purpose.to_string(),
            state,
            expires: task.deadline,
            calls: task.calls,
            budget: task.budget,
            spent,
            parked: task.parked.iter().map(|parking| parking.agent.clone()).collect(),
        }
    }
}

impl Stage {
    fn of(task: &decide::Task, now: Timestamp) -> Self {
        if task.is_over(now) {
            Self::Ended
        } else if task.parked.is_empty() {
            Self::Open
        } else {
            Self::Parked
        }
    }
}

async fn open(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewTask>,
) -> Result<Created<Task>, Problem> {
    let engine = &server.engine;
    let act = OpenTask {
        agent: names::agent(&wish.agent)?,
        purpose: wish.purpose,
        intent: wish.intent,
        prompt: wish.prompt,
        authority: wish.authority,
        budget: wish.budget,
        seconds: wish.seconds,
    };
    let opened = engine.open_task(&engine.allow(&caller, act).await?).await?;
    Ok(Created(Task {
        task: opened.task,
        token: opened.token.access_token,
        expires: opened.token.expires,
        authority: opened.token.authority,
        index: opened.token.index,
    }))
}

async fn end(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(id): Segment,
) -> Result<Json<Ended>, Problem> {
    let engine = &server.engine;
    let id: TaskId = names::id(&id)?;
    let unknown = || Problem::not_found("task", id);
    let person = engine.tasks().task(id).ok_or_else(unknown)?.person;
    let allowed = engine.allow(&caller, EndTask { task: id, person }).await?;
    let ended = engine.end_task(&allowed).ok_or_else(unknown)?;
    Ok(Json(Ended { task: id, calls: ended.calls, spent: ended.spent }))
}

async fn unpark(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(id): Segment,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Unparked>, Problem> {
    let engine = &server.engine;
    let id: TaskId = names::id(&id)?;
    let task = engine.tasks().task(id).ok_or_else(|| Problem::not_found("task", id))?;
    let changed = !task.parked.is_empty();
    let is_over = task.is_over(engine.context().now());
    let allowed = engine.allow(&caller, UnparkTask::of(id, task)).await?;
    if is_over {
        return Err(Problem::new(Fault::Conflict, format!("task `{id}` has ended"))
            .with_next("Open another one: `bailiwick task open`."));
    }
    if changed {
        engine.unpark_task(&allowed).await?;
    }
    Ok(Json(Unparked { task: id, changed }))
}
