//! Rights that are taken back while a call is under way, or behind the node's back.

use model::Verb;
use store::Expect;

use super::{
    cast::{DESK, agent_id, authority, blueprint, desk, effect, grant, person_id, tool},
    database::Database,
    world::World,
};
use crate::{GrantRecord, ServerRecord, ToolRecord};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

#[tokio::test]
async fn a_widening_that_the_database_calls_a_narrowing_is_never_in_force_without_its_record() {
    let database = Database::new();
    let world = database.world().await;
    database.run(
        "CREATE TRIGGER calls_it_a_narrowing AFTER INSERT ON outbox BEGIN
             UPDATE object SET widens = 0;
             DELETE FROM outbox;
         END",
    );
    let widening = grant("max-desk", "max", authority(DESK, 0));
    world.try_put(move |changes| changes.put(&widening, Expect::New, true)).await.unwrap_err();
    assert_eq!(world.engine.directory.held_by_person(&person_id("max"), 0).clauses.len(), 0);
}

#[tokio::test]
async fn a_tampered_grant_takes_nothing_from_others() {
    let database = Database::new();
    let world = database.world().await;
    let more = grant("max-desk", "max", authority(DESK, 4));
    world.put(move |changes| changes.put(&more, Expect::New, true)).await;
    database.change("grant", "lena-desk", "body = body || ' '");
    world.refresh().await;
    let held = |name| world.engine.directory.held_by_person(&person_id(name), 0).clauses.len();
    assert_eq!((held("lena"), held("max")), (0, 1));
}

#[tokio::test]
async fn a_right_that_was_taken_back_after_the_decision_sends_nothing() {
    let revoked = GrantRecord { revoked: true, ..grant("lena-desk", "lena", authority(DESK, 4)) };
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, READ.0, READ.1).await.unwrap();
    world.put(move |changes| changes.put(&revoked, Expect::Any, false)).await;
    assert!(permit.dispatch().is_err());
}

#[tokio::test]
async fn a_blueprint_that_was_narrowed_after_the_decision_sends_nothing() {
    let less = blueprint("support", "lookup", &[(&[Verb::List], "desk/*/*")]);
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, READ.0, READ.1).await.unwrap();
    world.put(move |changes| changes.put(&less, Expect::Any, false)).await;
    assert!(permit.dispatch().is_err());
}

#[tokio::test]
async fn a_server_that_may_no_longer_be_internal_gets_no_call() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, READ.0, READ.1).await.unwrap();
    let outside = ServerRecord { internal: false, ..desk() };
    world.put(move |changes| changes.put(&outside, Expect::Any, true)).await;
    assert!(permit.dispatch().is_err());
}

#[tokio::test]
async fn a_blueprint_that_is_narrowed_cuts_the_calls_of_its_agents() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let dispatch = world.attempt(&bot, READ.0, READ.1).await.unwrap().dispatch().unwrap();
    let less = blueprint("support", "lookup", &[(&[Verb::List], "desk/*/*")]);
    world.put(move |changes| changes.put(&less, Expect::Any, false)).await;
    assert!(futures_util::FutureExt::now_or_never(dispatch.cut()).is_some());
}

#[tokio::test]
async fn a_tool_that_is_no_longer_accepted_cuts_its_calls() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let dispatch = world.attempt(&bot, READ.0, READ.1).await.unwrap().dispatch().unwrap();
    let reads = effect(Verb::Read, "Order", "args.order", false, &["pii"]);
    let refused = ToolRecord {
        mapping: None,
        accepted_by: None,
        ..tool("get_order", vec![reads], r#""order":{"type":"string"}"#)
    };
    let other = tool("peek", vec![effect(Verb::Read, "Order", "'1'", false, &[])], "");
    world.put(move |changes| changes.put(&other, Expect::Any, true)).await;
    let other = world.attempt(&bot, "peek", "{}").await.unwrap().dispatch().unwrap();
    world.put(move |changes| changes.put(&refused, Expect::Any, false)).await;
    assert!(futures_util::FutureExt::now_or_never(dispatch.cut()).is_some());
    assert!(futures_util::FutureExt::now_or_never(other.cut()).is_none(), "another tool's goes on");
}

/// Lena may refund herself (depth 0: not to be passed on) and by another grant pass it on. That other grant is revoked.
#[tokio::test]
async fn a_right_that_may_not_be_passed_on_keeps_no_delegation_alive() {
    let world = World::new().await;
    let own = grant("lena-own", "lena", authority(DESK, 0));
    world.put(move |changes| changes.put(&own, Expect::New, true)).await;
    let (_, subject) = world.task(None).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.engine.verified(&issued.access_token, &issued.audience).unwrap();
    let revoked = GrantRecord { revoked: true, ..grant("lena-desk", "lena", authority(DESK, 4)) };
    world.put(move |changes| changes.put(&revoked, Expect::Any, false)).await;
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    let exchanged = world.exchange("support-bot", &subject, |_| ()).await.is_ok();
    assert!(
        verdict.starts_with("deny"),
        "the delegation acts on a right that cannot be delegated: {verdict}, exchanged again: {exchanged}"
    );
}

/// support-bot's blueprint names lookup's no longer, after it handed its task on.
#[tokio::test]
async fn a_child_that_its_parents_blueprint_names_no_more_gets_and_does_nothing() {
    let world = World::new().await;
    let (_, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    let child: &str = Box::leak(world.engine.context.realm.uri(&agent_id("lookup")).into());
    let handed = world
        .exchange("support-bot", &subject, |request| request.requested_actor = Some(child))
        .await
        .unwrap();
    let childless = blueprint("support", "none", DESK);
    world.put(move |changes| changes.put(&childless, Expect::Any, false)).await;
    let verdict = world.verdict(&lookup, READ.0, READ.1).await;
    let exchanged = world.exchange("lookup", &handed.access_token, |_| ()).await.is_ok();
    assert!(
        !exchanged && verdict.starts_with("deny"),
        "it exchanges: {exchanged}; it calls: {verdict}"
    );
}
