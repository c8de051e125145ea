//! What is past its time goes, what a hold keeps stays, and the proofs of both.

use ledger::{Entry, PayloadError};
use model::{IdentityId, Timestamp};
use store::Expect;

use super::{
    cast::{eur, json},
    database::Database,
    world::World,
};
use crate::{
    Act, EraseSubject, HoldRecord, NotErased, Stop, Subject,
    entries::{self, Expired},
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);
/// From the start of a world until what is said in its first period is past its time: the period's end, and 400 days.
const UNTIL_PAST: i64 = 1_440_000_000 + 400 * 86_400_000;

/// A world in which support-bot did something for Lena, with the entry of that.
async fn worked(world: &World) -> Entry {
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    let entries = world.entries().await;
    entries.into_iter().rfind(|entry| entry.leaf.body.member("call").is_some()).unwrap()
}

fn is_expired(world: &World, entry: &Entry) -> bool {
    match world.engine.log.open_payload(entry) {
        Ok(Some(_)) => false,
        Err(PayloadError::Expired(_)) => true,
        other => panic!("{other:?}"),
    }
}

async fn hold(world: &World, subject: &str, lifted: bool) {
    let hold = HoldRecord {
        subject: subject.parse().unwrap(),
        reason: "case 7".to_owned(),
        by: "person/olivia".parse().unwrap(),
        lifted,
    };
    world.put(move |changes| changes.put(&hold, Expect::Any, false)).await;
}

async fn expiries(world: &World) -> Vec<Expired> {
    let entries = world.entries().await.into_iter();
    let expiries = entries.filter(|entry| entry.leaf.kind == "expiry");
    expiries.map(|entry| entries::read(&entry.leaf.body).unwrap()).collect()
}

#[tokio::test]
async fn what_is_past_its_time_expires_by_an_entry_that_says_why_and_nothing_before() {
    let world = World::new().await;
    let call = worked(&world).await;
    let entries = world.entries().await;
    let governed = entries.iter().find(|entry| entry.leaf.kind == "governance").unwrap();
    let task = entries.iter().find(|entry| entry.leaf.kind == "task").unwrap();
    world.tick(UNTIL_PAST - 1);
    assert_eq!(world.engine.expire().await.unwrap(), 0);
    assert!(!is_expired(&world, &call));
    world.tick(1);
    world.refresh().await;
    assert!(world.engine.expire().await.unwrap() >= 2);
    assert!(is_expired(&world, &call) && is_expired(&world, task));
    assert!(!is_expired(&world, governed), "governance is kept always");
    assert_eq!(world.engine.expire().await.unwrap(), 0, "once");
    let expiries = expiries(&world).await;
    let classes: Vec<&str> = expiries.iter().map(|expiry| expiry.class.as_str()).collect();
    assert_eq!(classes, ["calls", "prompts"]);
    let until = Timestamp::from_millis(super::cast::START + 1_440_000_000);
    assert!(expiries.iter().all(|expiry| (expiry.days, expiry.until) == (400, until)));
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.erasures.len() == 2 && report.erasures.iter().all(|gone| gone.expired));
    assert!(report.erased >= 3, "{report:?}");
    assert!(report.to_string().contains("expired by entry"), "{report}");
}

#[tokio::test]
async fn a_hold_on_an_agent_or_a_task_keeps_what_the_task_is_for_and_what_was_approved_of_it() {
    for held in ["agent/support-bot", "task"] {
        let world = World::new().await;
        let bot = world.bot(Some(eur(1_000_000))).await;
        let large = r#"{"order":"A-2","amount":400000}"#;
        let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
        world.answer(id, "max", "finance", true).await;
        let mut told = world.entries().await;
        told.retain(|entry| {
            let object = entry.leaf.body.member("object").and_then(|object| object.as_str());
            entry.leaf.kind == "task" || object == Some("approval")
        });
        told.retain(|entry| entry.leaf.payload.is_some());
        assert!(told.len() >= 2, "{told:?}");
        let task = format!("task/{}", bot.claims.task.unwrap());
        hold(&world, if held == "task" { &task } else { held }, false).await;
        world.tick(UNTIL_PAST);
        world.engine.expire().await.unwrap();
        for entry in &told {
            assert!(!is_expired(&world, entry), "{held}: {}", entry.leaf.kind);
        }
    }
}

