//! What a server sends: JSON-RPC messages, and definitions of tools.
#![no_main]

use gateway::{
    envelope::{Era, RequestId},
    upstream::{
        Outcome,
        fuzzing::{Heard, message, tool},
    },
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn check_reply(bytes: &[u8], outcome: Outcome, theirs: &str) {
    // Nesting and numbers beyond what this reader takes pass through as they came.
    let Ok(reply) = serde_json::from_slice::<Value>(bytes) else { return };
    let members = reply.as_object().expect("a response is an object");
    let member = if matches!(outcome, Outcome::Error(_)) { "error" } else { "result" };
    assert_eq!(members.len(), 3);
    assert_eq!((&reply["jsonrpc"], &reply["id"]), (&json!("2.0"), &json!(theirs)));
    assert!(reply[member].is_object());
    let within = if member == "error" { "data" } else { "_meta" };
    let ours = |inner: &serde_json::Map<String, Value>| {
        inner.keys().any(|name| name.starts_with("bailiwick/"))
    };
    assert!(!reply[member][within].as_object().is_some_and(ours), "{reply}");
}

fuzz_target!(|data: &[u8]| {
    let (own, theirs) = (RequestId::Number(7), "their \"id\"\n");
    match message(data, &own, &RequestId::Text(theirs.to_owned())) {
        Some(Heard::Reply(reply)) => check_reply(&reply.bytes, reply.outcome, theirs),
        Some(Heard::Request(id, _)) => assert!(id.len() <= 256),
        Some(Heard::Notification(token)) => {
            if let Some(token) = token {
                assert!(std::str::from_utf8(data).is_ok_and(|text| text.contains(&token)));
            }
        }
        None => {}
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    for era in [Era::Legacy, Era::Modern] {
        let Some(tool) = tool(text, era) else { continue };
        assert!((1..=256).contains(&tool.name().len()) && !tool.name().starts_with("mcp:"));
        assert_eq!(tool.text(), text.trim_matches([' ', '\t', '\n', '\r']));
        assert_eq!(tool.digest(), decide::sha256(&[tool.bytes()]));
    }
});
