//! A task whose agent runs into the same wall again and again is parked: nothing of it is done until a person says that it
//! may go on (POL6). Parking takes away, so it waits for nothing and nobody has to allow it.

use std::sync::Arc;

use model::{ActionId, Digest, IdentityId, TaskId, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    attempt::Attempt,
    directory::Directory,
    engine::Engine,
    entries::{self, Parked, Unparked, to_json},
    hash::sha256,
    refusal::{Code, Refusal},
};

/// Lets a parked task go on.
#[derive(Debug, Clone)]
pub struct UnparkTask {
    /// Which.
    pub task: TaskId,
    /// Who opened it, as the ledger says.
    pub person: IdentityId,
    /// The agent that it was given to.
    pub agent: IdentityId,
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
        Json::object([("task", to_json(&self.task))])
    }
}

/// What makes two refusals of a task the same: the call, and why it was refused.
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
    /// Counts a refusal of a task's call, and parks the task when it is one too many of the same.
    pub(crate) fn count_refusal(&self, attempt: &Attempt, call: Option<Digest>, refusal: &Refusal) {
        let Attempt { caller, system, tool, .. } = attempt;
        let (Some(task), Some(call)) = (caller.claims.task, call) else { return };
        if !refusal.code.is_a_wall() {
            return;
        }
        let tool: String = tool.chars().take(128).collect();
        let code = refusal.code.text();
        let wall = wall(system.as_str(), &tool, call, code);
        let Some(times) = self.tasks.refused(task, wall) else { return };
        let body = Parked {
            call: Some(call),
            code: code.to_owned(),
            refusals: times,
            system: Some(system.clone()),
            tool,
        };
        self.tasks.park(task, Some(body.why().into()));
        tracing::warn!(code = "BW-1102", %task, refused = code, "a task was parked");
        let draft = self.about(caller, &body, self.context.id());
        self.note(entries::of_action(draft, refusal.action, vec![caller.claims.entry]));
    }

    /// Lets a parked task go on, once the ledger holds it. A task that is not parked stays as it is.
    ///
    /// # Errors
    /// The ledger cannot record it; the task stays parked.
    pub async fn unpark_task(
        self: &Arc<Self>,
        allowed: &Allowed<UnparkTask>,
    ) -> Result<(), Refusal> {
        let (task, action): (TaskId, ActionId) = (allowed.act().task, allowed.action());
        let mut draft = self.about(allowed.caller(), &Unparked {}, self.context.id());
        draft.task = Some(task);
        let draft = entries::of_action(draft, action, vec![allowed.decision()]);
        let sealed = self.seal(draft).map_err(|why| why.refusal(action))?;
        self.record(sealed, action, |_| ()).await.map_err(|why| why.refusal(action))?;
        self.tasks.park(task, None);
        Ok(())
    }
}

impl Parked {
    /// Why, in words for the task's agent and people.
    pub(crate) fn why(&self) -> String {
        let Self { code, refusals, .. } = self;
        format!("the task was parked after {refusals} identical refusals (`{code}`)")
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
