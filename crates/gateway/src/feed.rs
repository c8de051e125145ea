//! The events of one stream on their way to a client. In a session a client may lose the stream and take it up again where it was
//! ([MCP 2025-11-25, resumability](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery));
//! everywhere else a stream that nobody reads is over.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use decide::Watch;
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::Notify;

use crate::{envelope::event, guarded::PART};

/// How many events wait for a client before whoever makes them has to wait, too.
const AHEAD: usize = 16;
/// How much of a stream waits for its client, and is kept for one that may come back. For a client that is there one event
/// waits, however long it is; for one that is away nothing of a stream is kept once it would be more than this.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 1024 * 1024;
/// How much all streams together keep for clients that are away.
const KEPT_BY_ALL: usize = 128 * 1024 * 1024;
/// After how many milliseconds a client that lost the stream should ask for it again.
const RETRY_MS: u32 = 1_000;

/// One stream, fed by one task and read by one client.
pub(crate) struct Feed {
    /// Where the client may come back.
    resumable: Option<Resumable>,
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Resumable {
    /// What its events are named by.
    name: String,
    kept: Kept,
}

/// The bytes that all streams hold whose clients may come back.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<AtomicUsize>);

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
    /// What its client would need next is gone.
    lost: bool,
    /// A stop cut it, in the middle of an event, too.
    is_cut: bool,
}

