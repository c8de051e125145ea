//! Stop and resume over HTTP.

use serde_json::json;

use crate::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reports_its_three_times_and_only_two_people_end_it() {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let handed = task["token"].as_str().unwrap();
    let stop = json!({ "scope": "agent:support-bot", "reason": "a test" });
    let report = office.olivia.post("/v1/stops", stop.clone()).await.ok();
    assert_eq!(
        (&report["scope"], &report["known"], &report["durable"]),
        (&json!("agent:support-bot"), &json!(true), &json!(true))
    );
    let ordered = report["ordered"].as_i64().unwrap();
    let in_force = report["in_force"][0]["at"].as_i64().unwrap();
    assert!(ordered <= in_force && in_force <= report["final"].as_i64().unwrap());

    let audience = office.world.engine().issuer().audience_of(&"desk".parse().unwrap());
    let refused = agent.exchange(handed, &[("audience", &audience)]).await;
    assert_eq!(refused.json()["bailiwick_code"], "stopped");
    let next = "A stop is in force; only `resume` ends it. Ask the agent's owner.";
    assert_eq!(refused.json()["bailiwick_next"], next);
    let orders = office.omar.get("/v1/stops").await.ok();
    assert_eq!(orders["orders"][0]["id"], report["order"]);
    assert_eq!(orders["orders"][0]["by"], office.olivia.id.to_string());

    let held = office.olivia.post("/v1/stops/resume", stop.clone()).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"));
    let resumed = office.olivia.post_with(&office.omar, "/v1/stops/resume", stop.clone()).await;
    assert_eq!(resumed["orders"], json!([report["order"]]));
    agent.exchange(handed, &[("audience", &audience)]).await.ok();
    let nothing = office.olivia.post("/v1/stops/resume", stop).await;
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_has_room_for_some_sentences_and_no_more() {
    let office = Office::open().await;
    office.agent().await;
    let wish = |bytes: usize| json!({ "scope": "agent:support-bot", "reason": "x".repeat(bytes) });
    office.olivia.post("/v1/stops", wish(1_024)).await.ok();
    for path in ["/v1/stops", "/v1/stops/resume"] {
        let refused = office.olivia.post(path, wish(1_025)).await;
        assert_eq!(refused.status, 422, "{path}");
        let told = refused.json()["detail"].to_string();
        assert!(told.contains("`reason` has 1025 bytes; say it in at most 1024"), "{told}");
    }
    assert_eq!(office.omar.get("/v1/stops").await.ok()["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_resume_ends_no_stop_that_was_ordered_after_it_was_asked_for() {
    let office = Office::open().await;
    office.agent().await;
    let stop = json!({ "scope": "agent:support-bot", "reason": "a test" });
    office.omar.post("/v1/stops", stop.clone()).await.ok();
    let held = office.olivia.post("/v1/stops/resume", stop.clone()).await.json();
    office.omar.answer(held["approval"].as_str().unwrap(), true).await.ok();
    office.omar.post("/v1/stops", stop.clone()).await.ok();
    let held = office.olivia.post("/v1/stops/resume", stop).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "two orders are another act");
    assert_eq!(office.omar.get("/v1/stops").await.ok()["orders"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_stopped_by_handle_and_a_name_that_nobody_has_is_said_to_be_unknown() {
    let office = Office::open().await;
    office.agent().await;
    let by_handle = office
        .omar
        .post("/v1/stops", json!({ "scope": "owner:olivia", "reason": "a test" }))
        .await
        .ok();
    assert_eq!(by_handle["scope"], format!("owner:{}", office.olivia.id.name()));
    assert_eq!(by_handle["known"], true);
    let typo = office
        .omar
        .post("/v1/stops", json!({ "scope": "agent:suport-bot", "reason": "a test" }))
        .await
        .ok();
    assert_eq!(typo["known"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_stop_what_they_own_and_nothing_else() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &[]).await;
    for scope in ["all", "agent:support-bot", "system:desk"] {
        let reply = una.post("/v1/stops", json!({ "scope": scope, "reason": "a test" })).await;
        assert_eq!(reply.status, 403, "{scope}");
    }
    let own = una.post("/v1/stops", json!({ "scope": "owner:una", "reason": "a test" })).await.ok();
    assert!(own["final"].is_i64());
}
