use model::{Verb, ijson::Json};
use store::Target;

use super::world::{World, agent_id, eur};
use crate::{Act, ApprovalAnswer, Standing, StopScope};

/// A governance act of no consequence, with the verb and target that a test wants.
#[derive(Debug, Clone)]
struct Deed(Verb, &'static str);

impl Act for Deed {
    fn verb(&self) -> Verb {
        self.0
    }
    fn target(&self) -> (&'static str, String) {
        (self.1, "x".to_owned())
    }
    fn shown(&self) -> Json {
        Json::String("a deed".to_owned())
    }
}

#[tokio::test]
async fn only_a_persons_own_session_governs() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    let lena = world.session("lena").await;
    let bot = world.bot(None).await;
    world.engine.allow(&olivia, Deed(Verb::Create, "Registration")).await.unwrap();
    let refused = world.engine.allow(&lena, Deed(Verb::Create, "Registration")).await.unwrap_err();
    assert_eq!(refused.code.text(), "not_permitted");
    let refused = world.engine.allow(&bot, Deed(Verb::Create, "Registration")).await.unwrap_err();
    assert_eq!(refused.reason, "governance acts need a person's own session");
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
}

/// What Max of finance answers, as it is in force afterwards.
async fn answer(world: &World, id: model::ApprovalId, by: &str, team: &str, approve: bool) {
    let mut record = (*world.engine.directory.approval(id).unwrap()).clone();
    record.answers.push(ApprovalAnswer {
        by: format!("person/{by}").parse().unwrap(),
        approve,
        proof: String::new(),
        teams: vec![team.parse().unwrap()],
        at: world.engine.context.now(),
        entry: world.engine.context.id(),
    });
    world.put(move |changes| changes.put(&record, store::Expect::Any, true)).await;
}

#[tokio::test]
async fn an_approval_binds_exactly_one_call_once() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let held = world.attempt(&bot, "refund", large).await.err().unwrap();
    assert_eq!(
        (held.verdict(), held.policies.as_slice()),
        ("hold", &["large-refunds-wait".to_owned()][..])
    );
    assert!(!held.reason.contains("1,000"), "an agent is not told the threshold: {}", held.reason);
    let id = held.approval.unwrap();
    let again = world.attempt(&bot, "refund", large).await.err().unwrap();
    assert_eq!(again.approval, Some(id), "asking twice is one request");
    answer(&world, id, "max", "finance", true).await;
    let other =
        world.attempt(&bot, "refund", r#"{"order":"A-2","amount":400001}"#).await.err().unwrap();
    assert_ne!(other.approval, Some(id), "another amount is another request");
    assert_eq!(world.verdict(&bot, "refund", large).await, "permit");
    let second = world.attempt(&bot, "refund", large).await.err().unwrap();
    assert_eq!(second.verdict(), "hold");
    assert_ne!(second.approval, Some(id), "an approval is used once");
}

#[tokio::test]
async fn an_approval_outlives_the_token_that_asked_for_it() {
    let world = World::new().await;
    let (_, subject) = world.task(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let first = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.engine.verified(&first.access_token, &first.audience).unwrap();
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    answer(&world, id, "max", "finance", true).await;
    world.tick(301_000);
    world.refresh().await;
    assert!(world.verdict(&bot, "refund", large).await.starts_with("deny unauthenticated"));
    let next = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.engine.verified(&next.access_token, &next.audience).unwrap();
    assert_eq!(world.verdict(&bot, "refund", large).await, "permit");
}

#[tokio::test]
async fn a_no_an_answer_from_another_team_and_no_answer_are_all_no() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    answer(&world, id, "olivia", "administrator", true).await;
    assert_eq!(
        world.engine.directory.approval(id).unwrap().standing(world.engine.context.now()),
        Standing::Waiting
    );
    assert!(world.verdict(&bot, "refund", large).await.starts_with("hold"));
    answer(&world, id, "max", "finance", false).await;
    assert!(world.verdict(&bot, "refund", large).await.starts_with("deny forbidden"));
    let late = world.engine.context.now().plus_seconds(4_000);
    let waiting = crate::ApprovalRecord {
        answers: Vec::new(),
        ..(*world.engine.directory.approval(id).unwrap()).clone()
    };
    assert_eq!(waiting.standing(late), Standing::Expired);
}

