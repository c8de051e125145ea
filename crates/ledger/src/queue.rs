//! What waits for the sequencer: bounded in records and bytes, never blocking who puts in.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    locked,
    log::{AppendError, Receipt},
    seal::Sealed,
};

/// The most records that wait: a second of work at the rate of a slow disk.
const MAX_RECORDS: usize = 16_384;
/// The most bytes that wait, so that long payloads cannot fill the memory.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// So many records do not wait for the one that has to rouse the sequencer: a larger batch costs each hardly less.
const CROWD: usize = 16;

/// A record that waits for its place.
pub(crate) struct Waiting {
    pub(crate) sealed: Sealed,
    pub(crate) weight: Weight,
    /// Whom to tell what became of it.
    pub(crate) caller: Option<oneshot::Sender<Result<Receipt, AppendError>>>,
}

/// What a record stands for, and so how much of the last room it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It grants, and has not happened where it is not recorded. None of the reserve is for it.
    Grants,
    /// It lets a person in, who may then take away. It has not happened where it is not recorded, and all of the reserve is for
    /// it: whoever asks for it sees that it is not asked for without end.
    LetsIn,
    /// It says no. A part of the reserve is for it.
    Refuses,
    /// It takes away, ends, or tells of what is missing. All of the reserve is for it.
    TakesAway,
}

impl Weight {
    /// Whether it has happened also where it is not recorded, so that a gap has to tell of it.
    pub(crate) const fn happens_anyway(self) -> bool {
        matches!(self, Self::Refuses | Self::TakesAway)
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Waiting>,
    bytes: usize,
    asleep: bool,
    closed: bool,
}

impl Queue {
    /// Puts a record in, or refuses it at once. Notes get half the room, so that a flood of denials cannot keep out what
    /// grants. Says whether it falls to the caller to [rouse](Self::rouse) the sequencer.
    pub(crate) fn put(&self, record: Waiting) -> Result<bool, AppendError> {
        let mut state = locked(&self.state);
        let share = if record.caller.is_some() { 1 } else { 2 };
        let bytes = state.bytes + record.sealed.frame.len();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if state.records.len() >= MAX_RECORDS / share || bytes > MAX_BYTES / share {
            return Err(AppendError::Full);
        }
        state.bytes = bytes;
        state.records.push_back(record);
        let asleep = std::mem::take(&mut state.asleep);
        let crowded = state.records.len() == CROWD;
        drop(state);
        if crowded {
            self.rouse();
        }
        Ok(asleep && !crowded)
    }

    /// Wakes the sequencer, if it sleeps.
    pub(crate) fn rouse(&self) {
        self.arrived.notify_one();
    }

    /// Moves everything that waits into `taken`, which is empty and whose room is used again; sleeps until there is
    /// something. False once the queue is closed and empty.
    pub(crate) fn take(&self, taken: &mut VecDeque<Waiting>) -> bool {
        let mut state = locked(&self.state);
        while state.records.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        std::mem::swap(&mut state.records, taken);
        true
    }

    /// Refuses whatever comes from now on.
    pub(crate) fn close(&self) {
        locked(&self.state).closed = true;
        self.arrived.notify_all();
    }
}
