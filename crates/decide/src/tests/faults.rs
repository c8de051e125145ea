//! The fault table: each denies, and recovers when the fault is gone.

use std::{io::Write as _, os::fd::AsRawFd as _, sync::atomic::Ordering};

use ledger::Entry;
use store::Target;

use super::{
    cast::{POLICIES, agent_id, eur, person_id},
    world::World,
};
use crate::{Resume, ResumeError, Stop, StopScope, attempt::Step};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

#[tokio::test]
async fn a_write_error_of_the_ledger_denies_until_the_node_starts_again() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    let bot = world.bot(None).await;
    world.faults.writes_fail.store(true, Ordering::SeqCst);
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
    world.faults.writes_fail.store(false, Ordering::SeqCst);
    // A failed log stays failed in its process, whatever the disk says later.
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
    let world = world.restart(&target).await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn a_sync_error_of_the_ledger_denies() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world.faults.syncs_fail.store(true, Ordering::SeqCst);
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
}

#[tokio::test]
async fn a_ledger_slower_than_its_bound_denies_and_what_comes_late_lapses() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    world.faults.hold_syncs(true);
    let refused = world.verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await;
    assert_eq!(refused, "deny ledger_slow: the ledger did not confirm within 250 ms");
    world.faults.hold_syncs(false);
    // The late record is followed by `lapsed`, and only then is the reservation free.
    world.lapsed().await;
    while !world
        .verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#)
        .await
        .starts_with("permit")
    {
        tokio::task::yield_now().await;
    }
    let recorded = world.recorded().await;
    let lapsed = recorded.iter().position(|entry| entry == "lapsed ").unwrap();
    assert!(recorded[..lapsed].contains(&"decision permit".to_owned()));
}

#[tokio::test]
async fn a_token_whose_record_comes_late_does_not_leave_and_the_ledger_still_verifies() {
    let world = World::new().await;
    let olivia = "person/olivia".parse().unwrap();
    world.faults.hold_syncs(true);
    let Err(refused) = world.try_session(&olivia).await else { panic!("it leaves") };
    assert!(refused.to_string().contains("did not confirm"), "{refused}");
    world.faults.hold_syncs(false);
    world.lapsed().await;
    world.session("olivia").await;
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_caller_who_goes_away_before_the_record_is_durable_leaves_nothing_set_aside() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let task = bot.claims.task.unwrap();
    world.faults.hold_syncs(true);
    let arguments = r#"{"order":"A-1","amount":6000}"#;
    {
        let mut attempt = Box::pin(world.attempt(&bot, "refund", arguments));
        while world.engine.tasks.task(task).unwrap().reserved == 0 {
            let once = futures_util::poll!(&mut attempt);
            assert!(once.is_pending());
            tokio::task::yield_now().await;
        }
    }
    world.faults.hold_syncs(false);
    while world.engine.tasks.task(task).unwrap().reserved > 0 {
        tokio::task::yield_now().await;
    }
    let recorded = world.recorded().await;
    assert_eq!(recorded[recorded.len() - 2..], ["decision permit", "lapsed "]);
}

#[tokio::test]
async fn a_store_that_is_not_heard_from_denies_once_the_lease_is_over() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world.refresh().await;
    let _turn = world.engine.reading.lock().await;
    world.tick(2_900);
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    world.tick(200);
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny stale"));
    assert!(!world.engine.is_ready());
    drop(_turn);
    world.refresh().await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    assert!(world.engine.is_ready());
}

#[tokio::test]
async fn a_clock_that_goes_back_denies_until_it_has_caught_up() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    world.tick(-1_500);
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit", "a correction is no fault");
    world.tick(-60_000);
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny clock"));
    world.tick(61_500);
    world.refresh().await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn without_policies_nothing_is_permitted() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world.apply("").await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny not_permitted"));
    world.apply(POLICIES).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn a_forbid_that_fails_counts_as_a_no() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let failing = r#"@id("overflows") forbid (principal, action, resource in System::"desk")
        when { context.at * 9223372036854775807 > 0 };"#;
    world.apply(&format!("{POLICIES}\n{failing}")).await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny policy_error"));
}

