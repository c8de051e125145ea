//! What was begun is closed in the ledger, once, whatever became of who began it.

use std::sync::{Arc, atomic::Ordering};

use ledger::Entry;
use model::{ActionId, Digest, Money, TaskId};

use super::{cast::eur, database::Database, world::World};
use crate::{
    Caller, Dispatch, EndTask, Ended, Ending,
    entries::{self, Body, Decision, EndedBy, Outcome, TaskEnded, read},
    tally::{Tally, locked},
    unsettled::SETTLE_MILLIS,
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);
const REFUND: (&str, &str) = ("refund", r#"{"order":"A-1","amount":6000}"#);

async fn dispatched(world: &World, bot: &Arc<Caller>, call: (&str, &str)) -> Dispatch {
    world.attempt(bot, call.0, call.1).await.unwrap().dispatch().unwrap()
}

/// How the ledger says that an action ended: each time it does.
async fn ends(world: &World, action: ActionId) -> Vec<String> {
    let entries = world.entries().await;
    let permit = entries.iter().find(|entry| entry.leaf.action == Some(action)).unwrap();
    let ends = entries.iter().filter(|entry| entry.leaf.action == Some(action)).skip(1);
    ends.map(|end| {
        assert_eq!(end.leaf.parents, [permit.hash], "an end follows from its permit");
        assert_eq!((&end.leaf.agent, &end.leaf.chain), (&permit.leaf.agent, &permit.leaf.chain));
        assert_eq!((&end.leaf.person, end.leaf.task), (&permit.leaf.person, permit.leaf.task));
        let said = |name| end.leaf.body.member(name);
        let status = said("status").and_then(|status| status.as_str());
        format!("{} {} {}", end.leaf.kind, status.unwrap_or_default(), said("spent").is_some())
    })
    .collect()
}

#[tokio::test]
async fn a_call_that_a_node_did_not_live_to_settle_is_closed_once_however_often_it_starts() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let (paid, asked) =
        (dispatched(&world, &bot, REFUND).await, dispatched(&world, &bot, READ).await);
    let settled = dispatched(&world, &bot, READ).await;
    let (paid_id, asked_id, settled_id) = (paid.action(), asked.action(), settled.action());
    settled.settle(Ending::Failed, None).await.unwrap();
    // From here on nothing reaches the ledger, as when a process is killed.
    world.engine.log.close().unwrap();
    drop((paid, asked));
    let mut world = world;
    for _ in 0..3 {
        world = world.restart(&database.target()).await;
        assert_eq!(ends(&world, paid_id).await, ["outcome unknown true"]);
        assert_eq!(ends(&world, asked_id).await, ["outcome unknown false"]);
        assert_eq!(ends(&world, settled_id).await, ["outcome failed false"]);
        let task = world.engine.tasks.task(bot.claims.task.unwrap()).unwrap();
        assert_eq!((task.spent, task.reserved), (6_000, 0));
    }
    let report = world.verified().await;
    assert!(report.is_clean() && report.open.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_call_that_nobody_settles_is_closed_and_cut_after_its_deadline_and_its_result_withheld() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let dispatch = dispatched(&world, &bot, REFUND).await;
    let (action, deadline) = (dispatch.action(), dispatch.call().deadline);
    let left = deadline.millis_since(world.engine.context.now()).cast_signed();
    world.tick(left + SETTLE_MILLIS - 1);
    world.engine.close_overdue(world.engine.context.now());
    assert!(ends(&world, action).await.is_empty() && !dispatch.is_cut());
    world.tick(1);
    world.engine.close_overdue(world.engine.context.now());
    world.engine.close_overdue(world.engine.context.now());
    assert!(dispatch.is_cut());
    let refused = dispatch.settle(Ending::NotSent, None).await.unwrap_err();
    assert_eq!(refused.code.text(), "stopped");
    world.engine.close_overdue(world.engine.context.now());
    assert_eq!(ends(&world, action).await, ["outcome unknown true"]);
    let task = world.engine.tasks.task(bot.claims.task.unwrap()).unwrap();
    assert_eq!((task.spent, task.reserved), (6_000, 0));
    assert_eq!(world.engine.stops.live_calls(), 0);
    let report = world.verified().await;
    assert!(report.is_clean() && report.open.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_call_that_was_settled_cut_or_dropped_is_closed_no_second_time() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(100_000))).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(dispatched(&world, &bot, REFUND).await);
    }
    let actions: Vec<ActionId> = calls.iter().map(Dispatch::action).collect();
    calls.remove(0).settle(Ending::Completed, None).await.unwrap();
    calls.remove(0).settle_cut();
    drop(calls);
    world.tick(3_600_000);
    world.engine.close_overdue(world.engine.context.now());
    let mut told = Vec::new();
    for action in actions {
        told.extend(ends(&world, action).await);
    }
    assert_eq!(told, ["outcome completed true", "outcome cut true", "outcome unknown true"]);
}

