//! The end of a task before its deadline: everything it created ends with it.

use std::sync::Arc;

use ledger::Draft;
use model::{Digest, IdentityId, Money, TaskId, Timestamp, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    directory::Directory,
    engine::Engine,
    entries::{self, EndedBy, TaskEnded, to_json},
    stop::StopScope,
    tally::{Tally, locked},
    tasks::Task,
    unsettled::is_overdue,
};

/// Ends a task.
#[derive(Debug, Clone)]
pub struct EndTask {
    /// Which.
    pub task: TaskId,
    /// Who opened it, as the ledger says.
    pub person: IdentityId,
}

/// What a task came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How many calls it made.
    pub calls: u64,
    /// What it spent or may have spent; `None` where it had no budget.
    pub spent: Option<Money>,
}

impl Act for EndTask {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("Task", self.task.to_string())
    }

    fn owner(&self, _directory: &Directory, _caller: &IdentityId) -> Option<IdentityId> {
        Some(self.person.clone())
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn shown(&self) -> Json {
        Json::object([("task", to_json(&self.task))])
    }
}

impl Task {
    /// Whether it was ended, or its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ended || now >= self.deadline
    }

    /// What it spent or may have spent; `None` where it has no budget.
    pub fn money_spent(&self) -> Option<Money> {
        let currency = self.budget?.currency();
        Money::new(i64::try_from(self.spent).ok()?, currency).ok()
    }
}

impl TaskEnded {
    fn of(task: &Task, tally: &Tally, by: EndedBy) -> Self {
        let money =
            |budget: Money| Money::new(i64::try_from(tally.spent).ok()?, budget.currency()).ok();
        Self {
            by: Some(by),
            calls: task.calls,
            entries: tally.entries,
            outcomes: tally.outcomes,
            permits: tally.permits,
            refusals: tally.refusals,
            spent: task.budget.and_then(money),
            tokens: tally.tokens,
        }
    }
}

impl Engine {
    /// Ends a task: no token of it works any more, calls on their way are cut, and the ledger gets its count.
    ///
    /// Returns that count; `None` for a task that is not known any more.
    pub fn end_task(self: &Arc<Self>, allowed: &Allowed<EndTask>) -> Option<Ended> {
        let id = allowed.act().task;
        let is_first = self.tasks.end(id);
        self.stops.cut(&StopScope::Task(id));
        let task = self.tasks.task(id)?;
        if is_first {
            self.note_end(id, &task, EndedBy::Person, |body, mut parents| {
                let draft = self.about(allowed.caller(), body, self.context.id());
                parents.push(allowed.decision());
                entries::of_action(draft, allowed.action(), parents)
            });
        }
        Some(Ended { calls: task.calls, spent: task.money_spent() })
    }

    /// Closes each task whose time is over. Its calls have been settled or closed by then, see [`Self::close_overdue`], so
    /// its count is whole.
    pub(crate) fn close_tasks(&self, now: Timestamp) {
        for id in self.tasks.newest(|task| !task.ended && is_overdue(task.deadline, now)) {
            if let (true, Some(task)) = (self.tasks.end(id), self.tasks.task(id)) {
                self.note_end(id, &task, EndedBy::Deadline, |body, parents| {
                    let mut draft = entries::draft(self.context.id(), now, body);
                    draft.person = Some(task.person.clone());
                    draft.parents = parents;
                    draft
                });
            }
        }
    }

    /// Records the end of a task, with the count of its entries up to here.
    pub(crate) fn note_end(
        &self,
        id: TaskId,
        task: &Task,
        by: EndedBy,
        draft: impl FnOnce(&TaskEnded, Vec<Digest>) -> Draft,
    ) {
        // Held until the ledger has the entry in its queue: no other of this task comes between count and end.
        let mut tally = locked(&task.tally);
        let mut parents = vec![task.opened];
        parents.extend(tally.last.map(|(_, last)| last).filter(|last| *last != task.opened));
        let mut draft = draft(&TaskEnded::of(task, &tally, by), parents);
        draft.task = Some(id);
        if let Some(ready) = self.seal_or_gap(draft) {
            tally.count(ready.counts);
            self.log.note(ready.sealed);
        }
    }
}
