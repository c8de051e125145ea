//! The walk of one action: stop set, identity states, chain and authority, catalog, policy, budget, record.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use futures_util::FutureExt;
use ledger::{MAX_PAYLOAD, PayloadClass};
use model::{ActionId, ApprovalId, Digest, Foreign, Money, Name, Timestamp, ijson::Json};
use policy::{DenyClass, Outcome, Verdict};

use crate::{
    authenticate::Caller,
    catalog::{Pair, Tool},
    deciding::Deciding,
    engine::Engine,
    entries::{Decision, EffectMark, Given, PolicyMark, to_json},
    evaluate::{self, About, Asked, holds, party, within_authority},
    inputs::{Inputs, not_asked},
    permit::{FrozenCall, Held, Permit, Reserved, SetAside},
    record::{NotRecorded, Said, aside},
    records::{ApprovalRecord, DemandRecord, ServerRecord, Standing as ApprovalStanding},
    refusal::{Code, Refusal},
    standing::Standing,
    stop::Touches,
    tasks::Overspent,
};

/// The longest that one call may take, in seconds.
const CALL_SECONDS: u32 = 120;
/// The longest that a client listens to a server's notifications in one go, in seconds, and never beyond its token.
const LISTEN_SECONDS: u32 = 3_600;
/// What stays open for as long as its client listens.
const LISTEN: &str = "mcp:subscriptions/listen";
/// How long a request for approval waits for an answer, in seconds: no answer by then is no.
const APPROVAL_SECONDS: u32 = 3_600;

/// One attempt to call a tool.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Names the attempt.
    pub action: ActionId,
    /// Who attempts it.
    pub caller: Arc<Caller>,
    /// The system.
    pub system: Name,
    /// The tool.
    pub tool: String,
    /// The arguments, parsed once.
    pub arguments: Json,
    /// What the client answers to a server that asked for something before.
    pub inputs: Option<Inputs>,
}

/// What people are asked to approve.
pub(crate) struct Request {
    /// Under whose key the request is sealed, where that is not the asker.
    pub(crate) about: Option<String>,
    pub(crate) binding: Digest,
    pub(crate) shown: Json,
}

/// Everything of a call that is decided on.
struct Call {
    server: Arc<ServerRecord>,
    tool: Arc<Tool>,
    pairs: Vec<Pair>,
    cost: Option<Money>,
    /// Stands for the arguments.
    said: Digest,
    /// The digests of the rows of server and tool.
    rows: [Digest; 2],
}

impl Engine {
    /// Walks the road. The result is a permit whose record is durable, or a refusal that is on its way to the ledger.
    ///
    /// # Errors
    /// [`Refusal`]; also when any step panics: what is not decided is denied.
    pub async fn attempt(self: &Arc<Self>, attempt: Attempt) -> Result<Permit, Refusal> {
        let mut deciding = Deciding::new(self, &attempt.caller);
        let walk = AssertUnwindSafe(self.walk(&attempt, &mut deciding)).catch_unwind().await;
        let result = walk.unwrap_or_else(|_| {
            Err(Refusal::new(attempt.action, Code::Internal, "a step of the decision failed"))
        });
        deciding.refusal = result.as_ref().err().cloned();
        let (call, effects) = match &result {
            Err(_) => (deciding.body.call, deciding.body.effects.clone()),
            Ok(_) => (None, Vec::new()),
        };
        drop(deciding);
        result.map_err(|refusal| {
            // What helps is no part of the decision: where it fails, the refusal stands and counts as it is.
            let helped = || self.helped(&attempt, &effects, refusal.clone());
            let refusal = catch_unwind(AssertUnwindSafe(helped)).unwrap_or(refusal);
            self.count_refusal(&attempt, call, &refusal);
            refusal
        })
    }

