//! Who asked, what they held and what was asked for, as it was at a decision of the past.

use std::{collections::BTreeSet, sync::Arc};

use ledger::Leaf;
use model::{ActionId, Authority, IdentityId, LinkId, Resource, State, Timestamp, ijson::Json};
use policy::{Facts, GOVERNED_SYSTEM};
use store::Governed as _;
use token::{SeenHeader, claims::Link};

use super::{Why, sources::Sources, whole};
use crate::{
    attempt::{final_word, lifted},
    authenticate::Caller,
    catalog::Pair,
    directory::{AgentEntry, Directory},
    entries::{Decision, Given, to_json},
    evaluate::{About, Asked, holds, within_authority},
    question::supposed_claims,
    records::{AgentRecord, ApprovalRecord, Standing as Approval},
    refusal::Code,
    standing::Standing,
    stop::Touches,
};

/// The word of authority and policy on a call.
pub(super) enum Word {
    Permit,
    Refused(Code),
    /// It waits for an approval; with the code by which it is refused even with one.
    Held(Option<Code>),
}

impl Word {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Held(_) => "hold",
            Self::Refused(code) => code.verdict(),
        }
    }
}

/// What is made again is no attempt: nobody is told of its refusal.
const NO_ACTION: ActionId = ActionId::from_bits(0);

/// Who asked, and what they held, as it was.
pub(super) struct Scene {
    directory: Directory,
    caller: Caller,
    standing: Standing,
}

impl Scene {
    pub(super) fn of(leaf: &Leaf, given: &Given, sources: &Sources) -> Result<Self, Why> {
        let directory = Directory::default();
        let mut agents: Vec<IdentityId> = Vec::new();
        for digest in &given.objects {
            let row = sources.object(digest)?;
            let unread = |_| Why::Impossible(format!("the object {digest} cannot be read"));
            directory.apply(row).map_err(unread)?;
            if row.kind == AgentRecord::KIND {
                agents.extend(row.key.parse::<IdentityId>().ok());
            }
        }
        let nobody = || Why::Impossible("it does not say who asked".to_owned());
        let person = leaf.person.clone().ok_or_else(nobody)?;
        let entry = directory.person(&person).ok_or_else(nobody)?;
        let entries: Option<Vec<Arc<AgentEntry>>> =
            agents.iter().map(|id| directory.agent(id)).collect();
        let standing = Standing {
            person: entry,
            agents: entries.ok_or_else(nobody)?,
            task: None,
            touches: Touches::default(),
        };
        let token = leaf.parents.first().and_then(|hash| sources.tokens.get(hash)).cloned();
        let authority = match token {
            Some(authority) => authority,
            // Governance is decided by policy, and a session carries no authority to look at.
            None if agents.is_empty() => Authority::nothing(),
            None => {
                let why = leaf.parents.first().and_then(|hash| sources.gone.get(hash)).cloned();
                let missing = || "the ledger has no entry of its token".to_owned();
                return Err(Why::Impossible(why.unwrap_or_else(missing)));
            }
        };
        let mut claims = supposed_claims(authority);
        claims.task = leaf.task;
        let link = |id: &LinkId| Link { id: *id, sub: String::new(), exp: Timestamp::NEVER };
        claims.links = leaf.chain.iter().map(link).collect();
        claims.scope = agents.is_empty().then(|| "session".to_owned());
        let caller = Caller { claims, person, agents, proof_header: SeenHeader::default() };
        Ok(Self { directory, caller, standing })
    }

    /// What the call or act did, and the tool's name.
    /// Whether nobody of the chain was out of action, and who acted was of the version that was accepted.
    pub(super) fn is_active(&self, leaf: &Leaf) -> bool {
        let Standing { person, agents, .. } = &self.standing;
        let version = leaf.agent.as_ref().and_then(|agent| agent.version);
        let accepted = agents.last().map(|entry| entry.agent.version.digest);
        person.person.active
            && agents.iter().all(|entry| matches!(entry.agent.state, State::Active { .. }))
            && accepted.is_none_or(|accepted| version == Some(accepted))
    }

    pub(super) fn read(
        &self,
        body: &Decision,
        asked_for: &Json,
    ) -> Result<(Vec<Pair>, Option<Arc<str>>), Why> {
        let unknown = || Why::Impossible("it does not say what was asked for".to_owned());
        let system = body.system.as_ref().ok_or_else(unknown)?;
        if system.as_str() == GOVERNED_SYSTEM {
            let text = |name| asked_for.member(name).and_then(Json::as_str);
            let verb = text("verb").and_then(|verb| verb.parse().ok()).ok_or_else(unknown)?;
            let parts = text("resource").and_then(|text| text.split_once('/')?.1.split_once('/'));
            let (kind, id) = parts.ok_or_else(unknown)?;
            whole(id)?;
            let resource = Resource::new(system.clone(), kind, id).map_err(|_| unknown())?;
            let pair = Pair { verb, resource, classes: BTreeSet::new(), amount: None };
            return Ok((vec![pair], None));
        }
        let tool = body.tool.as_ref().ok_or_else(unknown)?;
        let entry = self.directory.tool(system, tool).and_then(|(_, tool)| tool);
        let tool = entry.and_then(|entry| entry.accepted).ok_or(Why::Differs("tool"))?;
        let (pairs, _) = tool.reading(asked_for).map_err(|_| Why::Differs("effects"))?;
        Ok((pairs, Some(tool.name.clone())))
    }

