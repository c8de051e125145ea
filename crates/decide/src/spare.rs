//! Refusals on a full disk: one for each identity and second finds its way into the ledger's reserve, so that somebody who
//! tries again and again does not use up what others' refusals need.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use model::{IdentityId, Timestamp};

/// The most identities whose refusals are recorded in one second.
const MAX_IDENTITIES: usize = 1024;

/// Whose refusals have been recorded in the current second.
#[derive(Default)]
pub(crate) struct Spared(Mutex<(i64, HashSet<IdentityId>)>);

impl Spared {
    /// Whether this identity's refusal is the first one in its second, and so is to be recorded.
    pub(crate) fn is_first(&self, identity: &IdentityId, at: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, seen) = &mut *state;
        if *second != at.seconds() {
            *second = at.seconds();
            seen.clear();
        }
        seen.len() < MAX_IDENTITIES && seen.insert(identity.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_for_each_identity_and_second_is_recorded() {
        let (spared, at) = (Spared::default(), Timestamp::from_millis);
        let [bot, other] = ["agent/bot", "agent/other"].map(|id| id.parse().unwrap());
        let asked = [(&bot, 1_000), (&bot, 1_999), (&other, 1_999), (&bot, 2_000), (&bot, 2_001)];
        let first = asked.map(|(identity, millis)| spared.is_first(identity, at(millis)));
        assert_eq!(first, [true, false, true, true, false]);
    }

    #[test]
    fn no_more_identities_are_remembered_than_there_is_room_for() {
        let (spared, at) = (Spared::default(), Timestamp::from_millis(1));
        let first = |number| spared.is_first(&format!("agent/a{number}").parse().unwrap(), at);
        assert_eq!((0..2 * MAX_IDENTITIES).filter(|number| first(*number)).count(), MAX_IDENTITIES);
    }
}
