//! Step 5 of the walk: what authority and policy say about every hop of a chain and every effect of a call.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    ActionId, Authority, Digest, IdentityId, Money, Name, Question, Timestamp, ijson::Json,
};
use policy::{Buckets, Effect, Facts, Lift, Outcome, Request, combine};

use crate::{
    authenticate::Caller,
    catalog::Pair,
    engine::Engine,
    entries::to_json,
    hash::sha256,
    help::{Help, Missing},
    records::DemandRecord,
    refusal::{Code, Refusal},
    standing::Standing,
};

/// The longest name of an unmet demand's group list that a refusal spells out.
const MAX_GROUPS: usize = 4;

/// What is asked of authority and policy.
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) standing: &'a Standing,
    pub(crate) pairs: &'a [Pair],
    /// Who answers for the resource, and the team asked to decide on it; governance only.
    pub(crate) owner: Option<&'a IdentityId>,
    pub(crate) group: Option<&'a Name>,
    pub(crate) tool: Option<&'a Arc<str>>,
    pub(crate) cost: Option<Money>,
    pub(crate) now: Timestamp,
}

impl Engine {
    /// Refuses an effect that the token, the person's live rights, or those of an agent in the chain do not allow.
    pub(crate) fn within_authority(
        &self,
        caller: &Caller,
        standing: &Standing,
        pairs: &[Pair],
        action: ActionId,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let held: Vec<(&IdentityId, Arc<Authority>)> = self.held(standing).collect();
        for pair in pairs {
            let question = Question {
                verb: pair.verb,
                resource: &pair.resource,
                amount: pair.amount,
                classes: &pair.classes,
                at,
            };
            let beyond = |whose: String| {
                let what = format!(
                    "`{}` on a `{}` of `{}`",
                    pair.verb,
                    pair.resource.kind(),
                    pair.resource.system()
                );
                let missing = Missing {
                    verb: pair.verb,
                    resource: pair.resource.kind().to_owned(),
                    system: pair.resource.system().clone(),
                };
                let reason = format!("{what} is beyond the authority of {whose}");
                let help = Help { missing: Some(missing), ..Help::default() };
                Refusal { help, ..Refusal::new(action, Code::BeyondAuthority, reason) }
            };
            if !caller.claims.authority.allows(&question) {
                return Err(beyond("this delegation".to_owned()));
            }
            if let Some((who, _)) = held.iter().find(|(_, authority)| !authority.allows(&question))
            {
                return Err(beyond(format!("`{who}`")));
            }
        }
        Ok(())
    }

