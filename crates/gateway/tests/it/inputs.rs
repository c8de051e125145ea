use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::house::{Bot, House, META, call, modern, modern_headers};

/// What an input brings: HTTP status and JSON-RPC code, or the code of the refusal.
async fn answer(reply: crate::client::Reply) -> String {
    let status = reply.status.as_u16();
    let text = reply.text().await;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let refusal = &body["result"]["_meta"]["bailiwick/refusal"]["code"];
    match (body["error"]["code"].as_i64(), refusal.as_str()) {
        (Some(code), _) => format!("{status} {code}"),
        (_, Some(code)) => format!("{status} {code}"),
        _ => format!("{status} {text}"),
    }
}

/// Each of these is refused and recorded as said, and nothing reaches the upstream.
async fn refused(bot: &Bot<'_>, body: &str, expected: &str, recorded: &str) {
    let before = bot.house.recorded().await.len();
    assert_eq!(answer(bot.post(body.to_owned()).await).await, expected, "{body:.200}");
    let after = bot.house.recorded().await;
    assert_eq!(&after[before..], [format!("decision deny {recorded}")], "{body:.200}");
    assert!(bot.house.desk.asked().is_empty(), "{body:.200}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_recorded() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let nested = format!("{}{}", "[".repeat(70), "]".repeat(70));
    for (body, expected) in [
        ("", "400 -32700"),
        ("{", "400 -32700"),
        ("not json", "400 -32700"),
        (&call("get_order", r#"{"order":"A-1"}"#)[1..], "400 -32700"),
        (&call("get_order", r#"{"order":"A-1","order":"A-2"}"#), "400 -32700"),
        (&call("get_order", r#"{"order":"A-1","ord\u0065r":"A-2"}"#), "400 -32700"),
        (&call("get_order", r#"{"order":"A-1"},"name":"refund""#), "400 -32700"),
        (&call("get_order", &nested), "400 -32700"),
        (&call("refund", r#"{"order":"A-1","amount":9007199254740993}"#), "400 -32700"),
        (&call("refund", r#"{"order":"A-1","amount":-9007199254740993}"#), "400 -32700"),
        (&format!("[{}]", call("get_order", r#"{"order":"A-1"}"#)), "400 -32600"),
        ("[]", "400 -32600"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "400 -32600"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"tools/call"}"#, "400 -32600"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tools/call"}"#, "400 -32600"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#, "400 -32602"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, "400 -32602"),
        (&call("get_order", "[]"), "400 -32602"),
        (&call("get_order", r#"{},"requestState":"x""#), "400 -32602"),
        (&call("get\\u0000order", "{}"), "400 -32602"),
    ] {
        refused(&bot, body, expected, "arguments_invalid").await;
    }
}

#[tokio::test]
async fn a_message_may_be_a_mebibyte_and_not_a_byte_more() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let shell = call("get_order", r#"{"order":"A-1"}"#).len();
    let body =
        |length: usize| call("get_order", r#"{"order":"A-1"}"#) + &" ".repeat(length - shell);
    assert!(bot.post(body(1 << 20)).await.text().await.contains("done"));
    house.desk.forget();
    let longer = bot.post(body((1 << 20) + 1)).await;
    assert_eq!(longer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny arguments_invalid");
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn bodies_are_json_and_answers_must_be_allowed_to_be() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for (name, value, expected) in [
        ("content-type", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("content-type", "", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("content-type", "application/json-rpc", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("accept", "text/html", StatusCode::NOT_ACCEPTABLE),
    ] {
        let body = call("get_order", r#"{"order":"A-1"}"#);
        let reply = bot.post_with(&[(name, value)], body).await;
        assert_eq!(reply.status, expected, "{name}: {value}");
        assert_eq!(house.recorded().await.last().unwrap(), "decision deny arguments_invalid");
    }
    assert_eq!(house.recorded().await.len(), 4);
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn headers_and_body_must_say_the_same() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let read = modern("tools/call", "get_order", r#"{"order":"A-1"}"#);
    let find = modern("tools/call", "find", r#"{"region":"north"}"#);
    let bare = call("get_order", r#"{"order":"A-1"}"#);
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "get_order"));
    for (headers, body, expected) in [
        (vec![version, ("mcp-method", "tools/list"), name], &read, "400 -32020"),
        (vec![version, method, ("mcp-name", "refund")], &read, "400 -32020"),
        (vec![version, name], &read, "400 -32020"),
        (vec![version, method], &read, "400 -32020"),
        (vec![("mcp-protocol-version", "2025-11-25"), method, name], &read, "400 -32020"),
        (vec![method, name], &read, "400 -32020"),
        (vec![version, method, ("mcp-name", "=?base64?!!?=")], &read, "400 -32020"),
        (vec![version, method, ("mcp-name", "find")], &find, "400 -32020"),
        (
            vec![version, method, ("mcp-name", "find"), ("mcp-param-region", "south")],
            &find,
            "400 -32020",
        ),
        (vec![version, method, name], &bare, "400 -32602"),
        (vec![("mcp-protocol-version", "2099-01-01")], &bare, "400 -32022"),
        (vec![("mcp-protocol-version", "2024-11-05")], &bare, "400 -32022"),
    ] {
        let before = house.recorded().await.len();
        let reply = bot.post_with(&headers, body.clone()).await;
        assert_eq!(answer(reply).await, expected, "{headers:?}");
        let recorded = house.recorded().await;
        assert_eq!(recorded[before..], ["decision deny arguments_invalid"], "{headers:?}");
    }
    assert!(house.desk.asked().is_empty());
    let right = [version, method, ("mcp-name", "find"), ("mcp-param-region", "north")];
    assert!(bot.post_with(&right, find).await.text().await.contains("done"));
}

#[tokio::test]
async fn a_header_that_stands_twice_is_refused() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let body = modern("tools/call", "get_order", r#"{"order":"A-1"}"#);
    for (name, value, expected) in [
        ("mcp-name", "get_order", "400 -32020"),
        ("mcp-method", "tools/call", "400 -32020"),
        ("mcp-protocol-version", "2026-07-28", "400 -32020"),
    ] {
        let mut headers = bot.headers("POST").await;
        for (name, value) in modern_headers("tools/call", "get_order") {
            headers.insert(name, value.parse().unwrap());
        }
        headers.append(name, value.parse().unwrap());
        let reply = house.client.send(Method::POST, &house.url(), headers, body.clone()).await;
        assert_eq!(answer(reply).await, expected, "{name}");
    }
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn arguments_that_miss_schema_or_mapping_are_refused_by_name() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    for (tool, arguments, code) in [
        ("get_order", "{}", "arguments_invalid"),
        ("get_order", r#"{"order":7}"#, "arguments_invalid"),
        ("get_order", r#"{"order":null}"#, "arguments_invalid"),
        ("get_order", r#"{"order":"A-1","all":true}"#, "arguments_invalid"),
        ("refund", r#"{"order":"A-1","amount":"4000"}"#, "arguments_invalid"),
        ("refund", r#"{"order":"A-1","amount":40.5}"#, "arguments_invalid"),
        ("refund", r#"{"order":"A-1"}"#, "mapping_failed"),
        ("refund", r#"{"order":"A-1","amount":-1}"#, "mapping_failed"),
        ("get_order", r#"{"order":"../A-1"}"#, "mapping_failed"),
        ("nothing", "{}", "tool_unknown"),
        ("draft", "{}", "tool_not_accepted"),
        ("erase", r#"{"order":"A-1"}"#, "beyond_authority"),
    ] {
        refused(&bot, &call(tool, arguments), &format!("200 {code}"), code).await;
    }
    assert_eq!(bot.spent(), (0, 0));
}

#[tokio::test]
async fn methods_that_nobody_mapped_do_not_pass() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for method in
        ["resources/read", "prompts/get", "sampling/createMessage", "tools/Call", "x\\u001b"]
    {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"a","uri":"a:b"}}}}"#
        );
        refused(&bot, &body, "200 -32601", "method_not_mapped").await;
    }
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "resources/list")];
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{{"_meta":{META}}}}}"#
    );
    assert_eq!(answer(bot.post_with(&headers, body).await).await, "404 -32601");
}

#[tokio::test]
async fn a_call_without_an_id_calls_nothing_and_is_recorded() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for method in ["tools/call", "tools/list", "ping", "notification"] {
        let body = call("get_order", r#"{"order":"A-1"}"#).replace(r#""id":"c-1","#, "");
        let body = body.replace("tools/call", method);
        refused(&bot, &body, "400 -32600", "arguments_invalid").await;
    }
    let told = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    assert_eq!(bot.post(told).await.status, StatusCode::ACCEPTED);
    assert_eq!(house.recorded().await.len(), 4);
}

/// 1e15 has four bytes on the wire and sixteen in canonical form.
#[tokio::test]
async fn a_refused_call_is_recorded_whatever_its_arguments_are() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let long = format!(r#"{{"x":[{}]}}"#, vec!["1e15"; 100_000].join(","));
    let text = format!(r#"{{"order":"{}"}}"#, "x".repeat(1_000_000));
    for (tool, arguments) in [("export", &long), ("get_order", &long), ("get_order", &text)] {
        let before = house.recorded().await.len();
        let reply = bot.call(tool, arguments).await.json().await;
        assert_eq!(reply["result"]["isError"], true, "{reply:.300}");
        let after = house.recorded().await;
        assert_eq!(after.len(), before + 1, "{tool}");
        assert!(after[before].starts_with("decision deny"), "{after:?}");
    }
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn only_post_is_served_and_only_to_who_is_believed() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for method in [Method::GET, Method::DELETE, Method::PUT, Method::OPTIONS] {
        let headers = bot.headers(method.as_str()).await;
        let reply = house.client.send(method.clone(), &house.url(), headers, "").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(reply.header("allow"), Some("POST"));
        let reply = house.client.send(method.clone(), &house.url(), HeaderMap::new(), "").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method}");
    }
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_use_the_gateway() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let body = call("get_order", r#"{"order":"A-1"}"#);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let reply = bot.post_with(&[("origin", origin)], body.clone()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert!(house.desk.asked().is_empty());
    let own = house.world.gateway_url().to_owned();
    assert_eq!(bot.post_with(&[("origin", &own)], body).await.status, StatusCode::OK);
}
