//! What the entries say: that each is a leaf of this organization, that its payload is there and is the one it names, and
//! that together they tell a course of events that may be.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

use model::{ActionId, Digest, EntryId};

use super::{
    payloads::Payloads,
    report::{Class, Erasure, OpenAction, Place, Report},
};
use crate::{
    erasure::{self, Erased},
    keys::{KeysError, SubjectKeys},
    leaf::{Leaf, PayloadMark},
    payload::{SubjectKey, is_sealed_form},
};

/// The most open actions, and the most erasures, that are listed.
const MAX_LISTED: usize = 1000;
/// The most keys that are in memory.
const MAX_KEYS: usize = 16_384;

pub(super) struct Meaning<'a> {
    org: String,
    keys: Option<Keys<'a>>,
    payloads: Payloads<'a>,
    erased: Erased,
    /// Payloads that are not what their entries name, with the names of their keys: an entry to come may have erased them.
    missing: Vec<(u64, Arc<str>, Missing)>,
    names: HashSet<Arc<str>>,
    ids: HashSet<EntryId>,
    leaves: HashSet<Digest>,
    /// Parents that were not known when they were named, with the entry that names them.
    unknown: Vec<(Digest, u64)>,
    actions: HashMap<ActionId, Action>,
}

/// The keys at hand, as far as they were asked for.
struct Keys<'a> {
    all: &'a SubjectKeys,
    read: HashMap<String, Option<SubjectKey>>,
}

/// What is missing of a payload.
#[derive(Clone, Copy)]
enum Missing {
    Record,
    Bytes,
    Key,
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
    pub(super) fn new(payloads: Payloads<'a>, org: String, keys: Option<&'a SubjectKeys>) -> Self {
        Self {
            org,
            keys: keys.map(|all| Keys { all, read: HashMap::new() }),
            payloads,
            erased: Erased::default(),
            missing: Vec::new(),
            names: HashSet::new(),
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
        if leaf.kind == erasure::KIND {
            self.erased.note(&leaf, index);
        }
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
        self.finish_erased(report);
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
        open.truncate(MAX_LISTED);
        report.open = open;
    }

    fn payload(
        &mut self,
        index: u64,
        id: EntryId,
        mark: &PayloadMark,
        record: io::Result<Option<Vec<u8>>>,
        report: &mut Report,
    ) {
        let place = Place::Entry(index);
        if let Some(by) = self.erased.by(&mark.key) {
            let what = format!("its payload has a key that entry {by} had erased before");
            report.find(Class::Correctness, place.clone(), what);
        }
        let missing = match record {
            Ok(None) => Missing::Record,
            Ok(Some(sealed)) if is_sealed_form(mark, &sealed) => {
                report.payloads += 1;
                let Some(keys) = &mut self.keys else { return };
                match keys.of(&mark.key).map(|key| key.map(|key| key.open(id, mark, sealed))) {
                    Ok(None) => Missing::Key,
                    Ok(Some(Ok(_))) => {
                        report.commitments += 1;
                        return;
                    }
                    Ok(Some(Err(error))) => {
                        return report.find(Class::Integrity, place, error.to_string());
                    }
                    Err(error) => return report.find(Class::Integrity, place, error.to_string()),
                }
            }
            Ok(Some(_)) => Missing::Bytes,
            Err(error) => {
                let file = Payloads::file(index);
                let what = format!("its payload in {file} cannot be read: {error}");
                return report.find(Class::Integrity, place, what);
            }
        };
        let key: Arc<str> = self.names.get(mark.key.as_str()).cloned().unwrap_or_else(|| {
            let name: Arc<str> = mark.key.as_str().into();
            self.names.insert(Arc::clone(&name));
            name
        });
        self.missing.push((index, key, missing));
    }

    /// What is missing was erased, or it is a finding; and what was erased has to be gone.
    fn finish_erased(&mut self, report: &mut Report) {
        let mut erasures: BTreeMap<u64, u64> = BTreeMap::new();
        for (index, key, missing) in std::mem::take(&mut self.missing) {
            if let Some(by) = self.erased.by(&key) {
                *erasures.entry(by).or_default() += 1;
                report.erased += 1;
                continue;
            }
            let (class, what) = match missing {
                Missing::Record => {
                    (Class::Completeness, "its payload is gone, and no entry erased it".to_owned())
                }
                Missing::Bytes => {
                    let file = Payloads::file(index);
                    (Class::Integrity, format!("its payload in {file} is not the one it names"))
                }
                Missing::Key => (
                    Class::Completeness,
                    format!("the key `{key}` of its payload is gone, and no entry erased it"),
                ),
            };
            report.find(class, Place::Entry(index), what);
        }
        let listed = erasures.into_iter().map(|(index, payloads)| Erasure { index, payloads });
        report.erasures = listed.take(MAX_LISTED).collect();
        let Some(keys) = &mut self.keys else { return };
        for (key, by) in self.erased.iter() {
            if keys.of(key).is_ok_and(|key| key.is_some()) {
                let what = format!("it erased the key `{key}`, which is there again");
                report.find(Class::Correctness, Place::Entry(by), what);
            }
        }
    }
}

impl Keys<'_> {
    fn of(&mut self, id: &str) -> Result<Option<&SubjectKey>, KeysError> {
        if !self.read.contains_key(id) {
            if self.read.len() == MAX_KEYS {
                self.read.clear();
            }
            self.read.insert(id.to_owned(), self.all.by_id(id)?);
        }
        Ok(self.read.get(id).and_then(Option::as_ref))
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
