//! Sessions of the revisions before 2026-07-28: what a client has said that later requests stand on, and the streams that it may
//! take up again.
//!
//! A session is no credential. Every request proves who sends it, and a session is there for the one who opened it or for nobody.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use model::{Digest, Timestamp};
use tokio::sync::Notify;

use crate::{
    envelope::{Level, RequestId},
    feed::Feed,
};

/// How many sessions one client has; the one that was not used for longest makes room.
const MAX_OF_ONE: usize = 16;
/// How many there are at all.
const MAX: usize = 10_000;
/// How many streams of a session can be taken up again.
const MAX_FEEDS: usize = 32;
/// Of how many resources the client of a session is told.
const MAX_SUBSCRIBED: usize = 256;
/// After how many seconds without a request a session is over.
const IDLE_SECONDS: i64 = 3_600;

/// All sessions of a node.
#[derive(Default)]
pub(crate) struct Sessions(DashMap<String, Arc<Session>>);

/// One session.
pub(crate) struct Session {
    id: String,
    /// Whose it is.
    of: Digest,
    used: AtomicI64,
    level: Mutex<Option<Level>>,
    feeds: Mutex<VecDeque<(u64, Arc<Feed>)>>,
    next_feed: AtomicU64,
    /// The requests on their way, to be cancelled by their ids.
    live: Mutex<HashMap<RequestId, Arc<Notify>>>,
    /// The resources of whose changes its client wants to be told.
    subscribed: Mutex<HashSet<String>>,
    /// Ends the stream on which it is told, where a later one takes its place.
    told: Mutex<Arc<Notify>>,
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Sessions {
    /// Opens a session under an id that nobody can guess.
    ///
    /// # Errors
    /// There are too many of others.
    pub(crate) fn open(&self, id: String, of: Digest, now: Timestamp) -> Result<(), TooMany> {
        self.0.retain(|_, session| session.is_alive(now));
        let ours = self.0.iter().filter(|entry| entry.of == of);
        let mut ours: Vec<_> =
            ours.map(|entry| (entry.used.load(Ordering::Relaxed), entry.key().clone())).collect();
        if ours.len() >= MAX_OF_ONE {
            ours.sort_unstable();
            self.0.remove(&ours[0].1);
        }
        if self.0.len() >= MAX {
            return Err(TooMany);
        }
        self.0.insert(id.clone(), Arc::new(Session::new(id, of, now)));
        Ok(())
    }

    /// The session with this id, where it is this client's.
    pub(crate) fn get(&self, id: &str, of: Digest, now: Timestamp) -> Option<Arc<Session>> {
        let session = self.0.get(id).filter(|session| session.of == of)?.clone();
        if !session.is_alive(now) {
            return None;
        }
        session.used.store(now.millis(), Ordering::Relaxed);
        Some(session)
    }

    /// Ends a session, and what is on its way in it: nobody could take it up again.
    pub(crate) fn end(&self, session: &Session) {
        self.0.remove(&session.id);
        locked(&session.live).values().for_each(|live| live.notify_one());
        locked(&session.told).notify_one();
    }
}

impl Session {
    fn new(id: String, of: Digest, now: Timestamp) -> Self {
        Self {
            id,
            of,
            used: AtomicI64::new(now.millis()),
            level: Mutex::default(),
            feeds: Mutex::default(),
            next_feed: AtomicU64::new(1),
            live: Mutex::default(),
            subscribed: Mutex::default(),
            told: Mutex::default(),
        }
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        now.millis() < self.used.load(Ordering::Relaxed) + IDLE_SECONDS * 1_000
    }

    /// The least that its client wants to read of servers' logs; `None` until it says so.
    pub(crate) fn level(&self) -> Option<Level> {
        *locked(&self.level)
    }

    pub(crate) fn set_level(&self, level: Level) {
        *locked(&self.level) = Some(level);
    }

    /// A new stream that the client may take up again.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        let number = self.next_feed.fetch_add(1, Ordering::Relaxed);
        let feed = Feed::named(number.to_string());
        let mut feeds = locked(&self.feeds);
        if feeds.len() >= MAX_FEEDS {
            feeds.pop_front();
        }
        feeds.push_back((number, feed.clone()));
        feed
    }

    /// The stream of an event that the client saw last, and the event's number in it.
    pub(crate) fn seen(&self, event: &str) -> Option<(Arc<Feed>, u64)> {
        let (feed, number) = event.split_once('-')?;
        let (feed, number): (u64, u64) = (feed.parse().ok()?, number.parse().ok()?);
        let feeds = locked(&self.feeds);
        let (_, found) = feeds.iter().find(|(name, _)| *name == feed)?;
        Some((found.clone(), number))
    }

    /// Notes a request, so that its client can cancel it.
    pub(crate) fn begin(self: &Arc<Self>, id: &RequestId) -> Live {
        let cancelled = Arc::new(Notify::new());
        locked(&self.live).insert(id.clone(), cancelled.clone());
        Live { session: self.clone(), id: id.clone(), cancelled }
    }

    /// Its client wants to be told of a resource. Beyond a number of them it hears nothing of the rest.
    pub(crate) fn subscribe(&self, uri: &str) {
        let mut subscribed = locked(&self.subscribed);
        if subscribed.len() < MAX_SUBSCRIBED {
            subscribed.insert(uri.to_owned());
        }
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        locked(&self.subscribed).remove(uri);
    }

    pub(crate) fn wants(&self, uri: &str) -> bool {
        locked(&self.subscribed).contains(uri)
    }

    /// Takes the place of the stream on which the client was told so far; resolves when this one's is taken.
    pub(crate) fn tell(&self) -> Arc<Notify> {
        let ours = Arc::new(Notify::new());
        std::mem::replace(&mut *locked(&self.told), ours.clone()).notify_one();
        ours
    }

    /// Cancels a request.
    pub(crate) fn cancel(&self, id: &RequestId) {
        if let Some(cancelled) = locked(&self.live).get(id) {
            cancelled.notify_one();
        }
    }
}

/// A request on its way in a session.
pub(crate) struct Live {
    pub(crate) session: Arc<Session>,
    id: RequestId,
    cancelled: Arc<Notify>,
}

impl Live {
    /// Resolves when the client does not want the answer any more.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = locked(&self.session.live);
        // A client that uses an id twice at once has replaced it.
        if live.get(&self.id).is_some_and(|current| Arc::ptr_eq(current, &self.cancelled)) {
            live.remove(&self.id);
        }
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
