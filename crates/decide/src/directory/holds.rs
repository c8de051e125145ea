//! Legal holds.

use std::collections::BTreeSet;

use model::IdentityId;
use store::Governed;

use super::Directory;
use crate::{records::HoldRecord, subject::Subject};

impl Directory {
    /// Whether a legal hold keeps what is sealed for a subject, or for the person whose handle it is. Where the ledger tells of a
    /// hold whose row is gone or was tampered with, it does: somebody may have wanted it lifted.
    pub fn is_held(&self, subject: &Subject) -> bool {
        let held = |subject: &Subject| {
            let key = subject.to_string();
            match self.holds.get(&key) {
                Some(hold) => !hold.lifted,
                None => self.seals.is_sealed(HoldRecord::KIND, &key, 0),
            }
        };
        let person: Option<IdentityId> = match subject {
            Subject::Handle(handle) => {
                self.person_by_handle(handle).map(|entry| entry.person.id.clone())
            }
            _ => None,
        };
        held(subject) || person.is_some_and(|person| held(&person.into()))
    }

    /// The legal holds in force, by subject.
    pub fn holds(&self) -> Vec<HoldRecord> {
        let in_force = self.holds.iter().filter(|hold| !hold.lifted);
        let mut holds: Vec<HoldRecord> = in_force.map(|hold| hold.clone()).collect();
        holds.sort_by(|one, other| one.subject.cmp(&other.subject));
        holds
    }

    /// Whom and what legal holds in force name, those whose rows are gone too.
    pub(crate) fn under_hold(&self) -> BTreeSet<Subject> {
        let known = self.seals.keys_of(HoldRecord::KIND).into_iter();
        let rows = self.holds.iter().map(|hold| hold.subject.clone());
        let all: BTreeSet<Subject> = known.filter_map(|key| key.parse().ok()).chain(rows).collect();
        all.into_iter().filter(|subject| self.is_held(subject)).collect()
    }
}
