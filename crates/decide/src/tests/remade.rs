//! Decisions of the past, made again from the ledger.

use std::sync::Arc;

use ledger::{Draft, Entry};
use model::{State, Verb};
use proptest::prelude::*;
use store::Expect;

use super::{
    cast::{DESK, POLICIES, agent, agent_id, authority, blueprint, eur, grant, person, person_id},
    world::{Deed, World},
};
use crate::{
    Caller, GrantRecord, Recomputed, Remade,
    entries::{self, Decision},
};

/// Policies beside those of the small organization, so that all that a decision may look at counts in some of them.
const MORE: [&str; 6] = [
    "",
    r#"@id("part") @mode("canary:50") @hold("finance") forbid (principal, action == Action::"read", resource is Order);"#,
    r#"@id("trial") @mode("shadow") forbid (principal, action == Action::"read", resource is Order) when { context.depth > 1 };"#,
    r#"@id("seen") forbid (principal, action == Action::"pay", resource is Refund) when { context.history.labels.contains("pii") };"#,
    r#"@id("spent") @hold("finance") forbid (principal, action == Action::"pay", resource is Refund) when { context.history.spent > 3000 };"#,
    r#"@id("late") forbid (principal, action in [Action::"read", Action::"admin"], resource) when { context.at > 1800000030000 || context.administrators > 1 };"#,
];

#[derive(Debug, Clone)]
enum Step {
    Read(u8),
    Refund(u8, i64),
    Export,
    Below(u8),
    Answer(bool),
    Policies(usize),
    Grant(bool),
    Narrow(bool),
    Administrators(bool),
    Deed,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Read),
        4 => (0..3_u8, prop_oneof![Just(1_000), Just(2_500), Just(150_000)])
            .prop_map(|(order, amount)| Step::Refund(order, amount)),
        1 => Just(Step::Export),
        2 => (0..3_u8).prop_map(Step::Below),
        3 => any::<bool>().prop_map(Step::Answer),
        3 => (0..MORE.len()).prop_map(Step::Policies),
        1 => any::<bool>().prop_map(Step::Grant),
        1 => any::<bool>().prop_map(Step::Narrow),
        1 => any::<bool>().prop_map(Step::Administrators),
        2 => Just(Step::Deed),
        1 => Just(Step::Tick),
    ]
}

