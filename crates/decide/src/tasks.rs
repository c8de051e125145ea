//! What has happened, as far as later decisions need it: tasks with their budgets and history, revoked delegations, tokens
//! issued, and what may be used only once. Folded from the ledger at start, kept in step by whoever appends.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use dashmap::{DashMap, mapref::entry::Entry};
use model::{ApprovalId, Digest, EntryId, IdentityId, LinkId, Money, Name, TaskId, Timestamp};

use crate::{entries::TaskOpened, tally::SharedTally};

/// How long what has expired is still remembered, in milliseconds: twice the clocks' tolerated skew.
const SKEW_MILLIS: i64 = 2 * 60_000;
/// After how many identical refusals an agent's work in a task is parked. A model that reads a refusal and makes the same
/// call once or twice more is on its way; one that makes it five times is not.
pub const REFUSALS_MAX: u32 = 5;
/// The most different refusals of an agent in a task that are told apart; beyond it the count begins anew.
const MAX_WALLS: usize = 1_000;
/// The most single-use marks held at once; beyond it nothing new is accepted until some expire.
const MAX_MARKS: usize = 4_000_000;

/// One piece of work, as decisions see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Task {
    /// Who invoked it.
    pub person: IdentityId,
    /// The agent it was given to.
    pub agent: IdentityId,
    /// What it is for, as policies read it.
    pub purpose: Arc<str>,
    /// When it ends by itself.
    pub deadline: Timestamp,
    /// What it may spend.
    pub budget: Option<Money>,
    /// What it has spent, in minor units of the budget's currency.
    pub spent: u64,
    /// What calls on their way may spend.
    pub reserved: u64,
    /// The data classes that this task has touched, at any depth of its chain.
    pub labels: Arc<BTreeSet<Name>>,
    /// How many calls were dispatched.
    pub calls: u64,
    /// Whether it was closed: by a person before its deadline, or after that.
    pub ended: bool,
    /// The agents of which nothing in it is done at the moment.
    pub parked: Arc<Vec<Parking>>,
    /// The leaf hash of its own entry.
    pub(crate) opened: Digest,
    pub(crate) tally: SharedTally,
}

/// An agent's work in a task, its sub-agents' included, of which nothing is done until a person says so.
#[derive(Debug, Clone)]
pub struct Parking {
    /// The ledger's entry.
    pub entry: EntryId,
    /// Whose work.
    pub agent: IdentityId,
    /// Why.
    pub why: Arc<str>,
}

impl Task {
    /// A task of which nothing was done yet.
    pub(crate) fn new(person: IdentityId, body: TaskOpened, opened: Digest) -> Option<Self> {
        Some(Self {
            person,
            agent: body.agent?,
            purpose: body.purpose.into(),
            deadline: body.deadline,
            budget: body.budget,
            spent: 0,
            reserved: 0,
            labels: Arc::default(),
            calls: 0,
            ended: false,
            parked: Arc::default(),
            opened,
            tally: SharedTally::default(),
        })
    }

    /// What keeps the last of these agents from doing anything in the task, where something does.
    pub fn parking_of<'a>(
        &self,
        chain: impl IntoIterator<Item = &'a IdentityId>,
    ) -> Option<&Parking> {
        chain
            .into_iter()
            .find_map(|agent| self.parked.iter().find(|parking| parking.agent == *agent))
    }
}

/// Why a cost cannot be reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overspent {
    /// The task is not known.
    #[error("the task is not known")]
    NoTask,
    /// The task may spend nothing, or nothing in this currency.
    #[error("the task has no budget in {0}")]
    NoBudget(model::Currency),
    /// Not enough is left.
    #[error("the task has {left} left and this would spend {cost}")]
    Beyond {
        /// What is left after what others have reserved.
        left: Money,
        /// What was asked for.
        cost: Money,
    },
    /// Not enough is left as long as calls on their way may spend what they reserved.
    #[error(
        "the task has {left} left beside what calls on their way may spend, and this would spend {cost}"
    )]
    Reserved {
        /// What is left after what others have reserved.
        left: Money,
        /// What was asked for.
        cost: Money,
    },
}

/// The state that attempts read and change.
#[derive(Default)]
pub struct Tasks {
    tasks: DashMap<TaskId, Task>,
    /// How often each agent of a task ran into which wall.
    refused: DashMap<(TaskId, IdentityId), HashMap<Digest, u32>>,
    revoked: DashMap<LinkId, Timestamp>,
    issued: DashMap<Digest, Timestamp>,
    marks: DashMap<Digest, Timestamp>,
    approvals_used: DashMap<ApprovalId, ()>,
    /// When the ledger last lost entries, in milliseconds; zero where it never did.
    lost_until: AtomicI64,
}

