//! Sessions of the revisions before 2026-07-28: what a client has said that later requests stand on, and the streams that it may
//! take up again.
//!
//! A session is no credential. Every request proves who sends it, and a session is there for the one who opened it or for nobody.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use decide::{Lasting, sha256};
use model::{Digest, IdentityId, Name, Timestamp};
use tokio::sync::Notify;

use crate::{
    envelope::{Level, RequestId},
    feed::{Feed, Kept},
    upstream::MAX_URI,
};

/// How many sessions one client has; the one that was not used for longest makes room.
const MAX_OF_ONE: usize = 16;
/// How many all clients of one agent have together, whatever their keys and tasks.
const MAX_OF_AGENT: usize = MAX / 2;
/// How many there are at all.
const MAX: usize = 20_000;
/// How many streams of a session can be taken up again.
const MAX_FEEDS: usize = 32;
/// Of how many resources the client of a session is told.
const MAX_SUBSCRIBED: usize = 256;
/// After how many seconds without a request a session is over.
const IDLE_SECONDS: i64 = 3_600;

/// After how many seconds it is looked again which sessions are over.
const SWEEP_SECONDS: i64 = 60;

/// All sessions of a node.
#[derive(Default)]
pub(crate) struct Sessions {
    open: DashMap<String, Arc<Session>>,
    held: Mutex<Held>,
    kept: Kept,
}

/// The same sessions by whom they belong to, so that opening one costs no look at all of them.
#[derive(Default)]
struct Held {
    clients: HashMap<Digest, Vec<Arc<Session>>>,
    agents: HashMap<IdentityId, OfAgent>,
    /// The holders whose sessions have ended since that was asked last.
    ended: Vec<Digest>,
    /// When it was looked last which are over, in milliseconds.
    swept: i64,
}

/// What all clients of one agent have.
struct OfAgent {
    sessions: usize,
    kept: Kept,
}

/// One session.
pub(crate) struct Session {
    id: String,
    /// By what servers' sessions are found that belong to it.
    holder: Digest,
    /// Whose it is.
    of: Digest,
    agent: IdentityId,
    used: AtomicI64,
    ended: AtomicBool,
    kept: Kept,
    level: Mutex<Option<Level>>,
    feeds: Mutex<VecDeque<(u64, Name, Arc<Feed>)>>,
    next_feed: AtomicU64,
    /// The requests on their way, to be cancelled by their ids.
    live: Mutex<HashMap<RequestId, Arc<Notify>>>,
    /// The resources of whose changes its client wants to be told, each by the right to it.
    subscribed: Mutex<HashMap<String, Lasting>>,
    follows: Notify,
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
    /// There are too many, of this agent or of all.
    pub(crate) fn open(
        &self,
        id: String,
        of: Digest,
        agent: &IdentityId,
        now: Timestamp,
    ) -> Result<(), TooMany> {
        let mut held = locked(&self.held);
        self.sweep(&mut held, now);
        let ours = held.clients.get(&of).filter(|ours| ours.len() >= MAX_OF_ONE);
        let oldest = ours.and_then(|ours| ours.iter().min_by_key(|session| session.used()));
        if let Some(oldest) = oldest.cloned() {
            self.remove(&mut held, &oldest);
        }
        if self.open.len() >= MAX {
            return Err(TooMany);
        }
        let unknown = || OfAgent { sessions: 0, kept: self.kept.of_another() };
        let of_agent = held.agents.entry(agent.clone()).or_insert_with(unknown);
        if of_agent.sessions >= MAX_OF_AGENT {
            return Err(TooMany);
        }
        of_agent.sessions += 1;
        let session = Session::new(id.clone(), of, agent.clone(), of_agent.kept.clone(), now);
        let session = Arc::new(session);
        held.clients.entry(of).or_default().push(session.clone());
        self.open.insert(id, session);
        Ok(())
    }

    fn sweep(&self, held: &mut Held, now: Timestamp) {
        if now.millis() < held.swept + SWEEP_SECONDS * 1_000 {
            return;
        }
        held.swept = now.millis();
        let over = self.open.iter().filter(|entry| !entry.is_alive(now));
        let over: Vec<Arc<Session>> = over.map(|entry| entry.value().clone()).collect();
        over.iter().for_each(|session| self.remove(held, session));
    }

    fn remove(&self, held: &mut Held, session: &Session) {
        session.end();
        if self.open.remove(&session.id).is_none() {
            return;
        }
        held.ended.push(session.holder);
        if let Entry::Occupied(mut ours) = held.clients.entry(session.of) {
            ours.get_mut().retain(|other| other.id != session.id);
            if ours.get().is_empty() {
                ours.remove();
            }
        }
        if let Entry::Occupied(mut of_agent) = held.agents.entry(session.agent.clone()) {
            of_agent.get_mut().sessions -= 1;
            if of_agent.get().sessions == 0 {
                of_agent.remove();
            }
        }
    }

