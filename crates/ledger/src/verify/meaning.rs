//! What the entries say: that each is a leaf of this organization, that its payload is there and is the one it names, and
//! that together they tell a course of events that may be.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use model::{ActionId, Digest, EntryId};

use super::{
    payloads::Payloads,
    report::{Class, OpenAction, Place, Report},
};
use crate::{
    leaf::{Leaf, PayloadMark},
    payload::{PayloadError, PayloadKey, is_sealed_form},
};

/// The most open actions that are listed.
const MAX_OPEN: usize = 1000;

pub(super) struct Meaning<'a> {
    org: String,
    key: Option<&'a PayloadKey>,
    payloads: Payloads<'a>,
    ids: HashSet<EntryId>,
    leaves: HashSet<Digest>,
    /// Parents that were not known when they were named, with the entry that names them.
    unknown: Vec<(Digest, u64)>,
    actions: HashMap<ActionId, Action>,
}

/// What is known of one action.
#[derive(Default)]
struct Action {
    permitted: Option<(u64, Digest)>,
    /// Whether an agent is to dispatch it. What a person decides for themself is done with the decision.
    dispatched: bool,
    ended: Option<u64>,
    /// What else was given in its course, such as a token, and with which entry it lapsed.
    given: Vec<(Digest, Option<u64>)>,
}

impl<'a> Meaning<'a> {
    pub(super) fn new(payloads: Payloads<'a>, org: String, key: Option<&'a PayloadKey>) -> Self {
        Self {
            org,
            key,
            payloads,
            ids: HashSet::new(),
            leaves: HashSet::new(),
            unknown: Vec::new(),
            actions: HashMap::new(),
        }
    }

    /// Looks at one entry; they come in order.
    pub(super) fn see(&mut self, index: u64, hash: Digest, bytes: &[u8], report: &mut Report) {
        self.leaves.insert(hash);
        // Also of an entry that cannot be read: the next one's record lies behind it.
        let record = self.payloads.record(index, report);
        let wrong = |report: &mut Report, what: String| {
            report.find(Class::Correctness, Place::Entry(index), what);
        };
        let leaf = match Leaf::parse(bytes) {
            Ok(leaf) => leaf,
            Err(error) => return wrong(report, error.to_string()),
        };
        if leaf.org.as_str() != self.org {
            wrong(report, format!("it is of the organization `{}`", leaf.org));
        }
        if !self.ids.insert(leaf.id) {
            wrong(report, format!("another entry has its id `{}`", leaf.id));
        }
        let missing = leaf.parents.iter().filter(|parent| !self.leaves.contains(parent));
        self.unknown.extend(missing.map(|parent| (*parent, index)));
        match (&leaf.payload, record) {
            (Some(mark), record) => self.payload(index, leaf.id, mark, record, report),
            (None, Ok(Some(_))) => {
                let what = format!("it names no payload, but {} has one", Payloads::file(index));
                report.find(Class::Integrity, Place::Entry(index), what);
            }
            (None, _) => {}
        }
        if let Some(action) = leaf.action {
            let seen = self.actions.entry(action).or_default();
            if let Err(what) = seen.see(index, hash, &leaf) {
                wrong(report, what);
            }
        }
    }

    /// What only the end shows: parents that never came, and actions without an outcome.
    pub(super) fn finish(mut self, report: &mut Report) {
        self.payloads.close(report);
        for (parent, index) in self.unknown {
            if !self.leaves.contains(&parent) {
                let what = format!("its parent {parent} is not in this log");
                report.find(Class::Completeness, Place::Entry(index), what);
            }
        }
        let mut open: Vec<OpenAction> = self
            .actions
            .into_iter()
            .filter_map(|(action, seen)| match (seen.permitted, seen.ended) {
                (Some((index, _)), None) if seen.dispatched => Some(OpenAction { action, index }),
                _ => None,
            })
            .collect();
        open.sort_unstable_by_key(|open| open.index);
        open.truncate(MAX_OPEN);
        report.open = open;
    }

    fn payload(
        &self,
        index: u64,
        id: EntryId,
        mark: &PayloadMark,
        record: io::Result<Option<Vec<u8>>>,
        report: &mut Report,
    ) {
        let (place, file) = (Place::Entry(index), Payloads::file(index));
        match record {
            Ok(None) => report.find(Class::Completeness, place, "its payload is gone"),
            Ok(Some(sealed)) if is_sealed_form(mark, &sealed) => {
                report.payloads += 1;
                match self.key.map(|key| key.open(id, mark, sealed)) {
                    Some(Ok(_)) => report.commitments += 1,
                    None | Some(Err(PayloadError::OtherKey(_))) => {}
                    Some(Err(error)) => {
                        report.find(Class::Integrity, place, error.to_string());
                    }
                }
            }
            Ok(Some(_)) => {
                let what = format!("its payload in {file} is not the one it names");
                report.find(Class::Integrity, place, what);
            }
            Err(error) => {
                let what = format!("its payload in {file} cannot be read: {error}");
                report.find(Class::Integrity, place, what);
            }
        }
    }
}

impl Action {
    /// One permit at most, and an end at most, and the end follows from the permit. What else is given may lapse, once.
    fn see(&mut self, index: u64, hash: Digest, leaf: &Leaf) -> Result<(), String> {
        match leaf.kind.as_str() {
            "decision" if leaf.verdict.as_deref() == Some("permit") => {
                if let Some((before, _)) = self.permitted {
                    return Err(format!("its action was permitted by entry {before} already"));
                }
                self.permitted = Some((index, hash));
                self.dispatched = leaf.agent.is_some();
            }
            end @ ("outcome" | "lapsed") => {
                let mut given = self.given.iter_mut();
                let lapses = given.find(|(given, _)| leaf.parents.contains(given));
                if let Some((_, ended)) = lapses.filter(|_| end == "lapsed") {
                    return match ended.replace(index) {
                        None => Ok(()),
                        Some(before) => {
                            Err(format!("its parent had lapsed with entry {before} already"))
                        }
                    };
                }
                if let Some(before) = self.ended.replace(index) {
                    return Err(format!("its action had ended with entry {before} already"));
                }
                match self.permitted {
                    None => return Err(format!("{end} of an action that was not permitted")),
                    Some((permit, permit_hash)) if !leaf.parents.contains(&permit_hash) => {
                        return Err(format!("it does not name entry {permit}, its permit"));
                    }
                    Some(_) => {}
                }
            }
            "decision" => {}
            _ => self.given.push((hash, None)),
        }
        Ok(())
    }
}
