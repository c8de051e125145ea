//! Tokens that are bound to no key: who gets one, for what, and where it counts.

use std::sync::Arc;

use model::{Sender, Verb};
use store::Expect;

use super::{
    cast::{DESK, POLICIES, agent_id, authority, blueprint},
    world::World,
};
use crate::{
    BlueprintRecord, Caller, Exchange, Issued, NotAuthenticated, Presented, TokenRefused,
    entries::Body as _,
};

const GATEWAY: &str = "http://127.0.0.1:8/mcp/desk";

fn template(sender: Sender) -> BlueprintRecord {
    let BlueprintRecord(support) = blueprint("support", "lookup", DESK);
    BlueprintRecord(model::Blueprint { sender, ..support })
}

async fn let_be(world: &World, sender: Sender) {
    world.put(move |changes| changes.put(&template(sender), Expect::Any, true)).await;
}

/// Where agents of support-bot's kind may do without a key.
async fn loose() -> World {
    let world = World::new().await;
    let_be(&world, Sender::Bearer).await;
    world
}

/// What support-bot gets without a proof, by an exchange changed as the test wants it.
async fn unproved(
    world: &World,
    change: impl FnOnce(&mut Exchange<'_>),
) -> Result<Issued, TokenRefused> {
    let (_, subject) = world.task(None).await;
    let change = |wish: &mut Exchange<'_>| {
        wish.proof = None;
        change(wish);
    };
    world.exchange("support-bot", &subject, change).await
}

fn present(
    world: &World,
    token: &str,
    scheme: &str,
    may_be_unbound: bool,
) -> Result<Arc<Caller>, NotAuthenticated> {
    world.engine.authenticate(Presented {
        authorization: Some(&format!("{scheme} {token}")),
        proof: None,
        method: "POST",
        url: GATEWAY,
        audience: GATEWAY,
        may_be_unbound,
    })
}

/// Support-bot, believed without a proof.
async fn bearer(world: &World) -> (String, Arc<Caller>) {
    let token = unproved(world, |_| ()).await.unwrap().access_token;
    let caller = present(world, &token, "Bearer", true).unwrap();
    (token, caller)
}

fn why(refused: Result<Issued, TokenRefused>) -> String {
    match refused {
        Ok(issued) => format!("issued for {}", issued.audience),
        Err(TokenRefused::Refused(why)) => format!("{}: {}", why.code.text(), why.reason),
        Err(other) => other.to_string(),
    }
}

#[tokio::test]
async fn an_agent_whose_blueprint_says_so_gets_a_short_token_without_a_key() {
    let world = loose().await;
    let issued = unproved(&world, |_| ()).await.unwrap();
    assert_eq!((issued.sender, issued.audience.as_str()), (Sender::Bearer, GATEWAY));
    let life = issued.expires.seconds() - world.engine.context.now().seconds();
    assert!((1..=300).contains(&life), "{life} s");
    let entries = world.entries().await;
    let issuance =
        entries.iter().rfind(|entry| entry.leaf.kind == crate::entries::TokenIssued::KIND);
    let leaf = &issuance.unwrap().leaf;
    assert_eq!(leaf.body.member("sender").unwrap().as_str(), Some("bearer"));
    assert!(leaf.body.member("key").is_none() && leaf.agent.as_ref().unwrap().instance.is_none());
    // One that proves its key gets what it always got.
    let (_, subject) = world.task(None).await;
    let bound = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    assert_eq!(bound.sender, Sender::Dpop);
}

#[tokio::test]
async fn a_long_token_of_the_blueprint_is_cut_to_five_minutes_without_a_key() {
    let world = World::new().await;
    let BlueprintRecord(support) = template(Sender::Bearer);
    let patient = BlueprintRecord(model::Blueprint { token_ttl_seconds: 900, ..support });
    world.put(move |changes| changes.put(&patient, Expect::Any, true)).await;
    let issued = unproved(&world, |_| ()).await.unwrap();
    assert_eq!(issued.expires.seconds() - world.engine.context.now().seconds(), 300);
}

