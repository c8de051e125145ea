//! HTTP for people and their tools: OAuth endpoints, the admin API, OpenAPI, metrics.
//!
//! A handler parses, calls and renders; nothing more. Every route stands in one table ([`ROUTES`]) with what it asks of
//! its caller, so that a route without a check or without a description fails a test.
//!
//! It must not know how a right is computed: who may do what is asked of `decide`, what is done is done by `govern`.

mod admin;
mod body;
mod bounds;
mod caller;
mod linking;
mod listen;
mod names;
mod oauth;
mod openapi;
mod ops;
mod page;
mod problem;
mod route;
mod wire;
mod witnessed;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, middleware};
use decide::{AccountRecord, Engine, ServerRecord};
use futures_util::future::BoxFuture;
use govern::FoundTool;
use insight::Index;

pub use linking::{Begun, Linked, Linking, NotLinked};
pub use listen::{Bounds, serve};
pub use openapi::DOCUMENT;
pub use ops::ops_router;
pub use route::{Access, ROUTES, Route};
pub use witnessed::{Anchors, Witnessed};

/// Asks an upstream server which tools it has, as whoever has this account where it acts for each person; wired to the gateway's client, which this crate must not know.
pub type Discover = Arc<
    dyn Fn(
            ServerRecord,
            Option<Arc<AccountRecord>>,
        ) -> BoxFuture<'static, Result<Vec<FoundTool>, String>>
        + Send
        + Sync,
>;

/// Whether this node could ever dial a server as it is described; the error says what to change. It dials nobody.
pub type Dialable = Arc<dyn Fn(&ServerRecord) -> Result<(), String> + Send + Sync>;

/// What the handlers stand on.
pub struct Server {
    /// The one road.
    pub engine: Arc<Engine>,
    /// Asks upstream servers for their tools.
    pub discover: Discover,
    /// Links accounts at upstream servers, where this node does.
    pub linking: Option<Arc<dyn Linking>>,
    /// Refuses descriptions of upstream servers that can never be dialled.
    pub dialable: Dialable,
    /// The origin under which clients reach this server, without a slash at its end: what proofs of possession name.
    pub public_url: String,
    /// The folder of the ledger, whose published files are served as they are.
    pub ledger_dir: PathBuf,
    /// What is known of the ledger's witnesses, where it has some: then the newest head that enough of them have cosigned is
    /// shown and leads to its entries, and none before.
    pub witnessed: Option<Arc<Witnessed>>,
    /// What the ledger is searched with.
    pub search: Arc<Index>,
}

/// The public listener: OAuth, the admin API, the published ledger, OpenAPI.
pub fn router(server: Server) -> Router {
    let shared = Arc::new(server);
    let routes = ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler()));
    routes
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .with_state(shared.clone())
        .layer(middleware::from_fn_with_state(shared, bounds::fresh_nonce))
        .layer(middleware::from_fn(bounds::bounded))
}