#[tokio::test]
async fn an_approval_does_not_survive_a_change_of_what_it_was_given_for() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    answer(&world, id, "max", "finance", true).await;
    let reworded = super::world::POLICIES.replace("100000", "90000");
    world.apply(&reworded).await;
    assert!(world.verdict(&bot, "refund", large).await.starts_with("hold"));
}

#[tokio::test]
async fn a_stop_reports_its_three_times_and_outlives_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    let bot = world.bot(None).await;
    let olivia = world.session("olivia").await;
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    let scope: StopScope = "agent:support-bot".parse().unwrap();
    let stop = crate::Stop { scope: scope.clone(), reason: "it misbehaves".to_owned() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    let cut = async {
        dispatch.cut().await;
        dispatch.settle_cut();
    };
    let (report, ()) = tokio::join!(world.engine.stop(&allowed), cut);
    assert_eq!((report.cut, report.durable, report.in_force.len()), (1, true, 1));
    assert_eq!(world.engine.point().acknowledged(), world.engine.stops.epoch());
    assert!(report.is_final.unwrap() >= report.ordered);
    assert!(
        world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await.starts_with("deny stopped")
    );
    let world = world.restart(&target).await;
    assert_eq!(world.engine.stops.orders().len(), 1);
    let olivia = world.session("olivia").await;
    let resume = crate::Resume::of(&world.engine.stops, scope, String::new()).unwrap();
    let allowed = world.engine.allow(&olivia, resume).await.unwrap();
    world.engine.resume(&allowed).await.unwrap();
    let world = world.restart(&target).await;
    assert!(world.engine.stops.orders().is_empty());
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await, "permit");
}

