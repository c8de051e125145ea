//! The connections of one target: how many at once, and which wait for the next request.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Limits, connection::Connection};

/// The connections of one target.
pub(super) struct Pool {
    places: Arc<Semaphore>,
    parked: Mutex<Vec<Parked>>,
    max_parked: usize,
    max_age: Duration,
}

/// The right to one connection, given back when dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// Waits for one of these places.
pub(super) async fn place(places: &Arc<Semaphore>) -> Place {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

struct Parked {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            parked: Mutex::default(),
            max_parked: limits.parked,
            max_age: limits.parked_for,
        }
    }

    /// Waits until one more connection may be used.
    pub(super) async fn place(&self) -> Place {
        place(&self.places).await
    }

    /// The connection that was used last and still stands.
    pub(super) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut parked = self.parked();
        parked.retain(|parked| now.duration_since(parked.since) < self.max_age);
        while let Some(mut last) = parked.pop() {
            if last.connection.is_idle() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request, if there is room.
    pub(super) fn park(&self, connection: Connection) {
        let mut parked = self.parked();
        if parked.len() < self.max_parked {
            parked.push(Parked { connection, since: Instant::now() });
        }
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        // A panic elsewhere leaves a list of whole connections behind.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
