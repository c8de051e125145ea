//! What a server says outside of calls in a session of the older revisions: that a resource changed which a client of ours
//! subscribed to ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/server/resources#subscriptions)).

use std::{
    sync::{Arc, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use decide::METHOD;
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

use super::{Server, Upstream, Wire, link::Link};
use crate::{envelope::is_event_stream, outbound::Request, sse::Parser};

/// The longest URI of which it is believed, in bytes.
pub(crate) const MAX_URI: usize = 8 * 1024;
/// How many updates wait for a listener of ours; one that is slower misses some.
pub(super) const WAITING: usize = 64;
/// After how long a stream is asked for again that has ended.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a stream that says nothing is looked at: whether anybody still wants it.
const LOOK: Duration = Duration::from_secs(10);
/// The method by which a client subscribes.
pub(crate) const SUBSCRIBE: &str = "resources/subscribe";
/// The method by which it does not want updates any more.
pub(crate) const UNSUBSCRIBE: &str = "resources/unsubscribe";

/// The method by which a client listens since 2026-07-28.
pub(crate) const LISTEN: &str = "subscriptions/listen";

impl Upstream {
    /// The URIs of the resources of which the server says from now on that they changed. It is listened to for as long as there
    /// are such receivers.
    pub fn updates(&self) -> broadcast::Receiver<Arc<str>> {
        let updates = self.0.updates.subscribe();
        let asking = self.0.asking().clone();
        asking.iter().for_each(|link| self.0.listen(link));
        updates
    }
}

/// Whether a call is about subscriptions, which stand in a session.
pub(super) fn is_subscription(tool: &str) -> bool {
    tool.strip_prefix(METHOD).is_some_and(|method| matches!(method, SUBSCRIBE | UNSUBSCRIBE))
}

impl Server {
    /// Listens in a session for as long as that is the one that is used, and somebody wants to hear what is said there.
    pub(super) fn listen(self: &Arc<Self>, link: &Arc<Link>) {
        {
            let mut listening = self.listening();
            if self.updates.receiver_count() == 0 || is_same(&listening, link) {
                return;
            }
            *listening = Arc::downgrade(link);
        }
        let (server, link) = (Arc::downgrade(self), link.clone());
        tokio::spawn(async move {
            while let Some(server) = wanted(&server, &link) {
                let has_more = tokio::select! {
                    biased;
                    () = server.updates.closed() => true,
                    has_more = server.listen_once(&link) => has_more,
                };
                if !has_more {
                    server.deafen(&link);
                    return;
                }
                drop(server);
                sleep(PAUSE).await;
            }
        });
    }

    fn listening(&self) -> MutexGuard<'_, Weak<Link>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody listens in this session any more.
    fn deafen(&self, link: &Arc<Link>) {
        let mut listening = self.listening();
        if is_same(&listening, link) {
            *listening = Weak::new();
        }
    }

    /// Reads one stream to its end; `false` where the server has none to give.
    async fn listen_once(&self, link: &Arc<Link>) -> bool {
        let Wire::Http(http) = &self.wire else { return false };
        let mut headers = link.headers("", None);
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let body = Bytes::new();
        let request = Request { method: Method::GET, path: None, headers, body, deadline: None };
        let sent = http.outbound.send(&http.target, request, http.credential.as_ref()).await;
        let Ok(mut response) = sent else { return true };
        let kind = response.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !response.status.is_success() || !kind.is_some_and(is_event_stream) {
            return response.status.is_server_error();
        }
        let mut parser = Parser::default();
        loop {
            let mut input = match timeout(LOOK, response.body.next()).await {
                Ok(Some(Ok(input))) => input,
                Ok(_) => return true,
                Err(_) if self.is_used(link) => continue,
                Err(_) => return true,
            };
            loop {
                match parser.next(&mut input) {
                    Ok(Some(data)) => self.tell_updated(&data),
                    Ok(None) => break,
                    Err(_) => return true,
                }
            }
        }
    }

    /// Whether this is the session in which the server may ask and tell.
    fn is_used(&self, link: &Arc<Link>) -> bool {
        self.asking().as_ref().is_some_and(|current| Arc::ptr_eq(current, link))
    }

    fn tell_updated(&self, message: &[u8]) {
        #[derive(Deserialize)]
        struct Updated {
            method: String,
            params: Resource,
        }
        #[derive(Deserialize)]
        struct Resource {
            uri: Arc<str>,
        }
        let Ok(Updated { method, params }) = serde_json::from_slice(message) else { return };
        if method == "notifications/resources/updated" && params.uri.len() <= MAX_URI {
            // Where nobody listens at the moment, nobody hears it.
            let _ = self.updates.send(params.uri);
        }
    }
}

/// The server, as long as this is the session in which it may speak and somebody hears it; from then on nobody listens.
fn wanted(server: &Weak<Server>, link: &Arc<Link>) -> Option<Arc<Server>> {
    let server = server.upgrade()?;
    let is_used = server.is_used(link);
    let mut listening = server.listening();
    // Whoever wants to hear it next looks behind this lock whether there is a listener.
    if is_used && is_same(&listening, link) && server.updates.receiver_count() > 0 {
        drop(listening);
        return Some(server);
    }
    if is_same(&listening, link) {
        *listening = Weak::new();
    }
    None
}

fn is_same(listening: &Weak<Link>, link: &Arc<Link>) -> bool {
    std::ptr::eq(listening.as_ptr(), Arc::as_ptr(link))
}