    async fn walk(
        self: &Arc<Self>,
        attempt: &Attempt,
        deciding: &mut Deciding<'_>,
    ) -> Result<Permit, Refusal> {
        let Attempt { action, caller, system, tool, arguments, inputs } = attempt;
        let action = *action;
        deciding.body.system = Some(system.clone());
        deciding.body.tool = Some(recorded_name(tool));
        deciding.arguments = arguments.canonical();
        let blind = |said, bytes: &[u8]| self.blinded(caller, said, bytes);
        let unavailable = |why: NotRecorded| why.refusal(action);
        self.keys_at_hand([self.said_by(caller, PayloadClass::Calls)])
            .await
            .map_err(unavailable)?;
        deciding.body.call = Some(blind(Said::Call, &deciding.arguments).map_err(unavailable)?);
        let inputs = inputs.as_ref().map(|inputs| inputs.to_json().canonical());
        let answers = inputs.as_ref().map(|inputs| blind(Said::Inputs, inputs)).transpose();
        deciding.body.inputs = answers.map_err(unavailable)?;
        let payload = payload(&deciding.arguments, inputs.as_deref());
        if payload.len() > MAX_PAYLOAD {
            // Numbers may be longer in canonical form than they came.
            let reason = format!("the arguments take more than {MAX_PAYLOAD} bytes to record");
            return Err(Refusal::new(action, Code::ArgumentsInvalid, reason));
        }
        self.step(Step::Standing);
        let now = self.sure_moment(action)?;
        let standing = self.standing(caller, action, Some(system), now)?;
        self.step(Step::Catalog);
        let call = self.understand(attempt, deciding)?;
        let asked = self.ask(About {
            caller,
            standing: &standing,
            pairs: &call.pairs,
            owner: None,
            group: None,
            tool: Some(&call.tool.name),
            cost: call.cost,
            now,
        });
        let held = self.directory.held(&standing);
        deciding.body.given = Some(Given::of(&asked, &held, &call.rows));
        within_authority(&caller.claims.authority, &held, &call.pairs, action, now)?;
        self.never_waits(caller, &standing, &call.pairs, action)?;
        let account = self.account_for(&call.server, caller, action)?;
        self.step(Step::Policy);
        let answers = attempt.inputs.as_ref();
        let approval = self.verdict(&asked, &call, answers, action, deciding).await?;
        self.step(Step::Budget);
        let set_aside = self.reserve(&standing, &call, approval.as_deref(), action)?;
        deciding.body.reserve = set_aside.cost;
        let frozen = FrozenCall {
            server: call.server,
            account,
            tool: call.tool,
            policies: deciding.body.policy_epoch.unwrap_or_default(),
            arguments: deciding.arguments.as_slice().into(),
            inputs: inputs.map(Into::into),
            deadline: deadline(&standing, caller, tool, now),
        };
        deciding.body.deadline = Some(frozen.deadline);
        self.step(Step::Record);
        let (decision, reserved) =
            self.record_permit(attempt, deciding, payload, set_aside).await?;
        let tool = Some(frozen.tool.name.clone());
        let touches = Touches { tool, ..standing.touches.clone() };
        let lifted = match reserved.approval {
            Some(_) => deciding.body.policies.clone(),
            None => Vec::new(),
        };
        Ok(Permit::of(Held {
            engine: self.clone(),
            caller: caller.clone(),
            action,
            call: frozen,
            reserved,
            decision,
            touches,
            pairs: call.pairs,
            standing: Arc::new(standing),
            lifted,
        }))
    }

    /// Step 4: the tool, its pin, and what the call does.
    fn understand(&self, attempt: &Attempt, deciding: &mut Deciding<'_>) -> Result<Call, Refusal> {
        let Attempt { action, system, tool, arguments, .. } = attempt;
        let refuse = |code, reason: String| Refusal::new(*action, code, reason);
        let (server, row, entry) = self
            .directory
            .tool_with_row(system, tool)
            .ok_or_else(|| refuse(Code::SystemUnknown, format!("there is no system `{system}`")))?;
        let entry = entry.ok_or_else(|| {
            refuse(Code::ToolUnknown, format!("`{system}` has no tool `{}`", shown(tool)))
        })?;
        let rows = [row, entry.row];
        let tool = entry.in_force().map_err(|(code, reason)| refuse(code, reason))?;
        if let Some(kind) = attempt.inputs.as_ref().and_then(|it| it.beyond(&tool.input_requests)) {
            return Err(Refusal::new(*action, Code::MethodNotMapped, not_asked(kind)));
        }
        deciding.body.tool = Some(tool.name.to_string());
        deciding.body.catalog = Some(tool.mapping);
        deciding.body.definition = Some(tool.definition);
        let (pairs, cost) = tool.reading(arguments).map_err(|(code, why)| refuse(code, why))?;
        deciding.body.effects = pairs.iter().map(|pair| self.mark(pair)).collect();
        deciding.body.labels = pairs.iter().flat_map(|pair| pair.classes.iter().cloned()).collect();
        let said = deciding.body.call.unwrap_or_default();
        Ok(Call { server, tool, pairs, cost, said, rows })
    }

