//! What erasing leaves of what was said, and what keeps somebody from being erased.

use model::IdentityId;
use store::Target;

use super::{database::Database, world::World};
use crate::{EraseSubject, HoldRecord, NotErased, Stop};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

fn lena() -> IdentityId {
    "person/lena".parse().unwrap()
}

fn erase() -> EraseSubject {
    EraseSubject { subject: lena().into(), reason: "article 17".to_owned() }
}

/// What stands in the last decision for the call's arguments.
async fn said(world: &World) -> String {
    let entries = world.entries().await;
    let mut calls = entries.iter().rev().filter_map(|entry| entry.leaf.body.member("call"));
    calls.next().unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_stands_for_a_call_is_the_same_until_its_subject_is_erased_and_no_digest_of_it() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    let first = said(&world).await;
    for form in [READ.1.to_owned(), format!("arguments/v1\0{}", READ.1)] {
        assert_ne!(first, crate::sha256(&[form.as_bytes()]).to_string());
    }
    let world = world.restart(&database.target()).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    assert_eq!(said(&world).await, first, "after a restart, too");

    let olivia = world.session("olivia").await;
    let allowed = world.engine.allow(&olivia, erase()).await.unwrap();
    let erased = world.engine.erase(allowed).await.unwrap();
    assert!(erased.payloads >= 2, "{erased:?}");
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    assert_ne!(said(&world).await, first);
    let world = world.restart(&database.target()).await;
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.erasures.len(), 1);
}

#[tokio::test]
async fn nobody_is_erased_of_whom_nothing_is_sealed() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    let nobody = EraseSubject { subject: "agent/nobody".parse().unwrap(), ..erase() };
    let allowed = world.engine.allow(&olivia, nobody).await.unwrap();
    assert!(matches!(world.engine.erase(allowed).await, Err(NotErased::Nothing(_))));
}

#[tokio::test]
async fn a_hold_whose_row_is_changed_or_gone_still_holds() {
    let database = Database::new();
    let world = database.world().await;
    let hold = HoldRecord {
        subject: lena().into(),
        reason: "case 7".to_owned(),
        by: "person/olivia".parse().unwrap(),
        lifted: false,
    };
    world.put(move |changes| changes.put(&hold, store::Expect::New, false)).await;
    let olivia = world.session("olivia").await;
    let erased = async |world: &World| {
        let allowed = world.engine.allow(&olivia, erase()).await.unwrap();
        world.engine.erase(allowed).await
    };
    assert!(matches!(erased(&world).await, Err(NotErased::Held(_))));
    database.keep();
    database.change("hold", "person/lena", "body = replace(body, 'false', 'true')");
    world.refresh().await;
    assert!(matches!(erased(&world).await, Err(NotErased::Held(_))), "lifted in the database");
    let world = world.restart(&database.target()).await;
    assert!(world.engine.directory.is_held(&lena().into()), "after a restart, too");
    let world = world.restart(&Target::Memory).await;
    assert!(world.engine.directory.is_held(&lena().into()), "without any row");
}

#[tokio::test]
async fn keys_that_are_out_of_reach_permit_nothing_and_keep_no_stop_from_happening() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    // A fresh process has no key in memory; somebody holds the file's lock.
    let world = world.restart(&database.target()).await;
    let olivia = world.session("olivia").await;
    let file = world.directory.path().join("subject-keys.sqlite");
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny ledger_"), "{verdict}");
    let verdict_before = verdict;
    // A person gets in without, so that somebody can order a stop; what would be sealed is left out.
    world.session("max").await;
    let stop = Stop { scope: "agent:support-bot".parse().unwrap(), reason: "now".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let report = world.engine.stop(&allowed).await;
    assert!(report.is_final.is_some());
    other.execute_batch("COMMIT").unwrap();
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny stopped"), "{verdict}");
    let entries = world.entries().await;
    let refused = |code: &str| {
        let code = model::ijson::Json::String(code.to_owned());
        let said = |entry: &&ledger::Entry| entry.leaf.body.member("code") == Some(&code);
        entries.iter().find(said).unwrap().leaf.payload.is_some()
    };
    assert!(!refused(verdict_before.split([' ', ':']).nth(1).unwrap()), "recorded, and bare");
    assert!(refused("stopped"), "the key is within reach again");
}
