//! Step 5 of the walk: what authority and policy say about every hop of a chain and every effect of a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use model::{
    ActionId, Authority, Digest, IdentityId, Money, Name, Question, Timestamp, ijson::Json,
};
use policy::{Buckets, Effect, Facts, Lift, Outcome, Policies, Principal, Request, combine};

use crate::{
    authenticate::Caller,
    catalog::Pair,
    directory::{Directory, Holding},
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
pub(crate) struct About<'a> {
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

/// The same with all else that the answer stands on, taken once: however often it is asked, the answer is the same.
pub(crate) struct Asked<'a> {
    pub(crate) about: About<'a>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) facts: Facts,
    pub(crate) buckets: BucketsOf<'a>,
    /// Those that were asked for.
    pub(crate) drawn: Mutex<BTreeMap<Name, u8>>,
}

/// Which part of all actions an action belongs to for a policy, from 0 to 99.
pub(crate) enum BucketsOf<'a> {
    /// That of its delegation root.
    Root(&'a Engine, u128),
    /// The one that its decision recorded.
    Recorded(&'a BTreeMap<Name, u8>),
}

/// What somebody of a chain holds now.
pub(crate) struct HeldBy<'a> {
    pub(crate) who: &'a IdentityId,
    pub(crate) holding: Holding,
}

/// Refuses an effect that the token, the person's live rights, or those of an agent in the chain do not allow.
pub(crate) fn within_authority(
    token: &Authority,
    held: &[HeldBy<'_>],
    pairs: &[Pair],
    action: ActionId,
    at: Timestamp,
) -> Result<(), Refusal> {
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
        if !token.allows(&question) {
            return Err(beyond("this delegation".to_owned()));
        }
        if let Some(one) = held.iter().find(|one| !one.holding.authority.allows(&question)) {
            return Err(beyond(format!("`{}`", one.who)));
        }
    }
    Ok(())
}

impl Directory {
    /// What everyone of a chain holds now: the person, of what may be passed on as far as this chain is long, then each
    /// agent.
    pub(crate) fn held<'s>(&self, standing: &'s Standing) -> Vec<HeldBy<'s>> {
        let (person, agents) = (&standing.person.person.id, &standing.agents);
        let holding = self.person_holds(person, agents.len());
        let agents = agents.iter().map(|entry| {
            let holding = self.agent_holds(&entry.agent);
            HeldBy { who: &entry.agent.id, holding }
        });
        std::iter::once(HeldBy { who: person, holding }).chain(agents).collect()
    }
}

impl Asked<'_> {
    /// What the policies say, with these soft forbids lifted: every hop, every effect, put together.
    pub(crate) fn evaluate(&self, lifted: &BTreeSet<Name>) -> Outcome {
        let bucket = |policy: &Name| self.bucket_of(policy);
        let outcomes: Vec<Outcome> = self
            .each()
            .map(|(principal, pair)| {
                self.policies.evaluate(&self.request(principal, pair, lifted, &bucket))
            })
            .collect();
        combine(&outcomes)
    }

    /// Whether policy denies a tool to somebody of the chain whatever its arguments are. The ids of the pairs say nothing.
    pub(crate) fn denies_kinds(&self) -> bool {
        let (bucket, lifted) = (|policy: &Name| self.bucket_of(policy), BTreeSet::new());
        self.each().any(|(principal, pair)| {
            self.policies.denies_kind(&self.request(principal, pair, &lifted, &bucket))
        })
    }

    /// Each hop with each effect.
    fn each(&self) -> impl Iterator<Item = (&Principal, &Pair)> {
        let standing = self.about.standing;
        let hops = std::iter::once(&standing.person.principal)
            .chain(standing.agents.iter().map(|entry| &entry.principal));
        hops.flat_map(|principal| self.about.pairs.iter().map(move |pair| (principal, pair)))
    }

    fn request<'r>(
        &'r self,
        principal: &'r Principal,
        pair: &'r Pair,
        lifted: &'r BTreeSet<Name>,
        bucket: &'r dyn Fn(&Name) -> u8,
    ) -> Request<'r> {
        Request {
            principal,
            verb: pair.verb,
            resource: &pair.resource,
            classes: &pair.classes,
            owner: self.about.owner,
            group: self.about.group,
            amount: pair.amount,
            facts: &self.facts,
            lifted,
            canary: Buckets(bucket),
        }
    }

    /// The buckets that were asked for so far.
    pub(crate) fn buckets(&self) -> BTreeMap<Name, u8> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bucket_of(&self, policy: &Name) -> u8 {
        match self.buckets {
            BucketsOf::Root(engine, root) => {
                let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
                *drawn.entry(policy.clone()).or_insert_with(|| engine.canary(policy, root))
            }
            // Of a policy that decided for none of its part nothing is recorded.
            BucketsOf::Recorded(buckets) => buckets.get(policy).copied().unwrap_or(u8::MAX),
        }
    }
}

