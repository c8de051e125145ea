//! Segments of the write-ahead log, made ready ahead of need so that appending never waits for allocation.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    locked,
    medium::{Extent, Medium, is_full, write_all_at},
};

/// The folder of the segments.
pub(crate) const FOLDER: &str = "wal";
/// How many segments stand ready.
const READY: usize = 2;
/// How many segments may exist before appending is refused: what publishing may fall behind.
const MAX_SEGMENTS: usize = 256;
/// How long until space is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How much of a new segment is filled with zeros at a time.
const FILL: usize = 256 * 1024;

/// One file of the write-ahead log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) extent: Box<dyn Extent>,
}

/// Why there is no segment to write to.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    NoSpace,
    Failed(String),
}

/// Segments that stand ready, and used ones to make ready again.
pub(crate) struct Pool {
    medium: Arc<dyn Medium>,
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: VecDeque<Arc<Segment>>,
    retired: Vec<Arc<Segment>>,
    next: u64,
    in_use: usize,
    refused: Option<Refused>,
    /// Nothing is made ready before something is written: filling segments would crowd out the other files of a start.
    wanted: bool,
    closed: bool,
}

/// The name of a segment's file.
pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:016x}")
}

impl Pool {
    /// A pool without segments.
    pub(crate) fn new(medium: Arc<dyn Medium>, bytes: u64) -> Self {
        let state = State {
            ready: VecDeque::new(),
            retired: Vec::new(),
            next: 0,
            in_use: 0,
            refused: None,
            wanted: false,
            closed: false,
        };
        Self { medium, bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes over the segments of an earlier run, all of them published: a few get new numbers, the others go, so that
    /// nothing of theirs is ever read again. Afterwards at least one stands ready.
    pub(crate) fn adopt(&self, old: Vec<Arc<Segment>>) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.next = old.iter().map(|segment| segment.number + 1).max().unwrap_or(0);
        for segment in old {
            let number = state.next;
            let keep = segment.bytes == self.bytes && state.ready.len() < READY;
            match Arc::try_unwrap(segment) {
                Ok(segment) if keep => {
                    self.medium.rename(&path(segment.number), &path(number))?;
                    state.ready.push_back(Arc::new(Segment { number, ..segment }));
                    state.next += 1;
                }
                Ok(segment) => self.medium.remove(&path(segment.number))?,
                Err(segment) => self.medium.remove(&path(segment.number))?,
            }
        }
        if state.ready.is_empty() {
            let (number, bytes) = (state.next, self.bytes);
            let extent = self.medium.create(&path(number), bytes)?;
            state.ready.push_back(Arc::new(Segment { number, bytes, extent }));
            state.next += 1;
        }
        self.medium.sync_folder(FOLDER)?;
        self.medium.sync_folder("")
    }

    /// The next segment to write to. Where none is ready, waits for one attempt to make one.
    pub(crate) fn take(&self) -> Result<Arc<Segment>, Refused> {
        let mut state = locked(&self.state);
        if state.ready.is_empty() {
            state.refused = None;
            state.wanted = true;
            self.changed.notify_all();
            let waits = |state: &mut State| {
                state.ready.is_empty() && state.refused.is_none() && !state.closed
            };
            state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(segment) = state.ready.pop_front() else {
            return Err(state.refused.clone().unwrap_or(Refused::NoSpace));
        };
        state.in_use += 1;
        self.changed.notify_all();
        Ok(segment)
    }

    /// Asks for segments to stand ready from now on.
    pub(crate) fn prepare(&self) {
        locked(&self.state).wanted = true;
        self.changed.notify_all();
    }

    /// Gives back a segment of which everything is published.
    pub(crate) fn retire(&self, segment: Arc<Segment>) {
        let mut state = locked(&self.state);
        state.in_use -= 1;
        state.retired.push(segment);
        self.changed.notify_all();
    }

    /// Whether a segment stands ready.
    pub(crate) fn is_ready(&self) -> bool {
        !locked(&self.state).ready.is_empty()
    }

    /// Ends [`Pool::keep_ready`].
    pub(crate) fn close(&self) {
        locked(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Makes segments ready until the pool is closed. Runs on a thread of its own.
    pub(crate) fn keep_ready(&self) {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return;
            }
            let lacks = state.wanted && state.ready.len() < READY && state.refused.is_none();
            if lacks || state.retired.len() > READY {
                let used = state.retired.pop();
                let number = state.next;
                state.next += 1;
                let room = state.in_use + state.ready.len() < MAX_SEGMENTS;
                drop(state);
                let made = if !lacks {
                    self.discard(used).map(|()| None)
                } else if used.is_some() || room {
                    self.make(number, used).map(Some)
                } else {
                    Err(io::ErrorKind::StorageFull.into())
                };
                state = locked(&self.state);
                match made {
                    Ok(segment) => state.ready.extend(segment),
                    Err(error) if is_full(&error) => state.refused = Some(Refused::NoSpace),
                    Err(error) => state.refused = Some(Refused::Failed(error.to_string())),
                }
                self.changed.notify_all();
            } else if let Some(Refused::NoSpace) = state.refused {
                let (woken, waited) =
                    self.changed.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if waited.timed_out() {
                    state.refused = None;
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// A used segment under a new number, or a new file: allocated and filled, so that a later sync has no metadata to
    /// write.
    fn make(&self, number: u64, used: Option<Arc<Segment>>) -> io::Result<Arc<Segment>> {
        let bytes = self.bytes;
        // Somebody may be reading it still; then it is better gone than written over.
        if let Some(used) = used {
            match Arc::try_unwrap(used) {
                Ok(used) => {
                    self.medium.rename(&path(used.number), &path(number))?;
                    self.medium.sync_folder(FOLDER)?;
                    return Ok(Arc::new(Segment { number, ..used }));
                }
                Err(read) => self.medium.remove(&path(read.number))?,
            }
        }
        let extent = self.medium.create(&path(number), bytes)?;
        let zeros = vec![0; FILL];
        let fill = || -> io::Result<()> {
            let mut at = 0;
            while at < bytes {
                let part = FILL.min(usize::try_from(bytes - at).unwrap_or(FILL));
                write_all_at(&*extent, &zeros[..part], at)?;
                at += part as u64;
            }
            extent.sync()?;
            self.medium.sync_folder(FOLDER)
        };
        match fill() {
            Ok(()) => Ok(Arc::new(Segment { number, bytes, extent })),
            Err(error) => {
                self.medium.remove(&path(number))?;
                Err(error)
            }
        }
    }

    fn discard(&self, used: Option<Arc<Segment>>) -> io::Result<()> {
        used.map_or(Ok(()), |used| self.medium.remove(&path(used.number)))
    }
}
