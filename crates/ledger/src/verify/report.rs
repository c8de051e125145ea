//! What a check found.

use std::{fmt, ops::RangeInclusive};

use model::{ActionId, TaskId, Timestamp};

use super::lines::Lines;
use crate::{
    note::{Checkpoint, VerifierKey},
    quorum::{TlogPolicy, Witnessed, WitnessedError},
    restore,
};

/// The most findings of one class that are kept one by one; the others are counted.
const MAX_FINDINGS: usize = 1000;

/// What a check found, and how much it looked at.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many entries the largest head covers that the auditor kept, and that is a beginning of this log.
    pub held: u64,
    /// Whether it was a pack that was checked, and not a node's own folder.
    pub is_pack: bool,
    /// The signed head that everything was checked against; `None` where it could not be accepted.
    pub checkpoint: Option<Checkpoint>,
    /// The key that signed it, where that is another one than was given, and handovers lead to it from that.
    pub successor: Option<VerifierKey>,
    /// The newest head, of the log or kept, that a quorum of witnesses has cosigned, and who; `None` where none has, or where nobody asked
    /// ([`Report::ask_for_witnesses`]).
    pub witnessed: Option<Witnessed>,
    /// Heads of the log over which an authority has given a time, by the word of its tokens, whose signatures are not checked;
    /// the smallest first.
    pub stamped: Vec<Stamped>,
    /// How many entries were hashed.
    pub entries: u64,
    /// How many tiles were compared, of all levels.
    pub tiles: u64,
    /// How many sealed payloads were compared with the digest in their leaf.
    pub payloads: u64,
    /// How many payloads are gone because their key was erased, or had expired.
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
    /// Tasks that were opened and of which no end is known.
    pub open_tasks: Vec<OpenTask>,
    /// What the log itself says that it could not record.
    pub gaps: Vec<Gap>,
    /// Where the log says that it was brought back from an older copy, and what of it is lost.
    pub truncations: Vec<Truncation>,
    /// What is wrong, integrity first; at most a thousand findings of each class.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub further: u64,
    /// By level and class.
    counts: [[usize; 3]; 5],
    /// Which levels there was something to check at.
    asked: [bool; 5],
    /// The notes that were read, the newest of the log first.
    pub(super) heads: Vec<(Place, Vec<u8>)>,
    /// The keys that have signed them.
    pub(super) lines: Lines,
}

/// A head with a timestamp (RFC 3161).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// How many entries the head covers.
    pub size: u64,
    /// When it was there, as the token says.
    pub at: Timestamp,
    /// The file of the head; the token lies beside it, with `.tsr`.
    pub file: String,
}

/// A permitted action without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenAction {
    /// Which action.
    pub action: ActionId,
    /// The entry that permitted it.
    pub index: u64,
}

/// An entry that erased payloads of others, or let them expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Which entry.
    pub index: u64,
    /// How many payloads are gone by it.
    pub payloads: u64,
    /// Whether they were past their time.
    pub expired: bool,
}

/// A task without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTask {
    /// Which task.
    pub task: TaskId,
    /// The entry that opened it.
    pub index: u64,
}

/// So many entries that were not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The entry that says so.
    pub index: u64,
    /// How many.
    pub lost: u64,
    /// When the first was lost.
    pub from: Timestamp,
    /// When the last was.
    pub to: Timestamp,
}

/// A log that was restored from an older copy than what was signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The entry that says so.
    pub index: u64,
    /// How many entries the copy had.
    pub kept: u64,
    /// The log's name from then on.
    pub name: String,
    /// How many entries were signed for, as far as anybody knew then.
    pub lost_to: Option<u64>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was being checked.
    pub level: Level,
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

/// What is checked, each on the ground of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The head is signed by this key, and cosigned as the policy wants it, where there is one.
    Signature,
    /// Every entry and every tile is the one that was signed.
    Tree,
    /// Older heads are beginnings of this one.
    History,
    /// Every sealed payload is the one that its entry commits to.
    Payloads,
    /// The entries tell of a course of events that may be.
    Meaning,
}

