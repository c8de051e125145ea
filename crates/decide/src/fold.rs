//! What has happened, read back from the ledger before a node is ready.

use std::collections::{HashMap, HashSet};

use ledger::Leaf;
use model::{ActionId, Digest, EntryId, TaskId};

use crate::{
    engine::Engine,
    entries::{
        AgentEnded, Body, Decision, Governed, Lapsed, Outcome, Parked, Resumed, Revoked, StopFinal,
        Stopped, TaskEnded, TaskOpened, TokenIssued, Unparked, read,
    },
    parking::wall,
    permit::{Ending, Reserved},
    refusal::Code,
    stop::Order,
    tally::locked,
    tasks::{Parking, Task},
    unsettled::Orphan,
};

/// Why the ledger cannot be folded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    #[error(transparent)]
    Read(#[from] ledger::ReadError),
    #[error(
        "entry {index} is a `{kind}` that this program does not understand; start the program that wrote it"
    )]
    Body { index: u64, kind: String },
}

/// What later entries may still take back, by attempt.
#[derive(Default)]
struct Open {
    /// What was permitted, and what was reserved for it, where nothing has settled it yet.
    permits: HashMap<ActionId, (Reserved, Option<Orphan>)>,
    /// Stops that are not said to be final, with the leaf hashes of their entries.
    stops: HashMap<EntryId, Digest>,
    /// Orders that an attempt ended; a resume whose record came too late was refused, and the stop stays.
    resumed: HashMap<ActionId, Vec<EntryId>>,
    /// Every parking, until it is known which of them were ended.
    parked: Vec<(TaskId, Parking)>,
    /// Parkings that an attempt ended; one whose record came too late was refused, and they stay.
    unparked: HashMap<ActionId, Vec<EntryId>>,
}

/// What nobody else will close: the process that began it is gone.
pub(crate) struct LeftOpen {
    /// Calls without an outcome.
    pub(crate) calls: Vec<Orphan>,
    /// Stops in force that have become final with the end of that process, with the leaf hashes of their entries.
    pub(crate) stops: Vec<(Order, Digest)>,
}

/// Folds every entry, oldest first. A reservation without an outcome counts as spent: what is unknown may have happened.
///
/// Returns what the process before has left open.
pub(crate) fn fold(engine: &Engine) -> Result<LeftOpen, FoldError> {
    let mut open = Open::default();
    for entry in engine.log.entries(0) {
        let entry = entry?;
        engine.context.has_passed(entry.leaf.at);
        let damaged = |_| FoldError::Body { index: entry.index, kind: entry.leaf.kind.clone() };
        fold_entry(engine, &mut open, &entry.leaf, entry.hash).map_err(damaged)?;
        let task = entry.leaf.task.and_then(|task| engine.tasks.tally(task));
        let agent = entry.leaf.agent.as_ref().map(|agent| engine.agents.tally(&agent.id));
        for tally in task.into_iter().chain(agent) {
            locked(&tally).read(&entry.leaf, entry.index, entry.hash);
        }
    }
    let lifted: HashSet<EntryId> = open.unparked.into_values().flatten().collect();
    for (task, parking) in open.parked {
        if !lifted.contains(&parking.entry) {
            engine.tasks.park(task, parking);
        }
    }
    open.resumed.into_values().flatten().for_each(|order| engine.stops.resume(order));
    let mut calls = Vec::new();
    for (reserved, orphan) in open.permits.into_values() {
        settle(engine, &reserved, true);
        calls.extend(orphan);
    }
    let in_force = engine.stops.orders().into_iter();
    let stops = in_force.filter_map(|order| open.stops.remove(&order.id).map(|it| (order, it)));
    let stops = stops.collect();
    engine.tasks.forget(engine.context.now());
    Ok(LeftOpen { calls, stops })
}

