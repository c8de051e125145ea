//! One page of what is asked for, the newest first. What the index brings up is compared with the entry itself: an index that
//! is wrong may miss entries, and never makes one up.

use ledger::{Entry, ReadError};
use store::SearchView;

use crate::{
    candidates::{Candidates, Next},
    facts::Query,
    index::SearchError,
};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// Where to go on: this entry and those before it were not looked at. `None` where nothing is left.
    pub rest: Option<u64>,
}

/// What becomes of an entry that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is found.
    Yes,
    /// It is not what is meant.
    No,
    /// The search ends before it.
    Stop,
}

/// Finds at most `limit` entries that fit, at or before a position; `read` gives the entry at a position.
///
/// # Errors
/// Index or ledger cannot be read, or `keep`'s own.
pub fn find(
    view: &mut SearchView<'_>,
    query: &Query,
    at_most: Option<u64>,
    limit: usize,
    mut read: impl FnMut(u64) -> Result<Option<Entry>, ReadError>,
    mut keep: impl FnMut(&mut SearchView<'_>, &Entry) -> Result<Keep, SearchError>,
) -> Result<Found, SearchError> {
    let mut candidates = Candidates::new(query, at_most);
    let mut entries = Vec::new();
    let rest = loop {
        let index = match candidates.next(view)? {
            Next::Candidate(index) => index,
            Next::Spent(index) => break Some(index),
            Next::End => break None,
        };
        let Some(entry) = read(index)?.filter(|entry| query.fits(entry)) else { continue };
        match keep(view, &entry)? {
            Keep::No => {}
            Keep::Yes if entries.len() < limit => entries.push(entry),
            Keep::Yes | Keep::Stop => break Some(index),
        }
    };
    Ok(Found { entries, rest })
}