    /// An effect as a leaf may show it.
    pub(crate) fn mark(&self, pair: &Pair) -> EffectMark {
        EffectMark {
            verb: pair.verb,
            kind: pair.resource.kind().to_owned(),
            id: self.blind_index(&pair.resource),
        }
    }

    /// Step 5: a permit, by policy alone or with an approval that lifts what holds it.
    async fn verdict(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        call: &Call,
        inputs: Option<&Inputs>,
        action: ActionId,
        deciding: &mut Deciding<'_>,
    ) -> Result<Option<Arc<ApprovalRecord>>, Refusal> {
        let outcome = asked.evaluate(&BTreeSet::new());
        deciding.body.by(asked, &outcome);
        if let Some(refusal) = final_word(&outcome, action, true) {
            return refusal.map(|()| None);
        }
        let mut rest = vec![
            ("arguments", to_json(&call.said)),
            ("catalog", to_json(&call.tool.mapping)),
            ("definition", to_json(&call.tool.definition)),
            ("server", to_json(&*call.server)),
        ];
        rest.extend(deciding.body.inputs.map(|digest| ("inputs", to_json(&digest))));
        let binding = self.binding(asked, &outcome, Json::object(rest));
        let shown = shown_to_approver(asked, call, &deciding.arguments, inputs);
        let (request, told) = (Request { about: None, binding, shown }, &mut deciding.refusal);
        let approval = self.approval(asked, &outcome, request, action, told).await?;
        lifted_word(asked, &approval, action, true)?;
        Ok(Some(approval))
    }

    /// The approval that lifts this outcome's holds; else a refusal that names the request for it. It is in `told` before
    /// people are asked.
    pub(crate) async fn approval(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        outcome: &Outcome,
        request: Request,
        action: ActionId,
        told: &mut Option<Refusal>,
    ) -> Result<Arc<ApprovalRecord>, Refusal> {
        let About { caller, standing, cost, now, .. } = asked.about;
        let for_agent = !caller.agents.is_empty();
        let held = |id: ApprovalId| Refusal {
            approval: Some(id),
            ..evaluate::refusal(action, Code::Held, outcome, for_agent)
        };
        let Request { about, binding, shown } = request;
        let known = self
            .directory
            .approval_for(&binding)
            .filter(|known| !self.tasks.is_approval_used(known.id));
        match known.as_ref().map(|known| (known, known.standing(now))) {
            Some((known, ApprovalStanding::Approved)) => return Ok(known.clone()),
            Some((known, ApprovalStanding::Waiting)) => return Err(held(known.id)),
            Some((known, ApprovalStanding::Denied)) => {
                let mut refusal = held(known.id);
                refusal.code = Code::Forbidden;
                let said = known.answers.iter().find(|answer| !answer.approve);
                let said = said.and_then(|no| no.reason.as_ref());
                let said = said.map_or_else(String::new, |reason| format!(": {reason}"));
                refusal.reason = format!("the approver said no to exactly this{said}");
                refusal.next = "Do something else, or talk to the approver: exactly this is refused until an hour after it was asked, and can be asked again then."
                    .to_owned();
                return Err(refusal);
            }
            Some((_, ApprovalStanding::Expired)) | None => {}
        }
        let record = ApprovalRecord {
            id: self.context.id(),
            about,
            action,
            binding,
            chain: caller.chain(),
            party: party(standing),
            task: caller.claims.task,
            demands: holds(outcome),
            shown: without_secrets(shown),
            amount: cost,
            nonce: self.unguessable(),
            asked: now,
            expires: now.plus_seconds(APPROVAL_SECONDS),
            answers: Vec::new(),
        };
        let refusal = held(record.id);
        *told = Some(refusal.clone());
        self.ask_for_approval(caller, record)
            .await
            .map_err(|why| Refusal::new(action, Code::StoreUnavailable, why.to_string()))?;
        Err(refusal)
    }

