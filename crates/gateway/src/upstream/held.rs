//! The sessions with one server of the older revisions. Each belongs to one holder: what the server keeps in it nobody else
//! reads or changes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use model::Digest;
use tokio::{
    runtime::Handle,
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{HANDSHAKE, Http, link::Link};
use crate::{envelope::header_name, outbound::Request};

/// How many holders have a session with one server, as one credential opens it; the one that was not used for longest makes
/// room. A server keeps something for each of them, which costs it more than it costs us.
pub(super) const MAX: usize = 1_000;
/// After how long without a request a session is ended; as long as a client's own here.
pub(super) const IDLE: Duration = Duration::from_secs(3_600);
/// How long telling the server of sessions that are over may take, however many end at once.
const ENDING: Duration = Duration::from_secs(60);

/// One session. Once nobody has it any more, and nothing is on its way in it, its server is told in the background that it is
/// over: whoever lets it go, also in the middle of a handshake, has nothing else to do.
pub(super) struct Session {
    id: HeaderValue,
    version: &'static str,
    http: Arc<Http>,
    is_gone: AtomicBool,
}

impl Session {
    pub(super) fn new(id: HeaderValue, version: &'static str, http: Arc<Http>) -> Self {
        Self { id, version, http, is_gone: AtomicBool::new(false) }
    }

    pub(super) fn id(&self) -> HeaderValue {
        self.id.clone()
    }

    /// Its server says that there is no such session, so there is nothing to end.
    pub(super) fn gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Outside of a runtime, as at the very end of a process, there is nobody left to send it.
        let (false, Ok(runtime)) = (*self.is_gone.get_mut(), Handle::try_current()) else { return };
        let mut headers = HeaderMap::new();
        headers.insert(header_name::PROTOCOL_VERSION, HeaderValue::from_static(self.version));
        headers.insert(header_name::SESSION, self.id());
        let http = self.http.clone();
        runtime.spawn(async move {
            let _ = timeout(ENDING, http.end_session(headers)).await;
        });
    }
}

impl Http {
    /// Tells the server that a session is over, of those that are one after the other.
    async fn end_session(&self, headers: HeaderMap) {
        let _turn = self.ending.lock().await;
        let request = Request {
            method: Method::DELETE,
            path: None,
            headers,
            body: Bytes::new(),
            deadline: Some(Instant::now() + HANDSHAKE),
        };
        // It may answer 405, or nothing: the session ends there in its own time.
        let credential = self.credential().clone();
        let _ = self.outbound.send(&self.target, request, credential.as_deref()).await;
    }
}

/// Whose a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// The gateway's own, in which it looks at tools.
    Gateway,
    /// A client's: see [`super::Holder::id`].
    Client(Digest),
}

/// The sessions, by whose they are.
#[derive(Default)]
pub(super) struct Held {
    slots: HashMap<Whose, Slot>,
    /// Whether somebody looks from time to time which of them are idle.
    pub(super) is_swept: bool,
}

struct Slot {
    /// `None` until the handshake is through, and once the server has forgotten the session.
    link: Option<Arc<Link>>,
    used: Instant,
    opening: Opening,
}

/// Locked by the one request that opens a session while others of the same holder wait for it.
pub(super) type Opening = Arc<Mutex<()>>;

impl Held {
    /// The session of a holder, which is used now.
    pub(super) fn used(&mut self, whose: Whose, now: Instant) -> Option<Arc<Link>> {
        let slot = self.slots.get_mut(&whose)?;
        slot.used = now;
        slot.link.clone()
    }

    /// A place for the session of a holder.
    pub(super) fn place(&mut self, whose: Whose, now: Instant) -> Opening {
        if self.slots.len() >= MAX && !self.slots.contains_key(&whose) {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(whose, _)| *whose) {
                self.end(oldest);
            }
        }
        let empty = || Slot { link: None, used: now, opening: Opening::default() };
        let slot = self.slots.entry(whose).or_insert_with(empty);
        slot.used = now;
        slot.opening.clone()
    }

    /// Keeps a session that was opened; `false` where its holder has ended meanwhile.
    pub(super) fn keep(&mut self, whose: Whose, opening: &Opening, link: &Arc<Link>) -> bool {
        let slot = self.slots.get_mut(&whose);
        let Some(slot) = slot.filter(|slot| Arc::ptr_eq(&slot.opening, opening)) else {
            return false;
        };
        slot.link = Some(link.clone());
        true
    }

    /// Forgets a session, and says whose it was, unless its holder has another one by now.
    pub(super) fn forget(&mut self, link: &Arc<Link>) -> Option<Whose> {
        let is_it = |slot: &Slot| slot.link.as_ref().is_some_and(|it| Arc::ptr_eq(it, link));
        let (whose, slot) = self.slots.iter_mut().find(|(_, slot)| is_it(slot))?;
        slot.link = None;
        Some(*whose)
    }

    /// Lets go the session of a holder who has ended.
    pub(super) fn end(&mut self, whose: Whose) {
        self.slots.remove(&whose);
    }

    /// Lets go the sessions that nobody used for too long.
    pub(super) fn end_idle(&mut self, now: Instant) {
        self.slots.retain(|_, slot| now < slot.used + IDLE);
    }

    /// Whether anybody has a session.
    pub(super) fn has_any(&self) -> bool {
        let mut links = self.slots.values().filter_map(|slot| slot.link.as_ref());
        links.any(|link| link.has_session())
    }

    /// Whether there are any holders.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
