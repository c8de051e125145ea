//! Ways in which an attempt is refused that no other topic brings up.

use std::sync::{Arc, Barrier};

use model::{Verb, ijson};
use store::Expect;
use token::{Claims, SeenHeader};
use tokio::runtime::Handle;

use super::{
    cast::{POLICIES, agent, agent_id, authority, effect, eur, json, person, person_id, tool},
    database::Database,
    world::World,
};
use crate::{
    Attempt, Caller, Code, Issued, OpenTask, Permit, Refusal, TASK_SECONDS_MAX, TokenRefused,
    ToolRecord,
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);
const LARGE: &str = r#"{"order":"A-2","amount":400000}"#;

#[test]
fn every_code_is_documented_with_its_advice() {
    let documented: Vec<&str> = include_str!("../../../../docs/errors.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let row = |code: &Code| {
        let retry = if code.retryable() { "yes" } else { "no" };
        format!("| `{}` | {retry} | {} |", code.text(), code.next())
    };
    assert_eq!(documented, Code::ALL.iter().map(row).collect::<Vec<_>>());
}

/// A caller whose token says something else.
fn saying(caller: &Caller, change: impl FnOnce(&mut Claims)) -> Arc<Caller> {
    let mut claims = caller.claims.clone();
    change(&mut claims);
    Arc::new(Caller {
        claims,
        person: caller.person.clone(),
        agents: caller.agents.clone(),
        proof_header: SeenHeader::default(),
    })
}

#[tokio::test]
async fn a_chain_is_over_with_any_of_its_links_and_an_agent_is_nothing_without_a_task() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let now = world.engine.context.now();
    for at in 0..bot.claims.links.len() {
        let ended = saying(&bot, |claims| claims.links[at].exp = now);
        let verdict = world.verdict(&ended, READ.0, READ.1).await;
        assert!(verdict.starts_with("deny link_revoked"), "{verdict}");
    }
    let alone = saying(&bot, |claims| claims.task = None);
    let verdict = world.verdict(&alone, READ.0, READ.1).await;
    assert_eq!(verdict, "deny task_over: an agent acts only inside a task");
    for at in 0..bot.claims.links.len() {
        let world = World::new().await;
        let bot = world.bot(None).await;
        world.engine.tasks.revoke(bot.claims.links[at].id, bot.claims.exp);
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with("deny link_revoked"), "{verdict}");
    }
}

#[tokio::test]
async fn a_system_that_nobody_added_is_not_called() {
    let world = World::new().await;
    let attempt = Attempt {
        action: world.engine.context.id(),
        caller: world.bot(None).await,
        system: "attic".parse().unwrap(),
        tool: READ.0.to_owned(),
        arguments: json(READ.1),
        inputs: None,
    };
    let refusal = world.engine.attempt(attempt).await.err().unwrap();
    assert_eq!(
        (refusal.code.text(), refusal.reason.as_str()),
        ("system_unknown", "there is no system `attic`")
    );
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
}

#[tokio::test]
async fn a_tool_is_not_called_until_somebody_accepted_what_it_does_and_what_it_is() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let accepted = || tool("peek", vec![effect(Verb::Read, "Order", "'1'", false, &[])], "");
    let definition = accepted().definition.replace("object", "array");
    for waiting in [
        ToolRecord { mapping: None, ..accepted() },
        ToolRecord { accepted_by: None, ..accepted() },
        ToolRecord { definition, ..accepted() },
        tool("peek", vec![], ""),
        tool("peek", vec![effect(Verb::Read, "Order", "not an expression", false, &[])], ""),
    ] {
        world.put(move |changes| changes.put(&waiting, Expect::Any, true)).await;
        // Each in a task of its own: the same refusal over and over would park one.
        let bot = world.bot(None).await;
        let verdict = world.verdict(&bot, "peek", "{}").await;
        assert!(verdict.starts_with("deny tool_not_accepted"), "{verdict}");
    }
    world.put(move |changes| changes.put(&accepted(), Expect::Any, true)).await;
    assert_eq!(world.verdict(&bot, "peek", "{}").await, "permit");
}

