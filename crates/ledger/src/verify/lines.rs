//! The keys that have signed for a log, as far as its handovers lead from the one that is given.
//!
//! Nothing is believed yet: that a head of a handover is a beginning of this log, and so that its entry is the one that was read
//! here, is found with all other older heads; a pack in which that fails is not verified.

use std::path::Path;

use super::{
    report::{Class, Level, Place, Report},
    tree::{MAX_BUNDLE, read_file},
};
use crate::{
    handover::{self, Named},
    leaf::Leaf,
    merkle::TILE,
    note::{Checkpoint, VerifierKey},
    restore,
    tile::{self, CHECKPOINT, Kind},
};

const MAX_NOTE: u64 = 64 * 1024;

/// One key and those that handovers lead to from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Vec<VerifierKey>);

impl Lines {
    /// Reads a log's handovers; gives the heads by which they were made, too.
    pub(super) fn read(
        place: &Path,
        given: &VerifierKey,
        report: &mut Report,
    ) -> (Self, Vec<(Place, Vec<u8>)>) {
        let mut wrong = |name: String, what: String| {
            report.find(Level::History, Class::Integrity, Place::File(name), what);
        };
        let (mut named, mut heads) = (Vec::new(), Vec::new());
        let found = handover::handovers(place).unwrap_or_default();
        if found.len() > handover::MAX {
            wrong(handover::FOLDER.to_owned(), format!("there are {} handovers", found.len()));
        }
        for index in found.into_iter().take(handover::MAX) {
            let name = handover::handover(index);
            match Self::handover(place, &name, index) {
                Ok((note, keys)) => {
                    named.push(keys);
                    heads.push((Place::File(name), note));
                }
                Err(what) => wrong(name, what),
            }
        }
        let mut lines = vec![given.clone()];
        let same = |a: &VerifierKey, b: &VerifierKey| {
            a.public() == b.public() && restore::base(a.name()) == restore::base(b.name())
        };
        let mut last = given.clone();
        for Named { former, key } in &named {
            if same(former, &last) {
                last = key.clone();
                lines.push(key.clone());
            }
        }
        let mut first = given.clone();
        for Named { former, key } in named.iter().rev() {
            if same(key, &first) {
                first = former.clone();
                lines.push(former.clone());
            }
        }
        (Self(lines), heads)
    }

    /// A handover: the head that the former key signed, and the entry under it that names the next.
    fn handover(place: &Path, name: &str, index: u64) -> Result<(Vec<u8>, Named), String> {
        let note = read_file(place, name, MAX_NOTE).map_err(|error| error.to_string())?;
        let newest = read_file(place, CHECKPOINT, MAX_NOTE).map_err(|error| error.to_string())?;
        let newest = Checkpoint::unverified(&newest).map_err(|error| error.to_string())?;
        let none = || format!("entry {index} names no other key");
        let bundle = index / TILE as u64;
        let width = newest.size.saturating_sub(bundle * TILE as u64).min(TILE as u64) as usize;
        let path = |width| tile::path(Kind::Entries, bundle, width);
        // A live log may have filled it by now.
        let bytes = read_file(place, &path(width), MAX_BUNDLE)
            .or_else(|_| read_file(place, &path(TILE), MAX_BUNDLE))
            .map_err(|error| format!("{}: {error}", none()))?;
        let (mut rest, mut entry) = (bytes.as_slice(), None);
        for _ in 0..=index % TILE as u64 {
            entry = tile::take_entry(&mut rest);
        }
        let leaf = entry.and_then(|entry| Leaf::parse(entry).ok()).ok_or_else(none)?;
        let named = Named::of(&leaf).ok_or_else(none)?;
        let head = named.former.of_log(&note).open(&note).map_err(|error| error.to_string())?;
        if head.size <= index {
            return Err(format!("it does not cover entry {index}"));
        }
        Ok((note, named))
    }

    /// The key of this log that has signed a note, under the name that it had then; of a note that none has, the given one.
    pub(super) fn of(&self, note: &[u8], given: &VerifierKey) -> VerifierKey {
        let mut signed = self.0.iter().map(|key| key.of_earlier(note));
        signed.find(|key| key.open(note).is_ok()).unwrap_or_else(|| given.of_earlier(note))
    }
}
