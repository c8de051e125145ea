//! A task whose agent runs into the same wall again and again.

use std::sync::Arc;

use futures_util::FutureExt as _;
use model::TaskId;

use super::{
    cast::{agent_id, eur},
    database::Database,
    world::World,
};
use crate::{Allowed, Caller, Ending, REFUSALS_MAX, Refusal, UnparkTask, Watch};

const EXPORT: (&str, &str) = ("export", "{}");
const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

/// How often the same call is refused in its own words.
async fn refused(world: &World, bot: &Arc<Caller>, call: (&str, &str), times: u32) {
    for _ in 0..times {
        let verdict = world.verdict(bot, call.0, call.1).await;
        assert!(!verdict.starts_with("deny task_parked"), "{verdict}");
        assert_ne!(verdict, "permit");
    }
}

async fn is_parked(world: &World, bot: &Arc<Caller>) -> bool {
    world.verdict(bot, READ.0, READ.1).await.starts_with("deny task_parked")
}

/// Leave for somebody to let go on what is parked of a task now.
async fn allowed(world: &World, who: &str, task: TaskId) -> Result<Allowed<UnparkTask>, Refusal> {
    let caller = world.session(who).await;
    let found = world.engine.tasks.task(task).expect("the task is known");
    world.engine.allow(&caller, UnparkTask::of(task, found)).await
}

async fn unpark(world: &World, who: &str, task: TaskId) -> Result<(), String> {
    let allowed = allowed(world, who, task).await.map_err(|why| why.code.text().to_owned())?;
    world.engine.unpark_task(&allowed).await.map_err(|why| why.reason)
}

async fn kinds(world: &World) -> Vec<String> {
    let entries = world.entries().await.into_iter();
    entries.map(|entry| entry.leaf.kind).filter(|kind| kind.ends_with("parked")).collect()
}

#[tokio::test]
async fn the_same_refusal_again_and_again_parks_the_task_until_a_person_lets_it_go_on() {
    let world = World::new().await;
    let (task, subject) = world.task(None).await;
    let bot = {
        let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
        world.believed("support-bot", &issued)
    };
    refused(&world, &bot, EXPORT, REFUSALS_MAX - 1).await;
    assert!(!is_parked(&world, &bot).await);
    refused(&world, &bot, EXPORT, 1).await;
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert_eq!(
        verdict,
        "deny task_parked: `agent/support-bot` was parked in this task after 5 identical refusals (`forbidden`)"
    );
    assert!(world.engine.listable(&bot, &"desk".parse().unwrap()).is_empty());
    assert!(world.exchange("support-bot", &subject, |_| ()).await.is_err(), "nor a token");
    let elsewhere = world.bot(None).await;
    assert!(!is_parked(&world, &elsewhere).await, "another task goes on");
    assert_eq!(unpark(&world, "max", task).await, Err("not_permitted".to_owned()));
    unpark(&world, "lena", task).await.unwrap();
    assert!(!is_parked(&world, &bot).await);
    assert_eq!(kinds(&world).await, ["parked", "unparked"]);
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    assert!(is_parked(&world, &bot).await, "the count began anew");
    unpark(&world, "olivia", task).await.unwrap();
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    let lena = world.session("lena").await;
    let end = crate::EndTask { task, person: lena.person.clone() };
    world.engine.end_task(&world.engine.allow(&lena, end).await.unwrap()).unwrap();
    assert!(!is_parked(&world, &bot).await, "what is over is over");
}

