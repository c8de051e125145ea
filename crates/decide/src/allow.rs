//! Governance acts on the same road: decided by the same policies on system `bailiwick`, recorded in the same ledger.

use std::{collections::BTreeSet, fmt, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use ledger::{PayloadClass, SealedFor};
use model::{ActionId, ApprovalId, Digest, IdentityId, Name, Person, Resource, Verb, ijson::Json};
use policy::GOVERNED_SYSTEM;

use crate::{
    attempt::{Request, final_word, lifted_word},
    authenticate::Caller,
    catalog::Pair,
    deciding::Deciding,
    directory::{AgentEntry, Directory},
    engine::Engine,
    entries::{Decision, Given, to_json},
    evaluate::About,
    permit::{Reserved, SetAside},
    refusal::{Code, Refusal},
};

/// Something that a person does to governance itself.
pub trait Act: fmt::Debug + Send + Sync + 'static {
    /// What is done.
    fn verb(&self) -> Verb;

    /// To what: one of [`policy::BUILT_IN_KINDS`] and an id.
    fn target(&self) -> (&'static str, String);

    /// Who answers for the target, as policies see it; of an owner and a deputy, the `caller`.
    fn owner(&self, _directory: &Directory, _caller: &IdentityId) -> Option<IdentityId> {
        None
    }

    /// The team that is asked to decide on the target, as policies see it; of several, one of the caller's `teams`.
    fn group(&self, _directory: &Directory, _teams: &[Name]) -> Option<Name> {
        None
    }

    /// Under whose key what is shown of it is sealed, where that is not the caller, so that it is erased with whom it tells of.
    fn about(&self) -> Option<String> {
        None
    }

    /// What kind of thing is shown of it: how long it is kept is a question of that.
    fn class(&self) -> PayloadClass {
        PayloadClass::Governance
    }

    /// Whether the act only takes away. Such an act waits neither for its record nor for a healthy store.
    fn takes_away(&self) -> bool {
        false
    }

    /// What a second person sees before approving; everything that can move is in it.
    fn shown(&self) -> Json;
}

/// Proof that a person may do exactly this. It owns the act: what was decided is what is done.
#[derive(Debug)]
pub struct Allowed<A> {
    act: A,
    caller: Arc<Caller>,
    action: ActionId,
    decision: Digest,
    approval: Option<ApprovalId>,
}

impl<A> Allowed<A> {
    /// The act.
    pub fn act(&self) -> &A {
        &self.act
    }

    /// Who may do it.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// The attempt's id.
    pub fn action(&self) -> ActionId {
        self.action
    }

    /// The leaf hash of the decision.
    pub fn decision(&self) -> Digest {
        self.decision
    }

    /// The approval that was used up, where one was needed.
    pub fn approval(&self) -> Option<ApprovalId> {
        self.approval
    }
}

impl Engine {
    /// Decides on a governance act and records the decision before it is returned.
    ///
    /// Whatever any policy says, only a person's own session comes through: no agent, no delegation, no task.
    ///
    /// # Errors
    /// [`Refusal`]; `held` names the approval that a second person gives before the same act is tried again.
    pub async fn allow<A: Act>(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        act: A,
    ) -> Result<Allowed<A>, Refusal> {
        let action = self.context.id();
        let mut deciding = Deciding::new(self, caller);
        deciding.body.system = GOVERNED_SYSTEM.parse().ok();
        deciding.about = act.about();
        deciding.class = act.class();
        deciding.arguments = shown(&act).canonical();
        let decided = AssertUnwindSafe(self.decide_act(caller, &act, action, &mut deciding));
        let decided = decided.catch_unwind().await.unwrap_or_else(|_| {
            Err(Refusal::new(action, Code::Internal, "a step of the decision failed"))
        });
        deciding.refusal = decided.as_ref().err().cloned();
        let (decision, approval) = decided?;
        Ok(Allowed { act, caller: caller.clone(), action, decision, approval })
    }

    async fn decide_act<A: Act>(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        act: &A,
        action: ActionId,
        deciding: &mut Deciding<'_>,
    ) -> Result<(Digest, Option<ApprovalId>), Refusal> {
        let Deciding { body, refusal: told, .. } = deciding;
        if !caller.is_own_session() {
            let reason = "governance acts need a person's own session";
            return Err(Refusal::new(action, Code::Forbidden, reason));
        }
        if !act.takes_away() {
            let about = act.about().into_iter().chain([caller.person.to_string()]);
            let now = self.context.now();
            let wanted = about.map(|subject| SealedFor::new(subject, act.class(), now));
            self.keys_at_hand(wanted).await.map_err(|why| why.refusal(action))?;
        }
        // What takes away works on the last known state: a store that is down must not keep a stop from happening.
        let now = if act.takes_away() { self.context.now() } else { self.sure_moment(action)? };
        let standing = self.standing(caller, action, None, now)?;
        let pair = governed_pair(act.verb(), act.target(), action)?;
        body.effects = vec![self.mark(&pair)];
        let owner = act.owner(&self.directory, &caller.person);
        let group = act.group(&self.directory, &standing.person.person.teams);
        let asked = self.ask(About {
            caller,
            standing: &standing,
            pairs: std::slice::from_ref(&pair),
            owner: owner.as_ref(),
            group: group.as_ref(),
            tool: None,
            cost: None,
            now,
        });
        body.given = Some(Given::of(&asked, &[], &[]));
        let outcome = asked.evaluate(&BTreeSet::new());
        body.by(&asked, &outcome);
        let approval = match final_word(&outcome, action, false) {
            Some(word) => {
                word?;
                None
            }
            None => {
                let rest = Json::object([
                    ("act", act.shown()),
                    ("target", Json::String(pair.resource.to_string())),
                ]);
                let binding = self.binding(&asked, &outcome, rest);
                let request = Request { about: act.about(), binding, shown: shown(act) };
                let approval = self.approval(&asked, &outcome, request, action, told).await?;
                lifted_word(&asked, &approval, action, false)?;
                if !self.tasks.use_approval(approval.id) {
                    return Err(Refusal::new(
                        action,
                        Code::Replayed,
                        "this approval was used before",
                    ));
                }
                Some(approval.id)
            }
        };
        let reserved = Reserved { approval, ..Reserved::default() };
        let set_aside = SetAside::new(self.clone(), reserved);
        let decision = self.record_act(caller, act, action, deciding, set_aside).await?;
        Ok((decision, approval))
    }

    async fn record_act<A: Act>(
        self: &Arc<Self>,
        caller: &Caller,
        act: &A,
        action: ActionId,
        deciding: &Deciding<'_>,
        set_aside: SetAside,
    ) -> Result<Digest, Refusal> {
        let mut draft = self.decision(caller, action, &deciding.body);
        draft.verdict = Some(policy::Verdict::Permit.name().to_owned());
        draft.approval = set_aside.approval;
        draft.subject = act.about();
        draft.class = act.class();
        draft.payload = Some(deciding.arguments.clone());
        if act.takes_away() {
            self.bare_without_key(&mut draft);
        }
        let sealed = self.seal(draft).map_err(|why| why.refusal(action))?;
        let (hash, reserved) = (sealed.hash(), set_aside.taken());
        if act.takes_away() {
            self.note_ready(sealed);
            return Ok(hash);
        }
        let undo = move |engine: &Self| reserved.give_back(engine);
        self.record(sealed, action, undo).await.map_err(|why| why.refusal(action))?;
        Ok(hash)
    }
}

impl Engine {
    /// Whether a person may look at something of governance. Only a refusal is recorded: looking changes nothing.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn look(&self, caller: &Caller, kind: &'static str, id: &str) -> Result<(), Refusal> {
        let action = self.context.id();
        let looked = self.may_look(caller, kind, id, action);
        if let Err(refusal) = &looked {
            self.note_refusal(caller, refusal, Decision::default(), None);
        }
        looked
    }

    /// The same question without a record, for leaving out of a list what its reader may not look at.
    pub fn sees(&self, caller: &Caller, kind: &'static str, id: &str) -> bool {
        self.may_look(caller, kind, id, self.context.id()).is_ok()
    }

    fn may_look(
        &self,
        caller: &Caller,
        kind: &'static str,
        id: &str,
        action: ActionId,
    ) -> Result<(), Refusal> {
        if !caller.is_own_session() {
            return Err(Refusal::new(
                action,
                Code::Forbidden,
                "governance is looked at in a person's own session",
            ));
        }
        let now = self.context.now();
        let standing = self.standing(caller, action, None, now)?;
        let pair = governed_pair(Verb::Read, (kind, id.to_owned()), action)?;
        let (owner, group) = self.answers_for(kind, id, &standing.person.person);
        let asked = self.ask(About {
            caller,
            standing: &standing,
            pairs: std::slice::from_ref(&pair),
            owner: owner.as_ref(),
            group: group.as_ref(),
            tool: None,
            cost: None,
            now,
        });
        let outcome = asked.evaluate(&BTreeSet::new());
        final_word(&outcome, action, false).unwrap_or_else(|| {
            Err(Refusal::new(action, Code::Held, "looking at this needs an approval"))
        })
    }

    /// Who answers for a thing that is looked at, and which team is asked about it: of several, the reader and one that
    /// the reader is in.
    fn answers_for(
        &self,
        kind: &str,
        id: &str,
        reader: &Person,
    ) -> (Option<IdentityId>, Option<Name>) {
        match kind {
            "Registration" => {
                let identity = id.parse::<IdentityId>().ok();
                let owner = identity.and_then(|identity| match self.directory.agent(&identity) {
                    Some(entry) => entry.answers(&reader.id),
                    None => Some(identity).filter(IdentityId::is_person),
                });
                (owner, None)
            }
            // Its id is the server, then the person.
            "LinkedAccount" => {
                (id.split_once('/').and_then(|(_, person)| person.parse().ok()), None)
            }
            "Task" => (
                id.parse().ok().and_then(|task| self.tasks.task(task)).map(|task| task.person),
                None,
            ),
            "Approval" => match id.parse().ok().and_then(|id| self.directory.approval(id)) {
                Some(record) => {
                    (record.chain.first().cloned(), record.group_for(&reader.teams).cloned())
                }
                None => (None, None),
            },
            _ => (None, None),
        }
    }
}

