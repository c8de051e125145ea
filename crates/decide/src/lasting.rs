//! Policies that change while a call is on its way, and what outlasts the call that opened it: whatever policies in force would
//! not permit any more ends.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, MutexGuard, PoisonError},
};

use model::{Name, Timestamp};
use policy::Effect;
use tokio::sync::watch;

use crate::{
    attempt::{final_word, lifted},
    authenticate::Caller,
    entries::PolicyMark,
    evaluate::About,
    permit::{Dispatch, Held},
    refusal::Refusal,
    standing::Standing,
};

/// A right that a call opened for longer than it took, such as a subscription.
#[derive(Clone)]
pub struct Lasting(Arc<Held>);

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lasting")
    }
}

impl Lasting {
    /// Whether the same call would go out for this caller now, with what was approved then; also `false` while that cannot be
    /// said. It is not recorded: nothing new leaves by it.
    pub fn stands(&self, caller: &Caller) -> bool {
        let held = &self.0;
        let check = || -> Result<bool, Refusal> {
            let (now, standing) = held.recheck(caller)?;
            Ok(held.is_permitted(caller, &standing, now))
        };
        check().unwrap_or(false)
    }
}

impl Dispatch {
    /// The right that this call opens for longer than it takes.
    pub fn lasting(&self) -> Lasting {
        Lasting(self.held().clone())
    }

    /// Resolves when a stop cuts this call, or when policies have come into force that would not permit it.
    pub async fn cut(&self) {
        loop {
            let mut policies = self.seen_policies().clone();
            tokio::select! {
                biased;
                () = self.live.cut() => return,
                Ok(()) = policies.changed() => self.look_at_policies(self.held()),
            }
        }
    }

    /// Cuts the call where other policies are in force than it was looked at by last, and would not permit it. What it has
    /// touched and reserved itself since its decision is not held against it.
    pub(crate) fn look_at_policies(&self, held: &Held) {
        // Seen before they are asked: those that come meanwhile are looked at the next time.
        let has_changed = {
            let mut seen = self.seen_policies();
            let has_changed = seen.has_changed().unwrap_or(true);
            seen.mark_unchanged();
            has_changed
        };
        let now = held.engine.context.now();
        if has_changed && !held.is_permitted(&held.caller, &held.standing, now) {
            self.live.end();
        }
    }

    fn seen_policies(&self) -> MutexGuard<'_, watch::Receiver<()>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether the policies in force permit the call to a caller in this standing.
    fn is_permitted(&self, caller: &Caller, standing: &Standing, now: Timestamp) -> bool {
        let asked = self.engine.ask(About {
            caller,
            standing,
            pairs: &self.pairs,
            owner: None,
            group: None,
            tool: Some(&self.call.tool.name),
            cost: self.reserved.cost,
            now,
        });
        let approval = self.reserved.approval.and_then(|id| self.engine.directory.approval(id));
        let lifted: BTreeSet<Name> =
            approval.map(|record| lifted(&record.demands)).unwrap_or_default();
        let outcome = asked.evaluate(&lifted);
        let was_lifted = |mark: PolicyMark| self.lifted.contains(&mark);
        let mut demands = outcome.determining.iter().filter(|one| one.effect == Effect::SoftForbid);
        matches!(final_word(&outcome, self.action, true), Some(Ok(())))
            && demands.all(|one| was_lifted(PolicyMark::of(one)))
    }
}
