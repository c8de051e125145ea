//! What several resources write alike.
//!
//! Values that have one written form everywhere (names, ids, verbs, money, moments in milliseconds, an authority) keep it
//! here: tokens, rows and leaves write the same. Everything with a shape of its own has its own type beside its handlers.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use model::ijson;
use serde::Serialize;
use token::Jwk;

/// `201 Created` with what was made.
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// The thumbprints of keys that can be read.
pub(crate) fn thumbprints(keys: &[ijson::Json]) -> Vec<String> {
    keys.iter()
        .filter_map(|key| Jwk::from_json(key).ok())
        .map(|key| key.key().kid().to_owned())
        .collect()
}