    pub(super) fn about<'a>(&'a self, pairs: &'a [Pair], given: &'a Given) -> About<'a> {
        About {
            caller: &self.caller,
            standing: &self.standing,
            pairs,
            owner: given.owner.as_ref(),
            group: given.group.as_ref(),
            tool: None,
            cost: None,
            now: given.at,
        }
    }

    pub(super) fn facts(
        &self,
        leaf: &Leaf,
        given: &Given,
        tool: Option<Arc<str>>,
        sources: &Sources,
    ) -> Result<Facts, Why> {
        let purpose = leaf.task.map(|task| {
            let missing = || Why::Impossible("the ledger has no entry of its task".to_owned());
            sources.purposes.get(&task).cloned().ok_or_else(missing)
        });
        Ok(Facts {
            environment: leaf.environment.clone(),
            at: given.at,
            invoker: Some(self.standing.person.principal.clone()),
            actor: self.caller.current().clone(),
            depth: u8::try_from(self.standing.agents.len()).unwrap_or(u8::MAX),
            purpose: purpose.transpose()?,
            tool,
            labels: Arc::new(given.labels.clone()),
            spent: given.spent,
            administrators: given.administrators,
        })
    }

    /// Whether the token, and what everybody held, reached so far.
    pub(super) fn authority(&self, pairs: &[Pair], at: Timestamp) -> Result<(), Code> {
        if self.caller.agents.is_empty() {
            return Ok(());
        }
        let held = self.directory.held(&self.standing);
        let token = &self.caller.claims.authority;
        let within = within_authority(token, &held, pairs, NO_ACTION, at);
        within.map_err(|refusal| refusal.code)
    }

    /// What authority and policy say, with what an approval lifts where one was used; with what the policies said without.
    pub(super) fn word(
        &self,
        asked: &Asked<'_>,
        approval: Option<&ApprovalRecord>,
    ) -> (Word, Option<policy::Outcome>) {
        if let Err(code) = self.authority(asked.about.pairs, asked.about.now) {
            return (Word::Refused(code), None);
        }
        let outcome = asked.evaluate(&BTreeSet::new());
        let said = |outcome: &policy::Outcome| match final_word(outcome, NO_ACTION, true) {
            Some(Ok(())) => Word::Permit,
            Some(Err(refusal)) => Word::Refused(refusal.code),
            None => Word::Held(None),
        };
        let word = match (said(&outcome), approval) {
            (Word::Held(_), Some(approval)) => {
                match said(&asked.evaluate(&lifted(&approval.demands))) {
                    Word::Permit => Word::Permit,
                    _ => Word::Held(None),
                }
            }
            (Word::Held(_), None) => match said(&asked.evaluate(&lifted(&holds(&outcome)))) {
                Word::Refused(code) => Word::Held(Some(code)),
                _ => Word::Held(None),
            },
            (word, _) => word,
        };
        (word, Some(outcome))
    }

    /// What an approval binds beside who asks, and on what: of a call. An act's approval binds what its person held as well,
    /// which nothing says, so it has to show this act.
    pub(super) fn what_was_approved(&self, body: &Decision, asked_for: &Json) -> Asks {
        let call = || {
            let server = self.directory.server(body.system.as_ref()?)?;
            let mut rest = vec![
                ("arguments", to_json(&body.call?)),
                ("catalog", to_json(&body.catalog?)),
                ("definition", to_json(&body.definition?)),
                ("server", to_json(&*server.record)),
            ];
            rest.extend(body.inputs.map(|digest| ("inputs", to_json(&digest))));
            Some(Json::object(rest))
        };
        match self.caller.agents.is_empty() {
            true => Asks::Act(asked_for.clone()),
            false => Asks::Call(call()),
        }
    }

    /// Whether it was approved, by then, and exactly this.
    pub(super) fn is_approved(
        &self,
        approval: &ApprovalRecord,
        asked: &Asked<'_>,
        outcome: &policy::Outcome,
        asks: Asks,
    ) -> bool {
        let is_this = match asks {
            Asks::Act(act) => approval.chain == self.caller.chain() && approval.shown == act,
            Asks::Call(rest) => rest.is_some_and(|rest| {
                self.directory.binding(asked, outcome, rest) == approval.binding
            }),
        };
        is_this && approval.standing(asked.about.now) == Approval::Approved
    }
}

/// What an approval was asked for.
pub(super) enum Asks {
    Act(Json),
    /// Nothing where the decision does not say all of it.
    Call(Option<Json>),
}