#[tokio::test]
async fn a_panic_in_any_step_denies_and_is_recorded() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    for step in [Step::Standing, Step::Catalog, Step::Policy, Step::Budget, Step::Record] {
        world.engine.fail_at(Some(step));
        let verdict = world.verdict(&bot, "refund", r#"{"order":"A-1","amount":2000}"#).await;
        assert_eq!(verdict, "deny internal: a step of the decision failed", "{step:?}");
        assert_eq!(world.recorded().await.last().unwrap(), "decision deny", "{step:?}");
    }
    world.engine.fail_at(None);
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn a_full_disk_denies_and_what_was_lost_meanwhile_is_told_first_afterwards() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world.fill_up().await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
    // Behind the record of that denial in the queue: once this is refused, the record is certainly lost.
    assert!(world.filler(1).await.is_err());
    world.faults.full.store(false, Ordering::SeqCst);
    while world.verdict(&bot, READ.0, READ.1).await != "permit" {
        tokio::task::yield_now().await;
    }
    let kinds: Vec<String> =
        world.engine.log.entries(0).map(|entry| entry.unwrap().leaf.kind).collect();
    let gap = kinds.iter().position(|kind| kind == "gap").expect("what was lost is told");
    assert_eq!(kinds[gap - 1], "filler", "and it is told before anything else");
}

