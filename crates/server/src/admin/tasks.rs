use axum::{Json, extract::State, http::Method, routing::on};
use decide::{EndTask, OpenTask, UnparkTask};
use model::{Authority, Money, Seconds, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Segment},
    caller::Caller,
    names,
    problem::Problem,
    route::{Route, Shared},
    wire::Created,
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::POST, "/v1/tasks", |filter| on(filter, open)),
    Route::session(Method::DELETE, "/v1/tasks/{id}", |filter| on(filter, end)),
    Route::session(Method::POST, "/v1/tasks/{id}/unpark", |filter| on(filter, unpark)),
];

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
    let allowed = engine.allow(&caller, UnparkTask::of(id, task)).await?;
    if changed {
        engine.unpark_task(&allowed).await?;
    }
    Ok(Json(Unparked { task: id, changed }))
}
