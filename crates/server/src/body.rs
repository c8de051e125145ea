//! Bodies, paths and queries: bounded, of one type, every member known and named once.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use model::ijson::{self, Limits};
use serde::de::DeserializeOwned;

use crate::{
    problem::{Fault, Problem},
    route::Shared,
};

/// The longest body of most requests.
const MAX_BODY: usize = 1024 * 1024;
/// The longest body with policies, which JSON's escapes make longer than they are.
const MAX_POLICIES: usize = 10 * 1024 * 1024;
/// The deepest nesting of a body.
const MAX_DEPTH: u8 = 32;

/// A JSON body. An empty one counts as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be as long as policies are.
pub(crate) struct LongBody<T>(pub(crate) T);

/// The one part of the path that names something.
pub(crate) struct Segment(pub(crate) String);

/// The query, with every parameter known and given once.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Problem> {
        read(request, MAX_BODY).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for LongBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Problem> {
        read(request, MAX_POLICIES).await.map(Self)
    }
}

impl FromRequestParts<Shared> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Shared) -> Result<Self, Problem> {
        let Path(segment) = Path::from_request_parts(parts, server)
            .await
            .map_err(|why| Problem::new(Fault::Malformed, why.body_text()))?;
        Ok(Self(segment))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Shared) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, server)
            .await
            .map_err(|why| Problem::new(Fault::Malformed, why.body_text()))?;
        Ok(Self(params))
    }
}

async fn read<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, Problem> {
    let typed = is_json(request.headers());
    let bytes = to_bytes(request.into_body(), limit).await.map_err(|_| {
        Problem::new(Fault::TooLarge, format!("the body was cut off, or is over {limit} bytes"))
    })?;
    if bytes.is_empty() {
        return parse(&Bytes::from_static(b"{}"), limit);
    }
    if !typed {
        return Err(Problem::new(Fault::MediaType, "the body must be `application/json`"));
    }
    parse(&bytes, limit)
}

fn parse<T: DeserializeOwned>(bytes: &Bytes, limit: usize) -> Result<T, Problem> {
    let json = ijson::parse(bytes, Limits { bytes: limit, depth: MAX_DEPTH })
        .map_err(|why| Problem::new(Fault::Malformed, why.to_string()))?;
    serde_json::from_value(json.to_value())
        .map_err(|why| Problem::new(Fault::Invalid, why.to_string()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