/// An act as people see it before they approve it, and as the ledger keeps it.
fn shown<A: Act>(act: &A) -> Json {
    let (kind, id) = act.target();
    Json::object([
        ("act", act.shown()),
        ("resource", Json::String(format!("{GOVERNED_SYSTEM}/{kind}/{id}"))),
        ("verb", to_json(&act.verb())),
    ])
}

fn governed_pair(
    verb: Verb,
    (kind, id): (&str, String),
    action: ActionId,
) -> Result<Pair, Refusal> {
    let system = GOVERNED_SYSTEM.parse().expect("the governed system's name is a name");
    let resource = Resource::new(system, kind, &id)
        .map_err(|why| Refusal::new(action, Code::ArgumentsInvalid, format!("`{id}`: {why}")))?;
    Ok(Pair { verb, resource, classes: BTreeSet::new(), amount: None })
}

impl AgentEntry {
    /// Who answers for the agent when `person` acts: its deputy where that is who acts, else its owner. Nobody stands in
    /// where there is no owner.
    pub fn answers(&self, person: &IdentityId) -> Option<IdentityId> {
        let owner = self.agent.state.owner()?;
        Some(answers(owner, self.agent.deputy.as_ref(), person).clone())
    }
}

/// Who of an owner and a deputy answers when `person` acts.
pub(crate) fn answers<'i>(
    owner: &'i IdentityId,
    deputy: Option<&'i IdentityId>,
    person: &IdentityId,
) -> &'i IdentityId {
    deputy.filter(|deputy| *deputy == person).unwrap_or(owner)
}
