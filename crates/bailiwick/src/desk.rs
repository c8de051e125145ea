//! *Support desk*: the sample MCP server of the demo, with customers, orders and refunds of its own.
//!
//! An upstream like any other, written with the public MCP library: it knows its secret and its tables, nothing of
//! Bailiwick. It notes each call that reaches it, so that what happened here can be held against the ledger.

mod calls;
mod command;
mod tables;
#[cfg(test)]
mod tests;
mod tools;

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    serve::ListenerExt as _,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use token::Secret;

pub(crate) use command::Command;

use calls::Desk;
use tables::Tables;

/// Where on its server the desk speaks MCP.
pub(crate) const PATH: &str = "/mcp";
/// How often a quiet stream gets a comment, which is also when a client that has gone is noticed at the latest.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Makes the desk's file with three customers and five orders; one that is there already stays as it is.
pub(crate) fn seed(database: &Path) -> anyhow::Result<()> {
    Tables::open(database)?.seed()
}

/// Serves the desk to whoever brings the secret as a bearer token, until the task is dropped.
///
/// # Errors
/// The file cannot be opened, or the listener fails.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    database: PathBuf,
    secret: String,
) -> anyhow::Result<()> {
    let tables = Arc::new(Tables::open(&database)?);
    let config = StreamableHttpServerConfig::default()
        .with_json_response(true)
        .with_sse_keep_alive(Some(KEEP_ALIVE));
    let sessions = Arc::new(LocalSessionManager::default());
    let desk = StreamableHttpService::new(move || Ok(Desk::new(tables.clone())), sessions, config);
    let secret = Arc::new(Secret::new(secret));
    let router = Router::new()
        .route_service(PATH, desk)
        .layer(middleware::from_fn_with_state(secret, authorize));

    listener.set_nonblocking(true).context("the desk's listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the desk's listener")?;
    // Without it each small event waits for the peer's delayed acknowledgement: 40 ms. A socket that refuses is slow,
    // not wrong.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.context("the desk's server")
}

async fn authorize(State(secret): State<Arc<Secret>>, request: Request, next: Next) -> Response {
    if bearer(request.headers()).is_some_and(|token| secret.matches(token)) {
        next.run(request).await
    } else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        (StatusCode::UNAUTHORIZED, challenge, "a bearer token is required\n").into_response()
    }
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().strip_prefix(b"Bearer "),
        _ => None,
    }
}
