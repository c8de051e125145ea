//! A task whose agent runs into the same wall again and again.

use std::sync::Arc;

use model::TaskId;

use super::{
    cast::{agent_id, eur},
    database::Database,
    world::World,
};
use crate::{Caller, REFUSALS_MAX, UnparkTask};

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

async fn unpark(world: &World, who: &str, task: TaskId) -> Result<(), String> {
    let caller = world.session(who).await;
    let found = world.engine.tasks.task(task).unwrap();
    let act = UnparkTask { task, person: found.person, agent: found.agent };
    let allowed =
        world.engine.allow(&caller, act).await.map_err(|why| why.code.text().to_owned())?;
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
        "deny task_parked: the task was parked after 5 identical refusals (`forbidden`)"
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
