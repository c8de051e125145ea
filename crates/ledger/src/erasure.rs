//! Erasing what is sealed for a subject, and what is past its time. An entry says which keys are erased; then they are destroyed,
//! and what is sealed under them is written over. A process may end between any two of these steps: opening the log does what is left.
//!
//! Proofs stay as they are. Nothing is cut out of a payload file either, since whoever reads one counts its records.

use std::{
    collections::{HashMap, HashSet},
    io::{self, ErrorKind},
    sync::PoisonError,
    time::Duration,
};

use model::{Timestamp, ijson::Json};

use crate::{
    keys::{Ended, KeysError},
    leaf::Leaf,
    locked,
    log::{Log, Shared, Tail},
    medium::{read_if_there, write_all_at},
    merkle::TILE,
    open::OpenError,
    read::payload_place,
    tile,
};

/// The kind of the entry that erases: its body names the `keys`.
const ERASURE: &str = "erasure";
/// The same of what is past its time: what was said before the moment `until`.
const EXPIRY: &str = "expiry";
/// The file that says how many entries the log had when all that they erase had been written over.
pub(crate) const MARK: &str = "erased";
/// How often, and after which pause each time, it is looked whether a record under an ended key still has no place: 2 s.
const LOOKS: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);
/// How long it is waited for the entry to be published.
const PUBLISHED_BOUND: Duration = Duration::from_secs(10);
/// So many zeros in a row, where a nonce or a seal has to be, are none.
const BLANK: [u8; 16] = [0; 16];

/// Why something was not erased, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A record that was sealed before has not found its place in the log.
    #[error("records of this subject are still on their way into the ledger; try again")]
    InUse,
    /// The keys are out of reach.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The entry is durable and not published.
    #[error("the ledger does not publish; what is sealed is written over as soon as it does")]
    NotPublished,
    /// The sealed payloads could not be written over.
    #[error(
        "what is sealed could not be written over; it is tried again each minute, and at the next start"
    )]
    Io(#[from] io::Error),
}

/// Keys that are erased, each with the entry that says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Erased(HashMap<String, By>);

/// What erased a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By {
    /// The entry.
    pub(crate) index: u64,
    /// Before which moment something had to be said to be past its time; `None` where somebody had it erased.
    pub(crate) until: Option<Timestamp>,
}

impl Erased {
    /// Takes the keys down that an entry names, where it is one that erases.
    pub(crate) fn note(&mut self, leaf: &Leaf, index: u64) {
        if !erases(&leaf.kind) {
            return;
        }
        let Some(Json::Array(keys)) = leaf.body.member("keys") else { return };
        let until = leaf.body.member("until").and_then(Json::as_integer);
        let until = Timestamp::from_millis(until.unwrap_or(i64::MIN));
        let by = By { index, until: (leaf.kind == EXPIRY).then_some(until) };
        for key in keys.iter().filter_map(Json::as_str) {
            self.add(key.to_owned(), by);
        }
    }

    /// The same of an entry of any kind; most are told apart without being parsed.
    pub(crate) fn note_entry(&mut self, entry: &[u8], index: u64) {
        if kind(entry).is_some_and(erases)
            && let Ok(leaf) = Leaf::parse(entry)
        {
            self.note(&leaf, index);
        }
    }

    /// What erased a key.
    pub(crate) fn by(&self, key: &str) -> Option<By> {
        self.0.get(key).copied()
    }

    pub(crate) fn extend(&mut self, later: Self) {
        for (key, by) in later.0 {
            self.add(key, by);
        }
    }

    /// The first entry that erases a key is the one that counts.
    fn add(&mut self, key: String, by: By) {
        self.0.entry(key).or_insert(by);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, By)> {
        self.0.iter().map(|(key, by)| (key, *by))
    }
}

fn erases(kind: &str) -> bool {
    matches!(kind, ERASURE | EXPIRY)
}

/// Whether something in place of a sealed payload was written over. Whoever reads while that is done may see either end of it.
pub(crate) fn is_written_over(sealed: &[u8]) -> bool {
    sealed.starts_with(&BLANK) || sealed.ends_with(&BLANK)
}

impl Log {
    /// Has the keys of a subject seal nothing any more, and names them. When this returns, whatever is sealed under them has its
    /// place in the log or will never have one, so that an entry that erases them comes behind all of it. Blocks.
    ///
    /// # Errors
    /// The keys are out of reach, or something sealed does not find its place.
    pub fn end_keys(&self, subject: &str) -> Result<Vec<String>, EraseError> {
        let ended = self.shared.subjects.end(subject)?;
        self.shared.await_placed(&ended)?;
        Ok(ended.ids)
    }

    /// The same of the keys of these names.
    ///
    /// # Errors
    /// Something sealed does not find its place.
    pub fn end_these_keys(&self, ids: Vec<String>) -> Result<(), EraseError> {
        let ended = self.shared.subjects.end_these(ids);
        self.shared.await_placed(&ended)
    }

    /// Destroys these keys, which that entry of this log names, and writes over what is sealed under them; says how many
    /// payloads that were. Blocks, for as long as it takes to read all entries.
    ///
    /// # Errors
    /// Some of it is not done. Nobody opens any of it here all the same; [`Log::finish_erasures`] or opening the log does the rest.
    pub fn erase(&self, entry: u64, ids: &[String]) -> Result<u64, EraseError> {
        let by = By { index: entry, until: None };
        self.shared.destroy(by, ids)?;
        self.shared.finish(ids)
    }