#[tokio::test]
async fn a_permit_says_when_its_call_ends_at_the_latest() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let dispatch = dispatched(&world, &bot, READ).await;
    let entries = world.entries().await;
    let permit = entries.iter().find(|entry| entry.leaf.action == Some(dispatch.action()));
    let body: Decision = read(&permit.unwrap().leaf.body).unwrap();
    assert_eq!(body.deadline, Some(dispatch.call().deadline));
    assert!(dispatch.call().deadline > world.engine.context.now());
}

/// What the entries of a task come to for whoever reads them one after the other.
fn counted(entries: &[Entry], task: TaskId) -> TaskEnded {
    let mut count = TaskEnded::default();
    let mut spent = 0;
    for entry in entries.iter().filter(|entry| entry.leaf.task == Some(task)) {
        count.entries += 1;
        match (entry.leaf.kind.as_str(), entry.leaf.verdict.as_deref()) {
            ("decision", Some("permit")) => count.permits += 1,
            ("decision", _) => count.refusals += 1,
            ("outcome", _) => {
                let body: Outcome = read(&entry.leaf.body).unwrap();
                spent += body.spent.map_or(0, Money::minor_units);
                count.outcomes += 1;
            }
            ("token", _) => count.tokens += 1,
            _ => {}
        }
    }
    count.spent = Some(eur(spent.cast_signed()));
    count
}

/// How often the ledger says that a task was closed; each time, that counts and parents are those of what is before it.
async fn closings(world: &World, task: TaskId) -> Vec<(EndedBy, u64)> {
    let entries = world.entries().await;
    let of_task = |entry: &&Entry| entry.leaf.task == Some(task);
    let opened = entries.iter().find(of_task).unwrap();
    let ends = entries.iter().filter(|entry| entry.leaf.kind == TaskEnded::KIND);
    ends.filter(of_task)
        .map(|end| {
            let body: TaskEnded = read(&end.leaf.body).unwrap();
            let before = &entries[..usize::try_from(end.index).unwrap()];
            let counted = TaskEnded { by: body.by, calls: body.calls, ..counted(before, task) };
            assert_eq!(body, counted, "it counts what is before it");
            let known = |hash: &Digest| before.iter().any(|entry| entry.hash == *hash);
            assert!(end.leaf.parents.iter().all(known), "what it follows from is before it");
            assert!(opened.leaf.kind == "task" && end.leaf.parents[0] == opened.hash);
            let last = before.iter().rfind(|entry| end.leaf.parents[1] == entry.hash).unwrap();
            assert_eq!(last.leaf.task, Some(task));
            (body.by.unwrap(), body.calls)
        })
        .collect()
}

/// Some of everything that happens in a task.
async fn worked(world: &World) -> TaskId {
    let (task, subject) = world.task(Some(eur(10_000))).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.believed("support-bot", &issued);
    assert_eq!(world.verdict(&bot, REFUND.0, REFUND.1).await, "permit");
    assert!(world.verdict(&bot, "export", "{}").await.starts_with("deny"));
    dispatched(world, &bot, READ).await.settle(Ending::Failed, None).await.unwrap();
    drop(dispatched(world, &bot, READ).await);
    drop(world.attempt(&bot, READ.0, READ.1).await.unwrap());
    task
}

