//! One head, and the lines of witnesses that came for it.

use std::{sync::Arc, time::Duration};

use ledger::{Checkpoint, Head};
use tokio::time::Instant;

/// How long a head is given to those who have not cosigned it yet, before a newer one takes its place without having enough
/// lines: a witness that is slow or briefly away adds to the same head.
const GATHER: Duration = Duration::from_secs(60);

/// A head as witnesses are given it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) note: String,
    pub(super) head: Head,
    /// How many entries were signed for when it was taken: no witness can have seen more.
    pub(super) newest: u64,
}

/// A head, and who has cosigned it.
pub(super) struct Gathering {
    pub(super) given: Arc<Given>,
    /// By the witness's place in the policy.
    lines: Vec<Option<String>>,
    since: Instant,
    /// Whether enough have cosigned, and what they have is kept.
    pub(super) is_kept: bool,
}

impl Given {
    /// The head of a signed note; `None` where it is none.
    pub(super) fn of(note: Vec<u8>, newest: u64) -> Option<Self> {
        let Checkpoint { size, root, .. } = Checkpoint::unverified(&note).ok()?;
        let note = String::from_utf8(note).ok()?;
        Some(Self { note, head: Head { size, root }, newest: newest.max(size) })
    }
}

impl Gathering {
    pub(super) fn new(given: Given, witnesses: usize, at: Instant) -> Self {
        let given = Arc::new(given);
        Self { given, lines: vec![None; witnesses], since: at, is_kept: false }
    }

    /// Whether a newer head may take its place.
    pub(super) fn is_over(&self, at: Instant) -> bool {
        self.is_kept || at.duration_since(self.since) >= GATHER
    }

    /// Adds the line of a witness, in place of an older one.
    pub(super) fn add(&mut self, witness: usize, line: String) {
        if let Some(place) = self.lines.get_mut(witness) {
            *place = Some(line);
        }
    }

    /// The head with all lines that came for it.
    pub(super) fn cosigned(&self) -> String {
        let lines = self.lines.iter().flatten().map(String::as_str);
        std::iter::once(self.given.note.as_str()).chain(lines).collect()
    }
}
