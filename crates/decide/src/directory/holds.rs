//! Legal holds.

use model::IdentityId;
use store::Governed;

use super::Directory;
use crate::records::HoldRecord;

impl Directory {
    /// Whether a legal hold keeps what is sealed for a subject. Where the ledger tells of a hold whose row is gone or was
    /// tampered with, it does: somebody may have wanted it lifted.
    pub fn is_held(&self, subject: &IdentityId) -> bool {
        let key = subject.to_string();
        match self.holds.get(&key) {
            Some(hold) => !hold.lifted,
            None => self.seals.is_sealed(HoldRecord::KIND, &key, 0),
        }
    }

    /// The legal holds in force, by subject.
    pub fn holds(&self) -> Vec<HoldRecord> {
        let in_force = self.holds.iter().filter(|hold| !hold.lifted);
        let mut holds: Vec<HoldRecord> = in_force.map(|hold| hold.clone()).collect();
        holds.sort_by(|one, other| one.subject.cmp(&other.subject));
        holds
    }
}