#[tokio::test]
async fn money_is_spent_in_one_currency_and_that_of_the_budget() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(10_000))).await;
    let properties = r#""order":{"type":"string"},"amount":{}"#;
    let pays = |currency: &str| {
        let mut pays = effect(Verb::Pay, "Refund", "args.order", true, &[]);
        pays.currency = Some(format!("'{currency}'"));
        pays
    };
    let dollars = tool("pay_dollars", vec![pays("USD")], properties);
    let both = tool("pay_both", vec![pays("USD"), pays("EUR")], properties);
    let twice = tool("pay_twice", vec![pays("EUR"), pays("EUR")], properties);
    world
        .put(move |changes| {
            [&dollars, &both, &twice]
                .into_iter()
                .try_for_each(|tool| changes.put(tool, Expect::New, true))
        })
        .await;
    let pay = r#"{"order":"A-1","amount":6000}"#;
    let verdict = world.verdict(&bot, "pay_dollars", pay).await;
    assert_eq!(verdict, "deny budget_exceeded: the task has no budget in USD");
    let verdict = world.verdict(&bot, "pay_both", pay).await;
    assert!(verdict.starts_with("deny mapping_failed"), "{verdict}");
    let verdict = world.verdict(&bot, "pay_twice", pay).await;
    assert!(verdict.starts_with("deny budget_exceeded"), "two effects cost the sum: {verdict}");
    assert_eq!(world.verdict(&bot, "refund", pay).await, "permit");
}

#[tokio::test]
async fn what_needs_the_persons_presence_waits_for_it_whoever_else_says_yes() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let present = r#"@id("presence") @step_up("passkey") forbid (principal, action == Action::"pay", resource);"#;
    world.apply(&format!("{POLICIES}\n{present}")).await;
    let refusal =
        world.attempt(&bot, "refund", r#"{"order":"A-1","amount":1}"#).await.err().unwrap();
    assert_eq!((refusal.verdict(), refusal.code.text()), ("step_up", "step_up"));
    assert_eq!(refusal.policies, ["presence"]);
    assert_eq!(world.recorded().await.last().unwrap(), "decision step_up");
    // Nobody is asked to approve what an approval would not free.
    let refusal = world.attempt(&bot, "refund", LARGE).await.err().unwrap();
    assert_eq!((refusal.verdict(), refusal.approval), ("step_up", None));
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

#[tokio::test]
async fn an_approval_does_not_do_what_an_obligation_asks_for() {
    let world = World::new().await;
    world
        .apply(
            &POLICIES.replace("@id(\"desk-use\")", "@id(\"desk-use\") @obligation(\"mask:card\")"),
        )
        .await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let refused = world.attempt(&bot, "refund", large).await.err().unwrap();
    assert_eq!(refused.code.text(), "forbidden");
    assert!(refused.reason.contains("obligation `mask`"), "{}", refused.reason);
}

#[tokio::test]
async fn an_obligation_that_nobody_fulfils_is_a_no() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    world
        .apply(
            &POLICIES.replace("@id(\"desk-use\")", "@id(\"desk-use\") @obligation(\"mask:card\")"),
        )
        .await;
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert_eq!(verdict, "deny forbidden: the obligation `mask` cannot be fulfilled here");
}

