//! Questions: what would be decided, without a reservation, a record or a permit.

use std::{collections::BTreeSet, sync::Arc};

use model::{ActionId, Authority, Digest, IdentityId, Name, Resource, Timestamp, Verb};
use policy::{Policies, Rule, Source, Verdict};
use token::{Claims, SeenHeader, Thumbprint, claims::Confirmation};

use crate::{
    attempt::final_word,
    authenticate::Caller,
    catalog::{Pair, Tool},
    directory::with_guards,
    engine::Engine,
    evaluate::{self, About, holds, within_authority},
    records::PolicyFile,
    refusal::{Code, Refusal},
    standing::Standing,
};

/// What would be decided.
#[derive(Debug)]
pub struct Answer {
    /// `permit`, `deny`, `hold` or `step_up`.
    pub verdict: &'static str,
    /// Why not, where it would not be permitted.
    pub refusal: Option<Refusal>,
    /// The policies that would decide.
    pub policies: Vec<String>,
}

/// One policy that a set changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Its `@id`.
    pub id: Name,
    /// Its effect in force: `permit`, `forbid` or `soft_forbid`; `None` for one that comes.
    pub before: Option<&'static str>,
    /// Its effect in the set; `None` for one that goes.
    pub after: Option<&'static str>,
}

impl Engine {
    /// Whether an agent, working for a person, could do this now with all that both hold. With no agent, whether the
    /// person could.
    pub fn can(&self, person: &IdentityId, agent: Option<&IdentityId>, pair: &Pair) -> Answer {
        let action: ActionId = self.context.id();
        match self.would(person, agent, pair, action) {
            Ok(policies) => Answer { verdict: Verdict::Permit.name(), refusal: None, policies },
            Err(refusal) => Answer {
                verdict: refusal.verdict(),
                policies: refusal.policies.clone(),
                refusal: Some(refusal),
            },
        }
    }

    fn would(
        &self,
        person: &IdentityId,
        agent: Option<&IdentityId>,
        pair: &Pair,
        action: ActionId,
    ) -> Result<Vec<String>, Refusal> {
        let now = self.sure_moment(action)?;
        let caller = self.supposed(person, agent, action)?;
        // A question has no task of its own, so the chain is looked at without one.
        let alone = Caller { agents: Vec::new(), ..self.supposed(person, None, action)? };
        let mut standing = self.standing(&alone, action, Some(pair.resource.system()), now)?;
        if let Some(agent) = agent {
            let entry = self.found_agent(agent, action)?;
            standing.touches.agents.push(entry.touch.clone());
            self.not_halted(&standing.touches, action)?;
            self.may_act(&entry, action)?;
            standing.agents.push(entry);
        }
        let pairs = std::slice::from_ref(pair);
        let held = self.directory.held(&standing);
        within_authority(&caller.claims.authority, &held, pairs, action, now)?;
        let asked = self.ask(About {
            caller: &caller,
            standing: &standing,
            pairs,
            owner: None,
            group: None,
            tool: None,
            cost: pair.amount,
            now,
        });
        let outcome = asked.evaluate(&BTreeSet::new());
        let policies = outcome.determining.iter().map(|one| one.policy.to_string()).collect();
        match final_word(&outcome, action, false) {
            Some(Ok(())) => Ok(policies),
            Some(Err(refusal)) => Err(refusal),
            None => {
                let mut refusal = evaluate::refusal(action, Code::Held, &outcome, false);
                refusal.policies =
                    holds(&outcome).into_iter().map(|demand| demand.policy).collect();
                Err(refusal)
            }
        }
    }

    /// A caller as an exchange would make it, with all that person and agent have in common.
    fn supposed(
        &self,
        person: &IdentityId,
        agent: Option<&IdentityId>,
        action: ActionId,
    ) -> Result<Caller, Refusal> {
        let held = self.directory.held_by_person(person, agent.iter().count());
        let authority = match agent {
            None => Authority::clone(&held),
            Some(agent) => {
                let entry = self.found_agent(agent, action)?;
                let both = held.intersect(&self.directory.held_by_agent(&entry.agent));
                both.map_err(|why| Refusal::new(action, Code::BeyondAuthority, why.to_string()))?
            }
        };
        Ok(Caller {
            claims: supposed_claims(authority),
            person: person.clone(),
            agents: agent.into_iter().cloned().collect(),
            proof_header: SeenHeader::default(),
        })
    }

    /// The tools of a system that the caller may be able to call with some arguments: what a listing shows. One that is
    /// denied for all arguments is not shown: by a stop or the state of somebody in the chain, by an authority that does
    /// not reach it, or by policy.
    pub fn listable(&self, caller: &Arc<Caller>, system: &Name) -> Vec<Arc<Tool>> {
        let Some(listing) = self.listing(caller, system) else { return Vec::new() };
        let mut tools = self.accepted(system);
        tools.retain(|tool| listing.shows(tool));
        tools
    }

    /// The accepted tools of a system, whoever may see them.
    pub(crate) fn accepted(&self, system: &Name) -> Vec<Arc<Tool>> {
        let server = self.directory.server(system).into_iter();
        server
            .flat_map(|server| server.tools.into_values().filter_map(|tool| tool.accepted))
            .collect()
    }

