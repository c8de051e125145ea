use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Engine, PersonRecord};
use govern::AddPerson;
use model::{IdentityId, Name, Timestamp, ijson};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Params},
    caller::Caller,
    names,
    page::{self, Listed, Listing, Paging},
    problem::Problem,
    route::{Route, Shared},
    wire::{Created, thumbprints},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/whoami", |filter| on(filter, whoami)),
    Route::session(Method::GET, "/v1/persons", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/persons", |filter| on(filter, add)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPerson {
    handle: Name,
    display_name: String,
    manager: Option<String>,
    #[serde(default)]
    teams: Vec<Name>,
    key: ijson::Json,
}

#[derive(Serialize)]
struct Person {
    id: IdentityId,
    uri: String,
    handle: Name,
    display_name: String,
    manager: Option<IdentityId>,
    teams: Vec<Name>,
    active: bool,
    keys: Vec<String>,
}

#[derive(Serialize)]
struct Whoami {
    #[serde(flatten)]
    person: Listed<Person>,
    session_expires: Timestamp,
}

fn show(engine: &Engine, record: PersonRecord) -> Person {
    let PersonRecord { person, keys } = record;
    Person {
        uri: engine.context().realm.uri(&person.id),
        id: person.id,
        handle: person.handle,
        display_name: person.display_name,
        manager: person.manager,
        teams: person.teams,
        active: person.active,
        keys: thumbprints(&keys),
    }
}

async fn whoami(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Json<Whoami>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Registration", &caller.person.to_string())?;
    let person = find(engine, &caller, &caller.person).await?;
    Ok(Json(Whoami { person, session_expires: caller.claims.exp }))
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Person>>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Registration", "persons")?;
    Ok(Json(page::page(engine, &caller, paging, |record| show(engine, record)).await?))
}

/// Checked before it is decided, so that nobody is asked to approve what cannot be done. Who may not look at what it is
/// checked against is refused by the decision, and told nothing else.
async fn add(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewPerson>,
) -> Result<Created<Listed<Person>>, Problem> {
    let engine = &server.engine;
    let act = AddPerson {
        id: engine.pseudonym(),
        handle: wish.handle,
        display_name: wish.display_name,
        manager: names::maybe_person(engine, wish.manager.as_deref()).await?,
        teams: wish.teams,
        key: wish.key,
    };
    if engine.sees(&caller, "Registration", "persons") {
        govern::check_person(engine, &act).await?;
    }
    let id = govern::add_person(engine, engine.allow(&caller, act).await?).await?;
    Ok(Created(find(engine, &caller, &id).await?))
}

async fn find(
    engine: &Engine,
    caller: &decide::Caller,
    id: &IdentityId,
) -> Result<Listed<Person>, Problem> {
    let person = page::one(engine, caller, id.to_string(), |record| show(engine, record)).await?;
    person.ok_or_else(|| Problem::not_found("person", id))
}
