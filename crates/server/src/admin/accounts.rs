use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{AccountRecord, AccountState, Engine, ServerRecord};
use govern::{LinkAccount, TakenBack, UnlinkAccount};
use model::{IdentityId, Name, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Linked, Linking, Server,
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    page::{self, Listing, Paging},
    problem::{Fault, Problem},
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/accounts", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/servers/{name}/link", |filter| on(filter, begin)),
    Route::session(Method::POST, "/v1/servers/{name}/link/confirm", |filter| on(filter, confirm)),
    Route::session(Method::POST, "/v1/servers/{name}/unlink", |filter| on(filter, unlink)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    person: Option<String>,
}

#[derive(Serialize)]
struct Begun {
    server: Name,
    url: String,
    issuer: String,
    scopes: Vec<String>,
    expires: Timestamp,
}

#[derive(Serialize)]
struct Account {
    server: Name,
    person: IdentityId,
    issuer: String,
    scopes: Vec<String>,
    state: AccountState,
}

#[derive(Serialize)]
struct Unlinked {
    server: Name,
    person: IdentityId,
    revoked: bool,
}

fn show(record: AccountRecord) -> Account {
    Account {
        server: record.server,
        person: record.person,
        issuer: record.issuer,
        scopes: record.scopes,
        state: record.state,
    }
}

/// Everybody's for who governs, one's own for everybody else.
async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Account>>, Problem> {
    let engine = &server.engine;
    let mut accounts: Listing<Account> = if engine.sees(&caller, "LinkedAccount", "accounts") {
        page::page(engine, &caller, paging, show).await?
    } else {
        engine.look(&caller, "LinkedAccount", &format!("own/{}", caller.person))?;
        own(engine, &caller).await?
    };
    accounts.items.retain(|listed| listed.item.state != AccountState::Unlinked || listed.tampered);
    Ok(Json(accounts))
}

/// One at each server at most. Nobody learns from it where others have one.
async fn own(engine: &Engine, caller: &decide::Caller) -> Result<Listing<Account>, Problem> {
    let mut items = Vec::new();
    for server in engine.directory().servers() {
        let key = format!("{server}/{}", caller.person);
        items.extend(page::one(engine, caller, key, show).await?);
    }
    Ok(Listing { items, next: None, people: BTreeMap::new() })
}

/// Decided before anybody is dialled; what is decided here is what is done when the person comes back with the code.
async fn begin(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Begun>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    let act = LinkAccount { server: name.clone(), person: caller.person.clone() };
    let allowed = engine.allow(&caller, act).await?;
    let record = known(&server, &name)?;
    let begun = linking(&server)?.begin(allowed, ServerRecord::clone(&record)).await?;
    let crate::linking::Begun { url, issuer, scopes, expires } = begun;
    Ok(Json(Begun { server: name, url, issuer, scopes, expires }))
}

async fn confirm(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(wish): Body<Code>,
) -> Result<Json<Account>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    // Whoever was suspended since they began links nothing.
    engine.look(&caller, "LinkedAccount", &format!("{name}/{}", caller.person))?;
    let linked = linking(&server)?.confirm(caller.person.clone(), name, wish.code).await?;
    let Linked { allowed, account, sealed } = linked;
    let linked = govern::link_account(engine, allowed, account.clone(), sealed.clone()).await;
    // What is stored comes into force; anything else leaves nobody who could give the tokens back.
    if matches!(&linked, Err(why) if !matches!(why, govern::Error::NotInForce(_))) {
        linking(&server)?.give_back(account.clone(), Some(sealed)).await;
    }
    linked?;
    Ok(Json(show(account)))
}

async fn unlink(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(wish): Body<Whom>,
) -> Result<Json<Unlinked>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    let person = names::maybe_person(engine, wish.person.as_deref()).await?;
    let person = person.unwrap_or_else(|| caller.person.clone());
    let act = UnlinkAccount { server: name.clone(), person: person.clone() };
    let allowed = engine.allow(&caller, act).await?;
    let (taken, unlinked) = govern::unlink_account(engine, allowed).await;
    let revoked = match (taken, &server.linking) {
        (Some(TakenBack { account, sealed }), Some(linking)) => {
            linking.give_back(account, sealed).await
        }
        _ => false,
    };
    unlinked?;
    Ok(Json(Unlinked { server: name, person, revoked }))
}

fn known(server: &Server, name: &Name) -> Result<Arc<ServerRecord>, Problem> {
    let entry = server.engine.directory().server(name);
    Ok(entry.ok_or_else(|| Problem::not_found("server", name))?.record)
}

fn linking(server: &Server) -> Result<&Arc<dyn Linking>, Problem> {
    let none = || Problem::new(Fault::Invalid, "this node links no accounts");
    server.linking.as_ref().ok_or_else(none)
}