#[tokio::test]
async fn a_hold_on_a_person_an_agent_or_a_task_keeps_what_is_past_its_time_until_it_ends() {
    for held in ["person/lena", "agent/support-bot", "task"] {
        let world = World::new().await;
        let call = worked(&world).await;
        let task = format!("task/{}", call.leaf.task.unwrap());
        let held = if held == "task" { &task } else { held };
        hold(&world, held, false).await;
        world.tick(UNTIL_PAST);
        world.engine.expire().await.unwrap();
        assert!(!is_expired(&world, &call), "{held}");
        hold(&world, held, true).await;
        assert!(world.engine.expire().await.unwrap() > 0, "{held}");
        assert!(is_expired(&world, &call), "{held}");
        let report = world.verified().await;
        assert!(report.is_clean(), "{held}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_node_that_ends_between_the_entry_and_the_keys_does_the_rest_when_it_starts() {
    let database = Database::new();
    let world = database.world().await;
    let call = worked(&world).await;
    world.tick(UNTIL_PAST);
    let mark = call.leaf.payload.clone().unwrap();
    let body = Expired {
        class: "calls".to_owned(),
        days: 400,
        keys: vec![mark.key.clone()],
        until: Timestamp::from_millis(super::cast::START + 1_440_000_000),
    };
    let draft = entries::draft(world.engine.context.id(), world.engine.context.now(), &body);
    world.append(draft).await;
    assert!(!is_expired(&world, &call), "nothing but the entry");
    let world = world.restart(&database.target()).await;
    assert!(is_expired(&world, &call));
    assert!(world.engine.log.blind_under(&mark.key, "call", b"").unwrap().is_none());
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn an_expiry_of_what_is_not_past_its_time_is_a_finding() {
    let database = Database::new();
    let world = database.world().await;
    let call = worked(&world).await;
    let body = Expired {
        class: "calls".to_owned(),
        days: 400,
        keys: vec![call.leaf.payload.clone().unwrap().key],
        until: call.leaf.at,
    };
    let draft = entries::draft(world.engine.context.id(), world.engine.context.now(), &body);
    world.append(draft).await;
    let world = world.restart(&database.target()).await;
    let report = world.verified().await;
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|found| found.contains("speaks of what is older than")), "{found:?}");
}

#[tokio::test]
async fn a_hold_on_an_agent_or_a_task_keeps_whom_it_worked_for_from_being_erased() {
    let world = World::new().await;
    let call = worked(&world).await;
    let olivia = world.session("olivia").await;
    let lena: IdentityId = "person/lena".parse().unwrap();
    let erase = || EraseSubject { subject: lena.clone().into(), reason: "article 17".to_owned() };
    for held in ["agent/support-bot".to_owned(), format!("task/{}", call.leaf.task.unwrap())] {
        hold(&world, &held, false).await;
        let allowed = world.engine.allow(&olivia, erase()).await.unwrap();
        let refused = world.engine.erase(allowed).await.unwrap_err();
        let by = matches!(&refused, NotErased::KeptWith { kept, .. } if kept.to_string() == held);
        assert!(by, "{refused}");
        assert!(!is_expired(&world, &call));
        hold(&world, &held, true).await;
    }
    hold(&world, "agent/lookup", false).await;
    let allowed = world.engine.allow(&olivia, erase()).await.unwrap();
    world.engine.erase(allowed).await.unwrap();
    assert!(matches!(world.engine.log.open_payload(&call), Err(PayloadError::Erased(_))));
}

#[tokio::test]
async fn why_somebody_is_stopped_or_held_is_erased_with_them() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    for scope in ["agent:support-bot", "owner:lena"] {
        let stop = Stop { scope: scope.parse().unwrap(), reason: "a private matter".to_owned() };
        let allowed = world.engine.allow(&olivia, stop).await.unwrap();
        world.engine.stop(&allowed).await;
    }
    hold(&world, "person/lena", false).await;
    hold(&world, "person/lena", true).await;
    // The store is told of a stop by nobody who waits.
    let told = async |subject: &str| {
        let keys = world.engine.log.keys_of(subject).unwrap();
        let entries = world.entries().await.into_iter();
        let theirs = entries.filter(|entry| {
            entry.leaf.payload.as_ref().is_some_and(|mark| keys.contains(&mark.key))
        });
        let object = |entry: Entry| match entry.leaf.body.member("object") {
            Some(object) => object.as_str().unwrap().to_owned(),
            None => entry.leaf.kind,
        };
        theirs.map(object).collect::<Vec<String>>()
    };
    for (subject, objects) in
        [("agent/support-bot", &["stop"][..]), ("person/lena", &["stop", "hold"])]
    {
        let all = async || {
            let told = told(subject).await;
            let stops = told.iter().filter(|object| *object == "stop").count();
            stops >= 2 && objects.iter().all(|object| told.iter().any(|it| it == object))
        };
        while !all().await {
            tokio::task::yield_now().await;
        }
    }
    let entries = world.entries().await;
    for entry in &entries {
        let Some(mark) = &entry.leaf.payload else { continue };
        let payload = world.engine.log.open_payload(entry).unwrap().unwrap();
        let private = String::from_utf8_lossy(&payload).contains("a private matter");
        let theirs = ["agent/support-bot", "person/lena"]
            .iter()
            .any(|subject| world.engine.log.keys_of(subject).unwrap().contains(&mark.key));
        assert!(theirs || !private, "entry {} is sealed for somebody else", entry.index);
    }
}

