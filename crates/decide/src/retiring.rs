//! The end of an agent: its tasks end with it, and an entry closes its log with a count, so that one that is missing shows.

use dashmap::{DashMap, DashSet};
use model::IdentityId;

use crate::{
    engine::Engine,
    entries::{self, AgentEnded, EndedBy},
    stop::StopScope,
    tally::{SharedTally, Tally, locked},
};

/// The entries of each agent so far, and which of them are closed. Folded from the ledger at start, like tasks are.
#[derive(Default)]
pub(crate) struct AgentLogs {
    tallies: DashMap<IdentityId, SharedTally>,
    closed: DashSet<IdentityId>,
}

impl AgentLogs {
    /// The tally of an agent.
    pub(crate) fn tally(&self, agent: &IdentityId) -> SharedTally {
        if let Some(tally) = self.tallies.get(agent) {
            return tally.clone();
        }
        self.tallies.entry(agent.clone()).or_default().clone()
    }

    /// Notes that an agent's log is closed. False where it was before.
    pub(crate) fn close(&self, agent: IdentityId) -> bool {
        self.closed.insert(agent)
    }

    /// Whether an agent's log is closed. Whoever holds its tally's lock knows it for as long.
    pub(crate) fn is_closed(&self, agent: &IdentityId) -> bool {
        self.closed.contains(agent)
    }
}

impl AgentEnded {
    fn of(agent: &IdentityId, tally: &Tally) -> Self {
        Self {
            agent: Some(agent.clone()),
            entries: tally.entries,
            outcomes: tally.outcomes,
            permits: tally.permits,
            refusals: tally.refusals,
            tokens: tally.tokens,
        }
    }
}

impl Engine {
    /// Closes the log of each agent that is retired, once none of its calls is on its way any more. Whoever closes it was cut off
    /// before may do it again: it is closed once.
    pub fn close_agents(&self) {
        for agent in self.directory.retired() {
            let scope = StopScope::Agent(agent.name().clone());
            if self.agents.is_closed(&agent) || !self.stops.is_quiet(&scope) {
                continue;
            }
            self.end_tasks_of(&agent);
            self.note_agent_end(agent);
        }
    }

    /// Nobody works on what a retired agent was asked to do.
    fn end_tasks_of(&self, agent: &IdentityId) {
        let now = self.context.now();
        for id in self.tasks.newest(|task| !task.ended && task.agent == *agent) {
            self.stops.cut(&StopScope::Task(id));
            if let (true, Some(task)) = (self.tasks.end(id), self.tasks.task(id)) {
                self.note_end(id, &task, EndedBy::Agent, |body, parents| {
                    let mut draft = entries::draft(self.context.id(), now, body);
                    draft.person = Some(task.person.clone());
                    draft.parents = parents;
                    draft
                });
            }
        }
    }

    fn note_agent_end(&self, agent: IdentityId) {
        let shared = self.agents.tally(&agent);
        // Held until the ledger has the entry in its queue: no other of this agent comes between count and end.
        let tally = locked(&shared);
        let body = AgentEnded::of(&agent, &tally);
        let mut draft = entries::draft(self.context.id(), self.context.now(), &body);
        draft.parents = tally.last.map(|(_, last)| last).into_iter().collect();
        if self.agents.close(agent)
            && let Some(ready) = self.seal_or_gap(draft)
        {
            self.log.note(ready.sealed);
        }
    }
}