fn pass_its_time(world: &World) {
    world.tick(600_000 + SETTLE_MILLIS);
}

#[tokio::test]
async fn a_task_whose_time_is_over_is_closed_once_with_its_count() {
    let database = Database::new();
    let world = database.world().await;
    let task = worked(&world).await;
    world.tick(600_000 + SETTLE_MILLIS - 1);
    world.engine.close_tasks(world.engine.context.now());
    assert_eq!(closings(&world, task).await, [], "its calls may still be settled");
    world.tick(1);
    world.engine.close_tasks(world.engine.context.now());
    world.engine.close_tasks(world.engine.context.now());
    assert_eq!(closings(&world, task).await, [(EndedBy::Deadline, 3)]);
    let world = world.restart(&database.target()).await;
    world.engine.close_tasks(world.engine.context.now());
    assert_eq!(closings(&world, task).await, [(EndedBy::Deadline, 3)]);
    assert!(world.verified().await.is_clean());
}

#[tokio::test]
async fn a_call_that_is_never_settled_is_closed_before_its_task() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let task = bot.claims.task.unwrap();
    let dispatch = dispatched(&world, &bot, REFUND).await;
    pass_its_time(&world);
    world.engine.close_overdue(world.engine.context.now());
    world.engine.close_tasks(world.engine.context.now());
    assert_eq!(ends(&world, dispatch.action()).await, ["outcome unknown true"]);
    assert_eq!(closings(&world, task).await, [(EndedBy::Deadline, 1)]);
}

#[tokio::test]
async fn a_task_whose_time_ends_while_no_node_runs_is_closed_by_the_next_start() {
    let database = Database::new();
    let world = database.world().await;
    let task = worked(&world).await;
    let (other, _) = world.task(None).await;
    pass_its_time(&world);
    let world = world.restart(&database.target()).await;
    assert_eq!(closings(&world, task).await, [(EndedBy::Deadline, 3)]);
    let entries = world.entries().await;
    let of_other = entries.iter().filter(|entry| entry.leaf.task == Some(other));
    let kinds: Vec<&str> = of_other.map(|entry| entry.leaf.kind.as_str()).collect();
    assert_eq!(kinds, ["task", "token", "task_end"]);
    world.tick(600_000);
    world.engine.tasks.forget(world.engine.context.now());
    assert!(world.engine.tasks.task(task).is_none(), "what is closed is forgotten");
}

#[tokio::test]
async fn a_task_that_is_not_closed_is_not_forgotten() {
    let world = World::new().await;
    let (task, _) = world.task(None).await;
    world.tick(24 * 3_600_000);
    world.engine.tasks.forget(world.engine.context.now());
    world.engine.close_tasks(world.engine.context.now());
    world.engine.tasks.forget(world.engine.context.now());
    assert!(world.engine.tasks.task(task).is_none());
    let kinds = world.entries().await.into_iter().map(|entry| entry.leaf.kind);
    assert_eq!(kinds.filter(|kind| kind == TaskEnded::KIND).count(), 1);
}

#[tokio::test]
async fn a_task_that_a_person_ends_is_closed_then_and_by_nobody_again() {
    let database = Database::new();
    let world = database.world().await;
    let task = worked(&world).await;
    let lena = world.session("lena").await;
    for _ in 0..2 {
        let end = EndTask { task, person: lena.person.clone() };
        let allowed = world.engine.allow(&lena, end).await.unwrap();
        let ended = world.engine.end_task(&allowed).unwrap();
        assert_eq!(ended, Ended { calls: 3, spent: Some(eur(6_000)) });
    }
    pass_its_time(&world);
    world.engine.close_tasks(world.engine.context.now());
    let world = world.restart(&database.target()).await;
    assert_eq!(closings(&world, task).await, [(EndedBy::Person, 3)]);
    assert!(world.verified().await.is_clean());
}

