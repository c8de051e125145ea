//! What a node knows after it ended and started again.

use std::sync::atomic::Ordering;

use model::ijson::{Canonical, Json};
use store::Target;

use super::{cast::eur, database::Database, world::World};
use crate::{
    Ending, StartError, Stop,
    entries::{self, Revoked, Stopped},
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

#[tokio::test]
async fn a_ledger_that_has_held_people_remembers_them_without_the_database() {
    let world = World::empty(Target::Memory).await;
    assert!(!world.engine.directory.ever_held("person"), "nobody was ever enrolled");
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    let empty = Database::new();
    let world = world.restart(&empty.target()).await;
    let directory = &world.engine.directory;
    assert!(directory.ever_held("person") && directory.ever_held("policy_set"));
    assert!(!directory.ever_held("nothing"));
    assert!(directory.person(&bot.person).is_none());
    // There may be two administrators, so what needs a second person goes on to need one.
    assert_eq!(directory.administrators(), 2);
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny identity_unknown"), "{verdict}");
    // The rows are all that was lost: with them, everything is as it was.
    let world = world.restart(&database.target()).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn what_a_node_did_not_live_to_settle_counts_as_spent() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let dispatched = world.attempt(&bot, "refund", large).await.unwrap().dispatch().unwrap();
    let small = r#"{"order":"A-1","amount":1000}"#;
    let permitted = world.attempt(&bot, "refund", small).await.unwrap();
    let task = bot.claims.task.unwrap();
    assert_eq!(world.engine.tasks.task(task).unwrap().reserved, 401_000);
    // From here on nothing reaches the ledger, as when a process is killed.
    world.engine.log.close().unwrap();
    drop((dispatched, permitted));
    let world = world.restart(&database.target()).await;
    let after = world.engine.tasks.task(task).unwrap();
    assert_eq!((after.spent, after.reserved), (401_000, 0));
    assert!(world.engine.tasks.is_approval_used(id));
    assert_eq!(world.attempt(&bot, "refund", large).await.err().unwrap().verdict(), "hold");
}

#[tokio::test]
async fn a_delegation_that_the_ledger_says_was_withdrawn_gives_nothing() {
    let database = Database::new();
    let world = database.world().await;
    let (_, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    let withdrawn =
        Revoked { links: vec![lookup.claims.links[0].id], until: lookup.claims.links[0].exp };
    let context = &world.engine.context;
    world.append(entries::draft(context.id(), context.now(), &withdrawn)).await;
    let world = world.restart(&database.target()).await;
    let verdict = world.verdict(&lookup, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny link_revoked"), "{verdict}");
    // Nor can what hangs below it be handed on.
    let refused = world.exchange("support-bot", &subject, |_| ()).await.unwrap_err();
    assert!(refused.to_string().ends_with("was withdrawn"), "{refused}");
}

#[tokio::test]
async fn no_node_starts_on_an_entry_that_it_only_half_understands() {
    let database = Database::new();
    let world = database.world().await;
    let context = &world.engine.context;
    // A kind that a later version adds stands beside what this one computes.
    world.append(ledger::Draft::new(context.id(), "weather", context.now())).await;
    let world = world.restart(&database.target()).await;
    let context = &world.engine.context;
    let mut draft = entries::draft(context.id(), context.now(), &Stopped::default());
    let body = Json::object(["scope", "unless"].map(|name| (name, Json::String("all".to_owned()))));
    draft.body = Canonical::of(&body).unwrap();
    world.append(draft).await;
    let refused = world.try_restart(&database.target()).await.err().unwrap();
    assert!(matches!(refused, StartError::Ledger(_)));
    let why = refused.to_string();
    assert!(why.contains("is a `stop` that this program does not understand"), "{why}");
}

#[tokio::test]
async fn a_stop_is_in_force_again_from_the_ledger_or_from_the_journal_alone() {
    for journal_is_lost in [true, false] {
        let database = Database::new();
        let world = database.world().await;
        let bot = world.bot(None).await;
        let olivia = world.session("olivia").await;
        let stop = Stop { scope: "agent:support-bot".parse().unwrap(), reason: String::new() };
        // An order waits for no ledger, and is told to it when it can be.
        world.faults.writes_fail.store(!journal_is_lost, Ordering::SeqCst);
        let allowed = world.engine.allow(&olivia, stop).await.unwrap();
        let report = world.engine.stop(&allowed).await;
        assert!(report.durable && report.is_final.is_some());
        if journal_is_lost {
            world.entries().await;
            std::fs::write(world.directory.path().join("stops"), "").unwrap();
        }
        // The store is told behind everything else.
        while database.count("object WHERE kind = 'stop'") == 0 {
            tokio::task::yield_now().await;
        }
        database.run("DELETE FROM object WHERE kind = 'stop'; DELETE FROM outbox");
        let world = world.restart(&database.target()).await;
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with("deny stopped"), "{journal_is_lost}: {verdict}");
    }
}

#[tokio::test]
async fn a_clock_that_went_back_while_the_node_was_down_denies_until_it_has_caught_up() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    world.tick(-60_000);
    let world = world.restart(&database.target()).await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny clock"));
    world.tick(60_000);
    world.refresh().await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

/// An owner stops their agent again and again, and says much.
#[tokio::test]
async fn no_number_of_stops_keeps_a_node_from_starting() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    for _ in 0..70 {
        let stop =
            Stop { scope: "agent:support-bot".parse().unwrap(), reason: "x".repeat(1_000_000) };
        let allowed = world.engine.allow(&olivia, stop).await.unwrap();
        assert!(world.engine.stop(&allowed).await.durable);
    }
    let opened = crate::Stops::open(&world.directory.path().join("stops")).unwrap();
    assert!(!opened.orders().is_empty());
}

#[tokio::test]
async fn what_was_approved_and_never_sent_may_be_done_after_a_restart_and_only_once() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let dispatch = world.attempt(&bot, "refund", large).await.unwrap().dispatch().unwrap();
    assert!(world.engine.tasks.is_approval_used(id));
    dispatch.settle(Ending::NotSent, None).await.unwrap();
    assert!(!world.engine.tasks.is_approval_used(id));
    let world = world.restart(&database.target()).await;
    assert!(!world.engine.tasks.is_approval_used(id));
    let dispatch = world.attempt(&bot, "refund", large).await.unwrap().dispatch().unwrap();
    dispatch.settle(Ending::Failed, None).await.unwrap();
    // The server was asked; that it failed there does not give the approval back.
    let world = world.restart(&database.target()).await;
    assert!(world.engine.tasks.is_approval_used(id));
    assert_eq!(world.attempt(&bot, "refund", large).await.err().unwrap().verdict(), "hold");
}