    /// What of a system's tools the caller may see; `None` where that is nothing.
    pub(crate) fn listing<'l>(
        &'l self,
        caller: &'l Caller,
        system: &'l Name,
    ) -> Option<Listing<'l>> {
        let now = self.context.now();
        let standing = self.standing(caller, self.context.id(), Some(system), now).ok()?;
        let held = self.directory.held(&standing).into_iter();
        let mut held: Vec<Arc<Authority>> = held.map(|one| one.holding.authority).collect();
        held.push(Arc::new(caller.claims.authority.clone()));
        Some(Listing { engine: self, caller, system, standing, held, now })
    }
}

/// Who looks at the tools of a system, and what they hold.
pub(crate) struct Listing<'l> {
    engine: &'l Engine,
    caller: &'l Caller,
    system: &'l Name,
    standing: Standing,
    held: Vec<Arc<Authority>>,
    now: Timestamp,
}

impl Listing<'_> {
    /// Whether a tool may be called with some arguments.
    pub(crate) fn shows(&self, tool: &Tool) -> bool {
        let Self { engine, caller, system, standing, held, now } = self;
        let mut verbs = tool.verbs();
        let reachable = verbs
            .all(|(verb, kind, _)| held.iter().all(|one| one.reaches(verb, system, kind, *now)));
        reachable
            && !engine
                .ask(About {
                    caller,
                    standing,
                    pairs: &on_anything(tool),
                    owner: None,
                    group: None,
                    tool: Some(&tool.name),
                    cost: None,
                    now: *now,
                })
                .denies_kinds()
    }
}

/// A tool's effects on any thing: their ids say nothing.
fn on_anything(tool: &Tool) -> Vec<Pair> {
    let pair = |(verb, kind, classes): (Verb, &str, &BTreeSet<Name>)| {
        let resource = Resource::new(tool.server.clone(), kind, "any");
        let resource = resource.expect("the type name was checked when the tool was compiled");
        Pair { verb, resource, classes: classes.clone(), amount: None }
    };
    tool.verbs().map(pair).collect()
}

pub(crate) fn supposed_claims(authority: Authority) -> Claims {
    Claims {
        iss: String::new(),
        sub: String::new(),
        aud: String::new(),
        client_id: String::new(),
        iat: Timestamp::default(),
        exp: Timestamp::NEVER,
        jti: model::EntryId::from_bits(0),
        cnf: Some(Confirmation { jkt: Thumbprint([0; 32]) }),
        act: None,
        may_act: None,
        authority,
        task: None,
        links: Vec::new(),
        entry: Digest::default(),
        version: None,
        scope: None,
    }
}

impl Engine {
    /// Whether policies would load beside the guard pack, against the resource types of the accepted catalog. Returns
    /// what is allowed and still looks like a mistake, one sentence each.
    ///
    /// # Errors
    /// What is wrong, with file, line and column.
    pub fn check_policies(&self, files: &[PolicyFile]) -> Result<Vec<String>, String> {
        let checked = policy::check(&guarded(files), &self.directory.kinds());
        let remarks = checked.map_err(|why| why.to_string())?;
        Ok(remarks.iter().map(ToString::to_string).collect())
    }

    /// What a set of policies would change: the policies that come, go or become others, by their ids. Nothing, where it
    /// does not load.
    pub fn policy_changes(&self, files: &[PolicyFile]) -> Vec<PolicyChange> {
        let Ok(next) = Policies::load(&guarded(files), &self.directory.kinds()) else {
            return Vec::new();
        };
        let now = self.directory.policies();
        let of = |set: &Policies, id: &Name| set.iter().find(|rule| rule.id() == id).cloned();
        let ids: BTreeSet<Name> =
            now.iter().chain(next.iter()).map(|rule| rule.id().clone()).collect();
        let change = |id: Name| {
            let (before, after) = (of(&now, &id), of(&next, &id));
            let same = before.as_ref().map(Rule::digest) == after.as_ref().map(Rule::digest);
            let effect = |rule: Option<Rule>| rule.map(|rule| rule.effect().name());
            (!same).then(|| PolicyChange { id, before: effect(before), after: effect(after) })
        };
        ids.into_iter().filter_map(change).collect()
    }

    /// Whether these files, as they are, are in force already. Those of a set that was lost or did not load are not.
    pub fn policies_in_force(&self, files: &[PolicyFile]) -> bool {
        let (sources, kinds) = self.directory.policy_input();
        let same = |(a, b): (&Source, &PolicyFile)| a.name == b.name && a.text == b.text;
        sources.len() == files.len()
            && sources.iter().zip(files).all(same)
            && Policies::load(&with_guards(&sources), &kinds)
                .is_ok_and(|set| set.digest() == self.directory.policies().digest())
    }

    /// Whether the policies in force would still load if the catalog named these resource types, too.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_kinds<'k>(&self, more: impl Iterator<Item = &'k str>) -> Result<(), String> {
        let (sources, mut kinds) = self.directory.policy_input();
        let known = kinds.len();
        kinds.extend(more.map(str::to_owned));
        if kinds.len() == known {
            return Ok(());
        }
        let loaded = Policies::load(&with_guards(&sources), &kinds);
        loaded.map(|_| ()).map_err(|why| why.to_string())
    }

    /// Whether policies permit nothing that those in force do not. What does not load narrows nothing.
    pub fn policies_narrow(&self, files: &[PolicyFile]) -> bool {
        let next = Policies::load(&guarded(files), &self.directory.kinds());
        next.is_ok_and(|next| next.narrows(&self.directory.policies()))
    }
}

fn guarded(files: &[PolicyFile]) -> Vec<Source> {
    let source = |file: &PolicyFile| Source { name: file.name.clone(), text: file.text.clone() };
    with_guards(&files.iter().map(source).collect::<Vec<_>>())
}
