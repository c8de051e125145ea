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
use tokio::{sync::Notify, time::sleep};

use crate::{envelope::event, guarded::PART, room::HELD};

/// How many events wait for a client before whoever makes them has to wait, too.
const AHEAD: usize = 16;
/// How much of a stream waits for its client, and is kept for one that may come back. For a client that is there one event
/// waits, however long it is; for one that is away nothing of a stream is kept once it would be more than this.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 1024 * 1024;
/// How much all streams together keep for clients that are away, and those of one agent.
const KEPT_BY_ALL: usize = 128 * 1024 * 1024;
const KEPT_BY_AGENT: usize = KEPT_BY_ALL / 8;
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

/// The bytes that streams hold whose clients may come back: all of them, and those of one agent.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    all: Arc<AtomicUsize>,
    of_agent: Arc<AtomicUsize>,
}

impl Kept {
    /// Beside these, the bytes of another agent.
    pub(crate) fn of_another(&self) -> Self {
        Self { all: self.all.clone(), of_agent: Arc::default() }
    }

    fn add(&self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.of_agent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn free(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        self.of_agent.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_much(&self) -> bool {
        self.all.load(Ordering::Relaxed) > KEPT_BY_ALL
            || self.of_agent.load(Ordering::Relaxed) > KEPT_BY_AGENT
    }
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
    /// What of the last event was not handed over yet.
    rest: Bytes,
    /// What its client would need next is gone.
    lost: bool,
    /// A stop cut it in the middle of an event, so that nothing can follow.
    is_torn: bool,
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
            inner.is_torn = !std::mem::take(&mut inner.rest).is_empty();
            if inner.is_torn && inner.next > inner.first {
                // Half an event is none: it is not given again either.
                inner.next -= 1;
            }
            let given = inner.next - inner.first;
            while inner.events.len() as u64 > given {
                let Some(event) = inner.events.pop_back() else { break };
                self.frees(&mut inner, &event);
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
    pub(crate) fn read(self: &Arc<Self>) -> Response {
        let inner = self.inner();
        let first = inner.first;
        self.read_on(inner, first).1
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
        let inner = self.inner();
        let is_kept = !inner.lost && (inner.first..=inner.end()).contains(&from);
        is_kept.then(|| self.read_on(inner, from))
    }

    /// Gives what follows to a new reader; whoever read before reads no more.
    fn read_on(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, next: u64) -> (u64, Response) {
        inner.next = next;
        inner.rest = Bytes::new();
        inner.is_torn = false;
        inner.reader += 1;
        inner.is_read = true;
        let reader = inner.reader;
        drop(inner);
        self.changed.notify_waiters();
        let body = Reader { feed: self.clone(), reader };
        let body = stream::unfold(body, |mut reader| async move {
            let part = reader.next().await?;
            Some((Ok::<_, Infallible>(part), reader))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (reader, (headers, Body::from_stream(body)).into_response())
    }

    /// Waits until whoever reads has read everything, or is there no more. A stop takes away what was not given by then, and so
    /// does time.
    pub(crate) async fn delivered(&self, watch: &Watch) {
        tokio::select! {
            biased;
            () = watch.cut() => self.cut(None),
            () = self.unread() => {}
            () = sleep(HELD) => self.cut(None),
        }
    }

    /// Resolves when nobody reads. One reader may take another's place before.
    async fn unread(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.inner().is_read {
                return;
            }
            changed.await;
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
            kept.add(event.len());
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
        if is_away && (inner.bytes > KEPT_BYTES || kept.is_much()) {
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
            kept.free(event.len());
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
            kept.free(bytes);
        }
    }
}

impl Inner {
    /// The number of the event that comes next.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// As much of the event at hand as is handed over at a time.
    fn part(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(PART))
    }

    fn is_read_by(&self, reader: u64) -> bool {
        self.reader == reader && self.is_read
    }
}

/// Who reads a stream. Dropped, it does not any more.
struct Reader {
    feed: Arc<Feed>,
    reader: u64,
}

impl Reader {
    /// The next part: what is handed over cannot be cut any more.
    async fn next(&mut self) -> Option<Bytes> {
        let feed = self.feed.clone();
        loop {
            let changed = feed.changed.notified();
            {
                let mut inner = feed.inner();
                if !inner.is_read_by(self.reader) || inner.is_torn {
                    return None;
                }
                if !inner.rest.is_empty() {
                    return Some(inner.part());
                }
                let at = usize::try_from(inner.next - inner.first).ok()?;
                if let Some(event) = inner.events.get(at).cloned() {
                    inner.next += 1;
                    inner.rest = event;
                    let part = inner.part();
                    feed.forget(&mut inner);
                    drop(inner);
                    feed.changed.notify_waiters();
                    return Some(part);
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
        self.feed.leave(self.reader);
    }
}