/// What can be said of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Holds,
    /// Something is.
    Fails,
    /// There was nothing to check, or nothing to check it against.
    NotChecked,
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
    pub(super) fn of(is_pack: bool) -> Self {
        Self { is_pack, ..Self::default() }
    }

    /// Whether a question can be answered with yes.
    pub fn holds(&self, class: Class) -> bool {
        self.counts.iter().all(|level| level[class as usize] == 0)
    }

    /// Whether nothing at all was found wrong.
    pub fn is_clean(&self) -> bool {
        self.counts == [[0; 3]; 5]
    }

    /// What can be said of a level.
    pub fn verdict(&self, level: Level) -> Verdict {
        match (self.counts[level as usize], self.asked[level as usize]) {
            ([0, 0, 0], true) => Verdict::Holds,
            ([0, 0, 0], false) => Verdict::NotChecked,
            _ => Verdict::Fails,
        }
    }

    /// Notes that there is something to check at a level.
    pub(super) fn ask(&mut self, level: Level) {
        self.asked[level as usize] = true;
    }

    /// Asks whether witnesses have cosigned a head as a policy wants it. That none has, or that a line of a known witness is
    /// bad in any head, is a finding of integrity; what of a pack lies behind the newest that they have, one of completeness.
    pub fn ask_for_witnesses(&mut self, key: &VerifierKey, policy: &TlogPolicy, now: Timestamp) {
        let (mut heads, mut why) = (Vec::new(), None);
        for (place, note) in std::mem::take(&mut self.heads) {
            let key = &self.lines.of(&note, key);
            // It is not this log's, so nobody has cosigned this log by it.
            if self.findings.iter().any(|finding| finding.place == place) {
                continue;
            }
            match policy.check(key, &note, now) {
                Err(WitnessedError::Note(error)) => {
                    self.find(Level::Signature, Class::Integrity, place, error.to_string());
                }
                // The log's own head comes first, and is what is asked about.
                Err(error) => why = why.or(Some(error)),
                Ok(witnessed) => heads.push(witnessed),
            }
        }
        self.witnessed = heads.into_iter().max_by_key(|head| (head.checkpoint.size, head.by.len()));
        if !policy.wants_witnesses() {
            self.witnessed = None;
        } else if let Some(tail) = self.unwitnessed() {
            if self.is_pack {
                let what =
                    format!("no witnessed head covers entries {} to {}", tail.start(), tail.end());
                self.find(Level::Signature, Class::Completeness, Place::Checkpoint, what);
            }
        } else if self.checkpoint.is_some() && self.witnessed.is_none() {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let what = format!("no head is witnessed as the policy wants it{why}");
            self.find(Level::Signature, Class::Integrity, Place::Checkpoint, what);
        }
        self.sort();
    }

    /// What ended the log of this name, which it had before.
    pub(super) fn truncation_of(&self, name: &str) -> Option<Truncation> {
        let ended = |cut: &&Truncation| restore::generation(&cut.name) > restore::generation(name);
        self.truncations.iter().find(ended).cloned()
    }

    /// The entries behind the newest witnessed head, where there is one.
    pub fn unwitnessed(&self) -> Option<RangeInclusive<u64>> {
        let (witnessed, signed) = (self.witnessed.as_ref()?, self.checkpoint.as_ref()?);
        let tail = witnessed.checkpoint.size..=signed.size.checked_sub(1)?;
        (!tail.is_empty()).then_some(tail)
    }

    /// The entries behind the newest head that somebody else has a hand in, as a witness or by a timestamp; of a log that has
    /// no timestamps [`Report::unwitnessed`] is what there is to say.
    pub fn unanchored(&self) -> Option<RangeInclusive<u64>> {
        let (stamped, signed) = (self.stamped.last()?, self.checkpoint.as_ref()?);
        let witnessed = self.witnessed.as_ref().map_or(0, |head| head.checkpoint.size);
        let tail = stamped.size.max(witnessed)..=signed.size.checked_sub(1)?;
        (!tail.is_empty()).then_some(tail)
    }

    pub(super) fn find(
        &mut self,
        level: Level,
        class: Class,
        place: Place,
        what: impl Into<String>,
    ) {
        self.counts[level as usize][class as usize] += 1;
        let of_class: usize = self.counts.iter().map(|level| level[class as usize]).sum();
        if of_class <= MAX_FINDINGS {
            self.findings.push(Finding { level, class, place, what: what.into() });
        } else {
            self.further += 1;
        }
    }

    /// A time over a head that is none of this log says nothing of it.
    pub(super) fn forget_false_stamps(&mut self) {
        let wrong = |head: &Stamped| {
            let place = Place::File(head.file.clone());
            self.findings.iter().any(|finding| finding.place == place)
        };
        let stamped = std::mem::take(&mut self.stamped);
        self.stamped = stamped.into_iter().filter(|head| !wrong(head)).collect();
    }

    /// What was signed comes before what it says.
    pub(super) fn sort(&mut self) {
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
