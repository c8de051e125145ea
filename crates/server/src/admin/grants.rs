use axum::{Json, extract::State, http::Method, routing::on};
use decide::GrantRecord;
use govern::{GiveGrant, RevokeGrant};
use model::{Authority, IdentityId, Name};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Params, Segment},
    caller::Caller,
    names,
    page::{self, Listed, Listing, Paging},
    problem::Problem,
    route::{Route, Shared},
    wire::Created,
};

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/grants", |filter| on(filter, list)),
    Route::session(Method::POST, "/v1/grants", |filter| on(filter, give)),
    Route::session(Method::DELETE, "/v1/grants/{name}", |filter| on(filter, revoke)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    name: Name,
    holder: String,
    authority: Authority,
}

#[derive(Serialize)]
struct Grant {
    name: Name,
    holder: IdentityId,
    authority: Authority,
    provenance: Name,
    given_by: IdentityId,
    revoked: bool,
}

fn show(record: GrantRecord) -> Grant {
    Grant {
        name: record.name,
        holder: record.holder,
        authority: record.authority,
        provenance: record.provenance,
        given_by: record.given_by,
        revoked: record.revoked,
    }
}

async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<Grant>>, Problem> {
    server.engine.look(&caller, "Grant", "grants")?;
    Ok(Json(page::page(&server.engine, &caller, paging, show).await?))
}

/// Checked before it is decided, so that nobody is asked to approve what cannot be done. Who may not look at what it is
/// checked against is refused by the decision, and told nothing else.
async fn give(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(wish): Body<NewGrant>,
) -> Result<Created<Listed<Grant>>, Problem> {
    let engine = &server.engine;
    let name = wish.name.clone();
    let holder = names::person(engine, &wish.holder).await?;
    let act = GiveGrant { name: wish.name, holder, authority: wish.authority };
    if engine.sees(&caller, "Grant", "grants") {
        govern::check_grant(engine, &act).await?;
    }
    govern::give_grant(engine, engine.allow(&caller, act).await?).await?;
    let grant = page::one(engine, &caller, name.to_string(), show).await?;
    Ok(Created(grant.ok_or_else(|| Problem::not_found("grant", name))?))
}

async fn revoke(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
) -> Result<Json<Listed<Grant>>, Problem> {
    let engine = &server.engine;
    let name = names::name(&name)?;
    let act = RevokeGrant { name: name.clone() };
    govern::revoke_grant(engine, engine.allow(&caller, act).await?).await?;
    let grant = page::one(engine, &caller, name.to_string(), show).await?;
    Ok(Json(grant.ok_or_else(|| Problem::not_found("grant", name))?))
}
