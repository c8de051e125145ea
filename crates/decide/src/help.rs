//! What helps whoever was refused, beside words: which right is missing, what may be called instead, and who decides. Worked
//! out for refusals alone.

use std::{collections::BTreeSet, sync::Arc};

use model::{Name, Verb};

use crate::{
    attempt::{Attempt, Step},
    catalog::{METHOD, Tool},
    engine::Engine,
    entries::EffectMark,
    refusal::{Code, Refusal},
};

/// The most tools that a refusal names.
const MAX_NEAREST: usize = 3;
/// The most tools that are looked at as a listing does, by all policies: a refusal costs no more than a call does.
const MAX_LOOKED_AT: usize = 16;
/// The longest name that may be a slip of the fingers, in bytes.
const MAX_NAME: usize = 128;

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
        self.step(Step::Help);
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
        let Some(listing) = self.listing(&attempt.caller, &attempt.system) else {
            return Vec::new();
        };
        let mut tools = self.accepted(&attempt.system);
        tools.retain(|tool| !tool.name.starts_with(METHOD) && *tool.name != *attempt.tool);
        let most = if code == Code::ToolUnknown {
            tools = near(&attempt.tool, tools);
            1
        } else {
            let touched: BTreeSet<&str> =
                effects.iter().map(|effect| effect.kind.as_str()).collect();
            tools.retain(|tool| tool.verbs().all(|(_, kind, _)| touched.contains(kind)));
            MAX_NEAREST
        };
        let looked_at = tools.into_iter().take(MAX_LOOKED_AT);
        let shown = looked_at.filter(|tool| listing.shows(tool)).take(most);
        shown.map(|tool| tool.name.to_string()).collect()
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

/// The few tools whose name was probably meant, the nearest first.
fn near(name: &str, mut tools: Vec<Arc<Tool>>) -> Vec<Arc<Tool>> {
    if name.len() > MAX_NAME {
        return Vec::new();
    }
    tools.retain(|tool| model::nearest(name, [&*tool.name]).is_some());
    let mut found = Vec::new();
    while found.len() < MAX_NEAREST {
        let nearest = model::nearest(name, tools.iter().map(|tool| &*tool.name));
        let Some(at) = tools.iter().position(|tool| Some(&*tool.name) == nearest) else { break };
        found.push(tools.swap_remove(at));
    }
    found
}
