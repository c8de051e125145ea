//! What a task or an agent came to: its entries, counted in the order in which they go to the ledger, so that whoever reads the
//! ledger counts the same and sees where some are missing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{AppendError, Appending, Leaf, Log, Receipt, Sealed};
use model::{Digest, IdentityId, Money, TaskId};
use policy::Verdict;

use crate::{
    engine::Engine,
    entries::{Body, Decision, Outcome, TokenIssued},
    record::Told,
};

/// The entries of one task, or of one agent, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many there are; of a task, its own among them.
    pub(crate) entries: u64,
    pub(crate) permits: u64,
    pub(crate) refusals: u64,
    pub(crate) outcomes: u64,
    pub(crate) tokens: u64,
    /// What its outcomes say that was spent, in minor units of the budget's currency.
    pub(crate) spent: u64,
    /// The newest of which it is known that the ledger holds it, with its index.
    pub(crate) last: Option<(u64, Digest)>,
}

/// A tally, shared by everyone who writes entries that count in it.
pub(crate) type SharedTally = Arc<Mutex<Tally>>;

/// What an entry counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    Permit,
    Refusal,
    Outcome { spent: u64 },
    Token,
    Other,
}

impl Counts {
    fn of(kind: &str, verdict: Option<&str>, spent: u64) -> Self {
        match kind {
            Decision::KIND if verdict == Some(Verdict::Permit.name()) => Self::Permit,
            Decision::KIND => Self::Refusal,
            Outcome::KIND => Self::Outcome { spent },
            TokenIssued::KIND => Self::Token,
            _ => Self::Other,
        }
    }

    /// What it counts as once it is in the ledger.
    pub(crate) fn of_told(told: &Told) -> Self {
        let spent = told.spent.map_or(0, Money::minor_units);
        Self::of(&told.draft.kind, told.draft.verdict.as_deref(), spent)
    }

    fn of_leaf(leaf: &Leaf) -> Self {
        let spent = leaf.body.member("spent").filter(|_| leaf.kind == Outcome::KIND);
        let spent = spent.and_then(|spent| serde_json::from_value::<Money>(spent.to_value()).ok());
        Self::of(&leaf.kind, leaf.verdict.as_deref(), spent.map_or(0, Money::minor_units))
    }
}

impl Tally {
    /// Counts one more entry.
    pub(crate) fn count(&mut self, what: Counts) {
        self.change(what, u64::saturating_add);
    }

    fn change(&mut self, what: Counts, by: fn(u64, u64) -> u64) {
        self.entries = by(self.entries, 1);
        match what {
            Counts::Permit => self.permits = by(self.permits, 1),
            Counts::Refusal => self.refusals = by(self.refusals, 1),
            Counts::Outcome { spent } => {
                self.outcomes = by(self.outcomes, 1);
                self.spent = by(self.spent, spent);
            }
            Counts::Token => self.tokens = by(self.tokens, 1),
            Counts::Other => {}
        }
    }

    /// Notes an entry that the ledger holds.
    pub(crate) fn holds(&mut self, index: u64, hash: Digest) {
        self.last = self.last.max(Some((index, hash)));
    }

    /// Counts an entry as it is read back.
    pub(crate) fn read(&mut self, leaf: &Leaf, index: u64, hash: Digest) {
        self.count(Counts::of_leaf(leaf));
        self.holds(index, hash);
    }
}

/// An entry that is sealed and counts in its task and for its agent once it is handed over.
pub(crate) struct Ready {
    pub(crate) sealed: Sealed,
    pub(crate) task: Option<TaskId>,
    pub(crate) agent: Option<IdentityId>,
    pub(crate) counts: Counts,
}

impl Ready {
    /// Its leaf hash.
    pub(crate) fn hash(&self) -> Digest {
        self.sealed.hash()
    }
}

/// An append under way; where the ledger does not take it, it does not count.
pub(crate) struct Counted {
    /// None where the log of the agent that it is for is closed.
    appending: Option<Appending>,
    hash: Digest,
    tallies: Tallies,
    counts: Counts,
}

/// Where an entry counts: in its task, for its agent. Whoever locks both locks them in this order.
pub(crate) type Tallies = [Option<SharedTally>; 2];

impl Counted {
    /// What became of it.
    pub(crate) async fn done(&mut self) -> Result<Receipt, AppendError> {
        let Some(appending) = &mut self.appending else { return Err(AppendError::Closed) };
        let appended = appending.await;
        for tally in self.tallies.iter().flatten() {
            match &appended {
                Ok(receipt) => locked(tally).holds(receipt.index, self.hash),
                Err(_) => locked(tally).change(self.counts, u64::saturating_sub),
            }
        }
        appended
    }
}

impl Engine {
    /// Appends what grants; it is durable once [`Counted::done`] says so. Nothing is granted to an agent behind its end, also where
    /// it was decided before.
    pub(crate) fn append(&self, ready: Ready) -> Counted {
        self.append_by(ready, true, Log::append)
    }

    /// The same of what lets a person in, for which the ledger keeps room.
    pub(crate) fn append_admission(&self, ready: Ready) -> Counted {
        self.append_by(ready, true, Log::append_admission)
    }

    /// The same of what ends something, for which the ledger keeps room.
    pub(crate) fn append_end(&self, ready: Ready) -> Counted {
        self.append_by(ready, false, Log::append_end)
    }

    fn append_by(
        &self,
        ready: Ready,
        grants: bool,
        append: fn(&Log, Sealed) -> Appending,
    ) -> Counted {
        let (hash, counts) = (ready.hash(), ready.counts);
        let (appending, tallies) = self.enqueue(ready, grants, |sealed| append(&self.log, sealed));
        Counted { appending, hash, tallies, counts }
    }

    /// Hands an entry to the ledger and counts it in its task and for its agent under their locks: whoever counts the ledger's
    /// entries up to any one of them comes to the same. What grants is not handed over where its agent's log is closed.
    pub(crate) fn enqueue<T>(
        &self,
        ready: Ready,
        grants: bool,
        how: impl FnOnce(Sealed) -> T,
    ) -> (Option<T>, Tallies) {
        let agent = ready.agent.as_ref().map(|agent| self.agents.tally(agent));
        let tallies = [ready.task.and_then(|task| self.tasks.tally(task)), agent];
        let mut counting = tallies.each_ref().map(|tally| tally.as_ref().map(locked));
        if grants && ready.agent.as_ref().is_some_and(|agent| self.agents.is_closed(agent)) {
            return (None, [None, None]);
        }
        for tally in counting.iter_mut().flatten() {
            tally.count(ready.counts);
        }
        let handed = how(ready.sealed);
        drop(counting);
        (Some(handed), tallies)
    }
}

/// The tally. Whoever panicked while they held it left it whole.
pub(crate) fn locked(tally: &SharedTally) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