#[tokio::test]
async fn a_request_for_approval_that_cannot_be_stored_is_no_request() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    database.run("ALTER TABLE object RENAME TO lost");
    let refusal = world.attempt(&bot, "refund", LARGE).await.err().unwrap();
    assert_eq!((refusal.code.text(), refusal.approval), ("store_unavailable", None));
    assert!(world.engine.directory.approvals().is_empty());
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
    // What needs no database goes on until the lease ends.
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    database.run("ALTER TABLE lost RENAME TO object");
    assert_eq!(world.attempt(&bot, "refund", LARGE).await.err().unwrap().verdict(), "hold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_frees_one_of_many_attempts_at_the_same_moment() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000_000))).await;
    let task = bot.claims.task.unwrap();
    // Several times, because who comes second is often too late to notice.
    for amount in 400_000..400_006 {
        let arguments = format!(r#"{{"order":"A-2","amount":{amount}}}"#);
        let held = world.attempt(&bot, "refund", &arguments).await.err().unwrap();
        world.answer(held.approval.unwrap(), "max", "finance", true).await;
        let outcomes = at_once(&world, &bot, &arguments);
        let (permits, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(permits.len(), 1);
        for refusal in refusals.into_iter().filter_map(Result::err) {
            // Too late for the approval, or so late that the next one is asked for.
            let code = refusal.code.text();
            assert!(matches!(refusal.code, Code::Replayed | Code::Held), "{code}: {refusal}");
        }
        let reserved = world.engine.tasks.task(task).unwrap().reserved;
        assert_eq!(reserved, amount, "what was refused has given its money back");
    }
}

/// The same refund attempted by several threads that start together.
fn at_once(world: &World, bot: &Arc<Caller>, arguments: &str) -> Vec<Result<Permit, Refusal>> {
    let start = Arc::new(Barrier::new(8));
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let attempt = Attempt {
                action: world.engine.context.id(),
                caller: bot.clone(),
                system: "desk".parse().unwrap(),
                tool: "refund".to_owned(),
                arguments: json(arguments),
                inputs: None,
            };
            let (engine, start, runtime) = (world.engine.clone(), start.clone(), Handle::current());
            std::thread::spawn(move || {
                start.wait();
                runtime.block_on(engine.attempt(attempt))
            })
        })
        .collect();
    attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
}

#[tokio::test]
async fn an_approval_is_free_again_when_the_ledger_was_too_slow_for_its_call() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let id = world.attempt(&bot, "refund", LARGE).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    world.faults.hold_syncs(true);
    let refusal = world.attempt(&bot, "refund", LARGE).await.err().unwrap();
    assert_eq!(refusal.code.text(), "ledger_slow");
    assert!(world.engine.tasks.is_approval_used(id), "its record may still arrive");
    world.faults.hold_syncs(false);
    world.lapsed().await;
    assert!(!world.engine.tasks.is_approval_used(id));
    assert_eq!(world.verdict(&bot, "refund", LARGE).await, "permit");
}

#[tokio::test]
async fn what_never_became_an_attempt_is_refused_and_recorded_all_the_same() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let reason = "`prompts/list` is not mapped";
    let desk = "desk".parse().unwrap();
    let refusal = world.engine.refuse(&bot, Some(&desk), Code::MethodNotMapped, reason);
    assert_eq!((refusal.verdict(), refusal.to_string().as_str()), ("deny", reason));
    let told = world.entries().await;
    let told = told.iter().find(|entry| entry.leaf.action == Some(refusal.action)).unwrap();
    assert_eq!(told.leaf.verdict.as_deref(), Some("deny"));
    assert_eq!(told.leaf.body.member("code").unwrap().as_str(), Some("method_not_mapped"));
}

/// How the wish for a task, in order but for one thing, is refused.
async fn refused(world: &World, change: impl FnOnce(&mut OpenTask)) -> Refusal {
    let lena = world.session("lena").await;
    let mut wish = OpenTask {
        agent: agent_id("support-bot"),
        purpose: "support".to_owned(),
        intent: String::new(),
        prompt: String::new(),
        authority: None,
        budget: None,
        seconds: 60,
    };
    change(&mut wish);
    let allowed = world.engine.allow(&lena, wish).await.unwrap();
    world.engine.open_task(&allowed).await.unwrap_err()
}

#[tokio::test]
async fn a_task_is_opened_for_an_agent_that_may_act_for_a_bounded_time_and_no_more_than_one_holds()
{
    let world = World::new().await;
    for seconds in [0, TASK_SECONDS_MAX + 1, u32::MAX] {
        let refusal = refused(&world, |wish| wish.seconds = seconds).await;
        assert_eq!(refusal.code.text(), "arguments_invalid");
    }
    let unknown = refused(&world, |wish| wish.agent = agent_id("nobody")).await;
    assert_eq!(unknown.code.text(), "identity_unknown");
    let more = authority(&[(&[Verb::Delete], "desk/*/*")], 0);
    let beyond = refused(&world, |wish| wish.authority = Some(more)).await;
    assert_eq!(beyond.code.text(), "beyond_authority");
    let mut suspended = agent("support-bot", "support");
    suspended.agent = suspended.agent.suspend("it misbehaves".to_owned()).unwrap();
    world.put(move |changes| changes.put(&suspended, Expect::Any, false)).await;
    let idle = refused(&world, |_| ()).await;
    assert_eq!(idle.code.text(), "identity_not_active");
    assert_eq!(world.entries().await.iter().filter(|entry| entry.leaf.kind == "task").count(), 0);
}

