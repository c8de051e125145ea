//! A permit and what becomes of it: dispatched once, settled once, or lapsed.

use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
};

use model::{ActionId, ApprovalId, Digest, Money, Name, TaskId, Timestamp};
use tokio::sync::watch;

use crate::{
    accounts::AccountRecord,
    authenticate::Caller,
    catalog::{Pair, Tool},
    engine::Engine,
    entries::{self, Outcome, PolicyMark},
    evaluate::within_authority,
    record::{NotRecorded, Said, Told},
    records::{ServerRecord, Standing},
    refusal::{Code, Refusal},
    standing::Standing as ChainStanding,
    stop::{LiveCall, Touches},
    watch::Watch,
};

/// The call that was decided on, byte for byte. Nothing else is sent.
#[derive(Clone)]
pub struct FrozenCall {
    /// The server, as it was when the call was decided on.
    pub server: Arc<ServerRecord>,
    /// The account whose token goes there, where the server acts for each person.
    pub account: Option<Arc<AccountRecord>>,
    /// The tool: its accepted definition and mapping.
    pub tool: Arc<Tool>,
    /// The digest of the policies that were decided by.
    pub policies: Digest,
    /// The canonical arguments.
    pub arguments: Arc<[u8]>,
    /// The canonical answers to what the server asked before, where it did: see [`crate::Inputs::to_json`].
    pub inputs: Option<Arc<[u8]>>,
    /// When the call ends, answered or not.
    pub deadline: Timestamp,
}

/// What was set aside for a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reserved {
    pub(crate) task: Option<TaskId>,
    pub(crate) cost: Option<Money>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) labels: BTreeSet<Name>,
}

impl Reserved {
    /// The call did not leave: money and approval are free again.
    pub(crate) fn give_back(&self, engine: &Engine) {
        if let (Some(task), Some(cost)) = (self.task, self.cost) {
            engine.tasks.release(task, cost);
        }
        if let Some(approval) = self.approval {
            engine.tasks.unuse_approval(approval);
        }
    }
}

/// What was set aside for a decision that is under way. Dropped before a record took it over, because a step failed, it is
/// free again.
pub(crate) struct SetAside {
    engine: Arc<Engine>,
    reserved: Option<Reserved>,
}

impl SetAside {
    pub(crate) const fn new(engine: Arc<Engine>, reserved: Reserved) -> Self {
        Self { engine, reserved: Some(reserved) }
    }

    /// Hands it over to whatever gives it back from now on.
    pub(crate) fn taken(mut self) -> Reserved {
        self.reserved.take().expect("nobody takes it twice: this consumes it")
    }
}

impl Deref for SetAside {
    type Target = Reserved;

    fn deref(&self) -> &Reserved {
        self.reserved.as_ref().expect("it is there until it is taken, which consumes this")
    }
}

impl DerefMut for SetAside {
    fn deref_mut(&mut self) -> &mut Reserved {
        self.reserved.as_mut().expect("it is there until it is taken, which consumes this")
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            reserved.give_back(&self.engine);
        }
    }
}

/// Proof that one action was permitted and that its record is durable.
///
/// Only [`Engine::attempt`] makes one and [`Permit::dispatch`] takes it by value: a call without a decision, or a second
/// call on one decision, does not compile. It never leaves its process; one that is dropped unused lapses.
pub struct Permit {
    held: Option<Held>,
}

/// What a decision leaves for dispatch and settlement.
pub(crate) struct Held {
    pub(crate) engine: Arc<Engine>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) action: ActionId,
    pub(crate) call: FrozenCall,
    pub(crate) reserved: Reserved,
    pub(crate) decision: Digest,
    pub(crate) touches: Touches,
    pub(crate) pairs: Vec<Pair>,
    /// Everyone of the chain and the task, as they were at the decision.
    pub(crate) standing: Arc<ChainStanding>,
    /// Where an approval made the permit, the policies that decided, in their wordings: what it lifts are those and no others.
    pub(crate) lifted: Vec<PolicyMark>,
}

/// A call that is leaving. It must be settled; dropped unsettled, or not settled by half a minute after its deadline, its
/// outcome is recorded as unknown and its cost spent.
pub struct Dispatch {
    held: Arc<Held>,
    pub(crate) live: Arc<LiveCall>,
    /// Tells that other policies are in force than at the dispatch.
    pub(crate) policies: Mutex<watch::Receiver<()>>,
}

