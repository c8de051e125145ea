use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Engine, PolicyFile, PolicySetRecord};
use govern::ApplyPolicies;
use model::Digest;
use serde::{Deserialize, Serialize};
use store::Row;

use crate::{
    body::LongBody,
    caller::Caller,
    problem::{Fault, Problem},
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/policies", |filter| on(filter, get)),
    Route::session(Method::PUT, "/v1/policies", |filter| on(filter, apply)),
    Route::session(Method::POST, "/v1/policies/check", |filter| on(filter, check)),
];

/// The longest set that a decision's record and a row can hold, in bytes of JSON: a little below their 1 MiB.
const MAX_SET: usize = 1000 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    text: String,
}

#[derive(Serialize)]
struct InForce {
    /// Names the set in every decision, guard pack included.
    digest: Digest,
    files: Vec<File>,
}

#[derive(Serialize)]
struct Applied {
    #[serde(flatten)]
    in_force: InForce,
    warnings: Vec<String>,
    /// `false` where these files were in force before.
    changed: bool,
}

#[derive(Serialize)]
struct Checked {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What is allowed and still looks like a mistake.
    warnings: Vec<String>,
}

impl Files {
    fn into_model(self) -> Result<Vec<PolicyFile>, Problem> {
        if serde_json::to_vec(&self).map_or(usize::MAX, |json| json.len()) > MAX_SET {
            return Err(Problem::new(
                Fault::TooLarge,
                format!("a set of policies is at most {MAX_SET} bytes of JSON"),
            ));
        }
        Ok(self
            .files
            .into_iter()
            .map(|file| PolicyFile { name: file.name, text: file.text })
            .collect())
    }
}

async fn get(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Json<InForce>, Problem> {
    server.engine.look(&caller, "PolicySet", "current")?;
    in_force(&server.engine).await.map(Json)
}

/// Checked before it is decided, so that nobody is asked to approve what does not load, or what is so already.
async fn apply(
    State(server): State<Shared>,
    Caller(caller): Caller,
    LongBody(wish): LongBody<Files>,
) -> Result<Json<Applied>, Problem> {
    let engine = &server.engine;
    let files = wish.into_model()?;
    engine.look(&caller, "PolicySet", "current")?;
    let warnings = govern::check_policies(engine, &files)?;
    let changed = !engine.policies_in_force(&files);
    if changed {
        let allowed = engine.allow(&caller, ApplyPolicies { files }).await?;
        govern::apply_policies(engine, allowed).await?;
    }
    Ok(Json(Applied { in_force: in_force(engine).await?, warnings, changed }))
}

async fn check(
    State(server): State<Shared>,
    Caller(caller): Caller,
    LongBody(wish): LongBody<Files>,
) -> Result<Json<Checked>, Problem> {
    server.engine.look(&caller, "PolicySet", "current")?;
    Ok(Json(match govern::check_policies(&server.engine, &wish.into_model()?) {
        Ok(warnings) => Checked { valid: true, problem: None, warnings },
        Err(why) => Checked { valid: false, problem: Some(why.to_string()), warnings: Vec::new() },
    }))
}

async fn in_force(engine: &Engine) -> Result<InForce, Problem> {
    let row: Option<Row<PolicySetRecord>> = engine.store().read(|view| view.get("current")).await?;
    let sources = row.map(|row| row.value.sources).unwrap_or_default();
    let files = sources.into_iter().map(|file| File { name: file.name, text: file.text }).collect();
    Ok(InForce { digest: engine.directory().policies().digest(), files })
}
