//! What a server asks in the middle of a call, and what stays open beside calls: an answer leaves, and a stream opens, only while
//! everything stands.

use std::sync::{Arc, atomic::Ordering};

use model::{Verb, ijson::Json};
use store::Expect;

use super::{
    cast::{POLICIES, effect, eur, json, person, tool},
    world::World,
};
use crate::{Attempt, Caller, Dispatch, Ending, InputMethod, Inputs, Refusal, Stop, ToolRecord};

/// The refund, whose server may ask the person.
fn asking() -> ToolRecord {
    let mut asking = tool(
        "refund",
        vec![effect(Verb::Pay, "Refund", "args.order", true, &["financial"])],
        r#""order":{"type":"string"},"amount":{}"#,
    );
    if let Some(mapping) = &mut asking.mapping {
        mapping.input_requests.insert(InputMethod::Elicitation);
    }
    asking
}

/// A world in which a refund is on its way.
async fn asked() -> (World, Arc<Caller>, Dispatch) {
    let world = World::new().await;
    world.put(|changes| changes.put(&asking(), Expect::Any, true)).await;
    let bot = world.bot(Some(eur(10_000))).await;
    let permit = world.attempt(&bot, "refund", r#"{"order":"A-1","amount":4000}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    (world, bot, dispatch)
}

async fn answer(dispatch: &Dispatch) -> Result<(), Refusal> {
    dispatch.answer(InputMethod::Elicitation, &json(r#"{"action":"accept"}"#)).await
}

/// How an answer is refused.
async fn refused(dispatch: &Dispatch) -> &'static str {
    answer(dispatch).await.unwrap_err().code.text()
}

async fn inputs(world: &World) -> usize {
    world.entries().await.iter().filter(|entry| &*entry.leaf.kind == "input").count()
}

#[tokio::test]
async fn an_answer_leaves_once_it_is_recorded() {
    let (world, _, dispatch) = asked().await;
    answer(&dispatch).await.unwrap();
    assert_eq!(inputs(&world).await, 1);
    dispatch.settle(Ending::Completed, None).await.unwrap();
}

#[tokio::test]
async fn an_answer_to_what_nobody_accepted_that_the_tool_asks_does_not_leave() {
    let (world, bot, dispatch) = asked().await;
    let sampled = dispatch.answer(InputMethod::Sampling, &json("{}")).await.unwrap_err();
    assert_eq!(sampled.code.text(), "method_not_mapped");
    assert_eq!(inputs(&world).await, 0);
    dispatch.settle(Ending::Completed, None).await.unwrap();

    let attempt = Attempt {
        action: world.engine.context.id(),
        caller: bot.clone(),
        system: "desk".parse().unwrap(),
        tool: "refund".to_owned(),
        arguments: json(r#"{"order":"A-1","amount":4000}"#),
        inputs: Some(Inputs {
            answers: vec![("words".to_owned(), InputMethod::Sampling, json("{}"))],
            state: None,
        }),
    };
    let refusal = world.engine.attempt(attempt).await.err().unwrap();
    assert_eq!(refusal.code.text(), "method_not_mapped");
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
}

#[tokio::test]
async fn an_answer_that_no_approver_saw_does_not_leave() {
    let world = World::new().await;
    world.put(|changes| changes.put(&asking(), Expect::Any, true)).await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let dispatch = world.attempt(&bot, "refund", large).await.unwrap().dispatch().unwrap();
    let refusal = answer(&dispatch).await.unwrap_err();
    assert_eq!(refusal.code.text(), "method_not_mapped");
    assert!(refusal.reason.contains("2026-07-28"), "{}", refusal.reason);
    assert_eq!(inputs(&world).await, 0);
    dispatch.settle(Ending::Completed, None).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_record_does_not_leave() {
    let (world, _, dispatch) = asked().await;
    let large = Json::String("x".repeat(ledger::MAX_PAYLOAD));
    let refusal = dispatch.answer(InputMethod::Elicitation, &large).await.unwrap_err();
    assert_eq!(refusal.code.text(), "arguments_invalid");
    assert_eq!(inputs(&world).await, 0);
}

#[tokio::test]
async fn an_answer_that_cannot_be_recorded_does_not_leave() {
    let (world, _, dispatch) = asked().await;
    world.faults.hold_syncs(true);
    assert_eq!(refused(&dispatch).await, "ledger_slow");
    world.faults.hold_syncs(false);
    // Its record came too late, and says so; the call goes on.
    world.lapsed().await;
    answer(&dispatch).await.unwrap();
    world.faults.writes_fail.store(true, Ordering::SeqCst);
    assert_eq!(refused(&dispatch).await, "ledger_unavailable");
}

#[tokio::test]
async fn an_answer_to_what_has_moved_since_the_decision_does_not_leave() {
    let (world, _, dispatch) = asked().await;
    world
        .apply(&format!("{POLICIES}\n@id(\"closed\") forbid (principal, action, resource);"))
        .await;
    assert_eq!(refused(&dispatch).await, "stale");
    world.apply(POLICIES).await;
    answer(&dispatch).await.unwrap();

    let unaccepted = ToolRecord { accepted_by: None, ..asking() };
    world.put(move |changes| changes.put(&unaccepted, Expect::Any, true)).await;
    assert_eq!(refused(&dispatch).await, "tool_not_accepted");
    world.put(|changes| changes.put(&asking(), Expect::Any, true)).await;

    let mut gone = person("lena", "support");
    gone.person.active = false;
    world.put(move |changes| changes.put(&gone, Expect::Any, true)).await;
    assert_eq!(refused(&dispatch).await, "identity_not_active");
}

#[tokio::test]
async fn an_answer_of_a_stopped_agent_does_not_leave() {
    let (world, _, dispatch) = asked().await;
    let olivia = world.session("olivia").await;
    let stop = Stop { scope: "agent:support-bot".parse().unwrap(), reason: "bad".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let (_, refused) = tokio::join!(world.engine.stop(&allowed), async {
        dispatch.cut().await;
        let refused = refused(&dispatch).await;
        drop(dispatch);
        refused
    });
    assert_eq!(refused, "stopped");
}

#[tokio::test]
async fn a_stream_opens_only_while_its_caller_stands() {
    let world = World::new().await;
    let (bot, desk) = (world.bot(None).await, "desk".parse().unwrap());
    let code = || world.engine.watch(&bot, Some(&desk)).err().map(|refusal| refusal.code.text());
    assert_eq!(code(), None);

    world.tick(-60_000);
    assert_eq!(code(), Some("clock"));
    world.tick(60_000);
    world.refresh().await;
    let reading = world.engine.reading.lock().await;
    world.tick(3_100);
    assert_eq!(code(), Some("stale"));
    drop(reading);
    world.refresh().await;
    assert_eq!(code(), None);
}

#[tokio::test]
async fn a_stop_cuts_an_open_stream_and_lets_none_open_after_it() {
    let world = World::new().await;
    let (bot, olivia) = (world.bot(None).await, world.session("olivia").await);
    let desk = "desk".parse().unwrap();
    let watch = world.engine.watch(&bot, Some(&desk)).ok().unwrap();
    let stop = Stop { scope: "system:desk".parse().unwrap(), reason: "bad".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let (report, ()) = tokio::join!(world.engine.stop(&allowed), async {
        watch.cut().await;
        drop(watch);
    });
    assert!(report.is_final.is_some(), "{report:?}");
    let refusal = world.engine.watch(&bot, Some(&desk)).err().unwrap();
    assert_eq!(refusal.code.text(), "stopped");
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
}