#[tokio::test]
async fn a_node_that_starts_again_counts_the_same_of_a_task() {
    let database = Database::new();
    let world = database.world().await;
    let task = worked(&world).await;
    world.entries().await;
    let seen = |world: &World| {
        let task = world.engine.tasks.task(task).unwrap();
        let tally = Tally { last: None, ..*locked(&task.tally) };
        (tally, task.calls, task.spent, task.reserved)
    };
    let before = seen(&world);
    assert_eq!((before.1, before.2, before.3), (3, 6_000, 0));
    let world = world.restart(&database.target()).await;
    assert_eq!(seen(&world), before);
}

#[tokio::test]
async fn a_task_whose_record_came_too_late_does_not_come_back_with_a_restart() {
    let database = Database::new();
    let world = database.world().await;
    let lena = world.session("lena").await;
    let allowed = world.engine.allow(&lena, World::wish(None)).await.unwrap();
    world.faults.hold_syncs(true);
    let refused = world.engine.open_task(&allowed).await.unwrap_err();
    assert_eq!(refused.code.text(), "ledger_slow");
    world.faults.hold_syncs(false);
    world.lapsed().await;
    let entries = world.entries().await;
    let lapsed = entries.iter().find(|entry| entry.leaf.kind == "lapsed").unwrap();
    let task = lapsed.leaf.task.unwrap();
    assert!(world.engine.tasks.task(task).is_none());
    let world = world.restart(&database.target()).await;
    assert!(world.engine.tasks.task(task).is_none());
    pass_its_time(&world);
    let world = world.restart(&database.target()).await;
    assert!(world.entries().await.iter().all(|entry| entry.leaf.kind != TaskEnded::KIND));
}

#[tokio::test]
async fn a_permit_that_the_ledger_did_not_take_does_not_count() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world.faults.writes_fail.store(true, Ordering::SeqCst);
    let refused = world.attempt(&bot, READ.0, READ.1).await.err().unwrap();
    assert_eq!(refused.code.text(), "ledger_unavailable");
    let task = world.engine.tasks.task(bot.claims.task.unwrap()).unwrap();
    assert_eq!(locked(&task.tally).permits, 0);
}

#[tokio::test]
async fn a_task_that_was_ended_before_ends_were_counted_stays_ended() {
    let database = Database::new();
    let world = database.world().await;
    let (task, _) = world.task(None).await;
    let context = &world.engine.context;
    let mut draft = entries::draft(context.id(), context.now(), &TaskEnded::default());
    draft.body = model::ijson::Canonical::of(&serde_json::json!({ "calls": 0 })).unwrap();
    draft.task = Some(task);
    world.append(draft).await;
    pass_its_time(&world);
    let world = world.restart(&database.target()).await;
    let ends = world.entries().await.into_iter().filter(|entry| entry.leaf.kind == TaskEnded::KIND);
    assert_eq!(ends.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_fits_whatever_goes_on_while_a_task_is_ended() {
    let world = Arc::new(World::new().await);
    let bot = world.bot(Some(eur(1_000_000))).await;
    let task = bot.claims.task.unwrap();
    let lena = world.session("lena").await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (world, bot) = (world.clone(), bot.clone());
            tokio::spawn(async move {
                let goes_on =
                    |said: String| said == "permit" || said.starts_with("deny ledger_slow");
                while goes_on(world.verdict(&bot, REFUND.0, REFUND.1).await) {}
            })
        })
        .collect();
    while locked(&world.engine.tasks.task(task).unwrap().tally).outcomes < 20 {
        tokio::task::yield_now().await;
    }
    let end = EndTask { task, person: lena.person.clone() };
    let allowed = world.engine.allow(&lena, end).await.unwrap();
    world.engine.end_task(&allowed).unwrap();
    for call in calls {
        call.await.ok();
    }
    let closings = closings(&world, task).await;
    assert!(matches!(closings[..], [(EndedBy::Person, _)]), "{closings:?}");
}
