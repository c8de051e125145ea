//! Entries that may be what is asked for, the newest first: the lists of all terms, walked down together.

use model::Timestamp;
use store::{BLOCK, Error, SEGMENT, SearchView, Term};

use crate::facts::Query;

/// How many of a list are read at once.
const CHUNK: u32 = 64;
/// How often lists are read, and entries looked at, in one search: some tenths of a second. Two long lists with nothing in common
/// would be walked for minutes; whoever asks goes on from where this search stopped.
const STEPS: u32 = 20_000;

/// Walks down.
pub(crate) struct Candidates {
    lists: Vec<List>,
    within: Option<Within>,
    /// Where the next one is at most; `None` when there is none.
    at_most: Option<u64>,
    steps: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// This entry may be one.
    Candidate(u64),
    /// The search took long enough; it goes on at this entry.
    Spent(u64),
    /// There is none.
    End,
}

/// The entries that have one term.
struct List {
    term: Term,
    /// Some of them, the last first.
    held: Vec<u64>,
    /// From here on up all were held.
    floor: u64,
}

/// The entries of a range of time, as exactly as blocks tell.
struct Within {
    since: Timestamp,
    until: Timestamp,
    /// The block that was found last.
    block: Option<u64>,
}

impl Candidates {
    /// What fits a query, at or before a position.
    pub(crate) fn new(query: &Query, at_most: Option<u64>) -> Self {
        let list = |term| List { term, held: Vec::new(), floor: u64::MAX };
        let bounded = query.since.is_some() || query.until.is_some();
        let within = bounded.then(|| Within {
            since: query.since.unwrap_or(Timestamp::from_millis(i64::MIN)),
            until: query.until.unwrap_or(Timestamp::NEVER),
            block: None,
        });
        Self { lists: query.terms().map(list).collect(), within, at_most, steps: STEPS }
    }

    /// The next one.
    pub(crate) fn next(&mut self, view: &mut SearchView<'_>) -> Result<Next, Error> {
        let Some(mut entry) = self.at_most.take() else { return Ok(Next::End) };
        loop {
            let Some(left) = self.steps.checked_sub(1) else {
                self.at_most = Some(entry);
                return Ok(Next::Spent(entry));
            };
            self.steps = left;
            // Each list moves down to the last of its own that is not above; until one round moves nothing.
            let start = entry;
            for list in &mut self.lists {
                match list.seek(view, entry)? {
                    Some(last) => entry = last,
                    None => return Ok(Next::End),
                }
            }
            if let Some(within) = &mut self.within {
                match within.seek(view, entry)? {
                    Some(last) => entry = last,
                    None => return Ok(Next::End),
                }
            }
            if entry == start {
                self.at_most = entry.checked_sub(1);
                return Ok(Next::Candidate(entry));
            }
        }
    }
}

impl List {
    /// The last one at or before a position, which only ever gets smaller.
    fn seek(&mut self, view: &mut SearchView<'_>, at_most: u64) -> Result<Option<u64>, Error> {
        loop {
            let passed = self.held.partition_point(|entry| *entry > at_most);
            self.held.drain(..passed);
            if let Some(entry) = self.held.first() {
                return Ok(Some(*entry));
            }
            let Some(last) = self.floor.checked_sub(1) else { return Ok(None) };
            let from = last.min(at_most);
            let segment = from / SEGMENT;
            self.held = view.with_term(self.term, segment, from, CHUNK)?;
            self.floor = match self.held.last() {
                Some(last) if self.held.len() == CHUNK as usize => *last,
                _ => segment * SEGMENT,
            };
        }
    }
}

impl Within {
    fn seek(&mut self, view: &mut SearchView<'_>, at_most: u64) -> Result<Option<u64>, Error> {
        let last = at_most / BLOCK;
        if self.block != Some(last) {
            self.block = view.block_within(last, self.since, self.until)?;
        }
        Ok(self.block.map(|block| at_most.min(block * BLOCK + (BLOCK - 1))))
    }
}
