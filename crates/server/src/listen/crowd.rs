//! The connections of one listener, and which of them makes room for the next one.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

/// All connections of a listener.
pub(super) struct Crowd {
    most: usize,
    connections: JoinSet<()>,
    /// Whoever came first, or was passed over longest ago, stands first. Of those that have ended some are still here.
    seats: VecDeque<Weak<Seat>>,
    door: Arc<Door>,
}

/// What connections and whoever lets them in know of each other.
#[derive(Default)]
struct Door {
    /// A connection waits for its client from now on.
    waits: Notify,
    /// There was little room left when somebody came last: each connection ends with the answer that it is at.
    is_crowded: AtomicBool,
}

/// For how long a connection is left in peace that was just let in: its request is on its way.
const GRACE: Duration = Duration::from_millis(10);

/// One connection, as far as others need to know.
///
/// At any moment either the node works on a request of it, or it waits for its client: for a request, for the rest of one,
/// or until what was answered is read. Only clients decide how long that takes.
pub(super) struct Seat {
    state: AtomicU8,
    since: Instant,
    door: Arc<Door>,
    leave: Notify,
}

/// From the head of a request to the end of its answer.
const ANSWERING: u8 = 1;
/// While a request's body does not come.
const STARVING: u8 = 2;
/// While nobody reads what is answered.
const STUCK: u8 = 4;
/// It makes room: no request of it is begun any more.
const LEAVING: u8 = 8;

/// Whether a connection in this state waits for its client.
const fn is_waiting(state: u8) -> bool {
    state & LEAVING == 0 && (state & ANSWERING == 0 || state & (STARVING | STUCK) != 0)
}

impl Crowd {
    /// Nobody yet, and at most so many at once.
    pub(super) fn new(most: usize) -> Self {
        let (connections, seats, door) = Default::default();
        Self { most, connections, seats, door }
    }

    /// Lets a connection in.
    pub(super) fn admit<F>(&mut self, converse: impl FnOnce(Arc<Seat>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Twice as many as there are: to look at all of them then costs each of them one look.
        if self.seats.len() > 2 * self.connections.len() + 16 {
            self.seats.retain(|seat| seat.strong_count() > 0);
        }
        let seat = Arc::new(Seat::new(self.door.clone()));
        self.seats.push_back(Arc::downgrade(&seat));
        self.connections.spawn(converse(seat));
    }

    /// Resolves once there is room for one more. Where there is none, a connection that waits for its client is closed, and
    /// every other one ends with its answer: without that, whoever opens many and says nothing, or asks without end, would
    /// keep everybody else out.
    pub(super) async fn room(&mut self) {
        let is_crowded = self.connections.len() > self.most / 4 * 3;
        self.door.is_crowded.store(is_crowded, Ordering::Relaxed);
        let door = self.door.clone();
        while self.connections.len() >= self.most {
            let waits = door.waits.notified();
            if self.unseat() {
                self.ended().await;
                continue;
            }
            tokio::select! {
                () = self.ended() => {}
                () = waits => {}
                () = sleep(GRACE) => {}
            }
        }
    }

    /// Resolves when a connection has ended; never where there is none.
    pub(super) async fn ended(&mut self) {
        if self.connections.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Resolves when all have ended.
    pub(super) async fn emptied(mut self) {
        while self.connections.join_next().await.is_some() {}
    }

    /// Asks the first one that waits for its client to leave, where there is one.
    fn unseat(&mut self) -> bool {
        for _ in 0..self.seats.len() {
            let Some(next) = self.seats.pop_front() else { break };
            let Some(seat) = next.upgrade() else { continue };
            if seat.unseat() {
                return true;
            }
            self.seats.push_back(next);
        }
        false
    }
}

impl Seat {
    fn new(door: Arc<Door>) -> Self {
        Self { state: AtomicU8::new(0), since: Instant::now(), door, leave: Notify::new() }
    }

    /// Whether its place is wanted: then the answer that it is at is its last.
    pub(super) fn is_wanted(&self) -> bool {
        self.door.is_crowded.load(Ordering::Relaxed)
    }

    /// Has it make room, if it waits for its client: in one step with looking at it, so that nothing is begun in between.
    fn unseat(&self) -> bool {
        if self.since.elapsed() < GRACE {
            return false;
        }
        let claim = |state| is_waiting(state).then_some(state | LEAVING);
        let claimed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim).is_ok();
        if claimed {
            self.leave.notify_one();
        }
        claimed
    }

    /// Begins work on a request; `false` where the connection is to make room.
    pub(super) fn begins(&self) -> bool {
        self.state.fetch_or(ANSWERING, Ordering::AcqRel) & LEAVING == 0
    }

    /// The work on its request is over.
    pub(super) fn ends(&self) {
        self.clear(ANSWERING);
        self.door.waits.notify_one();
    }

    /// Whether the rest of a request is awaited.
    pub(super) fn starves(&self, now: bool) {
        self.awaits(STARVING, now);
    }

    /// Whether it is awaited that somebody reads.
    pub(super) fn sticks(&self, now: bool) {
        self.awaits(STUCK, now);
    }

    fn awaits(&self, what: u8, now: bool) {
        if now {
            self.state.fetch_or(what, Ordering::AcqRel);
            self.door.waits.notify_one();
        } else {
            self.clear(what);
        }
    }

    fn clear(&self, what: u8) {
        self.state.fetch_and(!what, Ordering::AcqRel);
    }

    /// Resolves when this connection has to make room.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
    }
}
