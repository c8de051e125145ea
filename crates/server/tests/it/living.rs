//! The lives of agents: how they come, stand still, come back and end, and who says so.

use serde_json::{Value, json};
use token::{Algorithm, SigningKey};

use crate::office::Office;

/// What registers an agent with a fresh key.
fn registration(name: &str, owner: &str) -> Value {
    let key = SigningKey::generate(Algorithm::EdDSA).expect("a key").public().to_jwk().to_value();
    let part = "00".repeat(32);
    json!({
        "name": name, "blueprint": "support", "owner": owner, "purpose": "tests", "key": key,
        "version": { "model": "m-1", "prompt": part, "tools": part, "image": part },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_lives_as_its_owner_and_administrators_say() {
    let office = Office::open().await;
    office.agent().await;
    let step = |step: &str, body: Value| {
        let path = format!("/v1/agents/support-bot/{step}");
        async move { (path, body) }
    };
    let una = office.person("una", &[]).await;
    let (path, body) = step("suspend", json!({ "reason": "a test" })).await;
    assert_eq!(una.post(&path, body.clone()).await.status, 403);
    let agent = office.olivia.post(&path, body).await.ok();
    assert_eq!((&agent["state"], &agent["reason"]), (&json!("suspended"), &json!("a test")));
    let again = office.olivia.post(&path, json!({ "reason": "again" })).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    let (path, _) = step("reinstate", Value::Null).await;
    assert_eq!(una.post(&path, Value::Null).await.status, 403);
    let reinstated = office.olivia.post_with(&office.omar, &path, Value::Null).await;
    assert_eq!(reinstated["state"], "active");
    let again = office.olivia.post(&path, Value::Null).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"), "nobody is asked first");
    let (path, _) = step("retire", Value::Null).await;
    assert_eq!(office.olivia.post(&path, json!({})).await.ok()["state"], "retired");
    let got = office.olivia.get("/v1/agents/support-bot").await.ok();
    assert_eq!((&got["state"], &got["owner"]), (&json!("retired"), &Value::Null));
    let missing = office.olivia.post("/v1/agents/nobody/retire", Value::Null).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_does_not_govern_sees_and_suspends_their_agent_and_no_other() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &[]).await;
    office.olivia.post_with(&office.omar, "/v1/agents", registration("una-bot", "una")).await;
    assert_eq!(una.get("/v1/agents/una-bot").await.ok()["owner"], una.id.to_string());
    assert_eq!(una.get("/v1/agents/support-bot").await.status, 403);
    let suspended = una.post("/v1/agents/una-bot/suspend", json!({ "reason": "odd" })).await.ok();
    assert_eq!(suspended["state"], "suspended");
    let held = una.post("/v1/agents/una-bot/reinstate", Value::Null).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert_eq!(held.json()["policies"], json!(["guard-second-person-agents"]));
    let approval = held.json()["approval"].as_str().unwrap().to_owned();
    assert_eq!(una.answer(&approval, true).await.status, 403, "nobody approves their own");
    let shown = office.omar.get(&format!("/v1/approvals/{approval}")).await.ok();
    assert_eq!(shown["shown"]["act"]["from"]["reason"], "odd", "why it was suspended");
    office.omar.answer(&approval, true).await.ok();
    let path = "/v1/agents/una-bot/reinstate";
    assert_eq!(una.post(path, Value::Null).await.ok()["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deputy_stands_in_for_the_owner() {
    let office = Office::open().await;
    office.agent().await;
    let (una, dan) = (office.person("una", &[]).await, office.person("dan", &[]).await);
    let mut body = registration("una-bot", "una");
    body["deputy"] = json!("dan");
    office.olivia.post_with(&office.omar, "/v1/agents", body).await;
    assert_eq!(dan.get("/v1/agents/una-bot").await.ok()["owner"], una.id.to_string());
    dan.post("/v1/agents/una-bot/suspend", json!({ "reason": "odd" })).await.ok();
    let reinstated = dan.post_with(&office.omar, "/v1/agents/una-bot/reinstate", Value::Null).await;
    assert_eq!(reinstated["state"], "active");
    let stop = json!({ "scope": "agent:una-bot", "reason": "odd" });
    assert_eq!(dan.post("/v1/stops", stop.clone()).await.status, 200);
    assert_eq!(una.post("/v1/stops", stop).await.status, 200, "the owner is the owner still");
    let other = json!({ "scope": "agent:support-bot", "reason": "odd" });
    assert_eq!(dan.post("/v1/stops", other).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_to_reinstate_ends_no_other_suspension_than_the_one_that_was_shown() {
    let office = Office::open().await;
    office.agent().await;
    let path = |step: &str| format!("/v1/agents/support-bot/{step}");
    let suspend = async |reason: &str| {
        office.olivia.post(&path("suspend"), json!({ "reason": reason })).await.ok()
    };
    suspend("a drill").await;
    let held = office.olivia.post(&path("reinstate"), Value::Null).await;
    office.omar.answer(held.json()["approval"].as_str().unwrap(), true).await.ok();
    // Omar reinstates it himself meanwhile, and it is suspended for another reason.
    office.omar.post_with(&office.olivia, &path("reinstate"), Value::Null).await;
    suspend("it misbehaves").await;
    let again = office.olivia.post(&path("reinstate"), Value::Null).await;
    assert_eq!(again.code(), "held", "the yes was to the end of the drill");
    assert_ne!(again.json()["approval"], held.json()["approval"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_and_its_key_come_by_two_administrators_and_no_private_key_is_kept() {
    let office = Office::open().await;
    office.agent().await;
    let agent = registration("new-bot", "olivia");
    let held = office.olivia.post("/v1/agents", agent.clone()).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert_eq!(held.json()["policies"], json!(["guard-second-person-agents"]));
    let approval = held.json()["approval"].as_str().unwrap().to_owned();
    let shown = office.omar.get(&format!("/v1/approvals/{approval}")).await.ok();
    assert_eq!(shown["shown"]["act"]["key"], agent["key"], "the key is part of what is approved");
    assert_eq!(office.olivia.get("/v1/agents/new-bot").await.status, 404);
    office.omar.answer(&approval, true).await.ok();
    office.olivia.post("/v1/agents", agent).await.ok();

    let mut private = registration("private-bot", "olivia");
    private["key"]["d"] = json!("a-secret");
    assert_eq!(office.olivia.post("/v1/agents", private).await.code(), "invalid");
    let entries = office.olivia.get("/v1/ledger/entries?limit=1000&payload=true").await;
    assert!(entries.status == 200 && !entries.text().contains("a-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_no_stop_could_name_is_refused() {
    let office = Office::open().await;
    office.agent().await;
    let register = async |model: &str| {
        let mut body = registration("odd-bot", "olivia");
        body["version"]["model"] = json!(model);
        office.olivia.post("/v1/agents", body).await
    };
    for model in ["", "a..b", "a b", "a//b", "50%", "a\u{0}b", "m\u{e9}"] {
        let reply = register(model).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid"), "{model:?}");
        assert!(reply.text().contains("that a stop could name"), "{}", reply.text());
    }
    let model = "meta-llama/Llama-3.1-70B-Instruct@2:0";
    assert_eq!(register(model).await.code(), "held");
    let stop = json!({ "scope": format!("model:{model}"), "reason": "a drill" });
    assert_eq!(office.olivia.post("/v1/stops", stop).await.ok()["known"], true);
}
