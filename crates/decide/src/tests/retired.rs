//! The end of an agent, and the count of what it did.

use model::{State, Timestamp};
use store::Expect;

use super::{
    cast::{agent, eur},
    database::Database,
    world::World,
};
use crate::{
    AgentRecord, Ending,
    entries::{AgentEnded, Body, EndedBy, TaskEnded, read},
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);

async fn retire(world: &World) {
    let mut record: AgentRecord = agent("support-bot", "support");
    record.agent.state = State::Retired { at: Timestamp::from_millis(super::cast::START) };
    world.put(move |changes| changes.put(&record, Expect::Any, false)).await;
}

async fn ends<B: Body>(world: &World) -> Vec<(u64, B)> {
    let entries = world.entries().await.into_iter();
    let ends = entries.filter(|entry| entry.leaf.kind == B::KIND);
    ends.map(|entry| (entry.index, read(&entry.leaf.body).unwrap())).collect()
}

#[tokio::test]
async fn retiring_an_agent_ends_its_tasks_and_closes_its_log_once_with_a_count() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(10_000))).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    assert!(world.verdict(&bot, "export", "{}").await.starts_with("deny"));
    // Counted over a restart, too.
    let world = world.restart(&database.target()).await;
    let under_way = world.bot(None).await;
    let under_way = world.attempt(&under_way, READ.0, READ.1).await.unwrap().dispatch().unwrap();
    retire(&world).await;
    assert!(under_way.is_cut());
    world.engine.close_agents();
    assert!(ends::<AgentEnded>(&world).await.is_empty(), "a call is on its way");
    under_way.settle(Ending::Cut, None).await.ok();
    world.engine.close_agents();
    world.engine.close_agents();
    let closed = ends::<AgentEnded>(&world).await;
    let [(index, end)] = &closed[..] else { panic!("{closed:?}") };
    assert_eq!(end.agent.as_ref().unwrap().to_string(), "agent/support-bot");
    assert_eq!((end.permits, end.refusals, end.outcomes, end.tokens), (2, 1, 2, 2));
    let entries = world.entries().await;
    let theirs = entries[..usize::try_from(*index).unwrap()].iter().filter(|entry| {
        entry.leaf.agent.as_ref().is_some_and(|it| it.id.to_string() == "agent/support-bot")
    });
    assert_eq!(theirs.count() as u64, end.entries);
    let tasks = ends::<TaskEnded>(&world).await;
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|(at, end)| end.by == Some(EndedBy::Agent) && at < index));
    // Whoever still has its token is refused, and that is recorded behind its end.
    let refused = world.verdict(&bot, READ.0, READ.1).await;
    assert!(refused.starts_with("deny"), "{refused}");
    let world = world.restart(&database.target()).await;
    assert_eq!(ends::<AgentEnded>(&world).await.len(), 1, "a start closes it no second time");
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_node_that_ends_before_it_closed_an_agents_log_closes_it_when_it_starts() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    retire(&world).await;
    assert!(ends::<AgentEnded>(&world).await.is_empty());
    let world = world.restart(&database.target()).await;
    assert_eq!(ends::<AgentEnded>(&world).await.len(), 1);
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn what_was_decided_before_an_agent_was_retired_is_not_granted_behind_its_end() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let agent = bot.agents.last().unwrap();
    // As if its log were closed between the decision and its record.
    world.engine.agents.close(agent.clone());
    let refused = world.verdict(&bot, READ.0, READ.1).await;
    assert!(refused.starts_with("deny ledger_unavailable"), "{refused}");
    let entries = world.entries().await;
    let mut of_agent = entries.iter().filter(|entry| entry.leaf.agent.is_some());
    assert!(of_agent.all(|entry| entry.leaf.verdict.as_deref() != Some("permit")));
}