    /// What everyone of a chain holds now: the person, of what may be passed on as far as this chain is long, then each
    /// agent.
    pub(crate) fn held<'s>(
        &self,
        standing: &'s Standing,
    ) -> impl Iterator<Item = (&'s IdentityId, Arc<Authority>)> {
        let (person, agents) = (&standing.person.person.id, &standing.agents);
        let by_person = self.directory.held_by_person(person, agents.len());
        let by_agent = agents
            .iter()
            .map(|entry| (&entry.agent.id, self.directory.held_by_agent(&entry.agent)));
        std::iter::once((person, by_person)).chain(by_agent)
    }

    /// What the policies in force say, with these soft forbids lifted: every hop, every effect, put together.
    pub(crate) fn evaluate(&self, asked: &Asked<'_>, lifted: &BTreeSet<Name>) -> Outcome {
        let policies = self.directory.policies();
        let facts = self.facts(asked);
        let root = asked.caller.claims.links.first().map_or(0, |link| link.id.bits());
        let canary = |policy: &Name| self.canary(policy, root);
        let standing = asked.standing;
        let hops = std::iter::once(&standing.person.principal)
            .chain(standing.agents.iter().map(|entry| &entry.principal));
        let outcomes: Vec<Outcome> = hops
            .flat_map(|principal| asked.pairs.iter().map(move |pair| (principal, pair)))
            .map(|(principal, pair)| {
                policies.evaluate(&Request {
                    principal,
                    verb: pair.verb,
                    resource: &pair.resource,
                    classes: &pair.classes,
                    owner: asked.owner,
                    group: asked.group,
                    amount: pair.amount,
                    facts: &facts,
                    lifted,
                    canary: Buckets(&canary),
                })
            })
            .collect();
        combine(&outcomes)
    }

    /// Whether policy denies a tool to somebody of the chain whatever its arguments are. The ids of `asked.pairs` say
    /// nothing.
    pub(crate) fn denies_kinds(&self, asked: &Asked<'_>) -> bool {
        let policies = self.directory.policies();
        let facts = self.facts(asked);
        let root = asked.caller.claims.links.first().map_or(0, |link| link.id.bits());
        let canary = |policy: &Name| self.canary(policy, root);
        let hops = std::iter::once(&asked.standing.person.principal)
            .chain(asked.standing.agents.iter().map(|entry| &entry.principal));
        let mut each = hops.flat_map(|who| asked.pairs.iter().map(move |pair| (who, pair)));
        each.any(|(principal, pair)| {
            policies.denies_kind(&Request {
                principal,
                verb: pair.verb,
                resource: &pair.resource,
                classes: &pair.classes,
                owner: None,
                group: None,
                amount: None,
                facts: &facts,
                lifted: &BTreeSet::new(),
                canary: Buckets(&canary),
            })
        })
    }

    fn facts(&self, asked: &Asked<'_>) -> Facts {
        let task = asked.standing.task.as_ref().map(|(_, task)| task);
        let spent = task.and_then(|task| {
            let budget = task.budget?;
            let taken = task.spent.saturating_add(task.reserved);
            Money::new(i64::try_from(taken).ok()?, budget.currency()).ok()
        });
        Facts {
            environment: self.context.realm.environment.clone(),
            at: asked.now,
            invoker: Some(asked.standing.person.principal.clone()),
            actor: asked.caller.current().clone(),
            depth: u8::try_from(asked.standing.agents.len()).unwrap_or(u8::MAX),
            purpose: task.map(|task| task.purpose.clone()),
            tool: asked.tool.cloned(),
            labels: task.map(|task| task.labels.clone()).unwrap_or_default(),
            spent: spent
                .filter(|spent| asked.cost.is_none_or(|cost| cost.currency() == spent.currency())),
            administrators: self.directory.administrators(),
        }
    }

    /// The bucket of a delegation root for a policy: a keyed hash, so that nobody can aim for one.
    fn canary(&self, policy: &Name, root: u128) -> u8 {
        let bytes =
            self.blind(b"canary", &[&root.to_be_bytes(), policy.as_str().as_bytes()].concat());
        (u16::from_be_bytes([bytes[0], bytes[1]]) % 100) as u8
    }

    /// What an approval of this attempt binds: everything that can move.
    pub(crate) fn binding(&self, asked: &Asked<'_>, outcome: &Outcome, rest: Json) -> Digest {
        let determining: Vec<Json> = outcome
            .determining
            .iter()
            .map(|one| {
                Json::object([("digest", to_json(&one.digest)), ("policy", to_json(&one.policy))])
            })
            .collect();
        let versions = asked
            .standing
            .agents
            .iter()
            .map(|entry| to_json(&entry.agent.version.digest))
            .collect();
        let claims = &asked.caller.claims;
        // The chain is bound by its root and its members, not by the token: while people think, an agent's token ends and
        // the next one of the same task is as good. What it allows is checked anew at every attempt. A person's own
        // session carries nothing but who they are.
        let root = match asked.caller.is_own_session() {
            true => Json::Null,
            false => to_json(&claims.links.first().map(|link| link.id)),
        };
        let held = self.held(asked.standing).map(|(_, one)| to_json(&*one));
        let bound = Json::object([
            ("call", rest),
            ("chain", to_json(&asked.caller.chain())),
            ("grants", Json::Array(held.collect())),
            ("policies", Json::Array(determining)),
            ("root", root),
            ("task", to_json(&claims.task)),
            ("versions", Json::Array(versions)),
        ]);
        sha256(&[b"approval/v1\0", &bound.canonical()])
    }
}

/// The people who are one party with a chain: the invoker, and the owners of its agents (POL4).
pub(crate) fn party(standing: &Standing) -> Vec<IdentityId> {
    let owners = standing.agents.iter().filter_map(|entry| entry.agent.state.owner().cloned());
    let mut party: Vec<IdentityId> =
        std::iter::once(standing.person.person.id.clone()).chain(owners).collect();
    party.sort();
    party.dedup();
    party
}

/// The unmet demands that people can meet, one a policy.
pub(crate) fn holds(outcome: &Outcome) -> Vec<DemandRecord> {
    let held = outcome.demands.iter().filter_map(|demand| match &demand.lift {
        Lift::Hold { group, quorum } => Some(DemandRecord {
            policy: demand.policy.to_string(),
            group: group.clone(),
            quorum: *quorum,
        }),
        Lift::StepUp { .. } => None,
    });
    held.collect()
}

/// A refusal in the words of the policies that made it. An agent reads a policy's reason only where the policy says so.
pub(crate) fn refusal(action: ActionId, code: Code, outcome: &Outcome, for_agent: bool) -> Refusal {
    let matters = |effect| match code {
        Code::Held | Code::StepUp => effect == Effect::SoftForbid,
        _ => effect != Effect::Permit,
    };
    let determining: Vec<_> =
        outcome.determining.iter().filter(|one| matters(one.effect)).collect();
    let policies: Vec<String> = determining.iter().map(|one| one.policy.to_string()).collect();
    let words = determining
        .iter()
        .find_map(|one| if for_agent { one.reason_for_agent() } else { one.reason.as_deref() });
    let groups: Vec<String> =
        holds(outcome).iter().take(MAX_GROUPS).map(|demand| demand.group.to_string()).collect();
    let reason = match (code, words) {
        (_, Some(words)) => words.to_owned(),
        (Code::Held, None) => format!("it waits for approval by {}", groups.join(" and ")),
        (Code::StepUp, None) => "the person has to prove to be present".to_owned(),
        (Code::NotPermitted, None) => "no policy permits this".to_owned(),
        (Code::PolicyError, None) => {
            "a policy could not be evaluated, which counts as a no".to_owned()
        }
        (_, None) => format!("forbidden by policy `{}`", policies.join("`, `")),
    };
    let mut refusal = Refusal::new(action, code, reason);
    if let Some(next) = determining.iter().find_map(|one| one.next.as_deref()) {
        next.clone_into(&mut refusal.next);
    }
    refusal.policies = policies;
    refusal
}
