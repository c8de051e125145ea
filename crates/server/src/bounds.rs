//! Limits that hold for every request, whatever its route.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    problem::{Fault, Problem},
    route::Shared,
};

/// The longest that a request may take, its body included.
const REQUEST_BOUND: Duration = Duration::from_secs(30);
/// The most bytes of headers: a token of 16 KiB, a proof of 4 KiB, and room.
const MAX_HEADERS: usize = 32 * 1024;
/// The longest path and query.
const MAX_URI: usize = 4 * 1024;
/// [RFC 9449 §8.1](https://www.rfc-editor.org/rfc/rfc9449#section-8.1)
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Refuses what is too large before anything is read, and answers within the bound.
///
/// The request runs as a task of its own: what has begun goes on to its end when the client goes away or the bound is
/// over, so that nothing is left half done, and a panic ends one request alone.
pub(crate) async fn bounded(request: Request, next: Next) -> Response {
    if request.uri().to_string().len() > MAX_URI {
        return Problem::new(
            Fault::UriTooLong,
            format!("at most {MAX_URI} bytes of path and query are read"),
        )
        .into_response();
    }
    if size(request.headers()) > MAX_HEADERS {
        return Problem::new(
            Fault::Headers,
            format!("at most {MAX_HEADERS} bytes of headers are read"),
        )
        .into_response();
    }
    let running = tokio::spawn(next.run(request));
    match tokio::time::timeout(REQUEST_BOUND, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => Problem::internal(&why).into_response(),
        Err(_) => {
            let bound = REQUEST_BOUND.as_secs();
            Problem::new(Fault::Timeout, format!("no answer within {bound} seconds"))
                .into_response()
        }
    }
}

/// Gives every answer a nonce for the caller's next proof, and lets nobody keep what was told to one caller.
pub(crate) async fn fresh_nonce(
    State(server): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(nonce) = server.engine.nonce().and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
