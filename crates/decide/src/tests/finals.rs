//! What the ledger says of a stop once nothing in its scope is on its way any more.

use ledger::Entry;
use model::EntryId;

use super::{database::Database, world::World};
use crate::{
    Dispatch, Stop, StopReport,
    entries::{self, Body, StopFinal, Stopped, read},
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

async fn dispatched(world: &World) -> Dispatch {
    let bot = world.bot(None).await;
    world.attempt(&bot, READ.0, READ.1).await.unwrap().dispatch().unwrap()
}

/// Olivia stops support-bot; a call that is cut is let go at once, as the gateway does.
async fn stopped(world: &World, call: Option<Dispatch>) -> StopReport {
    let olivia = world.session("olivia").await;
    let stop = Stop { scope: "agent:support-bot".parse().unwrap(), reason: String::new() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let gone = async {
        if let Some(call) = call {
            call.cut().await;
            call.settle_cut();
        }
    };
    tokio::join!(world.engine.stop(&allowed), gone).0
}

/// What the ledger says of an order's end: each time it does.
async fn finals(world: &World, order: EntryId) -> Vec<StopFinal> {
    let entries = world.entries().await;
    let ordered = entries.iter().find(|entry| entry.leaf.id == order).unwrap();
    assert_eq!(ordered.leaf.kind, Stopped::KIND);
    let is_final = |entry: &&Entry| entry.leaf.kind == StopFinal::KIND;
    let finals = entries.iter().filter(is_final);
    finals
        .map(|entry| {
            assert_eq!(entry.leaf.parents, [ordered.hash]);
            assert_eq!(entry.leaf.person, ordered.leaf.person);
            read(&entry.leaf.body).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn a_stop_that_is_final_is_told_with_its_points_and_what_it_cut() {
    let database = Database::new();
    let world = database.world().await;
    let call = dispatched(&world).await;
    let report = stopped(&world, Some(call)).await;
    let told = finals(&world, report.order).await;
    let expected =
        StopFinal { cut: Some(1), order: Some(report.order), points: report.in_force.clone() };
    assert_eq!(told, [expected]);
    assert_eq!((report.is_final, told[0].points.len()), (Some(told[0].points[0].at), 1));
    let world = world.restart(&database.target()).await;
    assert_eq!(finals(&world, report.order).await.len(), 1, "it is told once");
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// It takes the five seconds for which a stop waits.
#[tokio::test]
async fn a_stop_is_final_only_when_the_last_call_in_its_scope_is_gone() {
    let world = World::new().await;
    let call = dispatched(&world).await;
    let report = stopped(&world, None).await;
    assert!(report.is_final.is_none() && report.in_force.is_empty());
    assert_eq!(finals(&world, report.order).await, []);
    world.tick(1_000);
    drop(call);
    while finals(&world, report.order).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let [told] = &finals(&world, report.order).await[..] else { panic!("it is told once") };
    assert_eq!((told.cut, told.order), (Some(1), Some(report.order)));
    assert!(told.points[0].at > report.ordered);
}

#[tokio::test]
async fn a_stop_that_was_ended_before_it_was_final_never_is() {
    let world = World::new().await;
    let call = dispatched(&world).await;
    let report = stopped(&world, None).await;
    world.engine.stops.resume(report.order);
    drop(call);
    for _ in 0..50 {
        assert_eq!(finals(&world, report.order).await, []);
    }
}

#[tokio::test]
async fn a_stop_whose_node_ended_is_final_with_the_next_start() {
    let database = Database::new();
    let world = database.world().await;
    let context = &world.engine.context;
    let order: EntryId = context.id();
    let scope = Some("agent:support-bot".parse().unwrap());
    let mut draft = entries::draft(order, context.now(), &Stopped { scope });
    draft.person = Some("person/olivia".parse().unwrap());
    world.append(draft).await;
    let mut world = world;
    for _ in 0..2 {
        world = world.restart(&database.target()).await;
        let [told] = &finals(&world, order).await[..] else { panic!("it is told once") };
        assert_eq!((told.cut, told.points.len()), (None, 1));
    }
}

#[tokio::test]
async fn a_stop_that_was_ended_is_not_told_to_be_final_by_the_next_start() {
    let database = Database::new();
    let world = database.world().await;
    let context = &world.engine.context;
    let order: EntryId = context.id();
    let scope = Some("all".parse().unwrap());
    let mut draft = entries::draft(order, context.now(), &Stopped { scope });
    draft.person = Some("person/olivia".parse().unwrap());
    world.append(draft).await;
    let resumed = entries::Resumed { order: Some(order) };
    let draft = entries::draft(context.id(), context.now(), &resumed);
    let draft = entries::of_action(draft, context.id(), Vec::new());
    world.append(draft).await;
    let world = world.restart(&database.target()).await;
    assert_eq!(finals(&world, order).await, []);
}
