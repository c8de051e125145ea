//! The token endpoint: sessions for people, exchanges for agents, and every way of being refused.

use serde_json::{Value, json};
use testkit::world::Reply;

use crate::office::{Office, all_of_desk, authority};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn details(authority: &Value) -> String {
    json!([{ "type": "bailiwick", "authority": authority }]).to_string()
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, error: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (status, error), "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.header("dpop-nonce").is_some());
    let json = reply.json();
    let description = json["error_description"].as_str().expect("a description");
    assert!(
        description
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'),
        "{description}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_discovers_where_tokens_and_keys_are() {
    let office = Office::open().await;
    let url = format!("{}/.well-known/oauth-authorization-server", office.world.url());
    let metadata = office.world.wire().send("GET", &url, &[], "").await.ok();
    assert_eq!(metadata["issuer"], office.world.url());
    assert_eq!(metadata["token_endpoint"], format!("{}/oauth/token", office.world.url()));
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    assert_eq!(metadata["response_types_supported"], json!([]));
    let keys =
        office.world.wire().send("GET", metadata["jwks_uri"].as_str().unwrap(), &[], "").await;
    assert_eq!(keys.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(keys.ok()["keys"][0]["use"], "sig");
    assert!(!keys.text().contains("\"d\""), "no private key leaves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_opens_a_session_by_their_own_word_once() {
    let office = Office::open().await;
    let assertion = office.olivia.assertion();
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
    let reply = office.world.token(&office.olivia.prover, &form).await;
    let token = reply.ok();
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        (&token["token_type"], &token["issued_token_type"]),
        (&json!("DPoP"), &json!(ACCESS_TOKEN))
    );
    assert!(token["expires_in"].as_i64().unwrap() > 0);
    assert_eq!(token["authorization_details"][0]["type"], "bailiwick");
    assert_refused(&office.world.token(&office.olivia.prover, &form).await, 400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_says_too_much_too_little_or_twice_is_refused() {
    let office = Office::open().await;
    let assertion = office.olivia.assertion();
    let grant = ("grant_type", JWT_BEARER);
    let word = ("assertion", assertion.as_str());
    let table: [(&[(&str, &str)], &str); 9] = [
        (&[word], "invalid_request"),
        (&[grant], "invalid_request"),
        (&[grant, ("assertion", "")], "invalid_request"),
        (&[grant, word, word], "invalid_request"),
        (&[("grant_type", "password"), word], "unsupported_grant_type"),
        (&[grant, word, ("scope", "all")], "invalid_scope"),
        (&[grant, word, ("audience", "https://elsewhere.example")], "invalid_target"),
        (&[grant, word, ("client_assertion", "x")], "invalid_request"),
        (&[grant, ("assertion", "a.b.c")], "invalid_grant"),
    ];
    for (form, error) in table {
        assert_refused(&office.world.token(&office.olivia.prover, form).await, 400, error);
    }
    let more = [grant, word, ("scope", ""), ("unknown", "ignored"), ("unknown", "twice")];
    office.world.token(&office.olivia.prover, &more).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_takes_a_form_with_exactly_one_proof() {
    let office = Office::open().await;
    let url = format!("{}/oauth/token", office.world.url());
    let prove = || office.world.prove(&office.olivia.prover, "POST", &url, None);
    let (one, other) = (prove().await, prove().await);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = "grant_type=x";
    let send = |headers: Vec<(&'static str, String)>, body: String| {
        let (office, url) = (&office, &url);
        async move {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            office.world.wire().send("POST", url, &headers, body).await
        }
    };
    let form = || (form.0, form.1.to_owned());
    let json = ("content-type", "application/json".to_owned());
    assert_refused(&send(vec![form()], body.to_owned()).await, 400, "invalid_dpop_proof");
    let two = vec![form(), ("dpop", one.clone()), ("dpop", other.clone())];
    assert_refused(&send(two, body.to_owned()).await, 400, "invalid_dpop_proof");
    assert_refused(
        &send(vec![json, ("dpop", one.clone())], "{}".to_owned()).await,
        415,
        "invalid_request",
    );
    let basic = vec![form(), ("dpop", one.clone()), ("authorization", "Basic eDp5".to_owned())];
    assert_refused(&send(basic, body.to_owned()).await, 401, "invalid_client");
    let long = format!("grant_type={}", "x".repeat(200 * 1024));
    assert_refused(&send(vec![form(), ("dpop", one)], long).await, 400, "invalid_request");
    let url_of_get = office.world.wire().send("GET", &url, &[], "").await;
    assert_eq!(url_of_get.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_without_a_nonce_learns_one_and_leaves_the_assertion_unused() {
    let office = Office::open().await;
    let url = format!("{}/oauth/token", office.world.url());
    let request = token::dpop::Request { method: "POST", url: &url, access_token: None };
    let proof = office.olivia.prover.prove(&request, None, office.world.now(), "first").unwrap();
    let assertion = office.olivia.assertion();
    let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("dpop", &proof)];
    let reply = office.world.wire().send("POST", &url, &headers, body).await;
    assert_refused(&reply, 400, "use_dpop_nonce");
    let nonce = reply.header("dpop-nonce").unwrap();
    let proof =
        office.olivia.prover.prove(&request, Some(nonce), office.world.now(), "second").unwrap();
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("dpop", &proof)];
    let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
    office.world.wire().send("POST", &url, &headers, body).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_exchanges_what_it_was_handed_for_exactly_what_it_asks() {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let handed = task["token"].as_str().unwrap();
    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let wish = authority(office.world.now(), &["read"], "desk/Order/*", 0);
    let issued = agent
        .exchange(handed, &[("audience", &audience), ("authorization_details", &details(&wish))])
        .await
        .ok();
    let granted = &issued["authorization_details"][0]["authority"]["clauses"][0];
    assert_eq!(
        (&granted["verbs"], &granted["resources"]),
        (&json!(["read"]), &json!("desk/Order/*"))
    );
    assert!(
        granted["expires"].as_i64() <= wish["clauses"][0]["expires"].as_i64(),
        "it ends with the token"
    );

    let wider = authority(office.world.now(), &["admin"], "desk/*/*", 0);
    let reply = agent
        .exchange(handed, &[("audience", &audience), ("authorization_details", &details(&wider))])
        .await;
    assert_refused(&reply, 400, "access_denied");
    assert_eq!(reply.json()["bailiwick_code"], "beyond_authority");
    let elsewhere = agent.exchange(handed, &[("audience", "https://elsewhere.example")]).await;
    assert_refused(&elsewhere, 400, "invalid_target");
    let disagree = agent
        .exchange(handed, &[("audience", &audience), ("resource", "https://elsewhere.example")])
        .await;
    assert_refused(&disagree, 400, "invalid_target");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_takes_no_scope_no_actor_token_and_one_detail_of_our_type() {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let handed = task["token"].as_str().unwrap();
    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let authority = all_of_desk(office.world.now());
    let two = json!([{ "type": "bailiwick", "authority": authority }, { "type": "bailiwick", "authority": authority }]);
    let foreign = json!([{ "type": "payment", "authority": authority }]);
    let unknown = json!([{ "type": "bailiwick", "authority": authority, "more": 1 }]);
    let twice = r#"[{"type":"bailiwick","type":"bailiwick","authority":{"clauses":[],"depth":0}}]"#;
    let table = [
        (("scope", "all".to_owned()), "invalid_scope"),
        (("actor_token", handed.to_owned()), "invalid_request"),
        (("actor_token_type", ACCESS_TOKEN.to_owned()), "invalid_request"),
        (
            ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token".to_owned()),
            "invalid_request",
        ),
        (("authorization_details", two.to_string()), "invalid_authorization_details"),
        (("authorization_details", foreign.to_string()), "invalid_authorization_details"),
        (("authorization_details", unknown.to_string()), "invalid_authorization_details"),
        (("authorization_details", twice.to_owned()), "invalid_authorization_details"),
        (("authorization_details", "{}".to_owned()), "invalid_authorization_details"),
        (("subject_token_type", ACCESS_TOKEN.to_owned()), "invalid_request"),
    ];
    for ((name, value), error) in table {
        let reply = agent.exchange(handed, &[("audience", &audience), (name, &value)]).await;
        assert_refused(&reply, 400, error);
    }
    agent
        .exchange(handed, &[("audience", &audience), ("requested_token_type", ACCESS_TOKEN)])
        .await
        .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_exchanged_by_the_agent_that_it_names_and_by_nobody_else() {
    let office = Office::open().await;
    let _named = office.agent().await;
    let other = office.olivia.register(&office.omar, "other-bot", "support").await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let handed = task["token"].as_str().unwrap();
    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let reply = other.exchange(handed, &[("audience", &audience)]).await;
    assert_refused(&reply, 400, "access_denied");
    assert_eq!(reply.json()["bailiwick_code"], "not_delegable");
    let session = office.olivia.session().await;
    let reply = other.exchange(&session, &[("audience", &audience)]).await;
    assert_refused(&reply, 400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_ended_gives_no_token_any_more() {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let path = format!("/v1/tasks/{}", task["task"].as_str().unwrap());
    let una = office.person("una", &[]).await;
    assert_eq!(una.call("DELETE", &path, &Value::Null).await.status, 403, "another person's task");
    let hers = una.get("/v1/tasks?limit=1").await.ok();
    assert_eq!(hers, json!({ "items": [] }), "nor does she see it, or that there is more");
    let ended = office.olivia.call("DELETE", &path, &Value::Null).await.ok();
    assert_eq!((&ended["calls"], &ended["spent"]), (&json!(0), &Value::Null), "without a budget");
    let budget = json!({ "amount": 4_500, "currency": "EUR" });
    let mut wish = crate::office::task();
    wish["budget"] = budget;
    let budgeted = office.olivia.post("/v1/tasks", wish).await.ok();
    let budgeted = format!("/v1/tasks/{}", budgeted["task"].as_str().unwrap());
    let ended = office.olivia.call("DELETE", &budgeted, &Value::Null).await.ok();
    assert_eq!(ended["spent"], json!({ "amount": 0, "currency": "EUR" }), "money has a currency");
    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let reply = agent.exchange(task["token"].as_str().unwrap(), &[("audience", &audience)]).await;
    assert_refused(&reply, 400, "invalid_grant");
    assert_eq!(reply.json()["bailiwick_code"], "task_over");
    let over = office.olivia.post(&format!("{path}/unpark"), json!({})).await;
    assert_eq!((over.status, over.code().as_str()), (409, "conflict"));
    let unknown = office
        .olivia
        .call("DELETE", "/v1/tasks/0199f3a2-7c11-8001-8a2b-3c4d5e6f7081", &Value::Null)
        .await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_to_who_opened_them_page_by_page_the_newest_first() {
    let office = Office::open().await;
    office.agent().await;
    office.grant(&office.olivia).await;
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.insert(0, office.task(&office.olivia).await["task"].clone());
    }
    let path = format!("/v1/tasks/{}", opened[1].as_str().unwrap());
    office.olivia.call("DELETE", &path, &Value::Null).await.ok();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/tasks?limit=2{after}");
        let page = office.olivia.get(&path).await.ok();
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let of = |member: &str| seen.iter().map(|task| task[member].clone()).collect::<Vec<_>>();
    assert_eq!(of("task"), opened);
    assert_eq!(of("state"), ["open", "ended", "open"]);
    assert_eq!(of("person"), vec![json!(office.olivia.id.to_string()); 3]);
    let omar = &office.omar;
    let count = |path: &'static str| async move {
        omar.get(path).await.ok()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("/v1/tasks").await, 3, "an administrator sees all");
    assert_eq!(count("/v1/tasks?agent=support-bot").await, 3);
    assert_eq!(count("/v1/tasks?agent=other").await, 0);
    assert_eq!(count("/v1/tasks?parked=true").await, 0);
    assert_eq!(office.omar.get("/v1/tasks?after=x").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_over_more_than_they_hold() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &[]).await;
    let mut wish = crate::office::task();
    wish["authority"] = all_of_desk(office.world.now());
    let reply = una.post("/v1/tasks", wish).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "beyond_authority"),
        "{}",
        reply.text()
    );
    let mut forever = crate::office::task();
    forever["seconds"] = json!(1_000_000);
    assert_eq!(una.post("/v1/tasks", forever).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_key_needs_two_administrators_and_no_proof() {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let handed = office.task(&office.olivia).await;
    let handed = handed["token"].as_str().unwrap();
    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let wish = [("audience", audience.as_str())];
    let bare = agent.exchange_unproved(handed, &wish).await;
    assert_refused(&bare, 400, "invalid_dpop_proof");
    let loose = json!({
        "name": "support", "purpose": "tests", "owner": "olivia", "token_ttl_seconds": 300, "sender": "bearer",
        "authority": all_of_desk(office.world.now()),
    });
    let held = office.olivia.post("/v1/blueprints", loose.clone()).await;
    assert_eq!(held.code(), "held", "{}", held.text());
    assert_refused(&agent.exchange_unproved(handed, &wish).await, 400, "invalid_dpop_proof");
    office.olivia.post_with(&office.omar, "/v1/blueprints", loose).await;
    let issued = agent.exchange_unproved(handed, &wish).await.ok();
    assert_eq!(issued["token_type"], "Bearer");
    assert!(issued["expires_in"].as_i64().unwrap() <= 300);
    assert_eq!(office.olivia.get("/v1/agents/support-bot").await.ok()["sender"], "bearer");

    let session = [("grant_type", JWT_BEARER), ("assertion", &office.olivia.assertion())];
    let session = office.world.token_unproved(&session).await;
    assert_refused(&session, 400, "invalid_dpop_proof");
    let token = issued["access_token"].as_str().unwrap();
    let again = agent.exchange_unproved(token, &wish).await;
    assert_refused(&again, 400, "invalid_grant");
}