fn fold_entry(
    engine: &Engine,
    open: &mut Open,
    leaf: &Leaf,
    hash: Digest,
) -> Result<(), serde_json::Error> {
    let tasks = &engine.tasks;
    match leaf.kind.as_str() {
        TaskOpened::KIND => {
            let body: TaskOpened = read(&leaf.body)?;
            if let (Some(id), Some(person)) = (leaf.task, leaf.person.clone())
                && let Some(task) = Task::new(person, body, hash)
            {
                tasks.open(id, task);
            }
        }
        TaskEnded::KIND => {
            if let Some(id) = leaf.task {
                tasks.end(id);
            }
        }
        Parked::KIND => {
            let body: Parked = read(&leaf.body)?;
            if let (Some(task), Some(agent)) = (leaf.task, &leaf.agent) {
                let why = body.why(&agent.id).into();
                let parking = Parking { entry: leaf.id, agent: agent.id.clone(), why };
                tasks.forget_refusals(task, &parking.agent);
                open.parked.push((task, parking));
            }
        }
        Unparked::KIND => {
            let body: Unparked = read(&leaf.body)?;
            if let Some(action) = leaf.action {
                open.unparked.insert(action, body.parkings);
            }
        }
        TokenIssued::KIND => {
            let body: TokenIssued = read(&leaf.body)?;
            tasks.issue(hash, body.expires);
            if let (Some(mark), Some(until)) = (body.mark, body.mark_until) {
                tasks.mark(mark, until);
            }
        }
        Decision::KIND => fold_decision(engine, open, leaf, hash, read(&leaf.body)?),
        Outcome::KIND => {
            let body: Outcome = read(&leaf.body)?;
            let permit = leaf.action.and_then(|action| open.permits.remove(&action));
            if let Some((reserved, _)) = permit {
                if body.status == Ending::NotSent.name() {
                    reserved.give_back(engine);
                } else {
                    settle(engine, &reserved, body.spent.is_some());
                }
            }
        }
        Lapsed::KIND => {
            let _: Lapsed = read(&leaf.body)?;
            if let Some(action) = leaf.action {
                open.resumed.remove(&action);
                open.unparked.remove(&action);
            }
            let permit = leaf.action.and_then(|action| open.permits.remove(&action));
            if let Some((reserved, _)) = permit {
                reserved.give_back(engine);
                if let Some(task) = reserved.task {
                    tasks.untouch(task);
                }
            }
            if let Some(task) = leaf.task {
                tasks.lapse(task, &leaf.parents);
            }
        }
        Revoked::KIND => {
            let body: Revoked = read(&leaf.body)?;
            body.links.iter().for_each(|link| tasks.revoke(*link, body.until));
        }
        Stopped::KIND => {
            fold_stop(engine, leaf, read(&leaf.body)?);
            open.stops.insert(leaf.id, hash);
        }
        StopFinal::KIND => {
            let body: StopFinal = read(&leaf.body)?;
            if let Some(order) = body.order {
                open.stops.remove(&order);
            }
        }
        Resumed::KIND => {
            let body: Resumed = read(&leaf.body)?;
            if let (Some(order), Some(action)) = (body.order, leaf.action) {
                open.resumed.entry(action).or_default().push(order);
            }
        }
        AgentEnded::KIND => {
            let body: AgentEnded = read(&leaf.body)?;
            if let Some(agent) = body.agent {
                engine.agents.close(agent);
            }
        }
        Governed::KIND => {
            let body: Governed = read(&leaf.body)?;
            engine.directory.seals.sealed(&body.object, &body.key, body.version, body.digest);
        }
        // Entries behind those that are kept may have ended, spent or used anything.
        ledger::TRUNCATED => tasks.lose_until(leaf.at),
        // What later versions add beside these changes no right that this one computes.
        _ => {}
    }
    Ok(())
}

fn fold_decision(engine: &Engine, open: &mut Open, leaf: &Leaf, hash: Digest, body: Decision) {
    if leaf.verdict.as_deref() != Some("permit") {
        fold_refusal(engine, leaf, &body);
        return;
    }
    if let Some(approval) = leaf.approval {
        engine.tasks.use_approval(approval);
    }
    let Some(action) = leaf.action else { return };
    if let (Some(task), Some(cost)) = (leaf.task, body.reserve) {
        // The budget was checked when this was written; folding only repeats it.
        let _ = engine.tasks.reserve(task, cost);
    }
    if let Some(task) = leaf.task {
        engine.tasks.touch(task, &body.labels);
    }
    let reserved = Reserved {
        task: leaf.task,
        cost: body.reserve,
        approval: leaf.approval,
        labels: body.labels,
    };
    let orphan = Orphan::of(leaf, action, hash, body.reserve);
    open.permits.insert(action, (reserved, orphan));
}

/// What an agent ran into counts on after a start. A task that is parked by it is parked by an entry of its own.
fn fold_refusal(engine: &Engine, leaf: &Leaf, body: &Decision) {
    let Decision {
        call: Some(call), code: Some(code), system: Some(system), tool: Some(tool), ..
    } = body
    else {
        return;
    };
    let code = Code::ALL.iter().find(|known| known.text() == code);
    let code = code.filter(|code| code.is_a_wall());
    if let (Some(task), Some(agent), Some(code)) = (leaf.task, &leaf.agent, code) {
        engine.tasks.refused(task, &agent.id, wall(system.as_str(), tool, *call, code.text()));
    }
}

fn settle(engine: &Engine, reserved: &Reserved, spent: bool) {
    if let (Some(task), Some(cost)) = (reserved.task, reserved.cost) {
        settle_cost(engine, task, cost, spent);
    }
}

fn settle_cost(engine: &Engine, task: TaskId, cost: model::Money, spent: bool) {
    if spent {
        engine.tasks.spend(task, cost);
    } else {
        engine.tasks.release(task, cost);
    }
}

fn fold_stop(engine: &Engine, leaf: &Leaf, body: Stopped) {
    if let (Some(scope), Some(by)) = (body.scope, leaf.person.clone()) {
        let id: EntryId = leaf.id;
        engine.stops.order(&Order { id, scope, by, at: leaf.at, reason: String::new() });
    }
}
