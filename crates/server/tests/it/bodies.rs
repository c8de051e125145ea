//! What is read of a request, and what is not.

use serde_json::json;
use testkit::world::{Person, Reply};

use crate::office::Office;

/// Sends bytes as they are, in a person's own session.
async fn send(
    office: &Office,
    person: &Person,
    path: &str,
    media_type: &str,
    body: impl Into<Vec<u8>>,
) -> Reply {
    let token = person.session().await;
    let url = format!("{}{path}", office.world.url());
    let proof = office.world.prove(&person.prover, "POST", &url, Some(&token)).await;
    let headers = [
        ("authorization", format!("DPoP {token}")),
        ("dpop", proof),
        ("content-type", media_type.to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    office.world.wire().send("POST", &url, &headers, body.into()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_only_where_every_reader_understands_it_alike() {
    let office = Office::open().await;
    let json = "application/json";
    let table = [
        (json, r#"{"scope":"all","reason":"a","reason":"b"}"#, 400, "malformed"),
        (json, r#"{"scope":"all","reason":9007199254740993}"#, 400, "malformed"),
        (json, "{'scope':'all'}", 400, "malformed"),
        (json, r#"{"scope":"all","reason":"x","more":1}"#, 422, "invalid"),
        (json, r#"{"scope":"everything","reason":"x"}"#, 422, "invalid"),
        (json, r#"{"scope":"all"}"#, 422, "invalid"),
        (json, "[]", 422, "invalid"),
        (json, "", 422, "invalid"),
        ("text/plain", r#"{"scope":"all","reason":"x"}"#, 415, "media_type"),
        ("application/json-patch+json", r#"{"scope":"all","reason":"x"}"#, 415, "media_type"),
    ];
    for (media_type, body, status, code) in table {
        let reply = send(&office, &office.olivia, "/v1/stops", media_type, body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{body}: {}",
            reply.text()
        );
    }
    assert_eq!(
        office.olivia.get("/v1/stops").await.ok()["orders"],
        json!([]),
        "nothing was stopped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_by_name() {
    let office = Office::open().await;
    let long = |bytes: usize| format!(r#"{{"scope":"all","reason":"{}"}}"#, "x".repeat(bytes));
    let reply =
        send(&office, &office.olivia, "/v1/stops", "application/json", long(1024 * 1024)).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let reply = send(&office, &office.olivia, "/v1/stops", "application/json", deep).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "malformed"));

    let url = format!("{}/v1/stops", office.world.url());
    let reply =
        office.world.wire().send("GET", &url, &[("x-long", &"x".repeat(40 * 1024))], "").await;
    assert_eq!((reply.status, reply.code().as_str()), (431, "headers_too_large"));
    let reply =
        office.world.wire().send("GET", &format!("{url}?{}", "x".repeat(5000)), &[], "").await;
    assert_eq!((reply.status, reply.code().as_str()), (414, "uri_too_long"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_unknown_or_given_twice_is_refused() {
    let office = Office::open().await;
    for query in ["?limt=1", "?limit=1&limit=2", "?limit=many"] {
        let reply = office.olivia.get(&format!("/v1/persons{query}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "malformed"), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_what_to_do_and_nothing_from_inside() {
    let office = Office::open().await;
    let una = office.person("una", &[]).await;
    let reply = una.get("/v1/persons").await;
    let problem = reply.json();
    assert_eq!(reply.status, 403);
    assert_eq!(problem["type"], "urn:bailiwick:error:not_permitted");
    assert_eq!(problem["code"], "not_permitted");
    assert_eq!(problem["retryable"], false);
    for member in ["title", "detail", "next", "action"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member}: {problem}"
        );
    }
    let action = problem["action"].as_str().unwrap();
    // A refusal does not wait for its record, which comes a moment later.
    let recorded = loop {
        let found = office.olivia.get(&format!("/v1/ledger/entries?action={action}")).await.ok();
        if let Some(entry) = found["entries"].get(0) {
            break entry.clone();
        }
    };
    assert_eq!(recorded["leaf"]["verdict"], "deny");
    assert_eq!(recorded["leaf"]["person"], una.id.to_string());
}