#[tokio::test]
async fn what_people_may_be_asked_about_is_not_in_it() {
    let world = loose().await;
    let issued = unproved(&world, |_| ()).await.unwrap();
    let [clause] = &issued.authority.clauses[..] else { panic!("one clause") };
    assert_eq!(format!("{:?}", clause.verbs), r#"{"read", "list", "export"}"#);
    assert_eq!(issued.authority.depth, 0);
    let caller = present(&world, &issued.access_token, "Bearer", true).unwrap();
    assert_eq!(world.verdict(&caller, "get_order", r#"{"order":"A-1"}"#).await, "permit");
    let small = world.verdict(&caller, "refund", r#"{"order":"A-1","amount":1}"#).await;
    assert!(small.starts_with("deny beyond_authority"), "{small}");
    let wish = |verbs: &[Verb]| Some(authority(&[(verbs, "desk/*/*")], 0));
    let pays = unproved(&world, |request| request.authority = wish(&[Verb::Read, Verb::Pay])).await;
    let pays = why(pays);
    assert!(
        pays.starts_with("beyond_authority: people may have to be asked about `pay`"),
        "{pays}"
    );
    let reads = unproved(&world, |request| request.authority = wish(&[Verb::Read])).await;
    assert_eq!(why(reads), format!("issued for {GATEWAY}"));
}

#[tokio::test]
async fn where_everything_may_wait_there_is_no_token_without_a_key() {
    let world = loose().await;
    world
        .apply(&format!(
            "{POLICIES}\n@id(\"all-wait\") @hold(\"finance\") forbid (principal is Person, action, resource) when {{ context.depth > 90 }};"
        ))
        .await;
    let refused = why(unproved(&world, |_| ()).await);
    assert!(refused.starts_with("beyond_authority: people may have to be asked"), "{refused}");
}

#[tokio::test]
async fn a_policy_that_comes_later_holds_nothing_for_it_but_refuses() {
    let world = loose().await;
    let (_, caller) = bearer(&world).await;
    let read = r#"{"order":"A-1"}"#;
    assert_eq!(world.verdict(&caller, "get_order", read).await, "permit");
    world
        .apply(&format!(
            "{POLICIES}\n@id(\"reads-wait\") @hold(\"finance\") forbid (principal, action == Action::\"read\", resource) when {{ context.depth > 90 }};"
        ))
        .await;
    let refused = world.verdict(&caller, "get_order", read).await;
    assert!(
        refused.starts_with("deny beyond_authority: people may have to be asked about `read`"),
        "{refused}"
    );
    let bound = world.bot(None).await;
    assert_eq!(
        world.verdict(&bound, "get_order", read).await,
        "permit",
        "this one would never wait"
    );
}

#[tokio::test]
async fn without_a_proof_there_is_no_token_where_the_blueprint_does_not_say_so() {
    let world = World::new().await;
    let refused = why(unproved(&world, |_| ()).await);
    assert!(refused.starts_with("exactly one `DPoP` header has to be there"), "{refused}");
    let entries = world.entries().await;
    let denial = entries.iter().rfind(|entry| entry.leaf.kind == crate::entries::Decision::KIND);
    let leaf = &denial.unwrap().leaf;
    assert_eq!(leaf.verdict.as_deref(), Some("deny"));
    assert_eq!(leaf.body.member("code").unwrap().as_str(), Some("unauthenticated"));
    assert_eq!(leaf.agent.as_ref().unwrap().id, agent_id("support-bot"));
    let_be(&world, Sender::Bearer).await;
    let child = Some("spiffe://acme.example/prod/agent/lookup");
    let refused = why(unproved(&world, |wish| wish.requested_actor = child).await);
    assert!(refused.starts_with("exactly one `DPoP` header has to be there"), "{refused}");
    let itself = why(unproved(&world, |wish| wish.audience = Some("http://127.0.0.1:9")).await);
    assert!(itself.starts_with("this token cannot be exchanged"), "{itself}");
}

/// What support-bot hands to lookup, whose blueprint lets it do without a key.
#[tokio::test]
async fn what_an_agent_holds_by_its_key_does_not_go_on_without_one_below_it() {
    let world = loose().await;
    let BlueprintRecord(below) = blueprint("lookup", "none", &[(&[Verb::Read], "desk/*/*")]);
    let below = BlueprintRecord(model::Blueprint { sender: Sender::Bearer, ..below });
    world.put(move |changes| changes.put(&below, Expect::Any, true)).await;
    let (_, subject) = world.task(None).await;
    let child = Some("spiffe://acme.example/prod/agent/lookup");
    let handed =
        world.exchange("support-bot", &subject, |wish| wish.requested_actor = child).await.unwrap();
    let unproved = || world.exchange("lookup", &handed.access_token, |wish| wish.proof = None);
    let issued = unproved().await.unwrap();
    let caller = present(&world, &issued.access_token, "Bearer", true).unwrap();
    let read = r#"{"order":"A-1"}"#;
    assert_eq!(world.verdict(&caller, "get_order", read).await, "permit");

    let_be(&world, Sender::Dpop).await;
    let refused = why(unproved().await);
    assert!(refused.contains("the blueprint of `agent/support-bot` does not say"), "{refused}");
    let refused = present(&world, &issued.access_token, "Bearer", true).unwrap_err();
    assert_eq!(refused, NotAuthenticated::Unbound);
    let verdict = world.verdict(&caller, "get_order", read).await;
    assert!(verdict.starts_with("deny unauthenticated"), "{verdict}");
}

#[tokio::test]
async fn a_token_without_a_key_counts_as_bearer_at_the_gateway_alone() {
    let world = loose().await;
    let (token, caller) = bearer(&world).await;
    assert!(!caller.claims.is_bound());
    for (scheme, may_be_unbound) in
        [("DPoP", true), ("DPoP", false), ("Bearer", false), ("Basic", true)]
    {
        let refused = present(&world, &token, scheme, may_be_unbound).unwrap_err();
        assert_eq!(refused, NotAuthenticated::Unbound, "{scheme}");
        assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
    }
    let refused = world.exchange("lookup", &token, |wish| wish.proof = None).await;
    assert!(refused.is_err());
    let refused = world.exchange("lookup", &token, |_| ()).await;
    assert!(matches!(refused, Err(TokenRefused::InvalidGrant(_))));
}

#[tokio::test]
async fn a_token_with_a_key_does_not_count_as_bearer() {
    let world = loose().await;
    let (_, subject) = world.task(None).await;
    let issued = world.exchange("support-bot", &subject, |_| ()).await.unwrap();
    let refused = present(&world, &issued.access_token, "Bearer", true).unwrap_err();
    assert_eq!(refused, NotAuthenticated::Scheme);
}

#[tokio::test]
async fn a_blueprint_that_says_it_no_longer_ends_such_tokens_at_once() {
    let world = loose().await;
    let (token, caller) = bearer(&world).await;
    let permit = world.attempt(&caller, "get_order", r#"{"order":"A-1"}"#).await.unwrap();
    let_be(&world, Sender::Dpop).await;
    assert_eq!(permit.dispatch().err().unwrap().code.text(), "unauthenticated");
    assert_eq!(present(&world, &token, "Bearer", true).unwrap_err(), NotAuthenticated::Unbound);
    let refused = world.verdict(&caller, "get_order", r#"{"order":"A-1"}"#).await;
    assert!(refused.starts_with("deny unauthenticated"), "{refused}");
    assert!(world.engine.listable(&caller, &"desk".parse().unwrap()).is_empty());
}
