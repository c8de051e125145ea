//! Stop and resume: memory first, then ledger and journal, then the store.

use std::{sync::Arc, time::Duration};

use ledger::Draft;
use model::{ActionId, Digest, EntryId, IdentityId, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed, answers},
    directory::Directory,
    engine::{Engine, to_the_end},
    entries::{self, Resumed, StopFinal, Stopped, to_json},
    record::NotRecorded,
    records::StopRecord,
    refusal::Code,
    stop::{Acknowledgement, Order, StopReport, StopScope, Stops},
};

/// How long a stop waits for its calls to be gone before it reports without this node's acknowledgement.
const QUIET_BOUND: Duration = Duration::from_secs(5);

/// Orders a stop.
#[derive(Debug, Clone)]
pub struct Stop {
    /// What it halts.
    pub scope: StopScope,
    /// Why.
    pub reason: String,
}

/// Ends every stop of one scope.
#[derive(Debug, Clone)]
pub struct Resume {
    scope: StopScope,
    reason: String,
    /// The orders that were in force when this was asked: no later one ends by it.
    orders: Vec<EntryId>,
}

/// Why a stop is not ended.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Nothing is stopped there.
    #[error("`{0}` is not stopped")]
    NotStopped(StopScope),
    /// The journal cannot be written; the stop stays.
    #[error("the stop journal cannot be written, so the stop stays in force")]
    Journal(#[source] std::io::Error),
    /// The ledger cannot record it; the stop stays.
    #[error("the ledger cannot record the resume, so the stop stays in force: {0}")]
    Ledger(String),
}

/// A stop that is in force and has to become final.
struct Ordered {
    order: Order,
    /// The leaf hash of its entry.
    entry: Option<Digest>,
    /// How many calls it cut.
    cut: usize,
    epoch: u64,
}

/// Who answers for what a scope names; of an owner and a deputy, the `caller`.
fn answers_for(
    scope: &StopScope,
    directory: &Directory,
    caller: &IdentityId,
) -> Option<IdentityId> {
    match scope {
        StopScope::Agent(name) => {
            let id = IdentityId::new(model::IdentityKind::Agent, name.clone());
            directory.agent(&id)?.answers(caller)
        }
        StopScope::Owner(name) => Some(IdentityId::new(model::IdentityKind::Person, name.clone())),
        StopScope::Blueprint(name) => {
            let blueprint = directory.blueprint(name)?;
            Some(answers(&blueprint.owner, blueprint.deputy.as_ref(), caller).clone())
        }
        _ => None,
    }
}

fn shown(scope: &StopScope, reason: &str) -> Json {
    Json::object([("reason", Json::String(reason.to_owned())), ("scope", to_json(scope))])
}

impl Act for Stop {
    fn verb(&self) -> Verb {
        Verb::Admin
    }

    fn target(&self) -> (&'static str, String) {
        ("Stop", self.scope.to_string())
    }

    fn owner(&self, directory: &Directory, caller: &IdentityId) -> Option<IdentityId> {
        answers_for(&self.scope, directory, caller)
    }

    fn about(&self) -> Option<String> {
        self.scope.about()
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn shown(&self) -> Json {
        shown(&self.scope, &self.reason)
    }
}

impl Resume {
    /// The end of what is stopped there now.
    ///
    /// # Errors
    /// Nothing is stopped there.
    pub fn of(stops: &Stops, scope: StopScope, reason: String) -> Result<Self, ResumeError> {
        let orders: Vec<EntryId> = stops.of_scope(&scope).iter().map(|order| order.id).collect();
        if orders.is_empty() {
            Err(ResumeError::NotStopped(scope))
        } else {
            Ok(Self { scope, reason, orders })
        }
    }
}

impl Act for Resume {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("Stop", self.scope.to_string())
    }

    fn about(&self) -> Option<String> {
        self.scope.about()
    }

    fn shown(&self) -> Json {
        Json::object([
            ("orders", to_json(&self.orders)),
            ("reason", Json::String(self.reason.clone())),
            ("scope", to_json(&self.scope)),
        ])
    }
}

impl Engine {
    /// Stops a scope. It waits for nothing but this node's own calls to be gone.
    pub async fn stop(self: &Arc<Self>, allowed: &Allowed<Stop>) -> StopReport {
        let Stop { scope, reason } = allowed.act();
        let order = Order {
            id: self.context.id(),
            scope: scope.clone(),
            by: allowed.caller().person.clone(),
            at: self.context.now(),
            reason: scrub::text(reason).into_owned(),
        };
        let mut draft =
            self.about(allowed.caller(), &Stopped { scope: Some(scope.clone()) }, order.id);
        draft.subject = allowed.act().about();
        draft.payload = Some(allowed.act().shown().canonical());
        let draft = entries::of_action(draft, allowed.action(), vec![allowed.decision()]);
        let cut = self.stops.order(&order);
        let epoch = self.stops.epoch();
        // Verified tokens are checked against the stop set again anyway; forgetting them leaves nothing to get wrong.
        self.verified.clear();
        let engine = self.clone();
        to_the_end(async move {
            let (durable, entry) = tokio::join!(engine.journal(&order), engine.note_order(draft));
            engine.carry_out(Ordered { order, entry, cut, epoch }, durable).await
        })
        .await
    }

    /// Records an order that is in force. Why it was given is worth the moment that it takes to have the key of whom it tells of.
    async fn note_order(&self, draft: Draft) -> Option<Digest> {
        self.keys_at_hand([draft.whose()]).await.ok();
        let ready = self.seal_or_gap(draft)?;
        let entry = ready.hash();
        self.note_ready(ready);
        Some(entry)
    }