/// How a dispatched call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The upstream says it is done.
    Completed,
    /// The upstream wants answers first, and the call again with them.
    InputRequired,
    /// The upstream says it was not done.
    Failed,
    /// Nothing was sent: no connection.
    NotSent,
    /// A stop cut it; what the upstream did by then is not known.
    Cut,
    /// No answer, or none that can be believed.
    Unknown,
}

impl Ending {
    /// The ending as records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::InputRequired => "input_required",
            Self::Failed => "failed",
            Self::NotSent => "not_sent",
            Self::Cut => "cut",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the cost counts as spent. What is not known may have happened.
    const fn spends(self) -> bool {
        matches!(self, Self::Completed | Self::Cut | Self::Unknown)
    }
}

impl Outcome {
    /// The record of how a call ended for which this much was reserved.
    pub(crate) fn of(ending: Ending, result: Option<Digest>, cost: Option<Money>) -> Self {
        let spent = cost.filter(|_| ending.spends());
        Self { result, spent, status: ending.name().to_owned() }
    }
}

impl Permit {
    pub(crate) const fn of(held: Held) -> Self {
        Self { held: Some(held) }
    }

    /// Frees the call, if everything that was true at the decision still is: the stop set, the lease, the approval, the
    /// pin of the tool, and the state of every hop.
    ///
    /// # Errors
    /// [`Refusal`] when something has moved; the permit lapses and what was reserved is free again.
    pub fn dispatch(mut self) -> Result<Dispatch, Refusal> {
        let held = self.held.as_mut().expect(HOLDS);
        // Registered before the stop set is read again: a stop either sees this call or is seen by it.
        let live = held.engine.stops.register(held.action, std::mem::take(&mut held.touches));
        let policies = held.engine.directory.policy_changes();
        if let Err(refusal) = held.unmoved() {
            self.lapse(refusal.code);
            return Err(refusal);
        }
        if let Some(task) = held.reserved.task {
            held.engine.tasks.touch(task, &held.reserved.labels);
        }
        // Until here whatever goes wrong makes the permit lapse, from here on the call is settled.
        let held = Arc::new(self.held.take().expect(HOLDS));
        held.engine.unsettled.add(&held);
        Ok(Dispatch { held, live: Arc::new(live), policies: Mutex::new(policies) })
    }

    fn lapse(&mut self, code: Code) {
        if let Some(held) = self.held.take() {
            held.lapse(code);
        }
    }
}

/// Dispatch consumes a permit, so nobody finds it without its call.
const HOLDS: &str = "a permit holds its call until it is dispatched";

impl Held {
    /// Whether everything that was true at the decision still is.
    pub(crate) fn unmoved(&self) -> Result<(), Refusal> {
        self.recheck(&self.caller)?;
        if self.engine.directory.policies().digest() != self.call.policies {
            let reason = "the policies changed after the decision; call again";
            return Err(Refusal::new(self.action, Code::Stale, reason));
        }
        Ok(())
    }

    /// Whether everything but the policies is for a caller as it was at the decision; with the moment and the standing in
    /// which that was so.
    pub(crate) fn recheck(&self, caller: &Caller) -> Result<(Timestamp, ChainStanding), Refusal> {
        let (engine, action) = (&self.engine, self.action);
        let now = engine.sure_moment(action)?;
        let standing = engine.standing(caller, action, Some(&self.call.server.name), now)?;
        let held = engine.directory.held(&standing);
        within_authority(&caller.claims.authority, &held, &self.pairs, action, now)?;
        let FrozenCall { server, account, tool, .. } = &self.call;
        if engine.account_for(server, caller, action)? != *account {
            let reason = "the account at the server changed after the decision; call again";
            return Err(Refusal::new(action, Code::Stale, reason));
        }
        let found = engine.directory.tool(&server.name, &tool.name);
        if found.as_ref().is_none_or(|(now, _)| now != server) {
            let reason = "the server changed after the decision; call again";
            return Err(Refusal::new(action, Code::Stale, reason));
        }
        let accepted = found.and_then(|(_, tool)| tool?.accepted);
        let pinned = accepted.map(|tool| (tool.definition, tool.mapping));
        if pinned != Some((tool.definition, tool.mapping)) {
            return Err(Refusal::new(
                action,
                Code::ToolNotAccepted,
                "the tool changed after the decision",
            ));
        }
        if let Some(approval) = self.reserved.approval {
            let stands = engine.directory.approval(approval).map(|record| record.standing(now));
            if stands != Some(Standing::Approved) {
                return Err(Refusal::new(
                    action,
                    Code::Held,
                    "the approval ended before the call left",
                ));
            }
        }
        Ok((now, standing))
    }