impl Engine {
    /// Asks by what is in force now.
    pub(crate) fn ask<'a>(&'a self, about: About<'a>) -> Asked<'a> {
        let root = about.caller.claims.links.first().map_or(0, |link| link.id.bits());
        Asked {
            policies: self.directory.policies(),
            facts: facts(&about, &self.context.realm.environment, self.directory.administrators()),
            buckets: BucketsOf::Root(self, root),
            drawn: Mutex::default(),
            about,
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
        self.directory.binding(asked, outcome, rest)
    }
}

impl Directory {
    /// The same, by what this directory says that everybody holds.
    pub(crate) fn binding(&self, asked: &Asked<'_>, outcome: &Outcome, rest: Json) -> Digest {
        let determining: Vec<Json> = outcome
            .determining
            .iter()
            .map(|one| {
                Json::object([("digest", to_json(&one.digest)), ("policy", to_json(&one.policy))])
            })
            .collect();
        let About { caller, standing, .. } = asked.about;
        let versions =
            standing.agents.iter().map(|entry| to_json(&entry.agent.version.digest)).collect();
        let claims = &caller.claims;
        // The chain is bound by its root and its members, not by the token: while people think, an agent's token ends and
        // the next one of the same task is as good. What it allows is checked anew at every attempt. A person's own
        // session carries nothing but who they are.
        let root = match caller.is_own_session() {
            true => Json::Null,
            false => to_json(&claims.links.first().map(|link| link.id)),
        };
        let held = self.held(standing).into_iter();
        let held = held.map(|one| to_json(&*one.holding.authority));
        let bound = Json::object([
            ("call", rest),
            ("chain", to_json(&caller.chain())),
            ("grants", Json::Array(held.collect())),
            ("policies", Json::Array(determining)),
            ("root", root),
            ("task", to_json(&claims.task)),
            ("versions", Json::Array(versions)),
        ]);
        sha256(&[b"approval/v1\0", &bound.canonical()])
    }
}

/// What policies are told beside who, what and to what.
pub(crate) fn facts(about: &About<'_>, environment: &Name, administrators: u32) -> Facts {
    let task = about.standing.task.as_ref().map(|(_, task)| task);
    let spent = task.and_then(|task| {
        let budget = task.budget?;
        let taken = task.spent.saturating_add(task.reserved);
        Money::new(i64::try_from(taken).ok()?, budget.currency()).ok()
    });
    Facts {
        environment: environment.clone(),
        at: about.now,
        invoker: Some(about.standing.person.principal.clone()),
        actor: about.caller.current().clone(),
        depth: u8::try_from(about.standing.agents.len()).unwrap_or(u8::MAX),
        purpose: task.map(|task| task.purpose.clone()),
        tool: about.tool.cloned(),
        labels: task.map(|task| task.labels.clone()).unwrap_or_default(),
        spent: spent
            .filter(|spent| about.cost.is_none_or(|cost| cost.currency() == spent.currency())),
        administrators,
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
