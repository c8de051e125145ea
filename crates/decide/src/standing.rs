//! Steps 1 to 3 of the walk: the stop set, the state of every identity of the chain, and the chain itself.

use std::sync::Arc;

use model::{ActionId, Name, State, TaskId, Timestamp};
use store::Governed;

use crate::{
    authenticate::Caller,
    directory::{AgentEntry, PersonEntry},
    engine::Engine,
    parking::not_parked,
    records::{AgentRecord, PersonRecord},
    refusal::{Code, Refusal},
    stop::Touches,
    tasks::Task,
};

/// Everyone in a chain, found in the directory and in good standing.
pub(crate) struct Standing {
    /// The person.
    pub(crate) person: Arc<PersonEntry>,
    /// The agents, nearest the person first.
    pub(crate) agents: Vec<Arc<AgentEntry>>,
    /// The task, where there is one.
    pub(crate) task: Option<(TaskId, Task)>,
    /// What a stop can be aimed at.
    pub(crate) touches: Touches,
}

impl Engine {
    /// The wall clock, when it can be trusted and the store was heard from lately.
    pub(crate) fn sure_moment(&self, action: ActionId) -> Result<Timestamp, Refusal> {
        let now = self
            .context
            .sure_now()
            .map_err(|why| Refusal::new(action, Code::Clock, why.to_string()))?;
        if self.point.holds_lease(self.context.clock.monotonic()) {
            Ok(now)
        } else {
            Err(Refusal::new(
                action,
                Code::Stale,
                "the control plane was not heard from within the lease",
            ))
        }
    }

    /// Finds everyone of the caller's chain and checks that nothing halts them.
    pub(crate) fn standing(
        &self,
        caller: &Caller,
        action: ActionId,
        system: Option<&Name>,
        now: Timestamp,
    ) -> Result<Standing, Refusal> {
        let refuse = |code, reason: String| Refusal::new(action, code, reason);
        if caller.claims.exp <= now {
            return Err(refuse(Code::Unauthenticated, "the access token has expired".to_owned()));
        }
        let person = self.directory.person(&caller.person);
        let agents = caller
            .agents
            .iter()
            .map(|id| self.found_agent(id, action))
            .collect::<Result<Vec<_>, _>>()?;
        let touches = Touches {
            action: Some(action),
            person: Some(caller.person.clone()),
            task: caller.claims.task,
            links: caller.claims.links.iter().map(|link| link.id).collect(),
            agents: agents.iter().map(|entry| entry.touch.clone()).collect(),
            system: system.cloned(),
            tool: None,
        };
        // A person's own session is not halted by `all`: somebody has to be able to resume.
        if !caller.agents.is_empty() {
            self.not_halted(&touches, action)?;
        }
        let person = person
            .ok_or_else(|| self.missing(PersonRecord::KIND, &caller.person.to_string(), action))?;
        if !person.person.active {
            return Err(refuse(
                Code::IdentityNotActive,
                format!("`{}` is not active", caller.person),
            ));
        }
        for entry in &agents {
            self.may_act(entry, action)?;
        }
        for pair in agents.windows(2) {
            self.is_child(&pair[0], &pair[1], action)?;
        }
        if let (Some(current), version) = (agents.last(), caller.claims.version)
            && version != Some(current.agent.version.digest)
        {
            let reason =
                format!("`{}` runs a version that is not the accepted one", current.agent.id);
            return Err(refuse(Code::VersionNotAccepted, reason));
        }
        self.check_unbound(caller).map_err(|why| refuse(Code::Unauthenticated, why.to_string()))?;
        let task = self.live_chain(caller, action, now)?;
        Ok(Standing { person, agents, task, touches })
    }

    /// Refuses what a stop in force halts.
    pub(crate) fn not_halted(&self, touches: &Touches, action: ActionId) -> Result<(), Refusal> {
        match self.stops.halts(touches) {
            None => Ok(()),
            Some(order) => {
                let reason = format!("`{}` was stopped by {}", order.scope, order.by);
                Err(Refusal::new(action, Code::Stopped, reason))
            }
        }
    }

    pub(crate) fn found_agent(
        &self,
        id: &model::IdentityId,
        action: ActionId,
    ) -> Result<Arc<AgentEntry>, Refusal> {
        self.directory
            .agent(id)
            .ok_or_else(|| self.missing(AgentRecord::KIND, &id.to_string(), action))
    }

    fn missing(&self, kind: &str, key: &str, action: ActionId) -> Refusal {
        if self.directory.seals.is_tampered(kind, key) {
            Refusal::new(
                action,
                Code::RecordTampered,
                format!("the record of `{key}` differs from its ledger entry"),
            )
        } else {
            Refusal::new(action, Code::IdentityUnknown, format!("`{key}` is not registered"))
        }
    }

    /// Refuses an agent that is not active, or that nobody active answers for.
    pub(crate) fn may_act(&self, entry: &AgentEntry, action: ActionId) -> Result<(), Refusal> {
        let agent = &entry.agent;
        let State::Active { owner, .. } = &agent.state else {
            let reason = format!("`{}` is {}", agent.id, agent.state.name());
            return Err(Refusal::new(action, Code::IdentityNotActive, reason));
        };
        if self.directory.person(owner).is_some_and(|owner| owner.person.active) {
            Ok(())
        } else {
            let reason = format!("`{}` has no active owner", agent.id);
            Err(Refusal::new(action, Code::OwnerNotActive, reason))
        }
    }

    /// Refuses an agent below one whose blueprint does not name its own: a task is handed to children only.
    pub(crate) fn is_child(
        &self,
        above: &AgentEntry,
        below: &AgentEntry,
        action: ActionId,
    ) -> Result<(), Refusal> {
        let named = self
            .directory
            .blueprint(&above.agent.blueprint)
            .is_some_and(|blueprint| blueprint.children.contains(&below.agent.blueprint));
        if named {
            Ok(())
        } else {
            let (above, below) = (&above.agent.id, &below.agent.id);
            let reason = format!("`{below}` is no child of `{above}`, as its blueprint stands now");
            Err(Refusal::new(action, Code::NotDelegable, reason))
        }
    }

    /// The chain's task, when it is still open and no delegation of the chain was withdrawn or has ended.
    fn live_chain(
        &self,
        caller: &Caller,
        action: ActionId,
        now: Timestamp,
    ) -> Result<Option<(TaskId, Task)>, Refusal> {
        for link in &caller.claims.links {
            if self.tasks.is_revoked(link.id) {
                let reason = format!("the delegation `{}` was withdrawn", link.id);
                return Err(Refusal::new(action, Code::LinkRevoked, reason));
            }
            if link.exp <= now {
                let reason = format!("the delegation `{}` has ended", link.id);
                return Err(Refusal::new(action, Code::LinkRevoked, reason));
            }
        }
        let Some(id) = caller.claims.task else {
            return if caller.agents.is_empty() {
                Ok(None)
            } else {
                Err(Refusal::new(action, Code::TaskOver, "an agent acts only inside a task"))
            };
        };
        match self.tasks.task(id) {
            Some(task) if !task.is_over(now) => {
                not_parked(&task, &caller.agents, action)?;
                Ok(Some((id, task)))
            }
            _ => Err(Refusal::new(action, Code::TaskOver, format!("the task `{id}` has ended"))),
        }
    }
}
