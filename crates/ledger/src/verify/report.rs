//! What a check found.

use std::fmt;

use model::{ActionId, Timestamp};

use crate::{
    note::{Checkpoint, VerifierKey},
    quorum::{TlogPolicy, Witnessed},
};

/// The most findings of one class that are kept one by one; the others are counted.
const MAX_FINDINGS: usize = 1000;

/// What a check found, and how much it looked at.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The signed head that everything was checked against; `None` where it could not be accepted.
    pub checkpoint: Option<Checkpoint>,
    /// The newest head that a quorum of witnesses has cosigned, and who; `None` where none has, or where nobody asked
    /// ([`Report::ask_for_witnesses`]). What lies between its size and that of the checkpoint, no witness has seen.
    pub witnessed: Option<Witnessed>,
    /// How many entries were hashed.
    pub entries: u64,
    /// How many tiles were compared, of all levels.
    pub tiles: u64,
    /// How many sealed payloads were compared with the digest in their leaf.
    pub payloads: u64,
    /// How many payloads are gone because their subject's key was erased.
    pub erased: u64,
    /// The entries that erased them; at most a thousand.
    pub erasures: Vec<Erasure>,
    /// How many payloads were opened and compared with the commitment in their leaf.
    pub commitments: u64,
    /// How many files of a node's own log lie beside the ones that the signed head covers, or go on behind what it covers: a
    /// live log writes ahead of its head, and a crash may leave some. Nothing is known of them. In a pack each is a finding.
    pub uncovered: u64,
    /// Actions that were permitted and of which no outcome is known.
    pub open: Vec<OpenAction>,
    /// What is wrong, integrity first; at most a thousand findings of each class.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub further: u64,
    counts: [usize; 3],
    /// The notes that stood in the log, the newest first.
    pub(super) heads: Vec<Vec<u8>>,
}

/// A permitted action without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenAction {
    /// Which action.
    pub action: ActionId,
    /// The entry that permitted it.
    pub index: u64,
}

/// An entry that erased payloads of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Which entry.
    pub index: u64,
    /// How many payloads are gone by it.
    pub payloads: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which question it answers with no.
    pub class: Class,
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

/// The three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The bytes are not the ones that were signed.
    Integrity,
    /// Something is missing that other entries or the checkpoint speak of.
    Completeness,
    /// The entries tell of something that may not be.
    Correctness,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The verifier key that was given.
    Key,
    /// The signed head.
    Checkpoint,
    /// An older checkpoint that the auditor holds, by its place in the list.
    Older(usize),
    /// A file of the log.
    File(String),
    /// An entry.
    Entry(u64),
}

impl Report {
    /// Whether a question can be answered with yes.
    pub fn holds(&self, class: Class) -> bool {
        self.counts[class as usize] == 0
    }

    /// Whether nothing at all was found wrong.
    pub fn is_clean(&self) -> bool {
        self.counts == [0; 3]
    }

    /// Asks whether witnesses have cosigned a head as a policy wants it; that none has is a finding of integrity.
    pub fn ask_for_witnesses(&mut self, key: &VerifierKey, policy: &TlogPolicy, now: Timestamp) {
        let heads = std::mem::take(&mut self.heads);
        let mut why = None;
        for note in &heads {
            match policy.check(key, note, now) {
                Ok(witnessed) => {
                    self.witnessed = Some(witnessed);
                    return;
                }
                // Of several heads the last is the one that was kept for its witnesses.
                Err(error) => why = Some(error),
            }
        }
        if let Some(why) = why {
            let reason = std::error::Error::source(&why).map(|source| format!(": {source}"));
            let what = format!(
                "no head is witnessed as the policy wants it: {why}{}",
                reason.unwrap_or_default()
            );
            self.find(Class::Integrity, Place::Checkpoint, what);
            self.sort();
        }
    }

    pub(crate) fn find(&mut self, class: Class, place: Place, what: impl Into<String>) {
        let count = &mut self.counts[class as usize];
        *count += 1;
        if *count <= MAX_FINDINGS {
            self.findings.push(Finding { class, place, what: what.into() });
        } else {
            self.further += 1;
        }
    }

    /// What was signed comes before what it says.
    pub(crate) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.class);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.class, self.place, self.what)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integrity => "integrity",
            Self::Completeness => "completeness",
            Self::Correctness => "correctness",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("verifier key"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Older(at) => write!(f, "older checkpoint {at}"),
            Self::File(name) => f.write_str(name),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}
