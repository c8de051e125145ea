//! Telling the client of a session which of its resources changed, on a stream that it keeps open
//! ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server)).

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use decide::{Caller, FrozenCall, METHOD, Watch};
use http::StatusCode;
use model::{Name, ijson::Json};
use tokio::{sync::broadcast::error::RecvError, time::sleep};

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
    pub(crate) async fn tell_changes(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        system: &Name,
        session: Arc<Session>,
        watch: Watch,
    ) -> Response {
        let Some(entry) = self.engine.directory().server(system) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let account = match self.engine.account_of(&entry.record, caller) {
            Ok(account) => account,
            Err(refusal) => return (StatusCode::FORBIDDEN, refusal.to_string()).into_response(),
        };
        let Ok(upstream) = self.upstreams.reach(&entry.record, account.as_deref()).await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let left = caller.claims.exp.millis_since(self.engine.context().now());
        let (feed, replaced) = (Feed::plain(), session.tell());
        let mut updates = upstream.updates();
        let response = feed.read(None);
        tokio::spawn(async move {
            let mut end = std::pin::pin!(sleep(Duration::from_millis(left)));
            loop {
                let update = tokio::select! {
                    biased;
                    () = watch.cut() => break,
                    () = &mut end => break,
                    () = replaced.notified() => break,
                    () = feed.abandoned() => break,
                    update = updates.recv() => update,
                };
                match update {
                    // It says that something changed, and may say so again: a client that does not read misses it.
                    Ok(update) if session.wants(&update.uri) && feed.has_room() => {
                        feed.send(&update.message);
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                }
            }
            feed.end();
        });
        response.unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}
