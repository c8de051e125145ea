use std::sync::Arc;

use axum::{
    http::Method,
    routing::{MethodFilter, MethodRouter},
};

use crate::{Server, admin, oauth, openapi};

/// The state of every handler.
pub(crate) type Shared = Arc<Server>;

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: it tells only what everybody may know.
    Public,
    /// The token endpoint, where callers prove themselves by what they send.
    Token,
    /// A person's own session, with a proof of possession.
    Session,
}

/// One route: the only way to put a handler on the public listener.
#[derive(Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a segment and `{*name}` for the rest.
    pub path: &'static str,
    /// What it asks of its caller.
    pub access: Access,
    pub(crate) to: fn(MethodFilter) -> MethodRouter<Shared>,
}

impl Route {
    pub(crate) const fn session(
        method: Method,
        path: &'static str,
        to: fn(MethodFilter) -> MethodRouter<Shared>,
    ) -> Self {
        Self { method, path, access: Access::Session, to }
    }

    pub(crate) fn handler(&self) -> MethodRouter<Shared> {
        let filter =
            MethodFilter::try_from(self.method.clone()).expect("the table names known methods");
        (self.to)(filter)
    }
}

/// Every route of the public listener.
pub static ROUTES: std::sync::LazyLock<Vec<Route>> = std::sync::LazyLock::new(|| {
    [
        oauth::metadata::ROUTES,
        oauth::token::ROUTES,
        openapi::ROUTES,
        admin::people::ROUTES,
        admin::blueprints::ROUTES,
        admin::agents::ROUTES,
        admin::grants::ROUTES,
        admin::servers::ROUTES,
        admin::accounts::ROUTES,
        admin::catalog::ROUTES,
        admin::policies::ROUTES,
        admin::tasks::ROUTES,
        admin::approvals::ROUTES,
        admin::stops::ROUTES,
        admin::questions::ROUTES,
        admin::ledger::ROUTES,
        admin::decisions::ROUTES,
        admin::erasures::ROUTES,
        admin::doctor::ROUTES,
    ]
    .concat()
});
