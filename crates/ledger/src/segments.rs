//! Segments of the write-ahead log, made ready ahead of need so that appending never waits for allocation.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
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
/// The same for the reserve, which is not to take the last room from the rest.
const RETRY_RESERVE: Duration = Duration::from_secs(60);
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
    /// How many segments are kept for when the medium is full.
    reserve: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: VecDeque<Arc<Segment>>,
    reserve: VecDeque<Arc<Segment>>,
    retired: Vec<Arc<Segment>>,
    /// The number of the next file.
    next: u64,
    /// The number of the segment that was taken last.
    taken: u64,
    in_use: usize,
    refused: Option<Refused>,
    /// There was no room for the reserve.
    too_full: bool,
    /// Some of the reserve was taken. It is made whole before anything else: who has just been on a full medium may soon be
    /// there again.
    drawn: bool,
    /// Nothing is made ready before something is written: filling segments would crowd out the other files of a start.
    wanted: bool,
    closed: bool,
}

/// The name of a segment's file.
pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:016x}")
}

/// What can be done for segments to stand ready.
#[derive(Clone, Copy)]
enum Work {
    /// One is made, to stand ready or for the reserve.
    Make { ready: bool },
    /// A used one goes that is not needed.
    Discard,
    /// Space is looked for again.
    LookAgain,
}

impl State {
    /// What is to be done next, and whether only after a pause in which nothing changes.
    fn due(&self, reserve: usize) -> Option<(Work, Option<Duration>)> {
        let may_make = self.wanted && self.refused.is_none();
        let lacks = may_make && self.ready.len() < READY;
        let lacks_reserve = may_make && self.reserve.len() < reserve;
        let reserve_first = self.drawn && lacks_reserve;
        if lacks || reserve_first || (lacks_reserve && !self.retired.is_empty()) {
            Some((Work::Make { ready: lacks && !reserve_first }, None))
        } else if self.retired.len() > READY {
            Some((Work::Discard, None))
        } else if matches!(self.refused, Some(Refused::NoSpace)) {
            Some((Work::LookAgain, Some(RETRY)))
        } else if lacks_reserve {
            // Filling it would crowd out what is asked for just now.
            let pause = if self.too_full { RETRY_RESERVE } else { RETRY };
            Some((Work::Make { ready: false }, Some(pause)))
        } else {
            None
        }
    }

    /// Remembers why no segment can be had.
    fn refuse(&mut self, error: &io::Error) {
        self.refused = Some(Refused::by(error));
    }
}

impl Refused {
    fn by(error: &io::Error) -> Self {
        match is_full(error) {
            true => Self::NoSpace,
            false => Self::Failed(error.to_string()),
        }
    }
}