/// Nobody reads and nobody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl Feed {
    /// A stream that is over when its reader goes.
    pub(crate) fn plain() -> Arc<Self> {
        Arc::new(Self { resumable: None, inner: Mutex::default(), changed: Notify::new() })
    }

    /// A stream whose reader may come back. Its first event says so and carries nothing else.
    pub(crate) fn named(name: String, kept: Kept) -> Arc<Self> {
        let primer = format!("id: {name}-0\nretry: {RETRY_MS}\ndata:\n\n");
        let resumable = Some(Resumable { name, kept });
        let feed = Self { resumable, inner: Mutex::default(), changed: Notify::new() };
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
        let waiting = inner.end() - inner.next;
        let most = if self.resumable.is_some() { KEPT } else { AHEAD };
        waiting == 0 || waiting < most as u64 && inner.bytes < KEPT_BYTES
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
        self.resumable.is_none() && inner.reader > 0 && !inner.is_read
    }

    /// Adds a message.
    pub(crate) fn send(&self, message: &[u8]) {
        let event = event(message);
        match &self.resumable {
            None => self.push(event.into()),
            Some(Resumable { name, .. }) => {
                let number = self.inner().end();
                self.push([format!("id: {name}-{number}\n").as_bytes(), &event].concat().into());
            }
        }
    }

    /// Ends it with these words in the place of everything that its client was not given yet.
    pub(crate) fn cut(&self, words: Option<&[u8]>) {
        {
            let mut inner = self.inner();
            inner.is_cut = true;
            let given = inner.next - inner.first;
            while inner.events.len() as u64 > given {
                inner
                    .events
                    .pop_back()
                    .into_iter()
                    .for_each(|event| self.frees(&mut inner, &event));
            }
        }
        words.into_iter().for_each(|words| self.send(words));
        self.end();
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        self.inner().ended = true;
        self.changed.notify_waiters();
    }

    /// The stream from its beginning. A reader that is there already gets no more.
    pub(crate) fn read(self: &Arc<Self>) -> Option<Response> {
        let first = self.inner().first;
        Some(self.read_from(first)?.1)
    }

    /// The stream from behind an event that its client has seen, until a stop cuts the client off; `None` where what follows
    /// is not kept any more. A reader that is there already gets no more.
    pub(crate) fn resume(self: &Arc<Self>, seen: u64, watch: Watch) -> Option<Response> {
        let (reader, response) = self.read_from(seen.checked_add(1)?)?;
        let feed = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watch.cut() => feed.leave(reader),
                () = feed.left(reader) => {}
            }
        });
        Some(response)
    }

    fn read_from(self: &Arc<Self>, from: u64) -> Option<(u64, Response)> {
        let reader = {
            let mut inner = self.inner();
            if inner.lost || from < inner.first || from > inner.end() {
                return None;
            }
            inner.next = from;
            inner.reader += 1;
            inner.is_read = true;
            inner.reader
        };
        self.changed.notify_waiters();
        let body = Reader { feed: self.clone(), reader, rest: Bytes::new() };
        let body = stream::unfold(body, |mut reader| async move {
            let part = reader.next().await?;
            Some((Ok::<_, Infallible>(part), reader))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Some((reader, (headers, Body::from_stream(body)).into_response()))
    }

    /// Waits until whoever reads has read everything, or is there no more. A stop takes away what was not given by then.
    pub(crate) async fn delivered(&self, watch: &Watch) {
        let reader = self.inner().reader;
        tokio::select! {
            biased;
            () = watch.cut() => self.cut(None),
            () = self.left(reader) => {}
        }
    }

    /// Resolves when this reader reads no more.
    async fn left(&self, reader: u64) {
        loop {
            let changed = self.changed.notified();
            if !self.inner().is_read_by(reader) {
                return;
            }
            changed.await;
        }
    }

    /// This reader reads no more.
    fn leave(&self, reader: u64) {
        let mut inner = self.inner();
        if inner.is_read_by(reader) {
            inner.is_read = false;
            self.shed(&mut inner);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    fn push(&self, event: Bytes) {
        let mut inner = self.inner();
        if inner.lost {
            return;
        }
        inner.bytes += event.len();
        if let Some(Resumable { kept, .. }) = &self.resumable {
            kept.0.fetch_add(event.len(), Ordering::Relaxed);
        }
        inner.events.push_back(event);
        self.forget(&mut inner);
        self.shed(&mut inner);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Lets go of what was delivered, as far as nobody may want it again.
    fn forget(&self, inner: &mut Inner) {
        while inner.first < inner.next
            && (self.resumable.is_none() || inner.events.len() > KEPT || inner.bytes > KEPT_BYTES)
        {
            let Some(event) = inner.events.pop_front() else { return };
            self.frees(inner, &event);
            inner.first += 1;
        }
    }

    /// Lets go of everything where it is too much for a client that is away: the rest alone is of no use to it.
    fn shed(&self, inner: &mut Inner) {
        let Some(Resumable { kept, .. }) = &self.resumable else { return };
        let is_away = inner.reader > 0 && !inner.is_read;
        let is_much = inner.bytes > KEPT_BYTES || kept.0.load(Ordering::Relaxed) > KEPT_BY_ALL;
        if is_away && is_much {
            inner.lost = true;
            inner.next = inner.end();
            inner.first = inner.next;
            for event in std::mem::take(&mut inner.events) {
                self.frees(inner, &event);
            }
        }
    }

    fn frees(&self, inner: &mut Inner, event: &Bytes) {
        inner.bytes -= event.len();
        if let Some(Resumable { kept, .. }) = &self.resumable {
            kept.0.fetch_sub(event.len(), Ordering::Relaxed);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let bytes = self.inner().bytes;
        if let Some(Resumable { kept, .. }) = &self.resumable {
            kept.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Inner {
    /// The number of the event that comes next.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn is_read_by(&self, reader: u64) -> bool {
        self.reader == reader && self.is_read
    }
}

/// Who reads a stream. Dropped, it does not any more.
struct Reader {
    feed: Arc<Feed>,
    reader: u64,
    /// What of the last event was not handed over yet.
    rest: Bytes,
}

impl Reader {
    /// The next part: what is handed over cannot be cut any more.
    async fn next(&mut self) -> Option<Bytes> {
        let feed = self.feed.clone();
        loop {
            let changed = feed.changed.notified();
            {
                let mut inner = feed.inner();
                if !inner.is_read_by(self.reader) {
                    return None;
                }
                if !self.rest.is_empty() {
                    return (!inner.is_cut).then(|| self.part());
                }
                let at = usize::try_from(inner.next - inner.first).ok()?;
                if let Some(event) = inner.events.get(at).cloned() {
                    inner.next += 1;
                    feed.forget(&mut inner);
                    drop(inner);
                    feed.changed.notify_waiters();
                    self.rest = event;
                    return Some(self.part());
                }
                if inner.ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Reader {
    fn part(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(PART))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.leave(self.reader);
    }
}