#[tokio::test]
async fn a_session_is_for_an_active_person_and_an_exchange_for_an_agent() {
    let world = World::new().await;
    let why = |refused: Result<Issued, TokenRefused>| refused.unwrap_err().to_string();
    let agent = world.try_session(&agent_id("support-bot")).await;
    assert_eq!(why(agent), "only people open sessions");
    let stranger = world.try_session(&person_id("nobody")).await;
    assert!(matches!(stranger, Err(TokenRefused::InvalidClient(_))));
    let (_, subject) = world.task(None).await;
    let lena = world.assertion(&person_id("lena"), None);
    let lena: &'static str = lena.leak();
    let as_person =
        world.exchange("support-bot", &subject, |wish| wish.client_assertion = lena).await;
    assert!(why(as_person).ends_with("people do not exchange tokens"));
    let mut gone = person("lena", "support");
    gone.person.active = false;
    world.put(move |changes| changes.put(&gone, Expect::Any, false)).await;
    let Err(TokenRefused::Refused(refusal)) = world.try_session(&person_id("lena")).await else {
        panic!("a person who is not active has no session")
    };
    assert_eq!(refusal.code.text(), "identity_not_active");
    // Nor is a task of theirs continued.
    let Err(TokenRefused::Refused(refusal)) = world.exchange("support-bot", &subject, |_| ()).await
    else {
        panic!("a task of a person who is not active goes on")
    };
    assert_eq!(refusal.code.text(), "identity_not_active");
}

#[tokio::test]
async fn a_refusal_is_recorded_however_long_what_it_is_about_is() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let decisions = async || {
        let mut entries = world.entries().await;
        entries.retain(|entry| entry.leaf.kind == "decision");
        entries
    };
    let before = decisions().await.len();
    for (tool, length) in [("export", 1_100_000), ("export", 9), ("nothing", 1_100_000)] {
        let attempt = Attempt {
            action: world.engine.context.id(),
            caller: bot.clone(),
            system: "desk".parse().unwrap(),
            tool: tool.to_owned(),
            arguments: ijson::Json::object([("x", ijson::Json::String("y".repeat(length)))]),
            inputs: None,
        };
        assert_eq!(world.engine.attempt(attempt).await.err().unwrap().code, Code::ArgumentsInvalid);
    }
    let kept: Vec<_> = decisions().await[before..]
        .iter()
        .map(|entry| {
            let body = &entry.leaf.body;
            assert!(body.member("call").is_some(), "the digest says what it was");
            let length = body.member("not_kept").and_then(ijson::Json::as_integer);
            let verdict = entry.leaf.verdict.clone().unwrap();
            (verdict, entry.leaf.payload.is_some(), length.map(|length| length > 1_100_000))
        })
        .collect();
    let deny = |kept, long| ("deny".to_owned(), kept, long);
    assert_eq!(kept, [deny(false, Some(true)), deny(true, None), deny(false, Some(true))]);
}

#[tokio::test]
async fn what_no_entry_can_be_made_of_leaves_a_gap() {
    let world = World::new().await;
    let at = world.engine.context.now();
    world.engine.note(ledger::Draft::new(world.engine.context.id(), "No Kind", at));
    let entry = world.entries().await.into_iter().rev().find(|entry| entry.leaf.kind == "gap");
    let body = String::from_utf8(entry.unwrap().leaf.body.canonical()).unwrap();
    let at = at.millis();
    assert_eq!(body, format!(r#"{{"causes":["not_sealed"],"from":{at},"n":1,"to":{at}}}"#));
}
