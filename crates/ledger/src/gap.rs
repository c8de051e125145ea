//! What could not be written: counted, and written first once writing works again.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::rand;
use crc32c::crc32c;
use model::{
    EntryId, Timestamp,
    ijson::{Canonical, Json},
};
use serde::{Deserialize, Serialize};

use crate::{
    leaf::Draft,
    locked,
    medium::{Extent, Medium, open_or_create, write_all_at},
};

/// The kind of the entry that says what is missing.
pub(crate) const KIND: &str = "gap";
/// The file that keeps the count while the log itself cannot be written; allocated beforehand, for a full disk.
const FILE: &str = "gap";
const FILE_BYTES: u64 = 4096;

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The log had failed.
    Failed,
    /// There was no space.
    NoSpace,
    /// No entry could be made of it.
    NotSealed,
    /// Too much waited already.
    QueueFull,
}

/// How much is missing, from when to when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    causes: BTreeSet<Cause>,
    from: Timestamp,
    /// The id of the entry to come, so that it is written once even if the process dies between.
    pub(crate) id: EntryId,
    n: u64,
    to: Timestamp,
}

impl Gap {
    /// The entry that says so. Its moment is that of the last loss: the log has no clock.
    pub(crate) fn draft(&self) -> Draft {
        let mut draft = Draft::new(self.id, KIND, self.to);
        let causes = self.causes.iter().map(|cause| match cause {
            Cause::Failed => "failed",
            Cause::NoSpace => "no_space",
            Cause::NotSealed => "not_sealed",
            Cause::QueueFull => "queue_full",
        });
        let exact = |number: i64| Json::Integer(number.clamp(-(1 << 53), 1 << 53));
        let body = Json::object([
            ("causes", Json::Array(causes.map(|cause| Json::String(cause.to_owned())).collect())),
            ("from", exact(self.from.millis())),
            ("n", exact(i64::try_from(self.n).unwrap_or(i64::MAX))),
            ("to", exact(self.to.millis())),
        ]);
        draft.body = Canonical::of(&body).expect("its numbers are exact");
        draft
    }

    fn join(mut self, other: Self) -> Self {
        self.causes.extend(other.causes);
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.n = self.n.saturating_add(other.n);
        self
    }
}

/// The gap that is open now, if one is.
pub(crate) struct Gaps {
    node: u16,
    open: Mutex<Option<Gap>>,
    file: OnceLock<Box<dyn Extent>>,
    /// Whether the file holds a gap.
    saved: AtomicBool,
    /// Whether the open gap has grown since it was put into the file.
    grown: AtomicBool,
}

impl Gaps {
    pub(crate) fn new(node: u16) -> Self {
        let [saved, grown] = [false, false].map(AtomicBool::new);
        Self { node, open: Mutex::new(None), file: OnceLock::new(), saved, grown }
    }

    /// Opens the file that outlives the process and says what an earlier process had left in it.
    pub(crate) fn open_file(&self, medium: &dyn Medium) -> io::Result<Option<Gap>> {
        let file = open_or_create(medium, FILE, FILE_BYTES)?;
        let mut bytes = [0; FILE_BYTES as usize];
        let read = file.read_at(&mut bytes, 0)?;
        let left = decode(&bytes[..read]);
        self.saved.store(left.is_some(), Ordering::Relaxed);
        let _ = self.file.set(file);
        Ok(left)
    }

    /// Counts one record that is lost.
    pub(crate) fn count(&self, at: Timestamp, cause: Cause) {
        self.put(self.one(at, cause));
    }

    /// A gap of one record.
    pub(crate) fn one(&self, at: Timestamp, cause: Cause) -> Gap {
        // Without fresh randomness the id is still unique as long as no other gap of this node ends at this moment.
        let mut random = [0; 8];
        let _ = rand::fill(&mut random);
        let id = EntryId::compose(at, self.node, u64::from_le_bytes(random));
        Gap { causes: BTreeSet::from([cause]), from: at, id, n: 1, to: at }
    }

    /// Adds to the gap that is open, or opens it; an open one keeps its id.
    pub(crate) fn put(&self, gap: Gap) {
        let mut open = locked(&self.open);
        *open = Some(match open.take() {
            None => gap,
            Some(before) => before.join(gap),
        });
        self.grown.store(true, Ordering::Relaxed);
    }

    /// Closes the gap in order to write it.
    pub(crate) fn take(&self) -> Option<Gap> {
        locked(&self.open).take()
    }

    /// Keeps the open gap in the file, where it has grown since. Best effort: if this fails too, only the count in memory is
    /// left.
    pub(crate) fn save(&self) {
        if !self.grown.swap(false, Ordering::Relaxed) {
            return;
        }
        let open = locked(&self.open).clone();
        if let (Some(gap), Some(file)) = (open, self.file.get()) {
            let _ = write_all_at(&**file, &encode(&gap), 0).and_then(|()| file.sync());
            self.saved.store(true, Ordering::Relaxed);
        }
    }

    /// Empties the file where it holds a gap: that is an entry now.
    pub(crate) fn clear(&self) {
        if let (Some(file), true) = (self.file.get(), self.saved.swap(false, Ordering::Relaxed)) {
            let _ = write_all_at(&**file, &[0; 8], 0).and_then(|()| file.sync());
        }
    }
}

/// Length, checksum, JSON; the rest of the file is not looked at.
fn encode(gap: &Gap) -> Vec<u8> {
    let json = serde_json::to_vec(gap).expect("a gap has only members that JSON can hold");
    let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c(&json).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Gap> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let json = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let whole = crc32c(json) == u32::from_le_bytes(*checksum);
    whole.then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_join_into_one_gap_that_survives_the_process() {
        let gaps = Gaps::new(3);
        gaps.count(Timestamp::from_millis(20), Cause::NoSpace);
        let id = gaps.take().map(|gap| (gap.id, gaps.put(gap)).0);
        gaps.count(Timestamp::from_millis(10), Cause::Failed);
        let gap = gaps.take().unwrap();
        assert_eq!(Some(gap.id), id);
        assert_eq!(decode(&encode(&gap)), Some(gap.clone()));
        assert_eq!(
            String::from_utf8(gap.draft().body.into_bytes()).unwrap(),
            r#"{"causes":["failed","no_space"],"from":10,"n":2,"to":20}"#
        );
    }

    #[test]
    fn a_torn_or_empty_file_holds_no_gap() {
        let gaps = Gaps::new(3);
        gaps.count(Timestamp::from_millis(20), Cause::QueueFull);
        let bytes = encode(&gaps.take().unwrap());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
        }
        assert_eq!(decode(&[0; 64]), None);
    }
}
