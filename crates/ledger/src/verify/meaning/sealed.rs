//! Payloads: each is there, is the one that its entry names and, with the keys, what the entry commits to; or an entry erased it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

use model::Timestamp;

use super::{
    super::{
        payloads::Payloads,
        report::{Class, Erasure, Level, Place, Report},
    },
    MAX_LISTED,
};
use crate::{
    erasure::{By, Erased},
    keys::{KeysError, SubjectKeys},
    leaf::{Leaf, PayloadMark},
    payload::{SubjectKey, is_sealed_form},
};

/// The most keys that are in memory.
const MAX_KEYS: usize = 16_384;

pub(super) struct Sealed<'a> {
    keys: Option<Keys<'a>>,
    erased: Erased,
    /// Payloads that are not what their entries name, with the names of their keys: an entry to come may have erased them.
    missing: Vec<(u64, Timestamp, Arc<str>, Missing)>,
    names: HashSet<Arc<str>>,
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

impl<'a> Sealed<'a> {
    pub(super) fn new(keys: Option<&'a SubjectKeys>) -> Self {
        Self {
            keys: keys.map(|all| Keys { all, read: HashMap::new() }),
            erased: Erased::default(),
            missing: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Looks at what lies beside one entry; they come in order.
    pub(super) fn see(
        &mut self,
        index: u64,
        leaf: &Leaf,
        record: io::Result<Option<Vec<u8>>>,
        report: &mut Report,
    ) {
        self.erased.note(leaf, index);
        match (&leaf.payload, record) {
            (Some(mark), record) => self.payload(index, leaf, mark, record, report),
            (None, Ok(Some(_))) => {
                let file = Payloads::file(index);
                let what = format!("it names no payload, but {file} has one");
                find(report, Class::Integrity, index, what);
            }
            (None, _) => {}
        }
    }

    fn payload(
        &mut self,
        index: u64,
        leaf: &Leaf,
        mark: &PayloadMark,
        record: io::Result<Option<Vec<u8>>>,
        report: &mut Report,
    ) {
        if let Some(By { index: by, .. }) = self.erased.by(&mark.key) {
            let what = format!("its payload has a key that entry {by} had erased before");
            find(report, Class::Correctness, index, what);
        }
        let missing = match record {
            Ok(None) => Missing::Record,
            Ok(Some(sealed)) if is_sealed_form(mark, &sealed) => {
                report.payloads += 1;
                let Some(keys) = &mut self.keys else { return };
                match keys.of(&mark.key).map(|key| key.map(|key| key.open(leaf.id, mark, sealed))) {
                    Ok(None) => Missing::Key,
                    Ok(Some(Ok(_))) => {
                        report.commitments += 1;
                        return;
                    }
                    Ok(Some(Err(error))) => {
                        return find(report, Class::Integrity, index, error.to_string());
                    }
                    Err(error) => return find(report, Class::Integrity, index, error.to_string()),
                }
            }
            Ok(Some(_)) => Missing::Bytes,
            Err(error) => {
                let file = Payloads::file(index);
                let what = format!("its payload in {file} cannot be read: {error}");
                return find(report, Class::Integrity, index, what);
            }
        };
        let key: Arc<str> = self.names.get(mark.key.as_str()).cloned().unwrap_or_else(|| {
            let name: Arc<str> = mark.key.as_str().into();
            self.names.insert(Arc::clone(&name));
            name
        });
        self.missing.push((index, leaf.at, key, missing));
    }

    /// What is missing was erased, or it is a finding; and what was erased has to be gone.
    pub(super) fn finish(&mut self, report: &mut Report) {
        let mut erasures: BTreeMap<u64, Erasure> = BTreeMap::new();
        for (index, at, key, missing) in std::mem::take(&mut self.missing) {
            if let Some(By { index: by, until }) = self.erased.by(&key) {
                let none = Erasure { index: by, payloads: 0, expired: until.is_some() };
                erasures.entry(by).or_insert(none).payloads += 1;
                report.erased += 1;
                if let Some(until) = until.filter(|until| at >= *until) {
                    let what = format!(
                        "its payload is of {at}, and entry {by}, which let it expire, speaks of what is older than {until}"
                    );
                    find(report, Class::Correctness, index, what);
                }
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
            find(report, class, index, what);
        }
        report.erasures = erasures.into_values().take(MAX_LISTED).collect();
        let Some(keys) = &mut self.keys else { return };
        for (key, by) in self.erased.iter() {
            if keys.of(key).is_ok_and(|key| key.is_some()) {
                let what = format!("it erased the key `{key}`, which is there again");
                find(report, Class::Correctness, by.index, what);
            }
        }
    }
}

fn find(report: &mut Report, class: Class, index: u64, what: impl Into<String>) {
    report.find(Level::Payloads, class, Place::Entry(index), what);
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