    /// Step 6: sets the cost aside and uses up the approval. Only what was permitted comes here, so a denied call spends
    /// nothing.
    fn reserve(
        self: &Arc<Self>,
        standing: &Standing,
        call: &Call,
        approval: Option<&ApprovalRecord>,
        action: ActionId,
    ) -> Result<SetAside, Refusal> {
        let task = standing.task.as_ref().map(|(id, _)| *id);
        if let Some(cost) = call.cost {
            let task = task.ok_or_else(|| {
                Refusal::new(action, Code::TaskOver, "money is spent only inside a task")
            })?;
            self.tasks.reserve(task, cost).map_err(|why| {
                let code = match why {
                    Overspent::Reserved { .. } => Code::BudgetReserved,
                    _ => Code::BudgetExceeded,
                };
                Refusal::new(action, code, why.to_string())
            })?;
        }
        let labels = call.pairs.iter().flat_map(|pair| pair.classes.iter().cloned()).collect();
        let reserved = Reserved { task, cost: call.cost, approval: None, labels };
        let mut set_aside = SetAside::new(self.clone(), reserved);
        if let Some(approval) = approval {
            if !self.tasks.use_approval(approval.id) {
                let reason = "this approval was used by another attempt";
                return Err(Refusal::new(action, Code::Replayed, reason));
            }
            set_aside.approval = Some(approval.id);
        }
        Ok(set_aside)
    }

    async fn record_permit(
        self: &Arc<Self>,
        attempt: &Attempt,
        deciding: &Deciding<'_>,
        payload: Vec<u8>,
        set_aside: SetAside,
    ) -> Result<(Digest, Reserved), Refusal> {
        let action = attempt.action;
        let mut draft = self.decision(&attempt.caller, action, &deciding.body);
        draft.verdict = Some(Verdict::Permit.name().to_owned());
        draft.approval = set_aside.approval;
        draft.payload = Some(payload);
        let sealed = self.seal(draft).map_err(|why| why.refusal(action))?;
        let hash = sealed.hash();
        let reserved = set_aside.taken();
        let back = reserved.clone();
        match self.record(sealed, action, move |engine| back.give_back(engine)).await {
            Ok(_) => {
                self.counters.permitted.fetch_add(1, Ordering::Relaxed);
                Ok((hash, reserved))
            }
            Err(why) => Err(why.refusal(action)),
        }
    }
}

/// Names the steps of the walk, so that a test can make any of them fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Standing,
    Catalog,
    Policy,
    Budget,
    Record,
    Help,
}

/// Whether an approval makes a permit of what waited for it. A permit may come with obligations then, as without.
pub(crate) fn lifted_word(
    asked: &Asked<'_>,
    approval: &ApprovalRecord,
    action: ActionId,
    for_agent: bool,
) -> Result<(), Refusal> {
    let outcome = asked.evaluate(&lifted(&approval.demands));
    let held = || Err(evaluate::refusal(action, Code::Held, &outcome, for_agent));
    final_word(&outcome, action, for_agent).unwrap_or_else(held)
}

/// `Some` when policy alone settles it: permitted, or refused for good.
pub(crate) fn final_word(
    outcome: &Outcome,
    action: ActionId,
    for_agent: bool,
) -> Option<Result<(), Refusal>> {
    let code = match (outcome.verdict, outcome.class) {
        (Verdict::Permit, _) if outcome.obligations.is_empty() => return Some(Ok(())),
        // No enforcement point fulfils obligations yet, and an unknown one is a deny.
        (Verdict::Permit, _) => {
            let name =
                outcome.obligations.first().map(|one| one.name.to_string()).unwrap_or_default();
            let reason = format!("the obligation `{name}` cannot be fulfilled here");
            return Some(Err(Refusal::new(action, Code::Forbidden, reason)));
        }
        (Verdict::Hold, _)
            if !outcome.demands.is_empty() && holds(outcome).len() == outcome.demands.len() =>
        {
            return None;
        }
        // Proving presence during a call has no form yet, so what demands it stays closed.
        (Verdict::Hold | Verdict::StepUp, _) => Code::StepUp,
        (Verdict::Deny, Some(DenyClass::Forbidden)) => Code::Forbidden,
        (Verdict::Deny, Some(DenyClass::PolicyError)) => Code::PolicyError,
        (Verdict::Deny, Some(DenyClass::NotPermitted) | None) => Code::NotPermitted,
    };
    Some(Err(evaluate::refusal(action, code, outcome, for_agent)))
}

