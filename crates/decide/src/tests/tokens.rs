use model::{State, Verb};
use store::Expect;

use super::{
    cast::{agent, agent_id, authority, eur},
    world::World,
};
use crate::{Code, Exchange, TokenRefused, stop::StopScope};

fn code(refused: &TokenRefused) -> String {
    match refused {
        TokenRefused::Refused(refusal) => refusal.code.text().to_owned(),
        TokenRefused::InvalidClient(why) => format!("invalid_client {why}"),
        TokenRefused::InvalidGrant(why) => format!("invalid_grant {why}"),
        TokenRefused::InvalidTarget(why) => format!("invalid_target {why}"),
        TokenRefused::InvalidProof(why) => format!("invalid_dpop_proof {why}"),
        TokenRefused::UseNonce => "use_dpop_nonce".to_owned(),
    }
}

/// What an exchange by `agent` of a task's token gives, changed as the test wants it.
async fn refused(world: &World, agent: &str, change: impl FnOnce(&mut Exchange<'_>)) -> String {
    let (_, subject) = world.task(Some(eur(100))).await;
    match world.exchange(agent, &subject, change).await {
        Ok(issued) => format!("issued for {}", issued.audience),
        Err(why) => code(&why),
    }
}

#[tokio::test]
async fn the_token_of_an_exchange_keeps_person_and_agent_apart() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    assert_eq!(bot.claims.sub, "spiffe://acme.example/prod/person/lena");
    assert_eq!(
        bot.claims.act.as_ref().unwrap().sub,
        "spiffe://acme.example/prod/agent/support-bot"
    );
    assert_eq!(bot.claims.aud, "http://127.0.0.1:8/mcp/desk");
    assert_eq!(bot.claims.links.len(), 2);
    assert!(bot.claims.may_act.is_none());
    assert!(world.engine.tasks.is_issued(bot.claims.entry));
}

#[tokio::test]
async fn only_the_agent_named_in_may_act_exchanges_a_token() {
    let world = World::new().await;
    assert_eq!(
        refused(&world, "support-bot", |_| ()).await,
        "issued for http://127.0.0.1:8/mcp/desk"
    );
    assert_eq!(refused(&world, "lookup", |_| ()).await, "not_delegable");
}

#[tokio::test]
async fn an_exchange_widens_neither_by_place_nor_by_right_nor_by_hand_over() {
    let world = World::new().await;
    let elsewhere = Some("http://elsewhere.example");
    let desk = Some("http://127.0.0.1:8/mcp/desk");
    assert!(
        refused(&world, "support-bot", |wish| wish.audience = elsewhere)
            .await
            .starts_with("invalid_target")
    );
    assert!(
        refused(&world, "support-bot", |wish| wish.resource = elsewhere)
            .await
            .starts_with("invalid_target")
    );
    let both =
        refused(&world, "support-bot", |wish| (wish.audience, wish.resource) = (desk, elsewhere))
            .await;
    assert!(both.starts_with("invalid_target"), "{both}");
    let more = authority(&[(&[Verb::Delete], "desk/*/*")], 1);
    assert_eq!(
        refused(&world, "support-bot", |wish| wish.authority = Some(more)).await,
        "beyond_authority"
    );
    let deeper = authority(&[(&[Verb::Read], "desk/*/*")], 7);
    assert_eq!(
        refused(&world, "support-bot", |wish| wish.authority = Some(deeper)).await,
        "beyond_authority"
    );
    let stranger = Some("spiffe://acme.example/prod/agent/support-bot");
    assert_eq!(
        refused(&world, "support-bot", |wish| wish.requested_actor = stranger).await,
        "not_delegable"
    );
}

#[tokio::test]
async fn a_handed_token_can_only_be_exchanged_by_the_child() {
    let world = World::new().await;
    let (_, subject) = world.task(None).await;
    let child = Some("spiffe://acme.example/prod/agent/lookup");
    let handed =
        world.exchange("support-bot", &subject, |wish| wish.requested_actor = child).await.unwrap();
    assert_eq!(handed.audience, "http://127.0.0.1:9");
    let again = world.exchange("support-bot", &handed.access_token, |_| ()).await.unwrap_err();
    assert_eq!(code(&again), "not_delegable");
    world.exchange("lookup", &handed.access_token, |_| ()).await.unwrap();
}

#[tokio::test]
async fn an_assertion_or_a_proof_is_used_once() {
    let world = World::new().await;
    let (_, subject) = world.task(None).await;
    let mut seen = None;
    let keep = |wish: &mut Exchange<'_>| {
        seen = Some((wish.client_assertion.to_owned(), wish.proof.unwrap().to_owned()))
    };
    world.exchange("support-bot", &subject, keep).await.unwrap();
    let (assertion, proof) = seen.unwrap();
    let assertion: &'static str = assertion.leak();
    let proof: &'static str = proof.leak();
    let replayed =
        world.exchange("support-bot", &subject, |wish| wish.client_assertion = assertion).await;
    assert_eq!(code(&replayed.unwrap_err()), "invalid_client the assertion was used before");
    let replayed = world.exchange("support-bot", &subject, |wish| wish.proof = Some(proof)).await;
    assert!(code(&replayed.unwrap_err()).starts_with("invalid_dpop_proof"));
}

