//! What governance was at a moment: of each object the last version that was made by then.

use ledger::Entry;
use model::Timestamp;
use store::SearchView;

use crate::{
    candidates::{Candidates, Next},
    facts::{Field, Query},
    find::Keep,
    index::{Index, Page, SearchError},
};

/// The kind of entries that tell of governed objects.
const GOVERNANCE: &str = "governance";

/// A moment, and what of governance then is asked for.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Changes made after it do not count.
    pub at: Timestamp,
    /// Objects of this kind alone.
    pub object: Option<String>,
    /// The object with this key alone.
    pub key: Option<String>,
}

impl Moment {
    /// Every change by then of what is asked for.
    pub fn query(&self) -> Query {
        let mut query = Query::default().with(Field::Kind, GOVERNANCE);
        if let Some(object) = &self.object {
            query = query.with(Field::Object, object);
        }
        if let Some(key) = &self.key {
            query = query.with(Field::Key, key);
        }
        query.within(None, Some(behind(self.at)))
    }
}

impl Index {
    /// The entries that tell how governance was at a moment, one for each object, the newest first, at or before a position.
    /// Blocks.
    ///
    /// # Errors
    /// Index or ledger cannot be read.
    pub fn governance_at(
        &self,
        moment: &Moment,
        at_most: Option<u64>,
        limit: usize,
    ) -> Result<Page, SearchError> {
        self.search_keeping(&moment.query(), at_most, limit, |view, indexed, entry| {
            let newest = self.newest_version(view, entry, moment.at, indexed)?;
            Ok(if newest == Some(entry.index) { Keep::Yes } else { Keep::No })
        })
    }

    /// Where the last version by then of an entry's object is.
    fn newest_version(
        &self,
        view: &mut SearchView<'_>,
        entry: &Entry,
        at: Timestamp,
        indexed: u64,
    ) -> Result<Option<u64>, SearchError> {
        let said = |member| entry.leaf.body.member(member).and_then(|value| value.as_str());
        let (Some(object), Some(key)) = (said("object"), said("key")) else { return Ok(None) };
        let (object, key) = (Some(object.to_owned()), Some(key.to_owned()));
        let query = Moment { at, object, key }.query();
        let mut candidates = Candidates::new(&query, indexed.checked_sub(1));
        loop {
            match candidates.next(view)? {
                Next::Candidate(index) => {
                    if self.log().entry(index)?.is_some_and(|entry| query.fits(&entry)) {
                        return Ok(Some(index));
                    }
                }
                // An object that was changed so often after that moment that this search cannot pass it.
                Next::Spent(_) => return Err(SearchError::Ended),
                Next::End => return Ok(None),
            }
        }
    }
}

fn behind(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().saturating_add(1))
}
