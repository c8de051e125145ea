//! Telling the client of a session which of its resources changed, on a stream that it keeps open
//! ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server)).

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use decide::{Caller, FrozenCall, METHOD, Watch};
use http::StatusCode;
use model::{Name, ijson::Json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};

use crate::{
    feed::Feed,
    gate::Gateway,
    sessions::Session,
    upstream::{SUBSCRIBE, UNSUBSCRIBE},
};

impl Session {
    /// Notes what a call that its server has done means for what the client is told.
    pub(crate) fn follow(&self, call: &FrozenCall) {
        let method = call.tool.name.strip_prefix(METHOD);
        let Some(method @ (SUBSCRIBE | UNSUBSCRIBE)) = method else { return };
        let arguments: Option<Json> = serde_json::from_slice(&call.arguments).ok();
        let uri = arguments.as_ref().and_then(|it| it.member("uri")).and_then(Json::as_str);
        match uri {
            Some(uri) if method == SUBSCRIBE => self.subscribe(uri),
            Some(uri) => self.unsubscribe(uri),
            None => {}
        }
    }
}

impl Gateway {
    /// A stream of what changes, until the caller's token ends, a stop cuts it or a later stream of the session takes its place.
    pub(crate) fn tell_changes(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        system: &Name,
        session: Arc<Session>,
        watch: Watch,
    ) -> Response {
        let left = caller.claims.exp.millis_since(self.engine.context().now());
        let (feed, replaced) = (Feed::plain(), session.tell());
        let response = feed.read();
        let (gateway, caller, system) = (self.clone(), caller.clone(), system.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = watch.cut() => {}
                () = sleep(Duration::from_millis(left)) => {}
                () = replaced.notified() => {}
                () = feed.abandoned() => {}
                () = gateway.tell(&feed, &session, &caller, &system) => {}
            }
            feed.cut(None);
        });
        response.unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }

    /// Tells of what the session's client has subscribed to, for as long as its server does.
    async fn tell(&self, feed: &Feed, session: &Session, caller: &Arc<Caller>, system: &Name) {
        // A client listens first and subscribes then. Before that there is no reason to reach the server.
        session.subscribed().await;
        // What was permitted once may be forbidden or taken back since.
        let may = || {
            let offered = self.engine.listable(caller, system).into_iter();
            offered
                .map(|tool| tool.name.clone())
                .any(|name| name.strip_prefix(METHOD) == Some(SUBSCRIBE))
        };
        if !may() {
            return;
        }
        let Some(mut updates) = self.updates(caller, system).await else { return };
        loop {
            match updates.recv().await {
                // It says that something changed, and may say so again: a client that does not read misses it.
                Ok(_) if !may() => return,
                Ok(uri) if session.wants(&uri) && feed.has_room() => feed.send(&updated(&uri)),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn updates(&self, caller: &Caller, system: &Name) -> Option<Receiver<Arc<str>>> {
        let server = self.engine.directory().server(system)?;
        let account = self.engine.account_of(&server.record, caller).ok()?;
        let reached = self.upstreams.reach(&server.record, account.as_deref()).await;
        Some(reached.ok()?.updates())
    }
}

/// The notification that a resource changed, in the gateway's own words: a server's could pretend to be something else.
fn updated(uri: &str) -> Vec<u8> {
    let text = |text: &str| Json::String(text.to_owned());
    let message = Json::object([
        ("jsonrpc", text("2.0")),
        ("method", text("notifications/resources/updated")),
        ("params", Json::object([("uri", text(uri))])),
    ]);
    message.canonical()
}
