//! An agent that runs into the same wall again and again in a task is parked there, and its sub-agents with it: nothing of theirs
//! is done, and what is open is cut, until a person says that it may go on (POL6). Whoever is above goes on: a sub-agent, or a
//! thief of its token, does not stop them. Parking takes away, so it waits for nothing and nobody has to allow it.

use std::sync::Arc;

use model::{ActionId, Digest, EntryId, IdentityId, TaskId, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    attempt::{Attempt, recorded_name},
    directory::Directory,
    engine::Engine,
    entries::{self, Parked, Unparked, to_json},
    hash::sha256,
    refusal::{Code, Refusal},
    stop::AgentTouch,
    tasks::{Parking, Task},
};

/// Lets a parked task go on.
#[derive(Debug, Clone)]
pub struct UnparkTask {
    task: TaskId,
    /// Who opened it, as the ledger says.
    person: IdentityId,
    /// The agent that it was given to.
    agent: IdentityId,
    /// What was parked when this was asked: nothing that is parked later goes on by it.
    parkings: Vec<EntryId>,
}

impl UnparkTask {
    /// The end of what is parked now of a task.
    pub fn of(id: TaskId, task: Task) -> Self {
        let parkings = task.parked.iter().map(|parking| parking.entry).collect();
        Self { task: id, person: task.person, agent: task.agent, parkings }
    }
}

impl Act for UnparkTask {
    fn verb(&self) -> Verb {
        Verb::Update
    }

    fn target(&self) -> (&'static str, String) {
        ("Task", self.task.to_string())
    }

    /// Who opened it, or who answers for its agent.
    fn owner(&self, directory: &Directory, caller: &IdentityId) -> Option<IdentityId> {
        let answers = || directory.agent(&self.agent)?.answers(caller);
        Some(answers().filter(|owner| owner == caller).unwrap_or_else(|| self.person.clone()))
    }

    fn shown(&self) -> Json {
        Json::object([("parkings", to_json(&self.parkings)), ("task", to_json(&self.task))])
    }
}

/// Refuses what is parked of a task: the work of any of a chain's agents.
pub(crate) fn not_parked<'a>(
    task: &Task,
    chain: impl IntoIterator<Item = &'a IdentityId>,
    action: ActionId,
) -> Result<(), Refusal> {
    match task.parking_of(chain) {
        Some(parking) => Err(Refusal::new(action, Code::TaskParked, &*parking.why)),
        None => Ok(()),
    }
}

/// What makes two refusals of an agent the same: the call, and why it was refused.
pub(crate) fn wall(system: &str, tool: &str, call: Digest, code: &str) -> Digest {
    sha256(&[
        b"wall/v1\0",
        system.as_bytes(),
        b"\0",
        tool.as_bytes(),
        b"\0",
        &call.0,
        code.as_bytes(),
    ])
}

impl Engine {
    /// Counts a refusal of an agent's call, and parks its work in the task when it is one too many of the same.
    pub(crate) fn count_refusal(&self, attempt: &Attempt, call: Option<Digest>, refusal: &Refusal) {
        let Attempt { caller, system, tool, .. } = attempt;
        let (Some(task), Some(agent), Some(call)) =
            (caller.claims.task, caller.agents.last(), call)
        else {
            return;
        };
        if !refusal.code.is_a_wall() {
            return;
        }
        let tool = recorded_name(tool);
        let code = refusal.code.text();
        let wall = wall(system.as_str(), &tool, call, code);
        let Some(times) = self.tasks.refused(task, agent, wall) else { return };
        let body = Parked {
            call: Some(call),
            code: code.to_owned(),
            refusals: times,
            system: Some(system.clone()),
            tool,
        };
        let entry = self.context.id();
        let parking = Parking { entry, agent: agent.clone(), why: body.why(agent).into() };
        if !self.tasks.park(task, parking) {
            return;
        }
        self.stops.cut_where(|touches| {
            let is_its = |one: &Arc<AgentTouch>| one.name == *agent.name();
            touches.task == Some(task) && touches.agents.iter().any(is_its)
        });
        tracing::warn!(code = "BW-1102", %task, %agent, refused = code, "an agent's work in a task was parked");
        let draft = self.about(caller, &body, entry);
        self.note(entries::of_action(draft, refusal.action, vec![caller.claims.entry]));
    }

    /// Lets go on what was parked of a task when that was asked for, once the ledger holds it.
    ///
    /// # Errors
    /// The ledger cannot record it; the task stays parked.
    pub async fn unpark_task(
        self: &Arc<Self>,
        allowed: &Allowed<UnparkTask>,
    ) -> Result<(), Refusal> {
        let UnparkTask { task, parkings, .. } = allowed.act();
        let (task, action) = (*task, allowed.action());
        let body = Unparked { parkings: parkings.clone() };
        let mut draft = self.about(allowed.caller(), &body, self.context.id());
        draft.task = Some(task);
        let draft = entries::of_action(draft, action, vec![allowed.decision()]);
        let sealed = self.seal(draft).map_err(|why| why.refusal(action))?;
        self.record(sealed, action, |_| ()).await.map_err(|why| why.refusal(action))?;
        self.tasks.unpark(task, parkings);
        Ok(())
    }
}

impl Parked {
    /// Why, in words for the task's agent and people.
    pub(crate) fn why(&self, agent: &IdentityId) -> String {
        let Self { code, refusals, .. } = self;
        format!("`{agent}` was parked in this task after {refusals} identical refusals (`{code}`)")
    }
}

impl Code {
    /// Whether it is about the call, so that making exactly this call again comes to the same. What is about who calls, or
    /// passes by itself, is none.
    pub(crate) const fn is_a_wall(self) -> bool {
        matches!(
            self,
            Self::BeyondAuthority
                | Self::SystemUnknown
                | Self::ToolUnknown
                | Self::ToolNotAccepted
                | Self::ToolQuarantined
                | Self::MethodNotMapped
                | Self::ArgumentsInvalid
                | Self::MappingFailed
                | Self::Forbidden
                | Self::NotPermitted
                | Self::PolicyError
                | Self::BudgetExceeded
        )
    }
}