    async fn carry_out(self: &Arc<Self>, ordered: Ordered, durable: bool) -> StopReport {
        let Ordered { order, cut, .. } = &ordered;
        self.tell_the_store(order, false);
        let report = |in_force: Vec<Acknowledgement>| StopReport {
            order: order.id,
            scope: order.scope.clone(),
            ordered: order.at,
            // With one point, its acknowledgement is the last. A call that cannot be cut leaves the stop open.
            is_final: in_force.iter().map(|point| point.at).max(),
            in_force,
            cut: *cut,
            durable,
        };
        if tokio::time::timeout(QUIET_BOUND, self.stops.quiet(&order.scope)).await.is_ok() {
            return report(self.acknowledge(&ordered));
        }
        let open = report(Vec::new());
        self.acknowledge_late(ordered);
        open
    }

    /// This node's point dispatches nothing in scope any more: with one point, the stop is final, and the ledger says so.
    fn acknowledge(&self, ordered: &Ordered) -> Vec<Acknowledgement> {
        let Ordered { order, entry, cut, epoch } = ordered;
        self.point.acknowledge(*epoch);
        self.note_final(order.id, &order.by, *entry, u64::try_from(*cut).ok())
    }

    /// Acknowledges a stop once the last call in its scope is gone, unless the stop was ended before. Nobody waits for it.
    fn acknowledge_late(self: &Arc<Self>, ordered: Ordered) {
        let (engine, stops) = (Arc::downgrade(self), self.stops.clone());
        tokio::spawn(async move {
            stops.quiet(&ordered.order.scope).await;
            let order = &ordered.order;
            let is_in_force = stops.of_scope(&order.scope).iter().any(|it| it.id == order.id);
            if let (Some(engine), true) = (engine.upgrade(), is_in_force) {
                engine.acknowledge(&ordered);
            }
        });
    }

    /// Records that a stop is final: this node's point, the only one, dispatches nothing in its scope.
    pub(crate) fn note_final(
        &self,
        order: EntryId,
        by: &IdentityId,
        entry: Option<Digest>,
        cut: Option<u64>,
    ) -> Vec<Acknowledgement> {
        let at = self.context.now();
        let points = vec![Acknowledgement { point: self.point.name().to_owned(), at }];
        let body = StopFinal { cut, order: Some(order), points };
        let mut draft = entries::draft(self.context.id(), at, &body);
        draft.person = Some(by.clone());
        draft.parents = entry.into_iter().collect();
        self.note(draft);
        body.points
    }

    async fn journal(self: &Arc<Self>, order: &Order) -> bool {
        let (stops, order) = (self.stops.clone(), order.clone());
        let written = tokio::task::spawn_blocking(move || stops.journal_order(&order)).await;
        match written {
            Ok(Ok(())) => true,
            Ok(Err(why)) => {
                tracing::error!(code = "BW-1401", %why, "a stop is in force but its journal cannot be written");
                false
            }
            Err(_) => false,
        }
    }

    /// The store comes last, and nobody waits for it: memory, journal and ledger hold the stop.
    fn tell_the_store(self: &Arc<Self>, order: &Order, resumed: bool) {
        let (engine, record) = (self.clone(), StopRecord { order: order.clone(), resumed });
        tokio::spawn(async move {
            if let Err(why) = engine.store_stop(record.order.by.clone(), record).await {
                tracing::warn!(code = "BW-1403", %why, "a stop could not be stored for other nodes");
            }
        });
    }

    /// Ends every stop of a scope, once the ledger holds it.
    ///
    /// # Errors
    /// [`ResumeError`]; the stop stays in force.
    pub async fn resume(
        self: &Arc<Self>,
        allowed: &Allowed<Resume>,
    ) -> Result<Vec<EntryId>, ResumeError> {
        let Resume { scope, orders: named, .. } = allowed.act();
        let mut orders = self.stops.of_scope(scope);
        orders.retain(|order| named.contains(&order.id));
        if orders.is_empty() {
            return Err(ResumeError::NotStopped(scope.clone()));
        }
        let ended = orders.iter().map(|order| order.id).collect();
        let drafts = orders.into_iter().map(|order| {
            let body = Resumed { order: Some(order.id) };
            let draft = self.about(allowed.caller(), &body, self.context.id());
            (order, entries::of_action(draft, allowed.action(), vec![allowed.decision()]))
        });
        let (engine, action, drafts) = (self.clone(), allowed.action(), drafts.collect::<Vec<_>>());
        to_the_end(async move {
            for (order, draft) in drafts {
                engine.end_order(&order, draft, action).await?;
            }
            Ok(ended)
        })
        .await
    }

    async fn end_order(
        self: &Arc<Self>,
        order: &Order,
        draft: Draft,
        action: ActionId,
    ) -> Result<(), ResumeError> {
        let unavailable = |why: NotRecorded| ResumeError::Ledger(why.to_string());
        let sealed = self.seal(draft).map_err(unavailable)?;
        let resumed = sealed.hash();
        self.record(sealed, action, |_| ()).await.map_err(unavailable)?;
        let (stops, id) = (self.stops.clone(), order.id);
        let written = tokio::task::spawn_blocking(move || stops.journal_resume(id)).await;
        let written = written.unwrap_or_else(|_| Err(std::io::Error::other("the writer failed")));
        if let Err(why) = written {
            // The ledger says already that it ended: the next start must not believe that.
            self.note_lapsed(action, None, resumed, Code::StoreUnavailable);
            return Err(ResumeError::Journal(why));
        }
        self.stops.resume(order.id);
        self.tell_the_store(order, true);
        Ok(())
    }
}
