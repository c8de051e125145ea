use axum::{
    Json,
    extract::State,
    http::Method,
    response::{IntoResponse as _, Response},
    routing::on,
};
use decide::BlueprintRecord;
use govern::AddBlueprint;
use model::{Authority, Blueprint as Template, IdentityId, Name, Seconds, Sender};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Params},
    caller::Caller,
    names,
    page::{self, Listing, Paging},
    problem::Problem,
    route::{Route, Shared},
    wire::Created,
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/blueprints", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/blueprints", |filter| on(filter, add)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBlueprint {
    name: Name,
    purpose: String,
    owner: String,
    deputy: Option<String>,
    authority: Authority,
    token_ttl_seconds: Seconds,
    #[serde(default)]
    children: Vec<Name>,
    #[serde(default)]
    sender: Sender,
}

#[derive(Serialize)]
struct Blueprint {
    name: Name,
    purpose: String,
    owner: IdentityId,
    deputy: Option<IdentityId>,
    authority: Authority,
    token_ttl_seconds: Seconds,
    children: Vec<Name>,
    sender: Sender,
}

#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    blueprint: Blueprint,
    /// `false` where it was like this before.
    changed: bool,
}

fn show(BlueprintRecord(template): BlueprintRecord) -> Blueprint {
    Blueprint {
        name: template.name,
        purpose: template.purpose,
        owner: template.owner,
        deputy: template.deputy,
        authority: template.authority,
        token_ttl_seconds: template.token_ttl_seconds,
        children: template.children,
        sender: template.sender,
    }
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Blueprint>>, Problem> {
    server.engine.look(&caller, "Registration", "blueprints")?;
    Ok(Json(page::page(&server.engine, &caller, paging, show).await?))
}

/// Checked before it is decided, so that nobody is asked to approve what cannot be done, or what is so already. Who may
/// not look at what it is checked against is refused by the decision, and told nothing else.
async fn add(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewBlueprint>,
) -> Result<Response, Problem> {
    let engine = &server.engine;
    let blueprint = Template {
        name: wish.name,
        purpose: wish.purpose,
        owner: names::person(engine, &wish.owner).await?,
        deputy: names::maybe_person(engine, wish.deputy.as_deref()).await?,
        authority: wish.authority,
        token_ttl_seconds: wish.token_ttl_seconds,
        children: wish.children,
        sender: wish.sender,
    };
    let made = show(BlueprintRecord(blueprint.clone()));
    let act = AddBlueprint { blueprint };
    if engine.sees(&caller, "Registration", "blueprints") {
        let there = engine.directory().blueprint(&act.blueprint.name);
        if there.is_some_and(|there| *there == act.blueprint) {
            return Ok(Json(Added { blueprint: made, changed: false }).into_response());
        }
        govern::check_blueprint(engine, &act)?;
    }
    govern::add_blueprint(engine, engine.allow(&caller, act).await?).await?;
    Ok(Created(Added { blueprint: made, changed: true }).into_response())
}
