//! What changes between a decision and its dispatch, and between a dispatch and its end.

use std::sync::{Arc, atomic::Ordering};

use futures_util::poll;
use model::Verb;
use store::{Expect, Governed};

use super::{
    cast::{POLICIES, agent, desk, effect, eur, person, tool},
    world::World,
};
use crate::{Caller, Code, EndTask, Ending, ServerRecord, ToolRecord, stop::Order};

const REFUND: (&str, &str) = ("refund", r#"{"order":"A-1","amount":6000}"#);
/// Above what anybody may refund without finance.
const LARGE: (&str, &str) = ("refund", r#"{"order":"A-2","amount":400000}"#);

/// A world, and support-bot with money to spend in it.
async fn started() -> (World, Arc<Caller>) {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    (world, bot)
}

/// How a dispatch is refused when this happens after the decision: nothing left, nothing stays set aside.
async fn moved(world: &World, bot: &Arc<Caller>, change: impl AsyncFnOnce()) -> &'static str {
    let permit = world.attempt(bot, REFUND.0, REFUND.1).await.unwrap();
    change().await;
    let Err(refusal) = permit.dispatch() else { return "dispatched" };
    let task = world.engine.tasks.task(bot.claims.task.unwrap()).unwrap();
    assert_eq!((task.reserved, task.spent, task.calls), (0, 0, 0));
    assert_eq!((task.labels.len(), world.engine.stops.live_calls()), (0, 0));
    let mut told = world.entries().await;
    told.retain(|entry| entry.leaf.action == Some(refusal.action));
    let [decision, lapsed] = &told[..] else { panic!("a decision that lapsed") };
    assert_eq!(lapsed.leaf.parents, [decision.hash]);
    assert_eq!(lapsed.leaf.body.member("code").unwrap().as_str(), Some(refusal.code.text()));
    refusal.code.text()
}

async fn put<T: Governed + Send + 'static>(world: &World, record: T) {
    world.put(move |changes| changes.put(&record, Expect::Any, true)).await;
}

fn order(world: &World, scope: &str) -> Order {
    Order {
        id: world.engine.context.id(),
        scope: scope.parse().unwrap(),
        by: "person/olivia".parse().unwrap(),
        at: world.engine.context.now(),
        reason: "test".to_owned(),
    }
}

fn elsewhere() -> ServerRecord {
    ServerRecord { url: "http://127.0.0.1:2/mcp".to_owned(), ..desk() }
}

#[tokio::test]
async fn a_server_or_a_secret_that_changed_after_the_decision_gets_no_call() {
    let (world, bot) = started().await;
    let other = ServerRecord { credential: Some("env:OTHER".to_owned()), ..desk() };
    for changed in [elsewhere(), other] {
        let code = moved(&world, &bot, async || put(&world, changed).await).await;
        assert_eq!(code, "stale");
        put(&world, desk()).await;
    }
    // What is stored again as it was has not changed.
    assert_eq!(moved(&world, &bot, async || put(&world, desk()).await).await, "dispatched");
}

#[tokio::test]
async fn policies_that_changed_after_the_decision_decide_again() {
    let (world, bot) = started().await;
    let closed = format!("{POLICIES}\n@id(\"closed\") forbid (principal, action, resource);");
    assert_eq!(moved(&world, &bot, async || world.apply(&closed).await).await, "stale");
    world.apply(POLICIES).await;
    // Another number is another policy, though it would say the same; other white space is not.
    let reworded = POLICIES.replace("100000", "100001");
    assert_eq!(moved(&world, &bot, async || world.apply(&reworded).await).await, "stale");
    let spaced = format!("\n{reworded}\n");
    assert_eq!(moved(&world, &bot, async || world.apply(&spaced).await).await, "dispatched");
}

