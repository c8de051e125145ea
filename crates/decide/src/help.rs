//! What helps whoever was refused, beside words: which right is missing, what may be called instead, and who decides. Worked
//! out for refusals alone.

use std::collections::BTreeSet;

use model::{Name, Verb};

use crate::{
    attempt::Attempt,
    catalog::{METHOD, Tool},
    engine::Engine,
    entries::EffectMark,
    refusal::{Code, Refusal},
};

/// The most tools that a refusal names.
const MAX_NEAREST: usize = 3;

/// What helps whoever was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Help {
    /// The right that is missing, where that is why.
    pub missing: Option<Missing>,
    /// Tools of the same system that may be called with some arguments, and are for the same type of thing or have nearly the
    /// same name.
    pub nearest: Vec<String>,
    /// Who decides: teams that are asked already (`team/finance`), else persons (`person/p7f1e9`).
    pub ask: Vec<String>,
}

/// A right, as far as a refusal tells of it: never which thing, and never how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What would be done.
    pub verb: Verb,
    /// The type of what it would be done to.
    pub resource: String,
    /// Where.
    pub system: Name,
}

impl Engine {
    /// Adds to an attempt's refusal what helps.
    pub(crate) fn helped(
        &self,
        attempt: &Attempt,
        effects: &[EffectMark],
        mut refusal: Refusal,
    ) -> Refusal {
        if let (Code::NotPermitted, [effect]) = (refusal.code, effects) {
            let (verb, resource, system) =
                (effect.verb, effect.kind.clone(), attempt.system.clone());
            refusal.help.missing = Some(Missing { verb, resource, system });
        }
        refusal.help.nearest = self.nearest(attempt, effects, refusal.code);
        refusal.help.ask = self.who_decides(attempt, &refusal);
        refusal
    }

    fn nearest(&self, attempt: &Attempt, effects: &[EffectMark], code: Code) -> Vec<String> {
        if !matches!(
            code,
            Code::ToolUnknown | Code::BeyondAuthority | Code::NotPermitted | Code::Forbidden
        ) {
            return Vec::new();
        }
        let mut tools = self.listable(&attempt.caller, &attempt.system);
        tools.retain(|tool| !tool.name.starts_with(METHOD) && *tool.name != *attempt.tool);
        if code == Code::ToolUnknown {
            let near = model::nearest(&attempt.tool, tools.iter().map(|tool| &*tool.name));
            return near.map(str::to_owned).into_iter().collect();
        }
        let touched: BTreeSet<&str> = effects.iter().map(|effect| effect.kind.as_str()).collect();
        let alike =
            |tool: &&std::sync::Arc<Tool>| tool.verbs().all(|(_, kind, _)| touched.contains(kind));
        tools.iter().filter(alike).take(MAX_NEAREST).map(|tool| tool.name.to_string()).collect()
    }

    fn who_decides(&self, attempt: &Attempt, refusal: &Refusal) -> Vec<String> {
        if let Some(approval) = refusal.approval.and_then(|id| self.directory.approval(id)) {
            let teams = approval.demands.iter().map(|demand| format!("team/{}", demand.group));
            return teams.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let agents = &attempt.caller.agents;
        // Who lets a task go on is who answers for it: its own agent is the first.
        let (agent, opener) = match refusal.code {
            Code::TaskParked => (agents.first(), Some(attempt.caller.person.clone())),
            _ => (agents.last(), None),
        };
        let agent = agent.and_then(|agent| self.directory.agent(agent));
        let owner = agent.and_then(|entry| entry.agent.state.owner().cloned());
        let asked: BTreeSet<_> =
            owner.into_iter().chain(opener).map(|who| who.to_string()).collect();
        asked.into_iter().collect()
    }
}