#[tokio::test]
async fn somebody_of_whom_only_a_handle_was_said_is_erased_by_it_and_holds_are_not_evaded_so() {
    /// Something that is said of a candidate.
    #[derive(Debug)]
    struct Invite;
    impl Act for Invite {
        fn verb(&self) -> model::Verb {
            model::Verb::Read
        }
        fn target(&self) -> (&'static str, String) {
            ("Registration", "person/una".to_owned())
        }
        fn about(&self) -> Option<String> {
            Some("handle/una".to_owned())
        }
        fn shown(&self) -> model::ijson::Json {
            json(r#"{"display_name":"Una Private"}"#)
        }
    }
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    let una: Subject = "handle/una".parse().unwrap();
    assert!(matches!(world.engine.check_sealed(&una).await, Err(NotErased::Nothing(_))));
    world.engine.allow(&olivia, Invite).await.unwrap();
    world.engine.check_sealed(&una).await.unwrap();
    let act = EraseSubject { subject: una, reason: "article 17".to_owned() };
    let allowed = world.engine.allow(&olivia, act).await.unwrap();
    let erased = world.engine.erase(allowed).await.unwrap();
    assert!(erased.payloads >= 2, "what was said of them, and the wish: {erased:?}");
    for entry in world.entries().await {
        if let Ok(Some(payload)) = world.engine.log.open_payload(&entry) {
            assert!(!String::from_utf8_lossy(&payload).contains("Una Private"));
        }
        let leaf = String::from_utf8(entry.bytes).unwrap();
        assert!(!leaf.contains("una"), "{leaf}");
    }
    hold(&world, "person/lena", false).await;
    let lena: Subject = "handle/lena".parse().unwrap();
    assert!(matches!(world.engine.check_erasure(&lena), Err(NotErased::Held(_))));
}

#[tokio::test]
async fn a_ledger_that_fails_while_it_records_an_erasure_does_not_say_that_nothing_was_erased() {
    let database = Database::new();
    let world = database.world().await;
    let call = worked(&world).await;
    let olivia = world.session("olivia").await;
    let subject = "person/lena".parse().unwrap();
    let act = EraseSubject { subject, reason: "article 17".to_owned() };
    let allowed = world.engine.allow(&olivia, act).await.unwrap();
    world.faults.syncs_fail.store(true, std::sync::atomic::Ordering::SeqCst);
    let unknown = world.engine.erase(allowed).await.unwrap_err();
    assert!(matches!(unknown, NotErased::Unknown), "{unknown}");
    // It was written, and a start that finds it carries it out.
    let world = world.restart(&database.target()).await;
    let is_recorded = world.entries().await.iter().any(|entry| entry.leaf.kind == "erasure");
    let opened = world.engine.log.open_payload(&call);
    assert_eq!(is_recorded, matches!(opened, Err(PayloadError::Erased(_))));
    assert!(is_recorded, "nobody took it back");
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_damaged_key_of_one_subject_keeps_no_change_of_others_from_coming_into_force() {
    let database = Database::new();
    let world = database.world().await;
    let file = world.directory.path().join("subject-keys.sqlite");
    // A fresh process has no key in memory.
    let world = world.restart(&database.target()).await;
    let other = rusqlite::Connection::open(&file).unwrap();
    let damage = "UPDATE subject_key SET wrapped = zeroblob(60) WHERE subject = 'person/lena'";
    assert!(other.execute(damage, []).unwrap() > 0);
    drop(other);
    hold(&world, "person/lena", false).await;
    hold(&world, "person/max", false).await;
    assert_eq!(database.waiting(), 0);
    let entries = world.entries().await;
    let of_lena = entries.iter().rfind(|entry| {
        entry.leaf.body.member("key").and_then(|key| key.as_str()) == Some("person/lena")
    });
    assert!(world.engine.log.open_payload(of_lena.unwrap()).unwrap().is_some());
}

#[tokio::test]
async fn before_a_period_begins_its_keys_are_at_hand_so_that_no_call_waits_for_them() {
    let database = Database::new();
    let world = database.world().await;
    worked(&world).await;
    let ids = || world.engine.log.keys_of("person/lena").unwrap().len();
    world.tick(1_440_000_000 - 2 * 3_600_000 - 1);
    let before = ids();
    world.engine.prepare_keys().await.unwrap();
    assert_eq!(ids(), before, "not long before");
    world.tick(1);
    world.engine.prepare_keys().await.unwrap();
    assert_eq!(ids(), 2 * before);
    // The file of the keys is out of reach when the period begins.
    let file = world.directory.path().join("subject-keys.sqlite");
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    world.tick(2 * 3_600_000);
    world.refresh().await;
    let mut sealed = Vec::new();
    for name in ["lena", "max"] {
        world.session(name).await;
        let entries = world.entries().await;
        let token = entries.into_iter().rfind(|entry| entry.leaf.kind == "token").unwrap();
        sealed.push((name, token.leaf.payload.is_some()));
    }
    assert_eq!(sealed, [("lena", true), ("max", false)], "whoever had none");
}