#[tokio::test]
async fn budgets_and_approvals_are_as_they_were_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    let (task, subject) = world.task(Some(eur(10_000))).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let caller = world.engine.verified(&issued.access_token, &issued.audience).unwrap();
    assert_eq!(
        world.verdict(&caller, "refund", r#"{"order":"A-1","amount":3000}"#).await,
        "permit"
    );
    drop(world.attempt(&caller, "refund", r#"{"order":"A-1","amount":2000}"#).await.unwrap());
    drop(
        world
            .attempt(&caller, "refund", r#"{"order":"A-1","amount":1000}"#)
            .await
            .unwrap()
            .dispatch()
            .unwrap(),
    );
    let before = world.engine.tasks.task(task).unwrap();
    let world = world.restart(&target).await;
    let after = world.engine.tasks.task(task).unwrap();
    assert_eq!((before.spent, before.reserved, after.spent, after.reserved), (4_000, 0, 4_000, 0));
    assert_eq!(after.labels, before.labels);
    assert_eq!(caller.current(), &agent_id("support-bot"));
}

#[tokio::test]
async fn somebody_who_can_write_to_the_database_cannot_grant_a_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let target = Target::Sqlite(path.clone());
    let world = World::empty(target.clone()).await;
    world.found().await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    // The grant of Lena is stored again with the same digest rule, but its entry is not the ledger's.
    let forged = store::Store::open(&target).await.unwrap();
    let changed: Result<(), store::PutError> = forged
        .write(|tx| {
            let row: store::Row<crate::PersonRecord> = tx.get("person/lena")?.unwrap();
            let mut record = row.value;
            record.person.teams.push("administrator".parse().unwrap());
            let entry = model::EntryId::from_bits(77);
            tx.put(&record, store::Expect::Any, store::Change { entry, widens: false })?;
            Ok(tx.sealed(entry, 3, model::Digest([1; 32]))?)
        })
        .await;
    changed.unwrap();
    world.refresh().await;
    assert_eq!(
        world.engine.directory.tampered(),
        [("person".to_owned(), "person/lena".to_owned())]
    );
    let verdict = world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await;
    assert!(verdict.starts_with("deny record_tampered"), "{verdict}");
    // Nothing is built on such a row either: a change of it would seal what somebody else wrote.
    let changed: Result<(), Refusing> = world
        .engine
        .bootstrap(|changes| {
            changes.get::<crate::PersonRecord>("person/lena")?;
            Ok(())
        })
        .await;
    let why = std::error::Error::source(&changed.unwrap_err().0).unwrap().to_string();
    assert!(why.contains("`person/lena` differs from its ledger entry"), "{why}");
}

#[derive(Debug)]
struct Refusing(store::Error);

impl From<store::Error> for Refusing {
    fn from(why: store::Error) -> Self {
        Self(why)
    }
}

impl From<crate::NotInForce> for Refusing {
    fn from(why: crate::NotInForce) -> Self {
        panic!("{why}")
    }
}

#[tokio::test]
async fn a_grant_that_may_not_be_passed_on_opens_no_task() {
    let world = World::new().await;
    let kept = super::world::authority(&[(&[Verb::Delete], "desk/*/*")], 0);
    let grant = crate::GrantRecord {
        name: "lena-own".parse().unwrap(),
        holder: "person/lena".parse().unwrap(),
        authority: kept.clone(),
        provenance: "request".parse().unwrap(),
        given_by: "person/olivia".parse().unwrap(),
        revoked: false,
    };
    world.put(move |changes| changes.put(&grant, store::Expect::New, true)).await;
    let lena = world.session("lena").await;
    let wish = crate::OpenTask {
        agent: agent_id("support-bot"),
        purpose: "support".to_owned(),
        intent: String::new(),
        prompt: String::new(),
        authority: Some(kept),
        budget: None,
        seconds: 60,
    };
    let allowed = world.engine.allow(&lena, wish).await.unwrap();
    let refused = world.engine.open_task(&allowed).await.unwrap_err();
    assert_eq!(refused.code.text(), "beyond_authority");
    // What other grants allow is passed on as before.
    let (_, subject) = world.task(None).await;
    world.exchange("support-bot", &subject, |_| ()).await.unwrap();
}

#[tokio::test]
async fn a_refused_resume_ends_no_stop_at_the_next_start_either() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    let olivia = world.session("olivia").await;
    let scope: StopScope = "agent:support-bot".parse().unwrap();
    let stop = crate::Stop { scope: scope.clone(), reason: String::new() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    world.engine.stop(&allowed).await;
    let resume = crate::Resume::of(&world.engine.stops, scope, String::new()).unwrap();
    let allowed = world.engine.allow(&olivia, resume).await.unwrap();
    world.faults.hold_syncs(true);
    assert!(matches!(world.engine.resume(&allowed).await, Err(crate::ResumeError::Ledger(_))));
    world.faults.hold_syncs(false);
    while !world.recorded().await.iter().any(|entry| entry == "lapsed ") {
        tokio::task::yield_now().await;
    }
    let world = world.restart(&target).await;
    assert_eq!(world.engine.stops.orders().len(), 1);
}

#[tokio::test]
async fn what_is_narrowed_cuts_the_calls_that_stand_on_it() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    let mut suspended = super::world::agent("support-bot", "support");
    suspended.agent = suspended.agent.suspend("it misbehaves".to_owned()).unwrap();
    world.put(move |changes| changes.put(&suspended, store::Expect::Any, false)).await;
    dispatch.cut().await;
    assert!(
        world
            .verdict(&bot, "get_order", r#"{"order":"A-1"}"#)
            .await
            .starts_with("deny identity_not_active")
    );
}

#[tokio::test]
async fn a_tampered_administrator_does_not_switch_the_second_person_off() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    assert_eq!(world.engine.directory.administrators(), 1);
    let forged = store::Store::open(&target).await.unwrap();
    let changed: Result<(), store::PutError> = forged
        .write(|tx| {
            let row: store::Row<crate::PersonRecord> = tx.get("person/max")?.unwrap();
            let mut record = row.value;
            record.person.display_name = "Max M.".to_owned();
            let entry = model::EntryId::from_bits(78);
            tx.put(&record, store::Expect::Any, store::Change { entry, widens: false })?;
            Ok(tx.sealed(entry, 3, model::Digest([1; 32]))?)
        })
        .await;
    changed.unwrap();
    world.refresh().await;
    assert_eq!(world.engine.directory.tampered().len(), 1);
    assert_eq!(world.engine.directory.administrators(), 2, "there may be one more");
}
