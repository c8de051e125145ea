//! People, blueprints, grants, the catalog, policies, approvals: by the real endpoints, with two administrators.

use serde_json::{Value, json};
use token::{Algorithm, SigningKey};

use crate::office::{Office, all_of_desk, authority, task};

const POLICY: &str = r#"@id("support-reads") permit(principal, action == Action::"read", resource in System::"desk");"#;

#[tokio::test(flavor = "multi_thread")]
async fn people_are_found_by_handle_and_by_pseudonym() {
    let office = Office::open().await;
    let una = office.person("una", &["support"]).await;
    let list = office.olivia.get("/v1/persons").await.ok();
    let handles: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|it| it["handle"].clone()).collect();
    assert_eq!(handles.len(), 3);
    let me = una.get("/v1/whoami").await.ok();
    assert_eq!((&me["handle"], &me["teams"]), (&json!("una"), &json!(["support"])));
    assert_eq!(me["uri"], una.uri());
    let names = ["una".to_owned(), una.id.to_string(), una.id.name().to_string()];
    for (number, holder) in names.iter().enumerate() {
        let name = format!("grant-{number}");
        let body =
            json!({ "name": name, "holder": holder, "authority": all_of_desk(office.world.now()) });
        let grant = office.olivia.post_with(&office.omar, "/v1/grants", body).await;
        assert_eq!(grant["holder"], una.id.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page() {
    let office = Office::open().await;
    office.person("una", &[]).await;
    let first = office.olivia.get("/v1/persons?limit=2").await.ok();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = office.olivia.get(&format!("/v1/persons?limit=2&after={next}")).await.ok();
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert!(second.get("next").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_a_key_or_a_name_is_given_once() {
    let office = Office::open().await;
    office.agent().await;
    let key = |key: &SigningKey| key.public().to_jwk().to_value();
    let fresh = || SigningKey::generate(Algorithm::ES256).unwrap();
    let shared = office.omar.prover.key();
    let agent = |name: &str, key: Value| {
        let part = "00".repeat(32);
        json!({
            "name": name, "blueprint": "support", "owner": "olivia", "purpose": "tests", "key": key,
            "version": { "model": "m", "prompt": part, "tools": part, "image": part },
        })
    };
    let taken = office.olivia.post("/v1/agents", agent("support-bot", key(&fresh()))).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "conflict"), "nobody is asked first");
    let second = agent("second-bot", key(shared));
    let shared = office.olivia.post("/v1/agents", second.clone()).await;
    assert_eq!((shared.status, shared.code().as_str()), (409, "conflict"), "{}", shared.text());
    let una = office.person("una", &[]).await;
    let asked = una.post("/v1/agents", second).await;
    assert_eq!(asked.status, 403, "who may not look learns nothing of keys: {}", asked.text());
    let person =
        |handle: &str, key: Value| json!({ "handle": handle, "display_name": "N", "key": key });
    for body in [person("omar", key(&fresh())), person("nina", key(office.omar.prover.key()))] {
        assert_eq!(office.olivia.post("/v1/persons", body.clone()).await.code(), "conflict");
        assert_eq!(una.post("/v1/persons", body).await.status, 403, "and nothing of handles");
    }
    let unowned = json!({ "owner": "nobody" });
    let mut body = agent("third-bot", key(&fresh()));
    body["owner"] = unowned["owner"].clone();
    assert_eq!(office.olivia.post("/v1/agents", body).await.code(), "not_found");
    let mut private = agent("fourth-bot", key(&fresh()));
    private["key"]["d"] = json!("secret");
    let reply = office.olivia.post("/v1/agents", private).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid"));
    assert!(!reply.text().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_taken_back_is_never_given_again() {
    let office = Office::open().await;
    office.grant(&office.olivia).await;
    let revoked = office.olivia.call("DELETE", "/v1/grants/olivia-desk", &Value::Null).await.ok();
    assert_eq!(revoked["revoked"], true);
    let grant = json!({ "name": "olivia-desk", "holder": "omar", "authority": all_of_desk(office.world.now()) });
    let refused = office.olivia.post("/v1/grants", grant.clone()).await;
    assert_eq!(refused.code(), "conflict", "nobody is asked first");
    assert!(refused.json()["detail"].as_str().unwrap().contains("choose another name"));
    let una = office.person("una", &[]).await;
    assert_eq!(una.post("/v1/grants", grant).await.status, 403, "who may not look learns nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_its_tools_and_a_person_says_what_they_mean() {
    let office = Office::open().await;
    office.agent().await;
    let catalog = office.olivia.get("/v1/catalog/desk").await.ok();
    let tool = &catalog["tools"][0];
    assert_eq!((&tool["name"], &tool["accepted"]), (&json!("refund"), &json!(false)));
    let definition = tool["definition"].as_str().unwrap();
    assert_eq!(
        tool["digest"],
        decide::sha256(&[definition.as_bytes()]).to_string(),
        "the pin is over these bytes"
    );

    let mapping = json!({ "effects": [{ "verb": "pay", "resource": "Refund", "id": "args.order", "amount": "args.amount", "currency": "'EUR'" }] });
    let accept = |digest: &Value| json!({ "tools": [{ "tool": "refund", "digest": digest, "mapping": mapping }] });
    let accepted = office
        .olivia
        .post_with(&office.omar, "/v1/catalog/desk/accept", accept(&tool["digest"]))
        .await;
    assert_eq!(accepted["tools"][0]["accepted"], true, "{accepted}");
    assert_eq!(accepted["tools"][0]["accepted_by"], office.olivia.id.to_string());

    let stale =
        office.olivia.post("/v1/catalog/desk/accept", accept(&json!("00".repeat(32)))).await;
    assert_eq!(
        (stale.status, stale.code().as_str()),
        (409, "conflict"),
        "nobody is asked to approve what changed"
    );
    let mut unsound = accept(&tool["digest"]);
    unsound["tools"][0]["mapping"]["effects"][0]["id"] = json!("order");
    let unsound = office.olivia.post("/v1/catalog/desk/accept", unsound).await;
    assert_eq!(
        (unsound.status, unsound.code().as_str()),
        (422, "invalid"),
        "nor what does not compile"
    );

    let refreshed = office.olivia.post("/v1/servers/desk/refresh", Value::Null).await.ok();
    assert_eq!(refreshed["tools"][0]["accepted"], true, "what did not change stays accepted");
    assert_eq!(office.olivia.get("/v1/catalog/nowhere").await.status, 404);
    let silent = json!({ "name": "silent", "url": "http://silent.example/mcp" });
    let reply = office.olivia.post("/v1/servers", silent).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "held"),
        "nobody is dialled, with a secret in hand, before a second person agreed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_wait_for_a_second_administrator_and_then_count() {
    let office = Office::open().await;
    office.agent().await;
    let mapping =
        json!({ "effects": [{ "verb": "read", "resource": "Order", "id": "args.order" }] });
    let catalog = office.olivia.get("/v1/catalog/desk").await.ok();
    let accept = json!({ "tools": [{ "tool": "refund", "digest": catalog["tools"][0]["digest"], "mapping": mapping }] });
    office.olivia.post_with(&office.omar, "/v1/catalog/desk/accept", accept).await;
    office.grant(&office.olivia).await;

    let question = json!({ "agent": "support-bot", "verb": "read", "resource": "desk/Order/7" });
    let before = office.olivia.post("/v1/can-i", question.clone()).await.ok();
    assert_eq!(
        (&before["verdict"], &before["code"]),
        (&json!("deny"), &json!("not_permitted")),
        "{before}"
    );

    let broken = json!({ "files": [{ "name": "a.cedar", "text": "permit(principal" }] });
    let checked = office.olivia.post("/v1/policies/check", broken.clone()).await.ok();
    assert_eq!((&checked["valid"], &checked["warnings"]), (&json!(false), &json!([])), "{checked}");
    assert!(checked["problem"].as_str().unwrap().contains("a.cedar"), "{checked}");
    let refused = office.olivia.call("PUT", "/v1/policies", &broken).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (422, "invalid"),
        "what does not load is not held"
    );

    let files = json!({ "files": [{ "name": "support.cedar", "text": POLICY }] });
    let held = office.olivia.call("PUT", "/v1/policies", &files).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert_eq!(held.json()["policies"], json!(["guard-second-person-policies"]));
    let approval = held.json()["approval"].as_str().unwrap().to_owned();
    assert_eq!(
        office.olivia.answer(&approval, true).await.status,
        403,
        "nobody approves their own"
    );
    office.omar.answer(&approval, true).await.ok();
    let applied = office.olivia.call("PUT", "/v1/policies", &files).await.ok();
    assert_eq!(applied["files"], files["files"]);
    let warned = applied["warnings"][0].as_str().unwrap();
    assert!(warned.starts_with("no policy names the kind `Order`"), "{applied}");
    let in_force = office.olivia.get("/v1/policies").await.ok();
    assert_eq!((&in_force["digest"], &in_force["files"]), (&applied["digest"], &applied["files"]));

    let after = office.olivia.post("/v1/can-i", question).await.ok();
    assert_eq!(
        (&after["verdict"], &after["policies"]),
        (&json!("permit"), &json!(["support-reads"])),
        "{after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_look_like_a_mistake_load_and_are_warned_about() {
    let office = Office::open().await;
    let text = r#"@id("all") permit(principal, action == Action::"read", resource);"#;
    let files = json!({ "files": [{ "name": "all.cedar", "text": text }] });
    let warning = "all.cedar:1:1: `all` names no system, and so permits governance too";
    let warned = |document: &Value| {
        let warnings = document["warnings"].as_array().unwrap().clone();
        warnings.iter().any(|said| said.as_str().unwrap().starts_with(warning))
    };
    let checked = office.olivia.post("/v1/policies/check", files.clone()).await.ok();
    assert!(checked["valid"] == true && warned(&checked), "{checked}");
    let applied = office.olivia.call_with(&office.omar, "PUT", "/v1/policies", &files).await;
    assert!(warned(&applied), "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_in_shadow_would_have_said_of_governance_stands_in_the_ledger() {
    let office = Office::open().await;
    let text = r#"@id("no-grants") @mode("shadow") forbid(principal, action, resource is Grant);"#;
    let files = json!({ "files": [{ "name": "shadow.cedar", "text": text }] });
    office.olivia.call_with(&office.omar, "PUT", "/v1/policies", &files).await;
    office.grant(&office.olivia).await;
    let entries = office.olivia.get("/v1/ledger/entries?limit=1000").await.ok();
    let shadows = entries["entries"].as_array().unwrap().iter();
    let shadows = shadows.filter(|entry| entry["leaf"]["body"]["shadow"][0]["id"] == "no-grants");
    assert_eq!(shadows.count(), 2, "of what was held, and of what was permitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_shows_what_it_is_about_counts_once_and_binds_the_exact_act() {
    let office = Office::open().await;
    let grant = |resources: &str| {
        let authority = authority(office.world.now(), &["read"], resources, 0);
        json!({ "name": "una-reads", "holder": "omar", "authority": authority })
    };
    let (wish, other) = (grant("desk/Order/*"), grant("desk/*/*"));
    let held = office.olivia.post("/v1/grants", wish.clone()).await.json();
    let approval = held["approval"].as_str().unwrap();
    let again = office.olivia.post("/v1/grants", wish.clone()).await.json();
    assert_eq!(again["approval"], approval, "the same act waits for the same request");

    let waiting = office.omar.get("/v1/approvals?state=waiting").await.ok();
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1);
    let request = office.omar.get(&format!("/v1/approvals/{approval}")).await.ok();
    assert_eq!(request["state"], "waiting");
    assert_eq!(request["chain"], json!([office.olivia.id.to_string()]));
    assert_eq!(request["shown"]["act"]["authority"], wish["authority"]);
    assert_eq!(request["demands"][0]["group"], "administrator");

    let forged = office.olivia.signed_answer(&request, true);
    let path = format!("/v1/approvals/{approval}/answer");
    assert_eq!(office.omar.post(&path, json!({ "proof": forged })).await.code(), "not_yours");
    let answered = office.omar.answer(approval, true).await.ok();
    assert_eq!((&answered["state"], &answered["used"]), (&json!("approved"), &json!(false)));
    assert_eq!(office.omar.answer(approval, false).await.code(), "conflict", "an answer stands");

    assert_eq!(
        office.olivia.post("/v1/grants", other).await.code(),
        "held",
        "another act needs its own"
    );
    office.olivia.post("/v1/grants", wish.clone()).await.ok();
    let used = office.olivia.get(&format!("/v1/approvals/{approval}")).await.ok();
    assert_eq!(used["used"], true);
    assert_ne!(office.olivia.post("/v1/grants", wish).await.status, 201, "an approval counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_ends_a_request() {
    let office = Office::open().await;
    let authority = authority(office.world.now(), &["read"], "desk/*/*", 0);
    let wish = json!({ "name": "a-grant", "holder": "omar", "authority": authority });
    let held = office.olivia.post("/v1/grants", wish.clone()).await.json();
    let denied = office.omar.answer(held["approval"].as_str().unwrap(), false).await.ok();
    assert_eq!(denied["state"], "denied");
    assert_ne!(office.olivia.post("/v1/grants", wish).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_team_that_is_asked_answers_for_itself() {
    let office = Office::open().await;
    office.agent().await;
    let finn = office.person("finn", &["finance"]).await;
    let sam = office.person("sam", &["security"]).await;
    let hold = |team: &str| {
        format!(
            r#"@id("{team}-looks") @hold("{team}") forbid(principal, action == Action::"delegate", resource is Task);"#
        )
    };
    let files =
        json!({ "files": [{ "name": "two.cedar", "text": hold("finance") + &hold("security") }] });
    office.olivia.call_with(&office.omar, "PUT", "/v1/policies", &files).await;
    office.grant(&office.olivia).await;
    let held = office.olivia.post("/v1/tasks", task()).await;
    assert_eq!(held.code(), "held", "{}", held.text());
    let approval = held.json()["approval"].as_str().unwrap().to_owned();
    assert_eq!(
        office.omar.answer(&approval, true).await.code(),
        "not_yours",
        "in no team that is asked"
    );
    assert_eq!(finn.answer(&approval, true).await.ok()["state"], "waiting");
    assert_eq!(office.olivia.post("/v1/tasks", task()).await.code(), "held");
    assert_eq!(sam.answer(&approval, true).await.ok()["state"], "approved");
    office.olivia.post("/v1/tasks", task()).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_asks_and_who_is_asked_look_at_a_request() {
    let office = Office::open().await;
    let una = office.person("una", &["finance"]).await;
    let authority = authority(office.world.now(), &["read"], "desk/*/*", 0);
    let wish = json!({ "name": "a-grant", "holder": "omar", "authority": authority });
    let held = office.olivia.post("/v1/grants", wish).await.json();
    let approval = held["approval"].as_str().unwrap();
    assert_eq!(una.get(&format!("/v1/approvals/{approval}")).await.status, 403);
    assert_eq!(una.get("/v1/approvals").await.ok()["items"], json!([]));
    assert_eq!(office.olivia.get(&format!("/v1/approvals/{approval}")).await.status, 200);
    assert_eq!(office.omar.get("/v1/approvals").await.ok()["items"][0]["id"], approval);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_ask_what_they_could_do_and_not_what_others_could() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &[]).await;
    let ask = |person: Option<&str>, agent: Option<&str>| {
        let mut question = json!({ "verb": "pay", "resource": "desk/Refund/7", "amount": 4000, "currency": "EUR" });
        if let Some(person) = person {
            question["person"] = json!(person);
        }
        if let Some(agent) = agent {
            question["agent"] = json!(agent);
        }
        question
    };
    let own = una.post("/v1/can-i", ask(None, Some("support-bot"))).await.ok();
    assert_eq!((&own["verdict"], &own["code"]), (&json!("deny"), &json!("beyond_authority")));
    assert_eq!(una.post("/v1/can-i", ask(Some("una"), None)).await.status, 200);
    assert_eq!(una.post("/v1/can-i", ask(Some("olivia"), None)).await.status, 403);
    assert_eq!(una.post("/v1/can-i", ask(Some("olivia"), Some("support-bot"))).await.status, 403);
    assert_eq!(
        office.omar.post("/v1/can-i", ask(Some("una"), Some("support-bot"))).await.status,
        200
    );
    let half = json!({ "verb": "pay", "resource": "desk/Refund/7", "amount": 4000 });
    assert_eq!(una.post("/v1/can-i", half).await.status, 422);
    let shapeless = json!({ "verb": "read", "resource": "desk" });
    assert_eq!(una.post("/v1/can-i", shapeless).await.status, 422);
}
