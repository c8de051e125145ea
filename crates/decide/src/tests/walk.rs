use super::{cast::eur, world::World};

#[tokio::test]
async fn what_authority_and_policy_allow_is_permitted_and_recorded_before_and_after() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    assert_eq!(world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    assert_eq!(world.verdict(&bot, "refund", r#"{"order":"A-1","amount":4000}"#).await, "permit");
    let recorded = world.recorded().await;
    assert_eq!(
        recorded[recorded.len() - 4..],
        ["decision permit", "outcome ", "decision permit", "outcome "]
    );
}

#[tokio::test]
async fn a_policy_that_forbids_says_which_and_what_to_do() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let refusal = world.attempt(&bot, "export", "{}").await.err().unwrap();
    assert_eq!(refusal.code.text(), "forbidden");
    assert_eq!(refusal.policies, ["no-export"]);
    assert_eq!(refusal.reason, "customers are not exported in bulk");
    assert_eq!(refusal.next, "ask for a report instead");
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
}

#[tokio::test]
async fn bad_arguments_and_unknown_tools_are_refused_by_name() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    for (tool, arguments, code) in [
        ("nothing", "{}", "deny tool_unknown"),
        ("get_order", "{}", "deny mapping_failed"),
        ("get_order", r#"{"order":7}"#, "deny arguments_invalid"),
        ("get_order", r#"{"order":"A-1","more":1}"#, "deny arguments_invalid"),
        ("refund", r#"{"order":"A-1"}"#, "deny mapping_failed"),
        ("refund", r#"{"order":"A-1","amount":"4000"}"#, "deny mapping_failed"),
        ("refund", r#"{"order":"../A-1","amount":1}"#, "deny mapping_failed"),
    ] {
        let verdict = world.verdict(&bot, tool, arguments).await;
        assert!(verdict.starts_with(code), "{tool} {arguments}: {verdict}");
    }
}

#[tokio::test]
async fn a_budget_is_never_overspent_and_a_denied_call_spends_nothing() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    assert_eq!(world.verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await, "permit");
    let verdict = world.verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await;
    assert_eq!(
        verdict,
        "deny budget_exceeded: the task has 40.00 EUR left and this would spend 60.00 EUR"
    );
    assert_eq!(world.verdict(&bot, "refund", r#"{"order":"A-1","amount":4000}"#).await, "permit");
}

#[tokio::test]
async fn a_permit_that_is_dropped_lapses_and_gives_back_what_was_reserved() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let permit = world.attempt(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await.unwrap();
    drop(permit);
    assert_eq!(world.recorded().await.last().unwrap(), "lapsed ");
    assert_eq!(world.verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await, "permit");
}

#[tokio::test]
async fn a_dispatched_call_without_an_answer_counts_as_spent() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let permit = world.attempt(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await.unwrap();
    drop(permit.dispatch().unwrap());
    assert_eq!(world.recorded().await.last().unwrap(), "outcome ");
    assert!(
        world
            .verdict(&bot, "refund", r#"{"order":"A-1","amount":6000}"#)
            .await
            .starts_with("deny budget")
    );
}

#[tokio::test]
async fn what_moved_between_decision_and_dispatch_stops_the_call() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let permit = world.attempt(&bot, "refund", r#"{"order":"A-1","amount":6000}"#).await.unwrap();
    world.tick(601_000);
    world.refresh().await;
    let refusal = permit.dispatch().err().unwrap();
    assert_eq!(refusal.code.text(), "unauthenticated");
    assert_eq!(world.recorded().await.last().unwrap(), "lapsed ");
}

#[tokio::test]
async fn a_sub_agent_may_do_less_than_its_delegator() {
    let world = World::new().await;
    let (_, subject) = world.task(Some(eur(10_000))).await;
    let lookup = world.lookup(&subject).await;
    assert_eq!(world.verdict(&lookup, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    let verdict = world.verdict(&lookup, "refund", r#"{"order":"A-1","amount":1}"#).await;
    assert_eq!(
        verdict,
        "deny beyond_authority: `pay` on a `Refund` of `desk` is beyond the authority of this delegation"
    );
}

#[tokio::test]
async fn what_a_task_has_touched_is_remembered_for_its_whole_chain() {
    let world = World::new().await;
    let (task, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    assert_eq!(world.verdict(&lookup, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    let labels = world.engine.tasks.task(task).unwrap().labels;
    assert_eq!(labels.iter().map(|label| label.as_str()).collect::<Vec<_>>(), ["pii"]);
}