impl Tasks {
    /// Adds a task that the ledger holds.
    pub fn open(&self, id: TaskId, task: Task) {
        self.tasks.insert(id, task);
    }

    /// The task.
    pub fn task(&self, id: TaskId) -> Option<Task> {
        self.tasks.get(&id).map(|task| task.clone())
    }

    /// The tally of a task's entries.
    pub(crate) fn tally(&self, id: TaskId) -> Option<SharedTally> {
        self.tasks.get(&id).map(|task| task.tally.clone())
    }

    /// Closes a task. `false` where it is closed already, or not known.
    pub fn end(&self, id: TaskId) -> bool {
        self.tasks.get_mut(&id).is_some_and(|mut task| !std::mem::replace(&mut task.ended, true))
    }

    /// Forgets a task that nobody got: its record came too late.
    pub(crate) fn lapse(&self, id: TaskId, opened: &[Digest]) {
        self.tasks.remove_if(&id, |_, task| opened.contains(&task.opened));
    }

    /// Counts one more refusal of an agent at the same wall; how many there are, once they park its work.
    pub fn refused(&self, id: TaskId, agent: &IdentityId, wall: Digest) -> Option<u32> {
        if !self.tasks.contains_key(&id) {
            return None;
        }
        let mut walls = self.refused.entry((id, agent.clone())).or_default();
        if walls.len() >= MAX_WALLS && !walls.contains_key(&wall) {
            walls.clear();
        }
        let times = walls.entry(wall).or_default();
        *times = times.saturating_add(1);
        (*times >= REFUSALS_MAX).then_some(*times)
    }

    /// Parks an agent's work in a task, and forgets what was counted of it. `false` where it is parked already, or the task is
    /// not known.
    pub fn park(&self, id: TaskId, parking: Parking) -> bool {
        self.forget_refusals(id, &parking.agent);
        let Some(mut task) = self.tasks.get_mut(&id) else { return false };
        let is_new = task.parking_of([&parking.agent]).is_none();
        if is_new {
            Arc::make_mut(&mut task.parked).push(parking);
        }
        is_new
    }

    /// Ends exactly these parkings of a task; one that came later stays.
    pub fn unpark(&self, id: TaskId, entries: &[EntryId]) {
        if let Some(mut task) = self.tasks.get_mut(&id) {
            Arc::make_mut(&mut task.parked).retain(|parking| !entries.contains(&parking.entry));
        }
    }

