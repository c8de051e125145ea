//! Rights that are taken back while a call is under way, or behind the node's back.

use model::Verb;
use store::Expect;

use super::{
    cast::{DESK, authority, blueprint, desk, effect, grant, person_id, tool},
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
    assert_eq!(world.engine.directory.held_by_person(&person_id("max")).clauses.len(), 0);
}

#[tokio::test]
async fn a_tampered_grant_takes_nothing_from_others() {
    let database = Database::new();
    let world = database.world().await;
    let more = grant("max-desk", "max", authority(DESK, 4));
    world.put(move |changes| changes.put(&more, Expect::New, true)).await;
    database.change("grant", "lena-desk", "body = body || ' '");
    world.refresh().await;
    let held = |name| world.engine.directory.held_by_person(&person_id(name)).clauses.len();
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
    world.put(move |changes| changes.put(&refused, Expect::Any, false)).await;
    assert!(futures_util::FutureExt::now_or_never(dispatch.cut()).is_some());
}