    fn lapse(&self, code: Code) {
        // In this order, so that nobody takes the approval before the ledger says that it was not used.
        self.engine.note_lapsed(self.action, self.caller.claims.task, self.decision, code);
        self.reserved.give_back(&self.engine);
    }

    /// Settles the budget and drafts the outcome's record: once, and not where the call was closed before.
    pub(crate) fn settle(&self, ending: Ending, result: Option<Digest>) -> Option<Told> {
        let engine = &self.engine;
        if !engine.unsettled.take(self.action) {
            return None;
        }
        if let (Some(task), Some(cost)) = (self.reserved.task, self.reserved.cost) {
            if ending.spends() {
                engine.tasks.spend(task, cost);
            } else {
                engine.tasks.release(task, cost);
            }
        }
        // An outcome waits for no key: it is worth more than what stands for the result.
        let whose = engine.said_by(&self.caller, ledger::PayloadClass::Calls);
        let result = result.filter(|_| engine.log.has_key(&whose));
        let blind = |result: Digest| engine.blinded(&self.caller, Said::Result, &result.0).ok();
        let body = Outcome::of(ending, result.and_then(blind), self.reserved.cost);
        let draft = engine.about(&self.caller, &body, engine.context.id());
        let draft = entries::of_action(draft, self.action, vec![self.decision]);
        Some(Told { draft, spent: body.spent })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lapse(Code::Internal);
    }
}

impl Dispatch {
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// The call to send, exactly.
    pub fn call(&self) -> &FrozenCall {
        &self.held().call
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.held().caller
    }

    /// The attempt that became this call; find its record by it.
    pub fn action(&self) -> ActionId {
        self.held().action
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.live.is_cut()
    }

    /// Records how the call ended and settles its budget. The result leaves only when this is done, and as long as no stop
    /// cuts what is given back.
    ///
    /// # Errors
    /// [`Refusal`] when the outcome could not be recorded in time, or the call was closed as unknown before: the result is
    /// withheld from the agent.
    pub async fn settle(self, ending: Ending, result: Option<Digest>) -> Result<Watch, Refusal> {
        let held = &*self.held;
        let draft = held.settle(ending, result).ok_or_else(|| {
            let reason = "the time of this call was over, so its outcome is recorded as unknown";
            Refusal::new(held.action, Code::Stopped, reason)
        })?;
        let sealed = held.engine.seal_or_gap(draft).ok_or_else(|| {
            let why = "no entry could be made of the outcome".to_owned();
            NotRecorded::Unavailable(why).refusal(held.action)
        })?;
        let mut appending = held.engine.append_end(sealed);
        let recorded = tokio::time::timeout(crate::record::RECORD_BOUND, appending.done()).await;
        if let (Ending::NotSent, Ok(Ok(_)), Some(approval)) =
            (ending, &recorded, held.reserved.approval)
        {
            // What was approved has not happened. Only now, so that no other permit by it comes before in the ledger.
            held.engine.tasks.unuse_approval(approval);
        }
        self.look_at_policies(held);
        match recorded {
            Ok(Ok(_)) if self.live.is_cut() => {
                let reason =
                    "a stop, or a right that ended, cut this call while its outcome was recorded";
                Err(Refusal::new(held.action, Code::Stopped, reason))
            }
            Ok(Ok(_)) => Ok(Watch(self.live.clone())),
            Ok(Err(why)) => Err(NotRecorded::Unavailable(why.to_string()).refusal(held.action)),
            Err(_) => Err(NotRecorded::Slow.refusal(held.action)),
        }
    }

    /// Records, without waiting, that a stop cut the call.
    pub fn settle_cut(self) {
        self.note_outcome(Ending::Cut);
    }

    fn note_outcome(&self, ending: Ending) {
        if let Some(outcome) = self.held.settle(ending, None) {
            self.held.engine.note(outcome);
        }
    }
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        self.note_outcome(if self.live.is_cut() { Ending::Cut } else { Ending::Unknown });
    }
}