#[tokio::test]
async fn on_a_full_disk_each_identity_gets_one_refusal_a_second_recorded_at_every_door() {
    let world = World::sparing().await;
    let (bot, (_, subject)) = (world.bot(None).await, world.task(None).await);
    // The one that is written to, two that stand ready, and the reserve.
    let segments = || std::fs::read_dir(world.directory.path().join("ledger/wal")).unwrap();
    while segments().count() < 5 {
        tokio::task::yield_now().await;
    }
    world.fill_up().await;
    for _ in 0..3 {
        assert!(world.exchange("lookup", &subject, |_| ()).await.is_err());
        assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
    }
    world.tick(1_000);
    assert!(world.exchange("lookup", &subject, |_| ()).await.is_err());
    world.faults.full.store(false, Ordering::SeqCst);
    while world.verdict(&bot, READ.0, READ.1).await != "permit" {
        tokio::task::yield_now().await;
    }
    let entries = world.entries().await;
    let full = entries.iter().rposition(|entry| entry.leaf.kind == "filler").unwrap();
    let refused = |name: &str| {
        let of = |entry: &&Entry| {
            let agent = entry.leaf.agent.as_ref().map(|agent| &agent.id);
            entry.leaf.verdict.as_deref() == Some("deny") && agent == Some(&agent_id(name))
        };
        entries[full..].iter().filter(of).count()
    };
    assert_eq!(refused("lookup"), 2);
    assert!((1..=2).contains(&refused("support-bot")), "nor does one take another's room");
    assert!(entries[full..].iter().any(|entry| entry.leaf.kind == "gap"), "the rest is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_is_done_without_until_the_lease_ends() {
    let cluster = testkit::Cluster::start();
    let database = cluster.database();
    let target: Target = database.url().parse().unwrap();
    let world = World::empty(target).await;
    world.found().await;
    let (bot, olivia) = (world.bot(None).await, world.session("olivia").await);
    world.refresh().await;
    cluster.stop();
    world.tick(2_900);
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    world.tick(200);
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny stale"));
    // The database is no excuse: what takes away works on the last known state.
    let stop = Stop { scope: "agent:lookup".parse().unwrap(), reason: "bad".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let report = world.engine.stop(&allowed).await;
    assert!(report.durable && report.is_final.is_some(), "{report:?}");
    assert_eq!(world.engine.stops.orders().len(), 1);
    cluster.restart();
    while world.engine.read_feed().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

/// The journal cannot be written when a resume is carried out: its caller is told that the stop stays.
#[tokio::test]
async fn a_resume_that_failed_at_the_journal_ends_no_stop_at_the_next_start() {
    let place = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(place.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    // A file whose growth can be forbidden: what a full disk does, for the journal alone.
    let path = world.directory.path().join("stops");
    let memory = rustix::fs::memfd_create(
        "stops",
        rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC,
    )
    .unwrap();
    let mut file = std::fs::File::from(memory);
    file.write_all(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(format!("/proc/self/fd/{}", file.as_raw_fd()), &path).unwrap();
    let world = world.restart(&target).await;

    let olivia = world.session("olivia").await;
    let scope: StopScope = "agent:support-bot".parse().unwrap();
    let stop = Stop { scope: scope.clone(), reason: "bad".to_owned() };
    world.engine.stop(&world.engine.allow(&olivia, stop).await.unwrap()).await;
    rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::GROW).unwrap();
    let resume = Resume::of(&world.engine.stops, scope, String::new()).unwrap();
    let allowed = world.engine.allow(&olivia, resume).await.unwrap();
    let refused = world.engine.resume(&allowed).await.unwrap_err();
    assert!(matches!(refused, ResumeError::Journal(_)), "{refused}");
    assert_eq!(world.engine.stops.orders().len(), 1, "as the caller was told");
    drop((olivia, allowed));
    let world = world.restart(&target).await;
    assert_eq!(world.engine.stops.orders().len(), 1, "the stop that was said to stay is gone");
}

/// A step that fails after money was set aside.
#[tokio::test]
async fn a_step_that_fails_leaves_nothing_set_aside() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    world.engine.fail_at(Some(Step::Record));
    assert!(world.attempt(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await.is_err());
    world.engine.fail_at(None);
    let reserved = world.engine.tasks.task(bot.claims.task.unwrap()).unwrap().reserved;
    assert_eq!(reserved, 0);
}

/// The ledger does not answer, and the call needs an approval.
#[tokio::test]
async fn a_refusal_waits_for_no_record() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    world.faults.hold_syncs(true);
    let attempt = world.attempt(&bot, "refund", r#"{"order":"A-2","amount":400000}"#);
    let refused = tokio::time::timeout(std::time::Duration::from_secs(2), attempt).await;
    world.faults.hold_syncs(false);
    assert!(refused.is_ok(), "an attempt that nobody permits waits for the ledger for seconds");
}

/// A stop needs a session first.
#[tokio::test]
async fn people_get_in_and_stop_something_while_the_disk_is_full_and_the_store_is_away() {
    let world = World::sparing().await;
    let bot = world.bot(None).await;
    let segments = || std::fs::read_dir(world.directory.path().join("ledger/wal")).unwrap();
    while segments().count() < 5 {
        tokio::task::yield_now().await;
    }
    world.fill_up().await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny ledger_unavailable"));
    let _turn = world.engine.reading.lock().await;
    world.tick(3_100);
    let olivia = world.session("olivia").await;
    let again = world.try_session(&person_id("olivia")).await.err().unwrap();
    assert!(again.to_string().contains("one session a second"), "{again}");
    let scope: StopScope = "all".parse().unwrap();
    let stop = Stop { scope, reason: String::new() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    world.engine.stop(&allowed).await;
    drop(_turn);
    world.refresh().await;
    assert!(world.verdict(&bot, READ.0, READ.1).await.starts_with("deny stopped"));
    world.faults.full.store(false, Ordering::SeqCst);
    let full = world.engine.log.acknowledged();
    while world.filler(1).await.is_err() {
        tokio::task::yield_now().await;
    }
    let entries = world.entries().await;
    let full = entries[..full as usize].iter().rposition(|entry| entry.leaf.kind == "filler");
    let full = full.unwrap();
    let kinds: Vec<&str> = entries[full..].iter().map(|entry| entry.leaf.kind.as_str()).collect();
    assert!(kinds.contains(&"token") && kinds.contains(&"stop_final"), "{kinds:?}");
}