#[tokio::test]
async fn a_used_assertion_stays_used_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let target = store::Target::Sqlite(directory.path().join("db"));
    let world = World::empty(target.clone()).await;
    world.found().await;
    let (_, subject) = world.task(None).await;
    let mut seen = None;
    let keep = |wish: &mut Exchange<'_>| seen = Some(wish.client_assertion.to_owned());
    world.exchange("support-bot", &subject, keep).await.unwrap();
    let assertion: &'static str = seen.unwrap().leak();
    let world = world.restart(&target).await;
    let replayed =
        world.exchange("support-bot", &subject, |wish| wish.client_assertion = assertion).await;
    assert_eq!(code(&replayed.unwrap_err()), "invalid_client the assertion was used before");
    world.exchange("support-bot", &subject, |_| ()).await.unwrap();
}

#[tokio::test]
async fn a_stopped_or_suspended_agent_gets_no_token_and_its_child_neither() {
    let world = World::new().await;
    let (_, subject) = world.task(None).await;
    let child = Some("spiffe://acme.example/prod/agent/lookup");
    let handed =
        world.exchange("support-bot", &subject, |wish| wish.requested_actor = child).await.unwrap();
    let olivia = world.session("olivia").await;
    let scope: StopScope = "agent:support-bot".parse().unwrap();
    let allowed = world
        .engine
        .allow(&olivia, crate::Stop { scope, reason: "test".to_owned() })
        .await
        .unwrap();
    world.engine.stop(&allowed).await;
    let own = world.exchange("support-bot", &subject, |_| ()).await.unwrap_err();
    assert_eq!(code(&own), "stopped");
    let below = world.exchange("lookup", &handed.access_token, |_| ()).await.unwrap_err();
    assert_eq!(code(&below), "stopped");
}

#[tokio::test]
async fn a_version_that_nobody_accepted_gets_no_token_and_ends_those_it_has() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let mut other = agent("support-bot", "support");
    other.agent.version.digest = model::Digest([9; 32]);
    world.put(move |changes| changes.put(&other, Expect::Any, true)).await;
    let (_, subject) = world.task(None).await;
    let refused = world.exchange("support-bot", &subject, |_| ()).await.unwrap_err();
    assert_eq!(code(&refused), "version_not_accepted");
    assert!(
        world
            .verdict(&bot, "get_order", r#"{"order":"A-1"}"#)
            .await
            .starts_with("deny version_not_accepted")
    );
}

#[tokio::test]
async fn an_agent_without_an_active_owner_does_nothing() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let mut orphan = agent("support-bot", "support");
    let owner = "person/nobody".parse().unwrap();
    orphan.agent.state = State::Active { owner, since: model::Timestamp::default() };
    world.put(move |changes| changes.put(&orphan, Expect::Any, true)).await;
    assert!(
        world
            .verdict(&bot, "get_order", r#"{"order":"A-1"}"#)
            .await
            .starts_with("deny owner_not_active")
    );
}

#[tokio::test]
async fn an_ended_task_ends_everything_in_it() {
    let world = World::new().await;
    let (task, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    let lena = world.session("lena").await;
    let end = crate::EndTask { task, person: lena.person.clone() };
    let allowed = world.engine.allow(&lena, end).await.unwrap();
    world.engine.end_task(&allowed).unwrap();
    assert!(
        world
            .verdict(&lookup, "get_order", r#"{"order":"A-1"}"#)
            .await
            .starts_with("deny task_over")
    );
    let refused = world.exchange("support-bot", &subject, |_| ()).await.unwrap_err();
    assert_eq!(code(&refused), "task_over");
}

#[tokio::test]
async fn a_token_that_the_ledger_never_issued_is_refused_and_recorded() {
    let world = World::new().await;
    let bot = world.bot(None).await;
    let mut claims = bot.claims.clone();
    claims.entry = model::Digest([5; 32]);
    let forged = claims.sign(world.engine.issuer.keys.load().current()).unwrap();
    let refused = world.engine.verified(&forged, &claims.aud).unwrap_err();
    assert_eq!(refused, crate::NotAuthenticated::NotIssued);
    assert_eq!(world.recorded().await.last().unwrap(), "decision deny");
    assert_eq!(Code::NotIssued.text(), "not_issued");
    assert_eq!(bot.current(), &agent_id("support-bot"));
    // What it claims to follow from is of no ledger, and this one lacks nothing.
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}
