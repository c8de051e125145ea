//! Decisions of the past, made again from the ledger.

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Recomputed, Remade};
use govern::ReadPayloads;
use model::ActionId;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    body::Params,
    caller::Caller,
    problem::Problem,
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] =
    &[Route::session(Method::GET, "/v1/ledger/decisions", |filter| on(filter, recompute))];

/// How many decisions an answer has when nobody says, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

static TURN: Semaphore = Semaphore::const_new(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The first position; the beginning of the ledger when left out.
    #[serde(default)]
    from: u64,
    /// The first position that is not looked at.
    to: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Made {
    /// In the order of the ledger.
    decisions: Vec<Decision>,
    /// Where to go on; absent when no entry is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One decision, made again.
#[derive(Serialize)]
struct Decision {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<ActionId>,
    /// What the ledger has.
    verdict: String,
    #[serde(flatten)]
    result: Outcome,
    /// What today's policies would say of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    today: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Outcome {
    Same,
    Differs { differs: Vec<&'static str> },
    Before { code: String },
    Impossible { reason: String },
}

impl From<Recomputed> for Decision {
    fn from(made: Recomputed) -> Self {
        let Recomputed { index, action, verdict, remade, today } = made;
        let result = match remade {
            Remade::Same => Outcome::Same,
            Remade::Differs(differs) => Outcome::Differs { differs },
            Remade::Before(code) => Outcome::Before { code },
            Remade::Impossible(reason) => Outcome::Impossible { reason },
        };
        Self { index, action, verdict, result, today }
    }
}

async fn recompute(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Made>, Problem> {
    let engine = server.engine.clone();
    engine.look(&caller, "Ledger", "decisions")?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let end = wanted.to.unwrap_or(u64::MAX).min(engine.log().acknowledged());
    let range = wanted.from..end;
    if range.is_empty() {
        return Ok(Json(Made { decisions: Vec::new(), next: None }));
    }
    engine.allow(&caller, ReadPayloads { first: range.start, last: end - 1 }).await?;
    // One at a time reads the whole ledger, and goes on to its end when nobody waits for it any more.
    let turn = TURN.acquire().await.map_err(|why| Problem::internal(&why))?;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        engine.recompute(range, limit)
    });
    let made = made.await;
    let (made, next) = made.map_err(|why| Problem::internal(&why))??;
    Ok(Json(Made { decisions: made.into_iter().map(Decision::from).collect(), next }))
}
