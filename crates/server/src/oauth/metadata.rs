use axum::{
    Json,
    extract::State,
    http::{Method, header},
    response::IntoResponse,
    routing::on,
};
use model::ijson;
use serde::Serialize;

use super::token::{JWT_BEARER, TOKEN_EXCHANGE};
use crate::route::{Access, Route, Shared};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/.well-known/oauth-authorization-server",
        access: Access::Public,
        to: |filter| on(filter, metadata),
    },
    Route {
        method: Method::GET,
        path: "/oauth/jwks",
        access: Access::Public,
        to: |filter| on(filter, jwks),
    },
];

/// How signatures are made; the set is closed.
const ALGORITHMS: [&str; 2] = ["EdDSA", "ES256"];

/// [RFC 8414 §2](https://www.rfc-editor.org/rfc/rfc8414#section-2)
#[derive(Serialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 2],
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    dpop_signing_alg_values_supported: [&'static str; 2],
    authorization_details_types_supported: [&'static str; 1],
}

async fn metadata(State(server): State<Shared>) -> Json<Metadata> {
    let issuer = server.engine.issuer();
    Json(Metadata {
        issuer: issuer.url.clone(),
        token_endpoint: issuer.token_endpoint.clone(),
        jwks_uri: format!("{}/oauth/jwks", server.public_url),
        grant_types_supported: [JWT_BEARER, TOKEN_EXCHANGE],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: ["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        dpop_signing_alg_values_supported: ALGORITHMS,
        authorization_details_types_supported: ["bailiwick"],
    })
}

async fn jwks(State(server): State<Shared>) -> impl IntoResponse {
    let keys: ijson::Json = server.engine.issuer().keys.load().jwks(server.engine.context().now());
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], keys.canonical())
}