    /// Destroys these keys, which that entry of this log says to be of before `until` and past their time. What is sealed under
    /// them is written over by [`Log::finish_erasures`], of many keys at once. Blocks.
    ///
    /// # Errors
    /// As [`Log::erase`].
    pub fn expire(&self, entry: u64, until: Timestamp, ids: &[String]) -> Result<(), EraseError> {
        self.shared.destroy(By { index: entry, until: Some(until) }, ids)
    }

    /// Whether some of an erasure is left to do: a key could not be destroyed, or payloads not be written over.
    pub fn has_unfinished_erasures(&self) -> bool {
        !locked(&self.shared.unfinished).is_empty()
    }

    /// Does what is left of all erasures, and says how many payloads it wrote over. Blocks, for as long as it takes to read all
    /// entries.
    ///
    /// # Errors
    /// As [`Log::erase`].
    pub fn finish_erasures(&self) -> Result<u64, EraseError> {
        let left: Vec<String> = locked(&self.shared.unfinished).iter().cloned().collect();
        if left.is_empty() { Ok(0) } else { self.shared.finish(&left) }
    }
}

impl Shared {
    /// Waits until what is sealed under ended keys has its place in the log or will never have one.
    fn await_placed(&self, ended: &Ended) -> Result<(), EraseError> {
        let mut tail = locked(&self.tail);
        for _ in 0..LOOKS {
            if !ended.is_in_use() {
                return Ok(());
            }
            let waited = self.grown.wait_timeout(tail, PAUSE);
            (tail, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Err(EraseError::InUse)
    }

    fn destroy(&self, by: By, ids: &[String]) -> Result<(), EraseError> {
        for id in ids {
            locked(&self.erased).add(id.clone(), by);
        }
        locked(&self.unfinished).extend(ids.iter().cloned());
        Ok(self.subjects.destroy(ids)?)
    }

    /// Writes over what is sealed under these keys. They are destroyed once more, since that may have failed.
    fn finish(&self, ids: &[String]) -> Result<u64, EraseError> {
        self.subjects.destroy(ids)?;
        let last = {
            let erased = locked(&self.erased);
            ids.iter().filter_map(|id| erased.by(id)).map(|by| by.index).max()
        };
        // Not before the entry is shown: whoever copies or checks the log has to find why a payload is gone.
        let size = self.await_published(last.unwrap_or_default())?;
        let keys: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let count = self.write_over(&keys, size)?;
        locked(&self.unfinished).retain(|id| !keys.contains(id.as_str()));
        Ok(count)
    }

    fn await_published(&self, entry: u64) -> Result<u64, EraseError> {
        let hidden = |tail: &mut Tail| tail.published.size <= entry && !tail.closing;
        let tail = locked(&self.tail);
        let waited = self.grown.wait_timeout_while(tail, PUBLISHED_BOUND, hidden);
        let (tail, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let size = tail.published.size;
        if size > entry { Ok(size) } else { Err(EraseError::NotPublished) }
    }

    /// Destroys again what entries say is erased, since an old store of keys may have been put back, and writes over what a
    /// process before has left. All entries are published.
    pub(crate) fn finish_erasures(&self) -> Result<(), OpenError> {
        let erased = locked(&self.erased).clone();
        if erased.0.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = erased.0.keys().cloned().collect();
        self.subjects.destroy(&ids).map_err(OpenError::Keys)?;
        let done = read_if_there(&*self.medium, MARK).map_err(OpenError::Io)?;
        let done = done.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        let left = erased.iter().filter(|(_, by)| done.is_none_or(|done: u64| by.index >= done));
        let left: HashSet<&str> = left.map(|(key, _)| key.as_str()).collect();
        if left.is_empty() {
            return Ok(());
        }
        let size = locked(&self.tail).published.size;
        self.write_over(&left, size).map_err(OpenError::Io)?;
        self.medium.replace(MARK, format!("{size}\n").as_bytes()).map_err(OpenError::Io)
    }

    /// Writes zeros over every payload of the published log that is sealed under one of these keys.
    fn write_over(&self, keys: &HashSet<&str>, size: u64) -> io::Result<u64> {
        let mut count = 0;
        for first in (0..size).step_by(TILE) {
            let entries = self.read_bundle(first, size, TILE)?;
            let sealed = |entry: &[u8]| key(entry).is_some_and(|key| keys.contains(key));
            let theirs = (first..).zip(&entries).filter(|(_, entry)| sealed(entry));
            let theirs: Vec<u64> = theirs.map(|(index, _)| index).collect();
            if !theirs.is_empty() {
                count += self.write_over_in(&tile::payloads(first / TILE as u64), &theirs)?;
            }
        }
        Ok(count)
    }

    fn write_over_in(&self, file: &str, entries: &[u64]) -> io::Result<u64> {
        let file = match self.medium.open(file) {
            // Whoever removed it will be asked about it by `verify`.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let mut count = 0;
        for index in entries {
            if let Some((at, bytes)) = payload_place(&*file, *index)? {
                write_all_at(&*file, &vec![0; bytes], at)?;
                count += 1;
            }
        }
        file.sync()?;
        Ok(count)
    }
}

/// The name of the key that an entry's payload is sealed under, without parsing the entry: in a leaf with a payload, no member
/// of that name stands behind this one. Of one without it is another word, and there is nothing to write over.
pub(crate) fn key(entry: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(entry).ok()?;
    let (_, rest) = text.rsplit_once(r#""key":""#)?;
    rest.split('"').next()
}

/// The kind of an entry, without parsing it: in a leaf, no member of that name stands behind its own.
pub(crate) fn kind(entry: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(entry).ok()?;
    let (_, rest) = text.rsplit_once(r#""kind":""#)?;
    rest.split('"').next()
}
