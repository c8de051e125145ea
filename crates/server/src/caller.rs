use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use decide::{NotAuthenticated, Presented};

use crate::{problem::Problem, route::Shared};

/// [RFC 9449 §4.1](https://www.rfc-editor.org/rfc/rfc9449#section-4.1)
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Somebody who presented a token for the admin API and proved to hold its key.
pub(crate) struct Caller(pub(crate) Arc<decide::Caller>);

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Shared) -> Result<Self, Problem> {
        let url = format!("{}{}", server.public_url, parts.uri.path());
        let wrong = |why: &str| NotAuthenticated::Proof(why.to_owned());
        let authorization = only(&parts.headers, &header::AUTHORIZATION).map_err(|_| {
            NotAuthenticated::Token("there is more than one, or it is not text".to_owned())
        })?;
        let proof = only(&parts.headers, &DPOP)
            .map_err(|_| wrong("there is more than one, or it is not text"))?;
        let presented = Presented {
            authorization,
            proof,
            method: parts.method.as_str(),
            url: &url,
            audience: &server.engine.issuer().admin_audience,
            may_be_unbound: false,
        };
        Ok(Self(server.engine.authenticate(presented)?))
    }
}

/// A header that counts only alone.
pub(crate) struct NotOne;

/// The header's one value, or none.
pub(crate) fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, NotOne> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().map_err(|_| NotOne)).transpose()?;
    if values.next().is_some() { Err(NotOne) } else { Ok(first) }
}
