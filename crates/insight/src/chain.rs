//! From a prompt to what was done: the decision that opened a task, all entries of it, and what people said to its requests for
//! approval.

use std::collections::{BTreeMap, BTreeSet};

use ledger::Entry;
use model::TaskId;

use crate::{
    facts::{Field, Query},
    index::{Index, Page, SearchError},
};

/// The most entries of one task that are told. A longer one is read page by page.
const MAX_CHAIN: usize = 5_000;

/// What is recorded of a task.
#[derive(Debug)]
pub struct Chain {
    /// The oldest first; they name each other as parents.
    pub entries: Vec<Entry>,
    /// Whether there are older ones that are not among them.
    pub cut: bool,
    /// How many entries of the ledger are indexed.
    pub indexed: u64,
    /// How many it has.
    pub size: u64,
}

impl Index {
    /// Everything that is recorded of a task. Blocks.
    ///
    /// # Errors
    /// Index or ledger cannot be read.
    pub fn chain(&self, task: TaskId) -> Result<Chain, SearchError> {
        let (mut all, page) = self.all(&Query::default().with(Field::Task, &task))?;
        // Whoever opens it is in none yet.
        let opened = all.values().find(|entry| entry.leaf.kind == "task");
        if let Some(action) = opened.and_then(|entry| entry.leaf.action) {
            let query = Query::default().with(Field::Kind, "decision");
            all.extend(self.all(&query.with(Field::Action, &action))?.0);
        }
        let approvals: BTreeSet<_> = all.values().filter_map(|entry| entry.leaf.approval).collect();
        for approval in approvals {
            let query = Query::default().with(Field::Object, "approval");
            all.extend(self.all(&query.with(Field::Key, &approval))?.0);
        }
        let Page { found, indexed, size } = page;
        Ok(Chain { entries: all.into_values().collect(), cut: found.rest.is_some(), indexed, size })
    }

    /// All entries that fit, as far as one answer goes, by position; and the page that was the last.
    fn all(&self, query: &Query) -> Result<(BTreeMap<u64, Entry>, Page), SearchError> {
        let (mut all, mut at_most) = (BTreeMap::new(), None);
        loop {
            let mut page = self.search(query, at_most, MAX_CHAIN - all.len())?;
            let entries = std::mem::take(&mut page.found.entries).into_iter();
            all.extend(entries.map(|entry| (entry.index, entry)));
            at_most = page.found.rest;
            if at_most.is_none() || all.len() >= MAX_CHAIN {
                return Ok((all, page));
            }
        }
    }
}
