//! The end of a task before its deadline: everything it created ends with it.

use std::sync::Arc;

use model::{IdentityId, Money, TaskId, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    directory::Directory,
    engine::Engine,
    entries::{self, TaskEnded, to_json},
    stop::StopScope,
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

impl Engine {
    /// Ends a task: no token of it works any more, calls on their way are cut, and the ledger gets its count.
    ///
    /// Returns that count; `None` for a task that is not known any more.
    pub fn end_task(self: &Arc<Self>, allowed: &Allowed<EndTask>) -> Option<Ended> {
        let id = allowed.act().task;
        self.tasks.end(id);
        self.stops.cut(&StopScope::Task(id));
        let task = self.tasks.task(id)?;
        let spent = task
            .budget
            .and_then(|budget| Money::new(i64::try_from(task.spent).ok()?, budget.currency()).ok());
        let body = TaskEnded { calls: task.calls, spent };
        let mut draft = self.about(allowed.caller(), &body, self.context.id());
        draft.task = Some(id);
        self.note(entries::of_action(draft, allowed.action(), vec![allowed.decision()]));
        Some(Ended { calls: task.calls, spent })
    }
}
