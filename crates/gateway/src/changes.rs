//! Telling the client of a session which of its resources changed, on a stream that it keeps open
//! ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server)).

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use decide::{Caller, Dispatch, METHOD, Watch};
use http::StatusCode;
use model::{Name, ijson::Json};
use tokio::time::sleep;

use crate::{
    feed::Feed,
    gate::Gateway,
    sessions::Session,
    upstream::{SUBSCRIBE, UNSUBSCRIBE, Updates},
};

impl Session {
    /// Notes what a call that its server has done means for what the client is told.
    pub(crate) fn follow(&self, dispatch: &Dispatch) {
        let call = dispatch.call();
        let method = call.tool.name.strip_prefix(METHOD);
        let Some(method @ (SUBSCRIBE | UNSUBSCRIBE)) = method else { return };
        let arguments: Option<Json> = serde_json::from_slice(&call.arguments).ok();
        let uri = arguments.as_ref().and_then(|it| it.member("uri")).and_then(Json::as_str);
        match uri {
            Some(uri) if method == SUBSCRIBE => self.subscribe(uri, dispatch.lasting()),
            Some(uri) => self.unsubscribe(uri),
            None => {}
        }
    }
}

impl Gateway {
    /// A stream of what changes, until the caller's token ends, a stop cuts it or a later stream of the session takes its place.
    /// It takes a way to the server for as long.
    pub(crate) fn tell_changes(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        system: &Name,
        session: Arc<Session>,
        watch: Watch,
    ) -> Response {
        let Some(turn) = self.calls.of(caller.current()).try_take() else {
            let refusal = self.busy(caller, system);
            return (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string()).into_response();
        };
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
            drop(turn);
        });
        response
    }

    /// Tells of what the session's client has subscribed to, for as long as its server does.
    async fn tell(&self, feed: &Feed, session: &Session, caller: &Arc<Caller>, system: &Name) {
        // A client listens first and subscribes then. Before that there is no reason to reach the server.
        session.subscribed().await;
        let Some(mut updates) = self.updates(session, caller, system).await else { return };
        while let Some(uri) = updates.next().await {
            // What was permitted once may be forbidden or taken back since, or not be known at the moment.
            let may = session.subscription(&uri).is_some_and(|right| right.stands(caller));
            // It says that something changed, and may say so again: a client that does not read misses it.
            if may && feed.has_room() {
                feed.send(&updated(&uri));
            }
        }
    }

    /// What the server says in the session that this one has with it.
    async fn updates(&self, session: &Session, caller: &Caller, system: &Name) -> Option<Updates> {
        let server = self.engine.directory().server(system)?;
        let account = self.engine.account_of(&server.record, caller).ok()?;
        let reached = self.upstreams.reach(&server.record, account.as_deref()).await;
        Some(reached.ok()?.updates(session.holder()))
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