impl Pool {
    /// A pool without segments, which are this long each; `reserve` bytes of them are kept for when the medium is full.
    pub(crate) fn new(medium: Arc<dyn Medium>, bytes: u64, reserve: u64) -> Self {
        let state = State {
            ready: VecDeque::new(),
            reserve: VecDeque::new(),
            retired: Vec::new(),
            next: 0,
            taken: 0,
            in_use: 0,
            refused: None,
            too_full: false,
            drawn: false,
            wanted: false,
            closed: false,
        };
        let reserve = usize::try_from(reserve.div_ceil(bytes)).unwrap_or(MAX_SEGMENTS);
        Self { medium, bytes, reserve, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes over the segments of an earlier run, all of them published: a few get new numbers, the others go, so that
    /// nothing of theirs is ever read again. Afterwards at least one stands ready.
    pub(crate) fn adopt(&self, old: Vec<Arc<Segment>>) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.next = old.iter().map(|segment| segment.number + 1).max().unwrap_or(0);
        for segment in old {
            let number = state.next;
            // One is taken at once.
            let ready = state.ready.len() <= READY;
            let keep = ready || state.reserve.len() < self.reserve;
            match Arc::try_unwrap(segment) {
                Ok(segment) if keep && segment.bytes == self.bytes => {
                    self.medium.rename(&path(segment.number), &path(number))?;
                    let segment = Arc::new(Segment { number, ..segment });
                    match ready {
                        true => state.ready.push_back(segment),
                        false => state.reserve.push_back(segment),
                    }
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
            state = self.await_attempt(state);
        }
        let Some(segment) = state.ready.pop_front() else {
            return Err(state.refused.clone().unwrap_or(Refused::NoSpace));
        };
        self.changed.notify_all();
        self.in_order(state, segment)
    }

    fn await_attempt<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        if cfg!(test) {
            // A simulation has no second thread that could make one meanwhile.
            return self.make_one(state, true);
        }
        let waits =
            |state: &mut State| state.ready.is_empty() && state.refused.is_none() && !state.closed;
        self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment that stands ready; none where there is no space.
    pub(crate) fn take_ready(&self) -> Result<Option<Arc<Segment>>, Refused> {
        let mut state = locked(&self.state);
        let Some(segment) = state.ready.pop_front() else { return Ok(None) };
        self.changed.notify_all();
        self.in_order(state, segment).map(Some)
    }

    /// A segment of the reserve; none where it is used up, or never came to be.
    pub(crate) fn take_reserve(&self) -> Result<Option<Arc<Segment>>, Refused> {
        let mut state = locked(&self.state);
        let Some(segment) = state.reserve.pop_front() else { return Ok(None) };
        state.drawn = true;
        self.in_order(state, segment).map(Some)
    }

    /// A segment that is about to be written to, under a number above all that were: they are read again in that order.
    fn in_order(
        &self,
        mut state: MutexGuard<'_, State>,
        segment: Arc<Segment>,
    ) -> Result<Arc<Segment>, Refused> {
        state.in_use += 1;
        if segment.number >= state.taken {
            state.taken = segment.number;
            return Ok(segment);
        }
        let number = state.next;
        (state.next, state.taken) = (number + 1, number);
        // Whoever asks how the log is does not wait for the medium.
        drop(state);
        let segment = Arc::into_inner(segment).expect("nobody has one that stands ready");
        self.renumber(segment, number).map_err(|error| {
            locked(&self.state).in_use -= 1;
            Refused::by(&error)
        })
    }

    /// Gives a file another number, durably, before anything is written that names it.
    fn renumber(&self, segment: Segment, number: u64) -> io::Result<Arc<Segment>> {
        self.medium.rename(&path(segment.number), &path(number))?;
        self.medium.sync_folder(FOLDER)?;
        Ok(Arc::new(Segment { number, ..segment }))
    }

    /// How many bytes of the reserve refusals may take.
    pub(crate) fn for_refusals(&self) -> u64 {
        self.reserve as u64 * self.bytes / 3
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
        while !state.closed {
            state = match state.due(self.reserve) {
                Some((work, None)) => self.work(state, work),
                Some((work, Some(pause))) => {
                    let (state, waited) = self.wait(state, pause);
                    if waited { self.work(state, work) } else { state }
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Does at once what is due now or after a pause; false where nothing is.
    #[cfg(test)]
    pub(crate) fn step(&self) -> bool {
        let state = locked(&self.state);
        let due = state.due(self.reserve);
        due.map(|(work, _)| self.work(state, work)).is_some()
    }

    fn work<'s>(&'s self, mut state: MutexGuard<'s, State>, work: Work) -> MutexGuard<'s, State> {
        match work {
            Work::Make { ready } => self.make_one(state, ready),
            Work::Discard => {
                let used = state.retired.pop();
                drop(state);
                let discarded = self.discard(used);
                state = locked(&self.state);
                if let Err(error) = discarded {
                    state.refuse(&error);
                }
                state
            }
            Work::LookAgain => {
                state.refused = None;
                state
            }
        }
    }

    /// Waits until something changes, or the time is over, which it then says.
    fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        time: Duration,
    ) -> (MutexGuard<'s, State>, bool) {
        let waited = self.changed.wait_timeout(state, time);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, waited.timed_out())
    }

    /// Makes one segment, to stand ready or for the reserve.
    fn make_one<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        ready: bool,
    ) -> MutexGuard<'s, State> {
        let used = state.retired.pop();
        let number = state.next;
        state.next += 1;
        let room = state.in_use + state.ready.len() < MAX_SEGMENTS;
        drop(state);
        let made = if used.is_some() || room {
            self.make(number, used)
        } else {
            Err(io::ErrorKind::StorageFull.into())
        };
        state = locked(&self.state);
        match made {
            Ok(segment) if ready => state.ready.push_back(segment),
            Ok(segment) => {
                state.reserve.push_back(segment);
                state.too_full = false;
                state.drawn &= state.reserve.len() < self.reserve;
            }
            Err(error) if !ready && !state.drawn && is_full(&error) => state.too_full = true,
            Err(error) => state.refuse(&error),
        }
        self.changed.notify_all();
        state
    }

    /// A used segment under a new number, or a new file: allocated and filled, so that a later sync has no metadata to
    /// write.
    fn make(&self, number: u64, used: Option<Arc<Segment>>) -> io::Result<Arc<Segment>> {
        let bytes = self.bytes;
        // Somebody may be reading it still; then it is better gone than written over.
        if let Some(used) = used {
            match Arc::try_unwrap(used) {
                Ok(used) => return self.renumber(used, number),
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
