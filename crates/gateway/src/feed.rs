//! The events of one stream on their way to a client. In a session a client may lose the stream and take it up again where it was
//! ([MCP 2025-11-25, resumability](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery));
//! everywhere else a stream that nobody reads is over.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::Notify;

use crate::envelope::event;

/// How many events wait for a client before whoever makes them has to wait, too.
const AHEAD: u64 = 16;
/// How much waits and is kept for a client that may come back; one event at least, however long it is.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 256 * 1024;
/// After how many milliseconds a client that lost the stream should ask for it again.
const RETRY_MS: u32 = 1_000;

/// One stream, fed by one task and read by one client.
pub(crate) struct Feed {
    /// What its events are named by, where the client may come back.
    name: Option<String>,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Bytes>,
    /// The number of the first of them.
    first: u64,
    /// The number of the next one to be delivered.
    next: u64,
    bytes: usize,
    /// Which reader it is that reads; whoever came last.
    reader: u64,
    is_read: bool,
    ended: bool,
}

/// Nobody reads and nobody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl Feed {
    /// A stream that is over when its reader goes.
    pub(crate) fn plain() -> Arc<Self> {
        Arc::new(Self { name: None, inner: Mutex::default(), changed: Notify::new() })
    }

    /// A stream whose reader may come back. Its first event says so and carries nothing else.
    pub(crate) fn named(name: String) -> Arc<Self> {
        let primer = format!("id: {name}-0\nretry: {RETRY_MS}\ndata:\n\n");
        let feed = Self { name: Some(name), inner: Mutex::default(), changed: Notify::new() };
        feed.push(primer.into());
        Arc::new(feed)
    }

    /// Waits until there is room for one more event.
    ///
    /// # Errors
    /// The reader is gone for good.
    pub(crate) async fn room(&self) -> Result<(), Abandoned> {
        loop {
            let changed = self.changed.notified();
            if self.is_abandoned() {
                return Err(Abandoned);
            }
            if self.has_room() {
                return Ok(());
            }
            changed.await;
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        let inner = self.inner();
        let waiting = (inner.first + inner.events.len() as u64).saturating_sub(inner.next);
        match self.name {
            None => waiting < AHEAD,
            Some(_) => waiting == 0 || waiting < KEPT as u64 && inner.bytes < KEPT_BYTES,
        }
    }

    /// Resolves when the reader is gone for good.
    pub(crate) async fn abandoned(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_abandoned() {
                return;
            }
            changed.await;
        }
    }

    fn is_abandoned(&self) -> bool {
        let inner = self.inner();
        self.name.is_none() && inner.reader > 0 && !inner.is_read
    }

    /// Adds a message.
    pub(crate) fn send(&self, message: &[u8]) {
        let event = event(message);
        match &self.name {
            None => self.push(event.into()),
            Some(name) => {
                let number = {
                    let inner = self.inner();
                    inner.first + inner.events.len() as u64
                };
                self.push([format!("id: {name}-{number}\n").as_bytes(), &event].concat().into());
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        self.inner().ended = true;
        self.changed.notify_waiters();
    }

    /// The stream from its beginning, or from behind an event that its client has seen; `None` where what follows is not kept
    /// any more. A reader that is there already gets no more.
    pub(crate) fn read(self: &Arc<Self>, seen: Option<u64>) -> Option<Response> {
        let reader = {
            let mut inner = self.inner();
            let from = seen.map_or(inner.first, |seen| seen + 1);
            if from < inner.first || from > inner.first + inner.events.len() as u64 {
                return None;
            }
            inner.next = from;
            inner.reader += 1;
            inner.is_read = true;
            inner.reader
        };
        self.changed.notify_waiters();
        let reader = Reader { feed: self.clone(), reader };
        let body = stream::unfold(reader, |reader| async move {
            let event = reader.next().await?;
            Some((Ok::<_, Infallible>(event), reader))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Some((headers, Body::from_stream(body)).into_response())
    }

    fn push(&self, event: Bytes) {
        let mut inner = self.inner();
        inner.bytes += event.len();
        inner.events.push_back(event);
        inner.forget(self.name.is_some());
        drop(inner);
        self.changed.notify_waiters();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets go of what was delivered, as far as nobody may want it again.
    fn forget(&mut self, may_come_back: bool) {
        while self.first < self.next
            && (!may_come_back || self.events.len() > KEPT || self.bytes > KEPT_BYTES)
        {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.len();
            self.first += 1;
        }
    }
}

/// Who reads a stream. Dropped, it does not any more.
struct Reader {
    feed: Arc<Feed>,
    reader: u64,
}

impl Reader {
    async fn next(&self) -> Option<Bytes> {
        loop {
            let changed = self.feed.changed.notified();
            {
                let mut inner = self.feed.inner();
                if inner.reader != self.reader {
                    return None;
                }
                let at = usize::try_from(inner.next - inner.first).ok()?;
                if let Some(event) = inner.events.get(at).cloned() {
                    inner.next += 1;
                    inner.forget(self.feed.name.is_some());
                    drop(inner);
                    self.feed.changed.notify_waiters();
                    return Some(event);
                }
                if inner.ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.feed.inner();
        if inner.reader == self.reader {
            inner.is_read = false;
        }
        drop(inner);
        self.feed.changed.notify_waiters();
    }
}
