//! What a refusal offers beside words.

use std::sync::Arc;

use model::Verb;

use super::{
    cast::{effect, eur, tool},
    world::World,
};
use crate::{Caller, Help, Missing, REFUSALS_MAX, ToolRecord, attempt::Step};

async fn help(world: &World, bot: &Arc<Caller>, tool: &str, arguments: &str) -> Help {
    world.attempt(bot, tool, arguments).await.err().unwrap().help
}

fn lookup(name: &str, verb: Verb) -> ToolRecord {
    let properties = r#""order":{"type":"string"}"#;
    tool(name, vec![effect(verb, "Order", "args.order", false, &[])], properties)
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_what_may_be_called_and_who_decides() {
    let world = World::new().await;
    let erase = lookup("erase_order", Verb::Delete);
    world.put(move |changes| changes.put(&erase, store::Expect::Any, true)).await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let order = r#"{"order":"A-1"}"#;

    let beyond = help(&world, &bot, "erase_order", order).await;
    let right =
        |verb| Missing { verb, resource: "Order".to_owned(), system: "desk".parse().unwrap() };
    assert_eq!(beyond.missing, Some(right(Verb::Delete)));
    assert_eq!(beyond.nearest, ["get_order"]);
    assert_eq!(beyond.ask, ["person/olivia"], "who answers for the agent");

    let unknown = help(&world, &bot, "get_ordre", order).await;
    assert_eq!((unknown.missing, unknown.nearest), (None, vec!["get_order".to_owned()]));

    let held = help(&world, &bot, "refund", r#"{"order":"A-2","amount":400000}"#).await;
    assert_eq!((held.missing, held.ask), (None, vec!["team/finance".to_owned()]));

    let forbidden = help(&world, &bot, "export", "{}").await;
    assert_eq!(
        (forbidden.missing, forbidden.nearest),
        (None, Vec::new()),
        "nothing else is for customers"
    );
}

#[tokio::test]
async fn a_refusal_stands_and_counts_where_nothing_helps() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let code = async |tool: &str| {
        world.attempt(&bot, tool, r#"{"order":"A-1"}"#).await.err().map(|why| why.code.text())
    };
    world.engine.fail_at(Some(Step::Help));
    for _ in 0..REFUSALS_MAX {
        assert_eq!(code("get_ordre").await, Some("tool_unknown"));
    }
    world.engine.fail_at(None);
    assert_eq!(code("get_order").await, Some("task_parked"));
}

/// Of so many alike, and none that may be called, only a few are looked at.
#[tokio::test]
async fn a_refusal_names_a_few_tools_however_many_there_are() {
    let world = World::new().await;
    let many: Vec<ToolRecord> =
        (0..40).map(|at| lookup(&format!("find_order_{at}"), Verb::Read)).collect();
    world
        .put(move |changes| {
            many.iter().try_for_each(|tool| changes.put(tool, store::Expect::Any, true))
        })
        .await;
    let erase = lookup("erase_order", Verb::Delete);
    world.put(move |changes| changes.put(&erase, store::Expect::Any, true)).await;
    let bot = world.bot(None).await;
    let beyond = help(&world, &bot, "erase_order", r#"{"order":"A-1"}"#).await;
    assert_eq!(beyond.nearest.len(), 3, "{beyond:?}");
    let long = help(&world, &bot, &"find_order_".repeat(20_000), "{}").await;
    assert!(long.nearest.is_empty(), "{long:?}");
}

#[tokio::test]
async fn nothing_is_offered_that_the_agent_may_not_see() {
    let world = World::new().await;
    let hidden = lookup("erase_order", Verb::Delete);
    world.put(move |changes| changes.put(&hidden, store::Expect::Any, true)).await;
    let (_, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    let none = help(&world, &lookup, "erase_ordre", r#"{"order":"A-1"}"#).await;
    assert!(none.nearest.is_empty(), "{none:?}");
    let beyond = help(&world, &lookup, "refund", r#"{"order":"A-1","amount":1}"#).await;
    assert!(beyond.nearest.is_empty(), "{beyond:?}");
    assert_eq!(beyond.missing.map(|right| right.verb), Some(Verb::Pay));
}