    /// Everything that is parked, the oldest task first.
    pub fn parked(&self) -> Vec<(TaskId, Parking)> {
        let of = |task: dashmap::mapref::multiple::RefMulti<'_, TaskId, Task>| {
            let id = *task.key();
            task.parked.iter().cloned().map(|parking| (id, parking)).collect::<Vec<_>>()
        };
        let live = self.tasks.iter().filter(|task| !task.ended);
        let mut parked: Vec<_> = live.flat_map(of).collect();
        parked.sort_by_key(|(id, _)| *id);
        parked
    }

    /// The tasks that are wanted of those that are remembered, the newest first.
    pub fn newest(&self, wanted: impl Fn(&Task) -> bool) -> Vec<TaskId> {
        let found = self.tasks.iter().filter(|task| wanted(task));
        let mut ids: Vec<TaskId> = found.map(|task| *task.key()).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids
    }

    /// Counts an agent's refusals in a task anew.
    pub fn forget_refusals(&self, id: TaskId, agent: &IdentityId) {
        self.refused.remove(&(id, agent.clone()));
    }

    /// Sets money aside for a call that is about to leave. One lock covers check and change: two calls never get the same
    /// cent.
    ///
    /// # Errors
    /// The task has no such budget, or not enough of it left.
    pub fn reserve(&self, id: TaskId, cost: Money) -> Result<(), Overspent> {
        let mut task = self.tasks.get_mut(&id).ok_or(Overspent::NoTask)?;
        let budget = task.budget.filter(|budget| budget.currency() == cost.currency());
        let budget = budget.ok_or(Overspent::NoBudget(cost.currency()))?;
        let taken = task.spent.saturating_add(task.reserved);
        let left = budget.minor_units().saturating_sub(taken);
        if cost.minor_units() > left {
            let money =
                i64::try_from(left).ok().and_then(|left| Money::new(left, cost.currency()).ok());
            let (left, unspent) =
                (money.unwrap_or(budget), budget.minor_units().saturating_sub(task.spent));
            return Err(if cost.minor_units() > unspent {
                Overspent::Beyond { left, cost }
            } else {
                Overspent::Reserved { left, cost }
            });
        }
        task.reserved += cost.minor_units();
        Ok(())
    }

    /// Turns a reservation into spending.
    pub fn spend(&self, id: TaskId, cost: Money) {
        if let Some(mut task) = self.tasks.get_mut(&id) {
            task.reserved = task.reserved.saturating_sub(cost.minor_units());
            task.spent = task.spent.saturating_add(cost.minor_units());
        }
    }

    /// Gives a reservation back: the call did not leave, or certainly did nothing.
    pub fn release(&self, id: TaskId, cost: Money) {
        if let Some(mut task) = self.tasks.get_mut(&id) {
            task.reserved = task.reserved.saturating_sub(cost.minor_units());
        }
    }

    /// Notes what a call touches, from its dispatch on; never rolled back, since what left may leak.
    pub fn touch(&self, id: TaskId, labels: &BTreeSet<Name>) {
        if let Some(mut task) = self.tasks.get_mut(&id) {
            task.calls += 1;
            if !labels.is_subset(&task.labels) {
                Arc::make_mut(&mut task.labels).extend(labels.iter().cloned());
            }
        }
    }

    /// Takes back that a call was dispatched: its permit lapsed.
    pub(crate) fn untouch(&self, id: TaskId) {
        if let Some(mut task) = self.tasks.get_mut(&id) {
            task.calls = task.calls.saturating_sub(1);
        }
    }

    /// Revokes a delegation. It is remembered until its own end, since nothing below it lives longer.
    pub fn revoke(&self, link: LinkId, end: Timestamp) {
        self.revoked.insert(link, end);
    }

    /// Whether the delegation was revoked.
    pub fn is_revoked(&self, link: LinkId) -> bool {
        !self.revoked.is_empty() && self.revoked.contains_key(&link)
    }

    /// Notes a token by its issuance entry.
    pub fn issue(&self, entry: Digest, expires: Timestamp) {
        self.issued.insert(entry, expires);
    }

    /// Whether the ledger holds the issuance of this token.
    pub fn is_issued(&self, entry: Digest) -> bool {
        self.issued.contains_key(&entry)
    }

    /// Marks something that may be used once. `false` when it was used before, or when too many marks are held.
    pub fn mark(&self, what: Digest, until: Timestamp) -> bool {
        if self.marks.len() >= MAX_MARKS {
            return false;
        }
        match self.marks.entry(what) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(until);
                true
            }
        }
    }

    /// Takes a mark back: what it stood for did not happen.
    pub fn unmark(&self, what: Digest) {
        self.marks.remove(&what);
    }

    /// Ends what entries that are lost may have ended, spent or used: every task that was opened before this moment, and
    /// every approval that was asked for.
    pub(crate) fn lose_until(&self, at: Timestamp) {
        self.lost_until.fetch_max(at.millis(), Ordering::Relaxed);
        for mut task in self.tasks.iter_mut() {
            task.deadline = task.deadline.min(at);
        }
    }

    /// Uses an approval. `false` when it was used before, or may have been.
    pub fn use_approval(&self, id: ApprovalId) -> bool {
        !self.is_approval_lost(id) && self.approvals_used.insert(id, ()).is_none()
    }

    /// Takes the use of an approval back: the call did not leave.
    pub fn unuse_approval(&self, id: ApprovalId) {
        self.approvals_used.remove(&id);
    }

    /// Whether the approval was used, or may have been.
    pub fn is_approval_used(&self, id: ApprovalId) -> bool {
        self.is_approval_lost(id) || self.approvals_used.contains_key(&id)
    }

    fn is_approval_lost(&self, id: ApprovalId) -> bool {
        let lost_until = self.lost_until.load(Ordering::Relaxed);
        lost_until > 0 && id < ApprovalId::compose(Timestamp::from_millis(lost_until), 0, 0)
    }

    /// Forgets what has ended twice the tolerated skew ago; a task only once it is closed.
    pub fn forget(&self, now: Timestamp) {
        let over = |end: &mut Timestamp| end.millis().saturating_add(SKEW_MILLIS) > now.millis();
        self.revoked.retain(|_, end| over(end));
        self.issued.retain(|_, end| over(end));
        self.marks.retain(|_, end| over(end));
        self.tasks.retain(|_, task| over(&mut task.deadline) || task.reserved > 0 || !task.ended);
        self.refused.retain(|(id, _), _| self.tasks.contains_key(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(minor_units: i64) -> Money {
        Money::new(minor_units, "EUR".parse().unwrap()).unwrap()
    }

    fn task(budget: Option<Money>) -> Task {
        let body = TaskOpened {
            agent: Some("agent/bot".parse().unwrap()),
            budget,
            deadline: Timestamp::from_millis(100),
            purpose: "test".to_owned(),
        };
        Task::new("person/p1".parse().unwrap(), body, Digest::default()).unwrap()
    }

    #[test]
    fn a_budget_is_never_overspent_by_calls_at_the_same_moment() {
        let tasks = Arc::new(Tasks::default());
        let id = TaskId::from_bits(1);
        tasks.open(id, task(Some(eur(100))));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let tasks = tasks.clone();
                std::thread::spawn(move || {
                    (0..50).filter(|_| tasks.reserve(id, eur(1)).is_ok()).count()
                })
            })
            .collect();
        let reserved: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(reserved, 100);
        assert_eq!(tasks.task(id).unwrap().reserved, 100);
    }

    #[test]
    fn what_lost_entries_may_have_ended_or_used_is_over_and_what_comes_later_is_not() {
        let tasks = Tasks::default();
        let (before, after) = (TaskId::from_bits(1), TaskId::from_bits(2));
        let approval = |millis| ApprovalId::compose(Timestamp::from_millis(millis), 1, 1);
        tasks.open(before, task(None));
        assert!(!tasks.is_approval_used(approval(49)));
        tasks.lose_until(Timestamp::from_millis(50));
        tasks.open(after, task(None));
        assert_eq!(tasks.task(before).unwrap().deadline, Timestamp::from_millis(50));
        assert_eq!(tasks.task(after).unwrap().deadline, Timestamp::from_millis(100));
        assert!(tasks.is_approval_used(approval(49)) && !tasks.use_approval(approval(49)));
        assert!(!tasks.is_approval_used(approval(50)) && tasks.use_approval(approval(50)));
        tasks.unuse_approval(approval(49));
        assert!(tasks.is_approval_used(approval(49)));
    }

    #[test]
    fn what_is_released_can_be_reserved_again_and_what_is_spent_cannot() {
        let tasks = Tasks::default();
        let id = TaskId::from_bits(1);
        tasks.open(id, task(Some(eur(100))));
        tasks.reserve(id, eur(60)).unwrap();
        assert_eq!(
            tasks.reserve(id, eur(60)),
            Err(Overspent::Reserved { left: eur(40), cost: eur(60) })
        );
        assert_eq!(
            tasks.reserve(id, eur(101)),
            Err(Overspent::Beyond { left: eur(40), cost: eur(101) })
        );
        tasks.release(id, eur(60));
        tasks.reserve(id, eur(60)).unwrap();
        tasks.spend(id, eur(60));
        assert_eq!(
            tasks.reserve(id, eur(41)),
            Err(Overspent::Beyond { left: eur(40), cost: eur(41) })
        );
    }

    #[test]
    fn without_a_budget_in_the_currency_nothing_is_spent() {
        let tasks = Tasks::default();
        let dollars = Money::new(1, "USD".parse().unwrap()).unwrap();
        let id = TaskId::from_bits(1);
        assert_eq!(tasks.reserve(id, dollars), Err(Overspent::NoTask));
        tasks.open(id, task(None));
        assert_eq!(tasks.reserve(id, dollars), Err(Overspent::NoBudget(dollars.currency())));
        tasks.open(id, task(Some(eur(100))));
        assert_eq!(tasks.reserve(id, dollars), Err(Overspent::NoBudget(dollars.currency())));
    }

    #[test]
    fn a_mark_counts_once_until_it_is_certainly_over() {
        let tasks = Tasks::default();
        let (what, until) = (Digest([1; 32]), Timestamp::from_millis(1_000));
        assert!(tasks.mark(what, until));
        assert!(!tasks.mark(what, until));
        tasks.forget(Timestamp::from_millis(1_000 + SKEW_MILLIS - 1));
        assert!(!tasks.mark(what, until));
        tasks.forget(Timestamp::from_millis(1_000 + SKEW_MILLIS));
        assert!(tasks.mark(what, until));
    }
}
