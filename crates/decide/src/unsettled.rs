//! Calls that were permitted and whose end is not recorded: none stays so. Each is ended once, by whoever comes first, its
//! settlement, a cut, or the sweep that closes as `unknown` what is past its deadline. What a process did not live to end,
//! the next start closes.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use ledger::{AgentMark, Leaf};
use model::{ActionId, Digest, IdentityId, LinkId, Money, TaskId, Timestamp};

use crate::{
    engine::Engine,
    entries::{self, Outcome},
    permit::{Ending, Held},
    record::Told,
    stop::StopScope,
};

/// How long after its deadline a call may still be settled, in milliseconds. A deadline ends the wait for an answer at
/// once; what is left to do then takes moments, also on a machine that is busy.
pub(crate) const SETTLE_MILLIS: i64 = 30_000;

/// The calls that have left and are not settled.
#[derive(Default)]
pub(crate) struct Unsettled(DashMap<ActionId, Weak<Held>>);

impl Unsettled {
    /// Notes that a call leaves.
    pub(crate) fn add(&self, held: &Arc<Held>) {
        self.0.insert(held.action, Arc::downgrade(held));
    }

    /// Takes the right to end a call, and with it the duty to record the end. `false` where another has it.
    pub(crate) fn take(&self, action: ActionId) -> bool {
        self.0.remove(&action).is_some()
    }

    /// The calls that should have been settled by now.
    fn overdue(&self, now: Timestamp) -> Vec<Arc<Held>> {
        let held = self.0.iter().filter_map(|call| call.upgrade());
        held.filter(|held| is_overdue(held.call.deadline, now)).collect()
    }
}

/// Whether what ends at this deadline should have been settled by now.
pub(crate) fn is_overdue(deadline: Timestamp, now: Timestamp) -> bool {
    now.millis().saturating_sub(deadline.millis()) >= SETTLE_MILLIS
}

/// A permitted call that the ledger holds no end of, from a process that is gone.
pub(crate) struct Orphan {
    action: ActionId,
    decision: Digest,
    /// What was reserved for it.
    cost: Option<Money>,
    agent: AgentMark,
    chain: Vec<LinkId>,
    person: Option<IdentityId>,
    task: Option<TaskId>,
}

impl Orphan {
    /// What is kept of a permit until its end is found. What a person decides for themself is done with the decision.
    pub(crate) fn of(
        permit: &Leaf,
        action: ActionId,
        decision: Digest,
        cost: Option<Money>,
    ) -> Option<Self> {
        let agent = permit.agent.clone()?;
        let (chain, person, task) = (permit.chain.clone(), permit.person.clone(), permit.task);
        Some(Self { action, decision, cost, agent, chain, person, task })
    }

    /// The record of its end. What is not known may have happened, so all that was reserved is spent.
    fn ended(self, engine: &Engine) -> Told {
        let body = Outcome::of(Ending::Unknown, None, self.cost);
        let mut draft = entries::draft(engine.context.id(), engine.context.now(), &body);
        (draft.agent, draft.chain) = (Some(self.agent), self.chain);
        (draft.person, draft.task) = (self.person, self.task);
        let draft = entries::of_action(draft, self.action, vec![self.decision]);
        Told { draft, spent: body.spent }
    }
}

impl Engine {
    /// Closes what another process left open. It waits for nothing; what is not written by it is found again at the next
    /// start.
    pub(crate) fn close_orphans(&self, mut orphans: Vec<Orphan>) {
        orphans.sort_unstable_by_key(|orphan| orphan.action);
        if !orphans.is_empty() {
            let calls = orphans.len();
            tracing::warn!(
                code = "BW-1103",
                calls,
                "calls that were on their way when the node ended are closed as unknown"
            );
        }
        for orphan in orphans {
            self.note(orphan.ended(self));
        }
    }

    /// Closes as unknown, and cuts, each call that is past its deadline and was not settled.
    pub(crate) fn close_overdue(&self, now: Timestamp) {
        for held in self.unsettled.overdue(now) {
            if let Some(outcome) = held.settle(Ending::Unknown, None) {
                tracing::warn!(code = "BW-1104", action = %held.action, "a call was not settled by its deadline");
                self.note(outcome);
                self.stops.cut(&StopScope::Action(held.action));
            }
        }
    }
}
