//! What people decide: governance acts, approvals, stops, rights that are given and taken back.

use model::{IdentityId, Verb, ijson::Json};
use store::{Expect, Target};

use super::{
    cast::{DESK, POLICIES, agent, agent_id, authority, effect, eur, grant, person, tool},
    world::{Deed, World},
};
use crate::{Act, Directory, GrantRecord, Resume, ResumeError, Standing, Stop, StopScope};

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
    world.answer(id, "max", "finance", true).await;
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
    world.answer(id, "max", "finance", true).await;
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
    world.answer(id, "olivia", "administrator", true).await;
    assert_eq!(
        world.engine.directory.approval(id).unwrap().standing(world.engine.context.now()),
        Standing::Waiting
    );
    assert!(world.verdict(&bot, "refund", large).await.starts_with("hold"));
    world.answer(id, "max", "finance", false).await;
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
    world.answer(id, "max", "finance", true).await;
    let reworded = POLICIES.replace("100000", "90000");
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
    let stop = Stop { scope: scope.clone(), reason: "it misbehaves".to_owned() };
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
    let resume = Resume::of(&world.engine.stops, scope, String::new()).unwrap();
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
async fn a_grant_that_may_not_be_passed_on_opens_no_task() {
    let world = World::new().await;
    let kept = authority(&[(&[Verb::Delete], "desk/*/*")], 0);
    let grant = grant("lena-own", "lena", kept.clone());
    world.put(move |changes| changes.put(&grant, Expect::New, true)).await;
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
    let stop = Stop { scope: scope.clone(), reason: String::new() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    world.engine.stop(&allowed).await;
    let resume = Resume::of(&world.engine.stops, scope, String::new()).unwrap();
    let allowed = world.engine.allow(&olivia, resume).await.unwrap();
    world.faults.hold_syncs(true);
    assert!(matches!(world.engine.resume(&allowed).await, Err(ResumeError::Ledger(_))));
    world.faults.hold_syncs(false);
    world.lapsed().await;
    let world = world.restart(&target).await;
    assert_eq!(world.engine.stops.orders().len(), 1);
}

#[tokio::test]
async fn what_is_narrowed_cuts_the_calls_that_stand_on_it() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    let mut suspended = agent("support-bot", "support");
    suspended.agent = suspended.agent.suspend("it misbehaves".to_owned()).unwrap();
    world.put(move |changes| changes.put(&suspended, Expect::Any, false)).await;
    dispatch.cut().await;
    assert!(
        world
            .verdict(&bot, "get_order", r#"{"order":"A-1"}"#)
            .await
            .starts_with("deny identity_not_active")
    );
}

#[tokio::test]
async fn a_second_person_allows_one_governance_act_once() {
    let world = World::new().await;
    let ada = person("ada", "administrator");
    world.put(move |changes| changes.put(&ada, Expect::New, true)).await;
    let olivia = world.session("olivia").await;
    let deed = || Deed(Verb::Deploy, "PolicySet");
    let held = world.engine.allow(&olivia, deed()).await.unwrap_err();
    let id = held.approval.unwrap();
    let again = world.engine.allow(&olivia, deed()).await.unwrap_err();
    assert_eq!((again.verdict(), again.approval), ("hold", Some(id)));
    world.answer(id, "ada", "administrator", true).await;
    world.faults.hold_syncs(true);
    let slow = world.engine.allow(&olivia, deed()).await.unwrap_err();
    assert_eq!(slow.code.text(), "ledger_slow");
    world.faults.hold_syncs(false);
    world.lapsed().await;
    assert!(!world.engine.tasks.is_approval_used(id));
    let allowed = world.engine.allow(&olivia, deed()).await.unwrap();
    assert_eq!(allowed.approval(), Some(id));
    let next = world.engine.allow(&olivia, deed()).await.unwrap_err();
    assert_eq!(next.verdict(), "hold");
    assert_ne!(next.approval, Some(id));
}

/// An act whose target cannot be found out.
#[derive(Debug)]
struct Broken;

impl Act for Broken {
    fn verb(&self) -> Verb {
        Verb::Create
    }
    fn target(&self) -> (&'static str, String) {
        ("Registration", "x".to_owned())
    }
    fn owner(&self, _: &Directory, _: &IdentityId) -> Option<IdentityId> {
        panic!("a step that a test makes fail")
    }
    fn shown(&self) -> Json {
        Json::Null
    }
}

/// An act on something that has no name.
#[derive(Debug)]
struct Nameless;

impl Act for Nameless {
    fn verb(&self) -> Verb {
        Verb::Create
    }
    fn target(&self) -> (&'static str, String) {
        ("Registration", "../x".to_owned())
    }
    fn shown(&self) -> Json {
        Json::Null
    }
}

#[tokio::test]
async fn a_governance_act_that_cannot_be_decided_is_refused_and_recorded() {
    let world = World::new().await;
    let olivia = world.session("olivia").await;
    let broken = world.engine.allow(&olivia, Broken).await.unwrap_err();
    assert_eq!(broken.code.text(), "internal");
    let nameless = world.engine.allow(&olivia, Nameless).await.unwrap_err();
    assert_eq!(nameless.code.text(), "arguments_invalid");
    world.faults.hold_syncs(true);
    let slow = world.engine.allow(&olivia, Deed(Verb::Create, "Registration")).await.unwrap_err();
    assert_eq!(slow.code.text(), "ledger_slow");
    world.faults.hold_syncs(false);
    for refusal in [&broken, &nameless, &slow] {
        let told = world.entries().await;
        let told = told.iter().filter(|entry| entry.leaf.action == Some(refusal.action));
        assert!(told.into_iter().any(|entry| entry.leaf.verdict.as_deref() == Some("deny")));
    }
    let _turn = world.engine.reading.lock().await;
    world.tick(3_100);
    let stale = world.engine.allow(&olivia, Deed(Verb::Create, "Registration")).await.unwrap_err();
    assert_eq!(stale.code.text(), "stale");
}

#[tokio::test]
async fn a_stop_of_everything_halts_agents_and_leaves_people_who_can_end_it() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let olivia = world.session("olivia").await;
    let scope: StopScope = "all".parse().unwrap();
    let stop = Stop { scope: scope.clone(), reason: String::new() };
    let allowed = world.engine.allow(&olivia, stop).await.unwrap();
    world.engine.stop(&allowed).await;
    assert!(
        world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await.starts_with("deny stopped")
    );
    let resume = Resume::of(&world.engine.stops, scope.clone(), String::new()).unwrap();
    let allowed = world.engine.allow(&olivia, resume).await.unwrap();
    world.engine.resume(&allowed).await.unwrap();
    assert_eq!(world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    assert!(matches!(
        world.engine.resume(&allowed).await,
        Err(ResumeError::NotStopped(again)) if again == scope
    ));
    assert!(Resume::of(&world.engine.stops, scope, String::new()).is_err());
}

#[tokio::test]
async fn a_right_that_two_grants_give_stays_when_one_is_taken_back() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let second = grant("lena-more", "lena", authority(DESK, 1));
    world.put(move |changes| changes.put(&second, Expect::New, true)).await;
    for (name, verdict) in [("lena-desk", "permit"), ("lena-more", "deny beyond_authority")] {
        let revoked = GrantRecord { revoked: true, ..grant(name, "lena", authority(DESK, 1)) };
        world.put(move |changes| changes.put(&revoked, Expect::Any, false)).await;
        assert!(
            world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await.starts_with(verdict),
            "{name}"
        );
    }
}

/// A row with such a mapping, of an earlier build or by another way, is a tool that nobody accepted.
#[tokio::test]
async fn no_mapping_takes_the_policies_away() {
    for kind in ["System", "Team", "Person", "Action", "Long"] {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(directory.path().join("db"));
        let world = World::empty(target.clone()).await;
        world.found().await;
        let effects = vec![effect(Verb::Read, kind, "args.order", false, &[])];
        let taken = tool("taken", effects, r#""order":{"type":"string"}"#);
        world.put(move |changes| changes.put(&taken, Expect::New, true)).await;
        let bot = world.bot(None).await;
        let verdict = world.verdict(&bot, "taken", r#"{"order":"A-1"}"#).await;
        assert!(verdict.starts_with("deny tool_not_accepted"), "{kind}: {verdict}");
        world.apply("").await;
        let verdict = world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await;
        assert!(verdict.starts_with("deny"), "{kind}: {verdict}");
        drop(bot);
        let world = world.restart(&target).await;
        let olivia = world.session("olivia").await;
        assert!(world.engine.allow(&olivia, Deed(Verb::Update, "Tool")).await.is_ok(), "{kind}");
    }
}
