use axum::{
    http::{Method, header},
    response::IntoResponse,
    routing::on,
};

use crate::route::{Access, Route};

/// The OpenAPI 3.1 description of every route.
pub const DOCUMENT: &str = include_str!("../openapi.json");

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/openapi.json",
    access: Access::Public,
    to: |filter| on(filter, document),
}];

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
