//! Policies that come into force while a call is on its way, or while what it opened lasts.

use futures_util::FutureExt as _;
use model::ijson::Json;
use store::Expect;

use super::{
    cast::{DESK, POLICIES, authority, eur, grant},
    world::World,
};
use crate::{Dispatch, Ending, GrantRecord, LEASE_MILLIS};

const LARGE: &str = r#"{"order":"A-2","amount":400000}"#;

/// The policies with one more.
fn and(more: &str) -> String {
    format!("{POLICIES}\n@id(\"one-more\") {more}")
}

fn is_cut(dispatch: &Dispatch) -> bool {
    dispatch.cut().now_or_never().is_some()
}

#[tokio::test]
async fn policies_that_forbid_one_thing_cut_the_calls_to_it_and_no_other() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let read = async |order| {
        let permit = world.attempt(&bot, "get_order", order).await.expect("it is permitted");
        permit.dispatch().expect("nothing has moved")
    };
    let (one, other) = (read(r#"{"order":"A-1"}"#).await, read(r#"{"order":"A-2"}"#).await);
    let lasting = (one.lasting(), other.lasting());
    world.apply(&and(r#"forbid (principal, action, resource == Order::"desk/A-1");"#)).await;
    assert_eq!((is_cut(&one), is_cut(&other)), (true, false));
    assert_eq!((lasting.0.stands(&bot), lasting.1.stands(&bot)), (false, true));
    drop(one);
    other.settle(Ending::Completed, None).await.unwrap();
    let entries = world.entries().await;
    let outcomes = entries.iter().filter(|entry| entry.leaf.kind == "outcome");
    let status = outcomes.map(|entry| entry.leaf.body.member("status").and_then(Json::as_str));
    assert_eq!(status.collect::<Vec<_>>(), [Some("cut"), Some("completed")]);
}

#[tokio::test]
async fn policies_that_hold_or_do_not_permit_any_more_cut_too() {
    let waits = and(r#"@hold("finance") forbid (principal, action == Action::"read", resource);"#);
    for policies in [waits.as_str(), ""] {
        let world = World::new().await;
        let bot = world.bot(None).await;
        let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
        let dispatch = permit.dispatch().unwrap();
        assert!(!is_cut(&dispatch));
        world.apply(policies).await;
        assert!(is_cut(&dispatch), "{policies}");
    }
}

/// What a call has spent itself does not count against it, nor does the demand that was met for it.
#[tokio::test]
async fn what_was_approved_and_reserved_for_a_call_stands_when_other_policies_change() {
    let world = World::new().await;
    let bot = world.bot(Some(eur(500_000))).await;
    let id = world.attempt(&bot, "refund", LARGE).await.err().unwrap().approval.unwrap();
    world.answer(id, "max", "finance", true).await;
    let spends = r#"forbid (principal, action == Action::"pay", resource) when { context has spent && context.spent > 0 };"#;
    let dispatch = world.attempt(&bot, "refund", LARGE).await.unwrap().dispatch().unwrap();
    world.apply(&and(spends)).await;
    assert!(!is_cut(&dispatch));
    let stricter = POLICIES.replace("large-refunds-wait", "refunds-wait");
    world.apply(&stricter).await;
    assert!(is_cut(&dispatch), "what was approved lifts no other policy");
}

#[tokio::test]
async fn what_was_approved_does_not_lift_a_policy_that_was_reworded_since() {
    let reworded = [("@hold(\"finance\")", "@hold(\"board\")"), ("100000", "50000")];
    for (former, wording) in reworded {
        let world = World::new().await;
        let bot = world.bot(Some(eur(500_000))).await;
        let id = world.attempt(&bot, "refund", LARGE).await.err().unwrap().approval.unwrap();
        world.answer(id, "max", "finance", true).await;
        let dispatch = world.attempt(&bot, "refund", LARGE).await.unwrap().dispatch().unwrap();
        let lasting = dispatch.lasting();
        assert!(lasting.stands(&bot));
        world.apply(&POLICIES.replace(former, wording)).await;
        assert!(!lasting.stands(&bot));
        assert!(is_cut(&dispatch), "{wording}");
    }
}

#[tokio::test]
async fn the_result_of_a_call_that_policies_forbid_meanwhile_is_withheld() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    world.apply(&and("forbid (principal, action, resource is Order);")).await;
    let withheld = dispatch.settle(Ending::Completed, None).await.unwrap_err();
    assert_eq!(withheld.code.text(), "stopped");
}

#[tokio::test]
async fn what_a_call_opened_ends_with_the_right_to_it() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let permit = world.attempt(&bot, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let dispatch = permit.dispatch().unwrap();
    let lasting = dispatch.lasting();
    dispatch.settle(Ending::Completed, None).await.unwrap();
    assert!(lasting.stands(&bot));
    world.tick(LEASE_MILLIS + 1);
    assert!(!lasting.stands(&bot), "what is in force is not known without the lease");
    world.refresh().await;
    assert!(lasting.stands(&bot));
    let revoked = GrantRecord { revoked: true, ..grant("lena-desk", "lena", authority(DESK, 4)) };
    world.put(move |changes| changes.put(&revoked, Expect::Any, false)).await;
    assert!(!lasting.stands(&bot));
}
