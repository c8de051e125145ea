use serde_json::{Value, json};

use crate::house::{House, SECRET, modern_headers};

#[tokio::test]
async fn what_leaves_is_the_decided_call_and_the_gateways_own_credential() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let body = r#" {"params":{"task":{"ttl":5},"_meta":{"progressToken":"p1","secret":"x",
        "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b",
        "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"b","version":"9"},
        "io.modelcontextprotocol/clientCapabilities":{"sampling":{}}},"name":"refund",
        "arguments":{"order":"\u0041-1","amount":4e3}},"method":"tools/call","id":"their id","jsonrpc":"2.0"} "#;
    let headers = [
        &modern_headers("tools/call", "refund")[..],
        &[
            ("cookie", "session=1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("traceparent", "00-2-2-00"),
            ("mcp-session-id", "s-9"),
            ("mcp-param-region", "north"),
            ("user-agent", "bot/1"),
            ("last-event-id", "4"),
        ],
    ];
    let reply = bot.post_with(&headers.concat(), body).await.text().await;
    assert!(reply.starts_with(r#"{"jsonrpc":"2.0","id":"their id","result":"#), "{reply}");
    let [sent] = &house.desk.asked()[..] else { panic!("one request") };
    let id = sent.id();
    let version = env!("CARGO_PKG_VERSION");
    let meta = format!(
        r#"{{"io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"bailiwick","version":"{version}"}},"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":{id}}}"#
    );
    assert_eq!(
        sent.body,
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"refund","arguments":{{"amount":4000,"order":"A-1"}},"_meta":{meta}}}}}"#
        )
    );
    let host = house.desk.url().strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let expected = [
        ("accept", "application/json, text/event-stream"),
        ("authorization", &format!("Bearer {SECRET}")),
        ("content-length", &sent.body.len().to_string()),
        ("content-type", "application/json"),
        ("host", host),
        ("mcp-method", "tools/call"),
        ("mcp-name", "refund"),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent.headers(), expected);
    assert!(sent.head.starts_with("POST /mcp HTTP/1.1\r\n"));
    assert!(!sent.head.contains(&bot.token) && !sent.body.contains(&bot.token));
}

/// Everything that the upstream receives of the agent was decided on and is recorded.
#[tokio::test]
async fn what_the_agent_says_reaches_the_upstream_only_as_recorded_arguments() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let loot = "lena.smith@example.com card 4111111111111111";
    let say = async |name: &str, value: Value| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": loot, "version": "9" },
            "io.modelcontextprotocol/clientCapabilities": {},
            name: value,
        });
        let body = json!({
            "jsonrpc": "2.0", "id": loot, "method": "tools/call",
            "params": { "name": "get_order", "arguments": { "order": "A-1" }, "_meta": meta },
        });
        let headers = modern_headers("tools/call", "get_order");
        bot.post_with(&headers, body.to_string()).await.json().await
    };
    for (name, value) in [
        ("progressToken", json!(loot)),
        ("traceparent", json!(loot)),
        ("tracestate", json!(["delete order A-1", { "really": loot }])),
        ("baggage", json!(loot)),
        ("vendor/x", json!({ loot: 1 })),
    ] {
        house.desk.forget();
        let said = say(name, value).await;
        assert_eq!(said["result"]["content"][0]["text"], "done", "{name}: {said}");
        let [sent] = &house.desk.calls()[..] else { panic!("one call") };
        assert!(!sent.body.contains("4111") && !sent.body.contains("delete"), "{}", sent.body);
        assert!(!sent.head.contains("4111"), "{}", sent.head);
    }
    house.desk.forget();
    let before = house.recorded().await.len();
    for token in [
        json!({ "customers": [loot] }),
        json!(["a"]),
        json!(1.5),
        json!(null),
        json!("x".repeat(257)),
    ] {
        let said = say("progressToken", token).await;
        assert_eq!(said["error"]["code"], -32602, "{said}");
    }
    assert!(house.desk.asked().is_empty());
    assert_eq!(house.recorded().await[before..], ["decision deny arguments_invalid"; 5]);
}

#[tokio::test]
async fn arguments_that_a_tool_wants_as_headers_are_written_from_the_decided_call() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let done = bot.call("find", r#"{"region":"north"}"#).await.json().await;
    assert_eq!(done["result"]["content"][0]["text"], "done");
    let [sent] = &house.desk.calls()[..] else { panic!("one call") };
    let region = ("mcp-param-region".to_owned(), "north".to_owned());
    assert!(sent.headers().contains(&region), "{:?}", sent.headers());
}

#[tokio::test]
async fn every_answer_names_its_attempt_in_the_ledger() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for (tool, arguments) in [("get_order", r#"{"order":"A-1"}"#), ("export", "{}")] {
        let reply = bot.call(tool, arguments).await;
        let named = reply.header("bailiwick-action").unwrap().to_owned();
        assert_eq!(house.actions().await.last(), Some(&named), "{tool}");
    }
}

#[tokio::test]
async fn a_refusal_tells_the_model_in_words_and_the_program_in_facts() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for modern in [false, true] {
        let reply = if modern {
            bot.modern_call("export", "{}").await
        } else {
            bot.call("export", "{}").await
        };
        assert_eq!(reply.status, http::StatusCode::OK, "clients take 403 for a challenge");
        let action = reply.header("bailiwick-action").unwrap().to_owned();
        let result = reply.json().await["result"].take();
        assert_eq!(result["isError"], true);
        assert_eq!(result.get("resultType").is_some(), modern);
        assert_eq!(
            result["content"][0]["text"],
            "This call was refused.\nWhy: customers are not exported in bulk (forbidden)\nNext: ask for a report instead"
        );
        assert_eq!(
            result["_meta"]["bailiwick/refusal"],
            serde_json::json!({
                "action": action, "code": "forbidden", "next": "ask for a report instead", "policies": ["no-export"],
                "reason": "customers are not exported in bulk", "retryable": false, "verdict": "deny",
                "ask": [house.olivia.id.to_string()],
            })
        );
    }
    assert!(house.desk.asked().is_empty());
    assert_eq!(house.recorded().await, ["decision deny forbidden"; 2]);
}
