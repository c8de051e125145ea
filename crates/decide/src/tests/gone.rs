//! Clients that go away, and what goes on without them.

use futures_util::FutureExt as _;
use model::State;
use store::{Expect, Governed as _, Target};

use super::{
    cast::{DESK, agent, authority, eur, grant},
    world::World,
};
use crate::{AgentRecord, Stop, StopScope};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

/// A disk-backed world that can be started again.
async fn lasting() -> (World, Target, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    (world, target, directory)
}

/// The client of a stop closes its connection while the journal syncs.
#[tokio::test]
async fn a_stop_whose_client_went_away_is_in_the_ledger_all_the_same() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    let scope: StopScope = "agent:support-bot".parse().unwrap();
    let stop = Stop { scope, reason: "bad".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    {
        let mut stopping = Box::pin(world.engine.stop(&allowed));
        assert!(futures_util::poll!(&mut stopping).is_pending());
    }
    assert_eq!(world.engine.stops.orders().len(), 1, "it is in force");
    // Its record waits for nothing but the key of whom it tells of.
    while !world.entries().await.iter().any(|entry| entry.leaf.kind == "stop") {
        tokio::task::yield_now().await;
    }
}

/// The client of a suspension closes its connection while the store writes.
#[tokio::test]
async fn a_suspension_whose_client_went_away_cuts_the_calls_of_its_agent() {
    let (world, _target, _place) = lasting().await;
    let bot = world.bot(None).await;
    let dispatch = world.attempt(&bot, READ.0, READ.1).await.unwrap().dispatch().unwrap();
    let mut record = agent("support-bot", "support");
    let State::Active { .. } = &record.agent.state else { panic!("it is active") };
    record.agent = record.agent.suspend("it misbehaves".to_owned()).unwrap();
    {
        let mut suspending =
            Box::pin(world.try_put(move |changes| changes.put(&record, Expect::Any, false)));
        assert!(futures_util::poll!(&mut suspending).is_pending());
        let stored = async || {
            let row =
                world.engine.store.read(|view| view.object(AgentRecord::KIND, "agent/support-bot"));
            row.await.unwrap().is_some_and(|row| row.version > 1)
        };
        while !stored().await {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..3 {
        world.engine.move_outbox().await.unwrap();
        world.refresh().await;
    }
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny identity_not_active"), "{verdict}");
    assert!(dispatch.cut().now_or_never().is_some(), "the agent is suspended and its call goes on");
}

/// An agent closes its connection while its request for approval is stored.
#[tokio::test]
async fn an_attempt_that_was_held_is_recorded_whatever_its_client_does() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let before = world.recorded().await.len();
    {
        let mut attempt =
            Box::pin(world.attempt(&bot, "refund", r#"{"order":"A-2","amount":400000}"#));
        assert!(futures_util::poll!(&mut attempt).is_pending());
    }
    while world.engine.directory.approvals().is_empty() {
        world.engine.move_outbox().await.unwrap();
        world.refresh().await;
        tokio::task::yield_now().await;
    }
    assert!(
        world.recorded().await.len() > before,
        "people are asked about an attempt that no record tells of"
    );
}

/// Somebody who gives a grant closes their connection while its record is on its way to a slow disk.
#[tokio::test]
async fn a_record_whose_mover_went_away_is_in_the_ledger_once() {
    let (world, _target, _place) = lasting().await;
    world.recorded().await;
    // The node's own mover reads the feed first; so the change itself moves its row.
    let turn = world.engine.reading.lock().await;
    world.faults.hold_syncs(true);
    let waits = async || !world.engine.store.read(|view| view.outbox(10)).await.unwrap().is_empty();
    {
        let given = grant("max-desk", "max", authority(DESK, 0));
        let mut giving =
            Box::pin(world.try_put(move |changes| changes.put(&given, Expect::New, true)));
        // Until the row is stored and its mover waits for the disk.
        let mut turns = 0;
        while turns < 50 {
            assert!(futures_util::poll!(&mut giving).is_pending());
            turns += u32::from(waits().await);
            tokio::task::yield_now().await;
        }
    }
    let engine = world.engine.clone();
    let next = tokio::spawn(async move { engine.move_outbox().await });
    for _ in 0..50 {
        waits().await;
        tokio::task::yield_now().await;
    }
    world.faults.hold_syncs(false);
    drop(turn);
    next.await.unwrap().unwrap();
    let report = world.verified().await;
    assert!(report.is_clean(), "the whole ledger verifies no more: {:?}", report.findings);
}