    /// The session with this id, where it is this client's.
    pub(crate) fn get(&self, id: &str, of: Digest, now: Timestamp) -> Option<Arc<Session>> {
        let session = self.open.get(id).filter(|session| session.of == of)?.clone();
        if !session.is_alive(now) {
            return None;
        }
        session.used.store(now.millis(), Ordering::Relaxed);
        Some(session)
    }

    /// Ends a session, and what is on its way in it: nobody could take it up again.
    pub(crate) fn end(&self, session: &Session) {
        self.remove(&mut locked(&self.held), session);
    }

    /// The holders whose sessions have ended since this was asked last: what they have with servers is over, too.
    pub(crate) fn ended(&self) -> Vec<Digest> {
        std::mem::take(&mut locked(&self.held).ended)
    }
}

impl Session {
    fn new(id: String, of: Digest, agent: IdentityId, kept: Kept, now: Timestamp) -> Self {
        Self {
            holder: sha256(&[b"session/v1\0", id.as_bytes()]),
            id,
            of,
            agent,
            kept,
            ended: AtomicBool::new(false),
            used: AtomicI64::new(now.millis()),
            level: Mutex::default(),
            feeds: Mutex::default(),
            next_feed: AtomicU64::new(1),
            live: Mutex::default(),
            subscribed: Mutex::default(),
            follows: Notify::new(),
            told: Mutex::default(),
        }
    }

    /// By what servers' sessions are found that belong to it.
    pub(crate) fn holder(&self) -> Digest {
        self.holder
    }

    /// When it was used last, in milliseconds.
    fn used(&self) -> i64 {
        self.used.load(Ordering::Relaxed)
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        now.millis() < self.used() + IDLE_SECONDS * 1_000
    }

    /// Ends what is on its way in it.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        locked(&self.live).values().for_each(|live| live.notify_one());
        locked(&self.told).notify_one();
    }

    /// The least that its client wants to read of servers' logs; `None` until it says so.
    pub(crate) fn level(&self) -> Option<Level> {
        *locked(&self.level)
    }

    pub(crate) fn set_level(&self, level: Level) {
        *locked(&self.level) = Some(level);
    }

    /// A new stream of a system that the client may take up again.
    pub(crate) fn feed(&self, system: Name) -> Arc<Feed> {
        let number = self.next_feed.fetch_add(1, Ordering::Relaxed);
        let feed = Feed::named(number.to_string(), self.kept.clone());
        let mut feeds = locked(&self.feeds);
        if feeds.len() >= MAX_FEEDS {
            feeds.pop_front();
        }
        feeds.push_back((number, system, feed.clone()));
        feed
    }

    /// The stream of an event that the client saw last, with its system, and the event's number in it.
    pub(crate) fn seen(&self, event: &str) -> Option<(Arc<Feed>, Name, u64)> {
        let (feed, number) = event.split_once('-')?;
        let (feed, number): (u64, u64) = (feed.parse().ok()?, number.parse().ok()?);
        let feeds = locked(&self.feeds);
        let (_, system, found) = feeds.iter().find(|(name, ..)| *name == feed)?;
        Some((found.clone(), system.clone(), number))
    }

    /// Notes a request, so that its client can cancel it.
    pub(crate) fn begin(self: &Arc<Self>, id: &RequestId) -> Live {
        let cancelled = Arc::new(Notify::new());
        locked(&self.live).insert(id.clone(), cancelled.clone());
        self.end_if_over(&cancelled);
        Live { session: self.clone(), id: id.clone(), cancelled }
    }

    /// Its client wants to be told of a resource. Beyond a number of them it hears nothing of the rest.
    pub(crate) fn subscribe(&self, uri: &str, by: Lasting) {
        let mut subscribed = locked(&self.subscribed);
        let has_room = subscribed.len() < MAX_SUBSCRIBED || subscribed.contains_key(uri);
        if has_room && uri.len() <= MAX_URI {
            subscribed.insert(uri.to_owned(), by);
        }
        drop(subscribed);
        self.follows.notify_waiters();
    }

    /// Resolves when its client wants to be told of anything.
    pub(crate) async fn subscribed(&self) {
        loop {
            let follows = self.follows.notified();
            if !locked(&self.subscribed).is_empty() {
                return;
            }
            follows.await;
        }
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        locked(&self.subscribed).remove(uri);
    }

    /// By what its client is told of a resource, if it wants to be.
    pub(crate) fn subscription(&self, uri: &str) -> Option<Lasting> {
        locked(&self.subscribed).get(uri).cloned()
    }

    /// Takes the place of the stream on which the client was told so far; resolves when this one's is taken.
    pub(crate) fn tell(&self) -> Arc<Notify> {
        let ours = Arc::new(Notify::new());
        std::mem::replace(&mut *locked(&self.told), ours.clone()).notify_one();
        self.end_if_over(&ours);
        ours
    }

    /// What began while the session ended was missed by its end.
    fn end_if_over(&self, begun: &Notify) {
        if self.ended.load(Ordering::SeqCst) {
            begun.notify_one();
        }
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
