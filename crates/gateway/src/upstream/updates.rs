//! What a server says outside of calls in a session of the older revisions: that a resource changed which its holder
//! subscribed to ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/server/resources#subscriptions)).

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use decide::METHOD;
use http::{HeaderValue, Method, StatusCode, header};
use model::Digest;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{Server, Upstream, Wire, events::Source, held::Whose, link::Link};
use crate::{
    envelope::{Era, is_event_stream},
    outbound::Request,
};

/// The longest URI of which it is believed, in bytes.
pub(crate) const MAX_URI: usize = 8 * 1024;
/// The longest message that is read of it, in bytes, since everybody who listens may be in the middle of one: such a URI with
/// every byte escaped, and what stands around it.
const MAX_UPDATE: usize = 8 * MAX_URI;
/// After how long a stream is asked for again that has ended or was refused.
const PAUSE: Duration = Duration::from_secs(1);
/// How many times as long it takes where it is refused again and again.
const MAX_PAUSES: u32 = 10;
/// How often it is looked, while a stream says nothing, whether its session is still the one that is used.
const LOOK: Duration = Duration::from_secs(10);
/// The method by which a client subscribes.
pub(crate) const SUBSCRIBE: &str = "resources/subscribe";
/// The method by which it does not want updates any more.
pub(crate) const UNSUBSCRIBE: &str = "resources/unsubscribe";

/// The method by which a client listens since 2026-07-28.
pub(crate) const LISTEN: &str = "subscriptions/listen";

/// Whether a call is about subscriptions, which stand in a session.
pub(super) fn is_subscription(tool: &str) -> bool {
    tool.strip_prefix(METHOD).is_some_and(|method| matches!(method, SUBSCRIBE | UNSUBSCRIBE))
}

/// What a server says in the session of one holder. Dropped, it listens no more.
pub struct Updates {
    /// Not kept alive: where another secret opens the server, this way to it is over.
    server: Weak<Server>,
    whose: Whose,
    stream: Option<Stream>,
    /// How often in a row the stream was refused.
    refused: u32,
}

/// The stream of one session, or of the server where it has no sessions.
struct Stream {
    link: Arc<Link>,
    /// `None` where the server has none to give there.
    source: Option<Source>,
}

impl Upstream {
    /// Listens in the session of a holder, once it has one and for as long as it has.
    pub fn updates(&self, holder: Digest) -> Updates {
        let (server, whose) = (Arc::downgrade(&self.0), Whose::Client(holder));
        Updates { server, whose, stream: None, refused: 0 }
    }
}

impl Updates {
    /// The URI of the next resource that changed; `None` once the server is not reached this way any more.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let server = self.server.upgrade()?;
            // To listen is to use a session, too.
            let link = server.known(true, || self.whose);
            let is_heard = match (&self.stream, &link) {
                (Some(stream), Some(link)) => Arc::ptr_eq(&stream.link, link),
                (stream, link) => stream.is_none() && link.is_none(),
            };
            if !is_heard {
                self.stream = match link {
                    Some(link) => server.listen(link).await,
                    None => None,
                };
                self.refused = if self.stream.is_some() { 0 } else { self.refused + 1 };
            }
            drop(server);
            let Some(stream) = &mut self.stream else {
                sleep(PAUSE * self.refused.clamp(1, MAX_PAUSES)).await;
                continue;
            };
            match timeout(LOOK, stream.next()).await {
                Ok(Some(message)) => {
                    if let Some(uri) = updated(&message) {
                        return Some(uri);
                    }
                }
                Ok(None) => {
                    self.stream = None;
                    sleep(PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }
}

impl Stream {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Some(source) => source.next().await.ok(),
            None => pending().await,
        }
    }
}

impl Server {
    /// Asks for the stream of a session; `None` where it may come later, as where the one before is not closed yet there (409).
    async fn listen(&self, link: Arc<Link>) -> Option<Stream> {
        let (Wire::Http(http), Era::Legacy) = (&self.wire, link.era()) else {
            return Some(Stream { link, source: None });
        };
        let mut headers = link.headers("", None);
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let body = Bytes::new();
        let request = Request { method: Method::GET, path: None, headers, body, deadline: None };
        let credential = http.credential().clone();
        let sent = http.outbound.send(&http.target, request, credential.as_deref()).await;
        let response = sent.ok()?;
        let kind = response.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let source = match response.status {
            status if status.is_success() => kind
                .is_some_and(is_event_stream)
                .then(|| Source::http(response.body, None, MAX_UPDATE)),
            StatusCode::METHOD_NOT_ALLOWED => None,
            _ => return None,
        };
        Some(Stream { link, source })
    }
}

/// The URI in a message that says that a resource changed.
fn updated(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Updated {
        method: String,
        params: Resource,
    }
    #[derive(Deserialize)]
    struct Resource {
        uri: String,
    }
    let Updated { method, params } = serde_json::from_slice(message).ok()?;
    let is_one = method == "notifications/resources/updated" && params.uri.len() <= MAX_URI;
    is_one.then_some(params.uri)
}