async fn take(world: &World, bots: &[Arc<Caller>; 2], step: Step) {
    let [bot, lookup] = bots;
    match step {
        Step::Read(order) => {
            world.verdict(bot, "get_order", &format!(r#"{{"order":"A-{order}"}}"#)).await;
        }
        Step::Refund(order, amount) => {
            let arguments = format!(r#"{{"order":"A-{order}","amount":{amount}}}"#);
            world.verdict(bot, "refund", &arguments).await;
        }
        Step::Export => drop(world.verdict(bot, "export", "{}").await),
        Step::Below(order) => {
            let tool = if order == 0 { "refund" } else { "get_order" };
            world.verdict(lookup, tool, &format!(r#"{{"order":"A-{order}"}}"#)).await;
        }
        Step::Answer(approve) => {
            let mut waiting = world.engine.directory.approvals();
            waiting.retain(|one| one.answers.is_empty());
            if let Some(one) = waiting.last() {
                world.answer(one.id, "max", "finance", approve).await;
            }
        }
        Step::Policies(more) => world.apply(&format!("{POLICIES}\n{}", MORE[more])).await,
        Step::Grant(revoked) => {
            let record = GrantRecord { revoked, ..grant("lena-desk", "lena", authority(DESK, 4)) };
            world.put(move |changes| changes.put(&record, Expect::Any, !revoked)).await;
        }
        Step::Narrow(narrow) => {
            let all = authority(DESK, 3);
            let mut record = blueprint("support", "lookup", DESK);
            record.0.authority =
                if narrow { authority(&[(&[Verb::Read], "desk/*/*")], 3) } else { all };
            world.put(move |changes| changes.put(&record, Expect::Any, !narrow)).await;
        }
        Step::Administrators(more) => {
            let record = person("max", if more { "administrator" } else { "finance" });
            world.put(move |changes| changes.put(&record, Expect::Any, more)).await;
        }
        Step::Deed => {
            let olivia = world.session("olivia").await;
            let _ = world.engine.allow(&olivia, Deed(Verb::Admin, "Server")).await;
        }
        Step::Tick => {
            world.tick(10_000);
            world.refresh().await;
        }
    }
}

fn remade(world: &World) -> Vec<Recomputed> {
    let (mut made, mut from) = (Vec::new(), Some(0));
    while let Some(start) = from {
        let (some, next) = world.engine.recompute(start..u64::MAX, 16).unwrap();
        assert!(some.len() <= 16);
        made.extend(some);
        from = next;
    }
    made
}

/// A world with support-bot, and lookup below it.
async fn working() -> (World, [Arc<Caller>; 2]) {
    let world = World::new().await;
    let (_, subject) = world.task(Some(eur(1_000_000))).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let bots = [world.believed("support-bot", &issued), world.lookup(&subject).await];
    (world, bots)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_of_any_history_comes_out_the_same_from_the_ledger(
        steps in prop::collection::vec(step(), 10..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, bots) = working().await;
            for step in steps {
                take(&world, &bots, step).await;
            }
            world.entries().await;
            for one in remade(&world) {
                let fine = matches!(one.remade, Remade::Same | Remade::Before(_));
                assert!(fine, "{one:?}");
            }
        });
    }
}

#[tokio::test]
async fn what_authority_and_policy_decide_is_made_again_and_nothing_else_is_claimed() {
    let (world, [bot, lookup]) = working().await;
    for (caller, tool, arguments, verdict, again) in [
        (&bot, "get_order", r#"{"order":"A-1"}"#, "permit", Remade::Same),
        (&bot, "refund", r#"{"order":"A-1","amount":400000}"#, "hold held", Remade::Same),
        (&bot, "export", "{}", "deny forbidden", Remade::Same),
        (&lookup, "refund", r#"{"order":"A-1","amount":1}"#, "deny beyond", Remade::Same),
        (&bot, "nothing", "{}", "deny", Remade::Before("tool_unknown".to_owned())),
    ] {
        assert!(world.verdict(caller, tool, arguments).await.starts_with(verdict), "{tool}");
        world.entries().await;
        assert_eq!(remade(&world).last().unwrap().remade, again, "{tool} {arguments}");
    }
}

#[tokio::test]
async fn a_decision_is_asked_again_under_todays_policies() {
    let (world, [bot, _]) = working().await;
    world.verdict(&bot, "get_order", r#"{"order":"A-1"}"#).await;
    world.entries().await;
    let last = |world: &World| remade(world).pop().unwrap();
    assert_eq!((last(&world).remade, last(&world).today), (Remade::Same, Some("permit")));
    world
        .apply(r#"@id("none") permit (principal in Team::"nobody", action, resource in System::"desk");"#)
        .await;
    assert_eq!((last(&world).remade, last(&world).today), (Remade::Same, Some("deny")));
}

/// The last decision, and what it says.
async fn last(world: &World) -> (Entry, Decision) {
    let entries = world.entries().await;
    let last = entries.into_iter().rfind(|entry| entry.leaf.kind == "decision").unwrap();
    let body = entries::read(&last.leaf.body).unwrap();
    (last, body)
}

/// An entry as the last decision's, of another action: whoever has the node's keys could write it.
fn forged(world: &World, like: &Entry, body: &Decision, verdict: &str, asked_for: &str) -> Draft {
    let mut draft = entries::draft(world.engine.context.id(), like.leaf.at, body);
    draft.action = Some(world.engine.context.id());
    draft.agent = like.leaf.agent.clone();
    (draft.person, draft.task) = (like.leaf.person.clone(), like.leaf.task);
    (draft.parents, draft.chain) = (like.leaf.parents.clone(), like.leaf.chain.clone());
    draft.verdict = Some(verdict.to_owned());
    draft.class = ledger::PayloadClass::Calls;
    draft.payload = Some(asked_for.as_bytes().to_vec());
    draft
}

/// The tree does not show it.
#[tokio::test]
async fn a_decision_that_nobody_could_have_made_is_found() {
    let (world, [bot, _]) = working().await;
    world.verdict(&bot, "export", "{}").await;
    let (denied, body) = last(&world).await;
    let forge = |body: &Decision, verdict: &str| forged(&world, &denied, body, verdict, "{}");
    let permitted = Decision { code: None, ..body.clone() };
    world.append(forge(&permitted, "permit")).await;
    let found = remade(&world).pop().unwrap();
    assert_eq!(found.remade, Remade::Differs(vec!["verdict"]));
    // With a policy that never stood there, it still does not come out.
    let by = body.policies.iter().filter(|policy| policy.id != "no-export").cloned().collect();
    world.append(forge(&Decision { policies: by, ..permitted.clone() }, "permit")).await;
    let found = remade(&world).pop().unwrap();
    assert_eq!(found.remade, Remade::Differs(vec!["policies", "verdict"]));
    let nothing = Decision { effects: Vec::new(), ..body };
    let mut draft = forge(&nothing, "deny");
    draft.payload = Some(br#"{"arguments":{}}"#.to_vec());
    world.append(draft).await;
    assert_eq!(remade(&world).pop().unwrap().remade, Remade::Differs(vec!["effects"]));
}

fn is_unapproved(made: Remade) -> bool {
    matches!(made, Remade::Differs(what) if what.contains(&"approval"))
}

const LARGE: &str = r#"{"amount":400000,"order":"A-2"}"#;

#[tokio::test]
async fn an_approval_that_was_not_given_or_was_for_something_else_is_found() {
    let (world, [bot, _]) = working().await;
    let ask = || world.attempt(&bot, "refund", LARGE);
    let id = ask().await.err().unwrap().approval.unwrap();
    let (held, body) = last(&world).await;
    let forge = |arguments: &str, body: &Decision| {
        let mut draft = forged(&world, &held, body, "permit", arguments);
        draft.approval = Some(id);
        draft
    };
    let permitted = Decision { code: None, ..body };
    let made = |world: &World| remade(world).pop().unwrap().remade;

    world.append(forge(LARGE, &permitted)).await;
    assert!(is_unapproved(made(&world)), "nobody had answered");
    world.answer(id, "max", "finance", true).await;
    drop(ask().await.unwrap());
    world.entries().await;
    let permits = |one: &Recomputed| one.verdict == "permit" && one.remade == Remade::Same;
    assert!(permits(remade(&world).last().unwrap()), "{:?}", remade(&world).last());

    let other = r#"{"amount":400001,"order":"A-2"}"#;
    drop(world.attempt(&bot, "refund", other).await.err().unwrap());
    let (_, body) = last(&world).await;
    world.append(forge(other, &Decision { code: None, ..body })).await;
    assert!(is_unapproved(made(&world)), "it was for another call");

    world.tick(2 * 3_600_000);
    world.refresh().await;
    let mut late = permitted;
    late.given.as_mut().unwrap().at = world.engine.context.now();
    world.append(forge(LARGE, &late)).await;
    assert!(is_unapproved(made(&world)), "it was no longer in force");
}

#[tokio::test]
async fn a_permit_on_what_had_been_replaced_long_before_is_found() {
    let (world, [bot, _]) = working().await;
    let arguments = r#"{"order":"A-1"}"#;
    assert_eq!(world.verdict(&bot, "get_order", arguments).await, "permit");
    let (like, body) = last(&world).await;
    let again = |world: &World| {
        let mut body = body.clone();
        body.given.as_mut().unwrap().at = world.engine.context.now();
        forged(world, &like, &body, "permit", arguments)
    };
    let made = |world: &World| remade(world).pop().unwrap().remade;

    world.apply(&format!("{POLICIES}\n{}", MORE[3])).await;
    let narrower = blueprint("support", "lookup", &[(&[Verb::Read], "desk/*/*")]);
    world.put(move |changes| changes.put(&narrower, Expect::Any, false)).await;
    world.entries().await;
    world.append(again(&world)).await;
    assert_eq!(made(&world), Remade::Same, "it may have been on its way");
    world.tick(61_000);
    world.refresh().await;
    world.append(again(&world)).await;
    assert_eq!(made(&world), Remade::Differs(vec!["objects", "policies"]));
}

#[tokio::test]
async fn a_permit_for_an_agent_that_was_suspended_is_found() {
    let (world, [bot, _]) = working().await;
    let arguments = r#"{"order":"A-1"}"#;
    assert_eq!(world.verdict(&bot, "get_order", arguments).await, "permit");
    let (like, mut body) = last(&world).await;
    let id = agent_id("support-bot");
    let active = world.engine.directory.agent(&id).unwrap();
    let mut record = agent("support-bot", "support");
    record.agent.state = State::Suspended { owner: person_id("olivia"), reason: "odd".to_owned() };
    world.put(move |changes| changes.put(&record, Expect::Any, false)).await;
    let suspended = world.engine.directory.agent(&id).unwrap();
    let given = body.given.as_mut().unwrap();
    let rows = given.objects.iter_mut().filter(|row| **row == active.row);
    rows.for_each(|row| *row = suspended.row);
    world.entries().await;
    world.append(forged(&world, &like, &body, "permit", arguments)).await;
    assert_eq!(remade(&world).pop().unwrap().remade, Remade::Differs(vec!["standing"]));
}

#[tokio::test]
async fn an_approval_in_vain_is_made_again_as_that() {
    let world = World::new().await;
    let obliged =
        POLICIES.replace("@id(\"desk-use\")", "@id(\"desk-use\") @obligation(\"mask:card\")");
    world.apply(&obliged).await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let id = world.attempt(&bot, "refund", LARGE).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    assert!(world.verdict(&bot, "refund", LARGE).await.starts_with("deny forbidden"));
    world.entries().await;
    assert_eq!(remade(&world).pop().unwrap().remade, Remade::Same);
}

#[tokio::test]
async fn what_is_missing_or_left_out_keeps_a_decision_from_being_made_again_and_is_said() {
    let (world, [bot, _]) = working().await;
    let secret = format!("glpat-{}", "Zx8Yw7Vu6Ts5Rq4Po3Nm");
    world.verdict(&bot, "get_order", &format!(r#"{{"order":"{secret}"}}"#)).await;
    world.entries().await;
    let Remade::Impossible(why) = remade(&world).pop().unwrap().remade else { panic!("made") };
    assert_eq!(why, "secrets were left out of what was asked for");
}