#[tokio::test]
async fn what_waits_passes_by_itself_or_differs_never_parks() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    refused(&world, &bot, ("refund", r#"{"order":"A-2","amount":400000}"#), 2 * REFUSALS_MAX).await;
    for number in 0..2 * REFUSALS_MAX {
        refused(&world, &bot, (&format!("no-such-{number}"), "{}"), 1).await;
        refused(&world, &bot, ("get_order", &format!(r#"{{"wrong":{number}}}"#)), 1).await;
    }
    world.tick(60_000);
    refused(&world, &bot, READ, 2 * REFUSALS_MAX).await;
    world.refresh().await;
    assert!(!is_parked(&world, &bot).await);
    assert!(kinds(&world).await.is_empty());
}

#[tokio::test]
async fn an_approvers_no_counts() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = ("refund", r#"{"order":"A-2","amount":400000}"#);
    let id = world.attempt(&bot, large.0, large.1).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", false).await;
    refused(&world, &bot, large, REFUSALS_MAX).await;
    assert!(is_parked(&world, &bot).await);
}

#[tokio::test]
async fn a_task_stays_parked_over_a_restart_and_so_does_what_was_counted() {
    let database = Database::new();
    let world = database.world().await;
    let (parked, counted) = (world.bot(None).await, world.bot(None).await);
    refused(&world, &parked, EXPORT, REFUSALS_MAX).await;
    refused(&world, &counted, EXPORT, REFUSALS_MAX - 1).await;
    world.entries().await;
    let world = world.restart(&database.target()).await;
    assert!(is_parked(&world, &parked).await);
    assert!(!is_parked(&world, &counted).await);
    refused(&world, &counted, EXPORT, 1).await;
    assert!(is_parked(&world, &counted).await);
    unpark(&world, "olivia", parked.claims.task.unwrap()).await.unwrap();
    let world = world.restart(&database.target()).await;
    assert!(!is_parked(&world, &parked).await);
    assert_eq!(parked.current(), &agent_id("support-bot"));
}

#[tokio::test]
async fn what_was_parked_again_meanwhile_does_not_go_on() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let task = bot.claims.task.unwrap();
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    let first = allowed(&world, "lena", task).await.unwrap();
    let second = allowed(&world, "olivia", task).await.unwrap();
    world.engine.unpark_task(&first).await.unwrap();
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    world.engine.unpark_task(&second).await.unwrap();
    assert!(is_parked(&world, &bot).await);
    unpark(&world, "lena", task).await.unwrap();
    assert!(!is_parked(&world, &bot).await);
}

#[tokio::test]
async fn what_could_not_be_recorded_in_time_does_not_go_on_after_a_restart_either() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    let task = bot.claims.task.unwrap();
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    let first = allowed(&world, "lena", task).await.unwrap();
    let second = allowed(&world, "olivia", task).await.unwrap();
    world.faults.hold_syncs(true);
    world.engine.unpark_task(&first).await.unwrap_err();
    world.engine.unpark_task(&second).await.unwrap_err();
    world.faults.hold_syncs(false);
    while world.recorded().await.iter().filter(|entry| *entry == "lapsed ").count() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(is_parked(&world, &bot).await);
    let world = world.restart(&database.target()).await;
    assert!(is_parked(&world, &bot).await);
    unpark(&world, "lena", task).await.unwrap();
    let world = world.restart(&database.target()).await;
    assert!(!is_parked(&world, &bot).await);
}

#[tokio::test]
async fn parking_cuts_what_is_open_of_the_agent_and_of_all_below_it() {
    let world = World::new().await;
    let (_, subject) = world.task(None).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bot = world.believed("support-bot", &issued);
    let (lookup, elsewhere) = (world.lookup(&subject).await, world.bot(None).await);
    let desk = "desk".parse().unwrap();
    let [own, below, others] = [&bot, &lookup, &elsewhere]
        .map(|caller| world.engine.watch(caller, Some(&desk)).ok().unwrap());
    let call = world.attempt(&bot, READ.0, READ.1).await.unwrap().dispatch().unwrap();
    let is_cut = |watch: &Watch| watch.cut().now_or_never().is_some();

    refused(&world, &lookup, EXPORT, REFUSALS_MAX).await;
    assert_eq!([&own, &below, &others].map(is_cut), [false, true, false]);
    assert!(!call.is_cut());
    refused(&world, &bot, EXPORT, REFUSALS_MAX).await;
    assert_eq!([&own, &below, &others].map(is_cut), [true, true, false]);
    assert!(call.is_cut());
}

#[tokio::test]
async fn a_sub_agent_does_not_park_who_works_above_it() {
    let database = Database::new();
    let world = database.world().await;
    let (task, subject) = world.task(None).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let (bot, lookup) = (world.believed("support-bot", &issued), world.lookup(&subject).await);
    refused(&world, &bot, EXPORT, REFUSALS_MAX - 1).await;
    refused(&world, &lookup, EXPORT, REFUSALS_MAX).await;
    let world = world.restart(&database.target()).await;
    let refusal = world.attempt(&lookup, READ.0, READ.1).await.err().unwrap();
    assert_eq!(refusal.code.text(), "task_parked");
    assert!(refusal.reason.starts_with("`agent/lookup` was parked"), "{}", refusal.reason);
    assert_eq!(refusal.help.ask, ["person/lena", "person/olivia"]);
    assert!(!is_parked(&world, &bot).await, "nor do their refusals add up");
    let child = Some("spiffe://acme.example/prod/agent/lookup");
    let handed =
        world.exchange("support-bot", &subject, |wish| wish.requested_actor = child).await.unwrap();
    let again = world.exchange("lookup", &handed.access_token, |_| ()).await.unwrap_err();
    assert!(again.to_string().contains("was parked"), "{again}");
    refused(&world, &bot, EXPORT, 1).await;
    assert!(is_parked(&world, &bot).await);
    unpark(&world, "lena", task).await.unwrap();
    assert!(!is_parked(&world, &bot).await && !is_parked(&world, &lookup).await);
}

/// Five payments have all that there is, until they have ended.
#[tokio::test]
async fn a_budget_that_calls_on_their_way_hold_parks_nobody() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(5_000))).await;
    let pay = ("refund", r#"{"order":"A-1","amount":1000}"#);
    let mut on_their_way = Vec::new();
    for _ in 0..5 {
        let permit = world.attempt(&bot, pay.0, pay.1).await.unwrap();
        on_their_way.push(permit.dispatch().unwrap());
    }
    let verdict = world.verdict(&bot, pay.0, pay.1).await;
    assert_eq!(
        verdict,
        "deny budget_reserved: the task has 0.00 EUR left beside what calls on their way may spend, and this would spend 10.00 EUR"
    );
    refused(&world, &bot, pay, REFUSALS_MAX).await;
    assert!(!is_parked(&world, &bot).await);
    for dispatch in on_their_way {
        dispatch.settle(Ending::Completed, None).await.unwrap();
    }
    refused(&world, &bot, pay, REFUSALS_MAX).await;
    assert!(is_parked(&world, &bot).await, "what is spent does not come back");
}