#[tokio::test]
async fn a_tool_that_changed_after_the_decision_is_not_called() {
    let (world, bot) = started().await;
    let properties = r#""order":{"type":"string"},"amount":{}"#;
    let pays = || effect(Verb::Pay, "Refund", "args.order", true, &["financial"]);
    let sends = effect(Verb::Send, "Refund", "args.order", false, &[]);
    let accepted = || tool("refund", vec![pays()], properties);
    for changed in [
        tool("refund", vec![pays(), sends], properties),
        tool("refund", vec![pays()], r#""order":{},"amount":{}"#),
        ToolRecord { accepted_by: None, ..accepted() },
        ToolRecord { mapping: None, ..accepted() },
    ] {
        let code = moved(&world, &bot, async || put(&world, changed).await).await;
        assert_eq!(code, "tool_not_accepted");
        put(&world, accepted()).await;
    }
}

#[tokio::test]
async fn who_may_no_longer_act_after_the_decision_sends_nothing() {
    let (world, bot) = started().await;
    let working = || agent("support-bot", "support");
    let mut suspended = working();
    suspended.agent = suspended.agent.suspend("it misbehaves".to_owned()).unwrap();
    let mut replaced = working();
    replaced.agent.version.digest = model::Digest([9; 32]);
    for (changed, code) in [(suspended, "identity_not_active"), (replaced, "version_not_accepted")]
    {
        assert_eq!(moved(&world, &bot, async || put(&world, changed).await).await, code);
        put(&world, working()).await;
    }
    for (name, code) in [("lena", "identity_not_active"), ("olivia", "owner_not_active")] {
        let mut gone = person(name, "support");
        gone.person.active = false;
        assert_eq!(moved(&world, &bot, async || put(&world, gone).await).await, code);
        put(&world, person(name, "support")).await;
    }
}

#[tokio::test]
async fn a_stop_after_the_decision_stops_the_call() {
    let (world, bot) = started().await;
    for scope in ["all", "agent:support-bot", "blueprint:support", "system:desk", "model:m-1"] {
        let order = order(&world, scope);
        let stop = async || assert_eq!(world.engine.stops.order(&order), 0);
        assert_eq!(moved(&world, &bot, stop).await, "stopped", "{scope}");
        world.engine.stops.resume(order.id);
    }
}

#[tokio::test]
async fn a_task_that_ended_after_the_decision_sends_nothing() {
    let (world, bot) = started().await;
    let lena = world.session("lena").await;
    let end = EndTask { task: bot.claims.task.unwrap(), person: lena.person.clone() };
    let end = async || {
        let allowed = world.engine.allow(&lena, end).await.unwrap();
        world.engine.end_task(&allowed).unwrap();
    };
    assert_eq!(moved(&world, &bot, end).await, "task_over");
}

#[tokio::test]
async fn a_node_that_lost_touch_or_its_time_after_the_decision_sends_nothing() {
    let (world, bot) = started().await;
    assert_eq!(moved(&world, &bot, async || world.tick(-60_000)).await, "clock");
    world.tick(60_000);
    world.refresh().await;
    let reading = world.engine.reading.lock().await;
    assert_eq!(moved(&world, &bot, async || world.tick(3_100)).await, "stale");
    drop(reading);
    world.refresh().await;
    assert_eq!(moved(&world, &bot, async || ()).await, "dispatched");
}

#[tokio::test]
async fn an_approval_whose_call_did_not_leave_is_good_for_the_same_call_again() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let id = world.attempt(&bot, LARGE.0, LARGE.1).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let permit = world.attempt(&bot, LARGE.0, LARGE.1).await.unwrap();
    assert!(world.engine.tasks.is_approval_used(id));
    put(&world, elsewhere()).await;
    assert_eq!(permit.dispatch().err().unwrap().code, Code::Stale);
    assert!(!world.engine.tasks.is_approval_used(id));
    // What was approved was a call to that server.
    let anew = world.attempt(&bot, LARGE.0, LARGE.1).await.err().unwrap();
    assert!(anew.verdict() == "hold" && anew.approval != Some(id));
    put(&world, desk()).await;
    let permit = world.attempt(&bot, LARGE.0, LARGE.1).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    assert_eq!(dispatch.call().server.url, desk().url);
    dispatch.settle(Ending::Completed, None).await.unwrap();
    assert_eq!(world.attempt(&bot, LARGE.0, LARGE.1).await.err().unwrap().verdict(), "hold");
}

#[tokio::test]
async fn an_approval_that_ended_after_the_decision_frees_no_call() {
    let world = World::new().await;
    let (_, subject) = world.task(Some(eur(1_000_000))).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.engine.verified(&issued.access_token, &issued.audience).unwrap();
    let id = world.attempt(&bot, LARGE.0, LARGE.1).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let permit = world.attempt(&bot, LARGE.0, LARGE.1).await.unwrap();
    world.answer(id, "olivia", "finance", false).await;
    let refusal = permit.dispatch().err().unwrap();
    assert_eq!(
        (refusal.code.text(), refusal.reason.as_str()),
        ("held", "the approval ended before the call left")
    );
}

#[tokio::test]
async fn a_result_is_withheld_when_a_stop_comes_while_its_outcome_is_recorded() {
    let (world, bot) = started().await;
    let permit = world.attempt(&bot, REFUND.0, REFUND.1).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    world.faults.hold_syncs(true);
    let mut settling = Box::pin(dispatch.settle(Ending::Completed, None));
    assert!(poll!(&mut settling).is_pending());
    let cut = world.engine.stops.order(&order(&world, "agent:support-bot"));
    world.faults.hold_syncs(false);
    let refusal = settling.await.unwrap_err();
    assert_eq!((cut, refusal.code.text()), (1, "stopped"));
    // What happened is told as it was, and what it cost is spent.
    let mut told = world.entries().await;
    told.retain(|entry| entry.leaf.action == Some(refusal.action));
    let [_, outcome] = &told[..] else { panic!("a decision and its outcome") };
    assert_eq!(outcome.leaf.kind, "outcome");
    assert_eq!(outcome.leaf.body.member("status").unwrap().as_str(), Some("completed"));
    assert_eq!(world.engine.tasks.task(bot.claims.task.unwrap()).unwrap().spent, 6_000);
}

#[tokio::test]
async fn a_result_of_somebody_else_leaves_whatever_is_stopped_meanwhile() {
    let (world, bot) = started().await;
    let permit = world.attempt(&bot, REFUND.0, REFUND.1).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    assert_eq!(world.engine.stops.order(&order(&world, "agent:lookup")), 0);
    dispatch.settle(Ending::Completed, None).await.unwrap();
}

#[tokio::test]
async fn a_result_whose_outcome_cannot_be_recorded_is_withheld() {
    let (world, bot) = started().await;
    let permit = world.attempt(&bot, REFUND.0, REFUND.1).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    world.faults.hold_syncs(true);
    let slow = dispatch.settle(Ending::Completed, None).await.unwrap_err();
    assert_eq!(slow.code.text(), "ledger_slow");
    world.faults.hold_syncs(false);
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    world.faults.writes_fail.store(true, Ordering::SeqCst);
    let lost = dispatch.settle(Ending::Completed, None).await.unwrap_err();
    assert_eq!(lost.code.text(), "ledger_unavailable");
}
