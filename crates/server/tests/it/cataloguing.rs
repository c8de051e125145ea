//! What the catalog says before anybody has accepted anything: guesses and trials, which change nothing.

use serde_json::{Value, json};

use crate::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_guessed_and_tried_without_an_attempt_or_a_change() {
    let office = Office::open().await;
    office.agent().await;
    let proposal = office.olivia.get("/v1/catalog/desk/proposal").await.ok();
    let guess = &proposal["tools"][0];
    assert_eq!((&guess["tool"], &guess["mapping"]), (&json!("refund"), &Value::Null));
    let why = guess["notes"][0].as_str().unwrap();
    assert!(why.contains("nothing says that `amount` counts minor units"), "{why}");

    let mapping = json!({ "effects": [{ "verb": "pay", "resource": "Refund", "id": "args.order", "amount": "args.amount", "currency": "'EUR'" }] });
    let tools = json!([{ "tool": "refund", "digest": guess["digest"], "mapping": mapping }]);
    let calls = json!([
        { "tool": "refund", "arguments": { "order": "A-1", "amount": 4000 } },
        { "tool": "refund", "arguments": { "order": "A-1", "amount": -1 } },
        { "tool": "refund", "arguments": { "order": "A-1" } },
    ]);
    let trial = json!({ "tools": tools, "calls": calls });
    let before = office.world.engine().log().acknowledged();
    let tried = office.olivia.post("/v1/catalog/desk/try", trial.clone()).await.ok();
    assert_eq!(office.world.engine().log().acknowledged(), before, "nothing is recorded");
    let proposed: Vec<&Value> =
        tried["calls"].as_array().unwrap().iter().map(|call| &call["proposed"]).collect();
    let amount = json!({ "amount": 4000, "currency": "EUR" });
    let effect = json!({ "verb": "pay", "resource": "desk/Refund/A-1", "classes": ["customer"], "amount": amount });
    assert_eq!(*proposed[0], json!({ "effects": [effect] }));
    assert_eq!(proposed[1]["refused"]["code"], "mapping_failed");
    assert_eq!(proposed[2]["refused"]["code"], "arguments_invalid");
    for call in tried["calls"].as_array().unwrap() {
        assert_eq!(call["in_force"]["refused"]["code"], "tool_not_accepted");
        assert_eq!(call["differs"], true);
    }
    let catalog = office.olivia.get("/v1/catalog/desk").await.ok();
    assert_eq!(catalog["tools"][0]["state"], "not_accepted", "a guess is in force for nobody");

    // What could not be accepted cannot be tried.
    let refused = async |path: &str, value: Value| {
        let mut wrong = trial.clone();
        *wrong.pointer_mut(path).unwrap() = value;
        office.olivia.post("/v1/catalog/desk/try", wrong).await
    };
    for (path, value, status) in [
        ("/tools/0/digest", json!("00".repeat(32)), 409),
        ("/tools/0/mapping/effects/0/id", json!("args.customer"), 422),
        ("/tools/0/mapping/effects/0/resource", json!("System"), 422),
        ("/tools/0/tool", json!("nothing"), 404),
        ("/calls/0/tool", json!("other"), 422),
    ] {
        let reply = refused(path, value).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    let una = office.person("una", &[]).await;
    for path in ["/v1/catalog/desk/proposal", "/v1/catalog/desk/diff"] {
        assert_eq!(una.get(path).await.status, 403, "who may not look learns nothing");
    }
    assert_eq!(una.post("/v1/catalog/desk/try", trial).await.status, 403);
}