/// The soft forbids that an approval lifts: those that it was asked for, no other.
pub(crate) fn lifted(demands: &[DemandRecord]) -> BTreeSet<Name> {
    demands.iter().filter_map(|demand| demand.policy.parse().ok()).collect()
}

impl Decision {
    /// Notes which policies decided.
    pub(crate) fn by(&mut self, asked: &Asked<'_>, outcome: &Outcome) {
        self.policy_epoch = Some(asked.policies.digest());
        self.policies = policy_marks(outcome);
        self.shadow = shadow_marks(outcome);
        if let Some(given) = &mut self.given {
            given.drawn(asked);
        }
    }
}

pub(crate) fn shadow_marks(outcome: &Outcome) -> Vec<PolicyMark> {
    let mark = |one: &policy::Shadow| PolicyMark { id: one.policy.to_string(), digest: one.digest };
    outcome.shadow.iter().map(mark).collect()
}

pub(crate) fn policy_marks(outcome: &Outcome) -> Vec<PolicyMark> {
    outcome.determining.iter().map(PolicyMark::of).collect()
}

/// What the ledger keeps, sealed: the arguments; where answers came with them, both.
fn payload(arguments: &[u8], inputs: Option<&[u8]>) -> Vec<u8> {
    match inputs {
        None => arguments.to_vec(),
        Some(inputs) => [b"{\"arguments\":", arguments, b",\"inputs\":", inputs, b"}"].concat(),
    }
}

/// A tool's name as an agent gives it, as records keep it. Secrets go before it is cut: half of one is not known for one.
pub(crate) fn recorded_name(tool: &str) -> String {
    scrub::text(tool).chars().take(128).collect()
}

/// The same as a refusal shows it.
fn shown(tool: &str) -> Foreign {
    Foreign::new(recorded_name(tool).chars().take(64).collect::<String>())
}

/// What people are shown, and what lies in the database for it. What they bind with their answer is the call itself.
fn without_secrets(mut shown: Json) -> Json {
    aside(|| scrub::value(&mut shown));
    shown
}

fn deadline(standing: &Standing, caller: &Caller, tool: &str, now: Timestamp) -> Timestamp {
    let latest = match tool {
        LISTEN => now.plus_seconds(LISTEN_SECONDS).min(caller.claims.exp),
        _ => now.plus_seconds(CALL_SECONDS),
    };
    standing.task.as_ref().map_or(latest, |(_, task)| task.deadline.min(latest))
}

/// What an approver sees: accepted texts and canonical arguments, and who asks for whom.
fn shown_to_approver(
    asked: &Asked<'_>,
    call: &Call,
    arguments: &[u8],
    inputs: Option<&Inputs>,
) -> Json {
    let effects = call.pairs.iter().map(|pair| {
        let amount = pair.amount.map_or(Json::Null, |amount| Json::String(amount.to_string()));
        Json::object([
            ("amount", amount),
            ("classes", to_json(&pair.classes)),
            ("resource", Json::String(pair.resource.to_string())),
            ("verb", to_json(&pair.verb)),
        ])
    });
    let mut shown = vec![
        ("arguments", serde_json::from_slice(arguments).unwrap_or(Json::Null)),
        ("chain", to_json(&asked.about.caller.chain())),
        ("effects", Json::Array(effects.collect())),
        (
            "purpose",
            asked
                .about
                .standing
                .task
                .as_ref()
                .map_or(Json::Null, |(_, task)| Json::String(task.purpose.to_string())),
        ),
        ("system", to_json(&call.server.name)),
        ("tool", Json::String(call.tool.name.to_string())),
    ];
    shown.extend(inputs.map(|inputs| ("inputs", inputs.to_json())));
    Json::object(shown)
}
