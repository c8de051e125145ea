use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use model::{Name, Timestamp};
use serde_json::{Value, json};

/// What is known of a sink, to which the ledger's entries are sent. Whoever sends them writes it.
#[derive(Debug)]
pub struct Sunk {
    name: Name,
    /// The position of the first entry that it has not acknowledged.
    pub next: AtomicU64,
    /// From when that entry is, in milliseconds since 1970; zero where nothing waits.
    pub waiting_since: AtomicI64,
    /// How many entries are further behind than they may be: they are left out once it takes entries again.
    pub overdue: AtomicU64,
    /// How many entries were left out since the node started.
    pub left_out: AtomicU64,
    /// How many entries it took and said that it does not keep, since the node started.
    pub rejected: AtomicU64,
    failing: Mutex<Option<String>>,
}

impl Sunk {
    /// A sink of which nothing is known yet.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            next: AtomicU64::new(0),
            waiting_since: AtomicI64::new(0),
            overdue: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failing: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Says why it takes no entries; `None` once it does.
    pub fn fails(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why it takes no entries.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many entries of a ledger of this size it does not have.
    pub(crate) fn lag(&self, size: u64) -> u64 {
        size.saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// How many seconds the first of them has waited.
    pub(crate) fn lag_seconds(&self, now: Timestamp) -> u64 {
        match self.waiting_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.millis_since(Timestamp::from_millis(since)) / 1000,
        }
    }

    /// All of it, for whoever asks how it is.
    pub(crate) fn to_json(&self, size: u64, now: Timestamp) -> Value {
        json!({
            "name": self.name.as_str(),
            "lag_entries": self.lag(size),
            "lag_seconds": self.lag_seconds(now),
            "overdue": self.overdue.load(Ordering::Relaxed),
            "left_out": self.left_out.load(Ordering::Relaxed),
            "rejected": self.rejected.load(Ordering::Relaxed),
            "failure": self.failure(),
        })
    }
}
