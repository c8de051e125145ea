//! Records on their way from the outbox into the ledger.

use std::{pin::Pin, sync::atomic::Ordering};

use futures_util::poll;
use model::{Resource, Verb};
use store::Expect;

use super::{
    cast::{DESK, authority, grant, person_id},
    database::Database,
    world::{Failed, World},
};
use crate::{GrantRecord, NotInForce, Pair, StartError};

/// Whether a person could read at the desk: `permit`, or a code.
fn reads(world: &World, name: &str) -> &'static str {
    let pair = Pair {
        verb: Verb::Read,
        resource: Resource::new("desk".parse().unwrap(), "Order", "A-1").unwrap(),
        classes: std::collections::BTreeSet::new(),
        amount: None,
    };
    let answer = world.engine.can(&person_id(name), None, &pair);
    answer.refusal.map_or("permit", |refusal| refusal.code.text())
}

/// A right for Max, who has none.
fn widening() -> GrantRecord {
    grant("max-desk", "max", authority(DESK, 0))
}

/// The end of Lena's right.
fn narrowing() -> GrantRecord {
    GrantRecord { revoked: true, ..grant("lena-desk", "lena", authority(DESK, 4)) }
}

/// Runs a change until its record waits in the outbox, does something to it there, and lets the change go on.
async fn intercepted(
    world: &World,
    database: &Database,
    change: impl Future<Output = Result<(), Failed>>,
    meanwhile: impl FnOnce(),
) -> Result<(), Failed> {
    let mut change: Pin<Box<_>> = Box::pin(change);
    let moving = world.engine.moving.lock().await;
    while database.waiting() == 0 {
        assert!(poll!(&mut change).is_pending());
        tokio::task::yield_now().await;
    }
    meanwhile();
    drop(moving);
    change.await
}

fn missing(done: &Result<(), Failed>) -> bool {
    matches!(done, Err(Failed::NotInForce(NotInForce::Missing(_))))
}

#[tokio::test]
async fn a_widening_whose_record_was_taken_away_is_never_in_force() {
    let database = Database::new();
    let world = database.world().await;
    let put = world.try_put(move |changes| changes.put(&widening(), Expect::New, true));
    let done = intercepted(&world, &database, put, || database.run("DELETE FROM outbox")).await;
    assert!(missing(&done));
    assert_eq!(reads(&world, "max"), "beyond_authority");
    // Not later, not with a seal that the ledger did not give, and not at the next start.
    world.refresh().await;
    assert_eq!(reads(&world, "max"), "beyond_authority");
    database.change("grant", "max-desk", "ledger_index = 3, leaf = zeroblob(32)");
    world.refresh().await;
    assert_eq!(reads(&world, "max"), "beyond_authority");
    database.change("grant", "max-desk", "ledger_index = NULL, leaf = NULL");
    let world = world.restart(&database.target()).await;
    assert_eq!((reads(&world, "max"), reads(&world, "lena")), ("beyond_authority", "permit"));
}

#[tokio::test]
async fn a_narrowing_whose_record_was_taken_away_holds_and_its_maker_is_told() {
    let database = Database::new();
    let world = database.world().await;
    assert_eq!(reads(&world, "lena"), "permit");
    let put = world.try_put(move |changes| changes.put(&narrowing(), Expect::Version(1), false));
    let done = intercepted(&world, &database, put, || database.run("DELETE FROM outbox")).await;
    assert!(missing(&done));
    assert_eq!(reads(&world, "lena"), "beyond_authority");
    let world = world.restart(&database.target()).await;
    assert_eq!(reads(&world, "lena"), "beyond_authority");
}

#[tokio::test]
async fn a_record_that_this_program_did_not_write_is_not_moved_and_no_node_starts_on_it() {
    for forgery in [
        "UPDATE outbox SET draft = CAST(replace(CAST(draft AS TEXT), 'max-desk', 'max-more') AS BLOB)",
        "UPDATE outbox SET draft = x'00'",
        "UPDATE outbox SET entry = '0199f3a2-7c11-8001-8a2b-3c4d5e6f7081'",
    ] {
        let database = Database::new();
        let world = database.world().await;
        let put = world.try_put(move |changes| changes.put(&widening(), Expect::New, true));
        let done = intercepted(&world, &database, put, || database.run(forgery)).await;
        assert!(
            matches!(done, Err(Failed::NotInForce(NotInForce::Forged(_)))),
            "{forgery}: {done:?}"
        );
        assert_eq!(reads(&world, "max"), "beyond_authority");
        let started = world.try_restart(&database.target()).await.err().unwrap();
        assert!(
            matches!(started, StartError::Governance(NotInForce::Forged(_))),
            "{forgery}: {started}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_found_in_the_outbox_again_is_in_the_ledger_once() {
    let database = Database::new();
    let world = database.world().await;
    let entries = |world: &World| world.engine.log.entries(0).count();
    let before = entries(&world);
    let put = world.try_put(move |changes| changes.put(&widening(), Expect::New, true));
    intercepted(&world, &database, put, || database.keep()).await.unwrap();
    assert_eq!(entries(&world), before + 1);
    // As if the node had ended after the append and before it was noted.
    database.run(
        "INSERT INTO outbox SELECT * FROM kept_outbox;
         UPDATE object SET ledger_index = NULL, leaf = NULL WHERE key = 'max-desk'",
    );
    world.engine.move_outbox().await.unwrap();
    assert_eq!((entries(&world), database.waiting()), (before + 1, 0));
    world.refresh().await;
    assert_eq!(reads(&world, "max"), "permit");
    assert!(world.engine.directory.tampered().is_empty());
}

#[tokio::test]
async fn what_waited_for_a_broken_ledger_is_recorded_at_the_next_start() {
    let database = Database::new();
    let world = database.world().await;
    world.faults.writes_fail.store(true, Ordering::SeqCst);
    let stored = [
        world.try_put(move |changes| changes.put(&widening(), Expect::New, true)).await,
        world.try_put(move |changes| changes.put(&narrowing(), Expect::Version(1), false)).await,
    ];
    for stored in stored {
        assert!(matches!(stored, Err(Failed::NotInForce(NotInForce::Ledger(_)))));
    }
    assert_eq!(database.waiting(), 2);
    // What widens waits, what narrows does not.
    assert_eq!(
        (reads(&world, "max"), reads(&world, "lena")),
        ("beyond_authority", "beyond_authority")
    );
    let world = world.restart(&database.target()).await;
    assert_eq!(database.waiting(), 0);
    assert_eq!((reads(&world, "max"), reads(&world, "lena")), ("permit", "beyond_authority"));
}
