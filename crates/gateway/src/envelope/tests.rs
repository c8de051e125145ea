use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use model::ijson::{self, Json, Limits};
use proptest::prelude::*;

use super::*;

mod headers;
mod mirrors;

fn json(text: &str) -> Json {
    ijson::parse(text.as_bytes(), Limits { bytes: 1 << 20, depth: 64 }).unwrap()
}

fn parse(text: &str) -> Result<Message, EnvelopeError> {
    Message::parse(text.as_bytes())
}

/// What a client gets for a message that is refused: `code message`.
fn refusal(text: &str) -> String {
    let fault = parse(text).unwrap_err().fault();
    assert_eq!(fault.status(Era::Modern), StatusCode::BAD_REQUEST);
    assert_eq!(fault.status(Era::Legacy), StatusCode::BAD_REQUEST);
    format!("{} {}", fault.code().number(), fault.message())
}

#[test]
fn a_call_is_read_once_and_written_in_one_form() {
    let message = parse(
        r#" {"params":{"arguments":{"b":1e2,"a":"\u0041"},"name":"refund_order","_meta":{"x":1},
            "task":{"ttl":1}},"method":"tools/call","id":"7","jsonrpc":"2.0"} "#,
    )
    .unwrap();
    assert_eq!(message.id(), Some(&RequestId::Text("7".into())));
    let call = ToolCall::of(&message).unwrap();
    assert_eq!((call.name, call.meta), ("refund_order", Some(&json(r#"{"x":1}"#))));
    let arguments = call.canonical_arguments();
    assert_eq!(arguments, br#"{"a":"A","b":100}"#);
    let meta = call.meta.map(Json::canonical);
    let body =
        tool_call_request(&RequestId::Number(1), call.name, &arguments, None, meta.as_deref());
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund_order","arguments":{"a":"A","b":100},"_meta":{"x":1}}}"#
    );
}

#[test]
fn a_call_without_arguments_has_none() {
    let message =
        parse(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#).unwrap();
    assert_eq!(ToolCall::of(&message).unwrap().canonical_arguments(), b"{}");
}

#[test]
fn a_message_without_an_id_is_a_notification() {
    let message = parse(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    assert_eq!((message.id(), message.params()), (None, None));
}

#[test]
fn what_is_no_single_json_rpc_request_is_refused() {
    for (text, expected) in [
        ("", "-32700"),
        ("{", "-32700"),
        ("{} {}", "-32700"),
        ("nonsense", "-32700"),
        ("\u{feff}{}", "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":{"y":1,"\u0079":2}}}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":9007199254740993}}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1e300}}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\ud800"}}"#, "-32700"),
        (r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"a"}"#, "-32700"),
        ("1", "-32600 a message is a JSON object"),
        ("null", "-32600 a message is a JSON object"),
        ("[]", "-32600 a batch"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, "-32600 a batch"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "-32600 a response"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, "-32600 a response"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, "-32600 a response"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","extra":1}"#,
            "-32600 a message has no member `extra`",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","Params":{}}"#,
            "-32600 a message has no member `Params`",
        ),
        (r#"{"id":1,"method":"a"}"#, "-32600 `jsonrpc`"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"a"}"#, "-32600 `jsonrpc`"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, "-32600 `jsonrpc`"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, "-32600 `id`"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, "-32600 `id`"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#, "-32600 `id`"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, "-32600 `id`"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "-32600 `method`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, "-32600 `method`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, "-32600 `method`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#, "-32602 `params`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#, "-32602 `params`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":1}}"#, "-32602 `params._meta`"),
    ] {
        assert!(refusal(text).starts_with(expected), "{text}: {}", refusal(text));
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "a".repeat(257));
    assert!(refusal(&long).starts_with("-32600 `method`"));
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "a".repeat(257));
    assert!(refusal(&long).starts_with("-32600 `id`"));
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"x":{open}{close}}}}}"#)
    };
    assert!(parse(&deep(62)).is_ok());
    assert!(refusal(&deep(63)).starts_with("-32700"));
    assert!(refusal(&deep(100_000)).starts_with("-32700"));
    let text = |length: usize| {
        let shell = r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":""}}"#;
        shell.replace("\"\"", &format!("\"{}\"", "a".repeat(length - shell.len())))
    };
    assert!(parse(&text(MAX_BYTES)).is_ok());
    assert!(refusal(&text(MAX_BYTES + 1)).starts_with("-32700 1048577 bytes"));
}

#[test]
fn a_tool_call_needs_a_name_and_an_object_of_arguments() {
    for (params, expected) in [
        (r#"{}"#, EnvelopeError::Name),
        (r#"{"name":1}"#, EnvelopeError::Name),
        (r#"{"name":""}"#, EnvelopeError::Name),
        (r#"{"name":"a\u0000"}"#, EnvelopeError::Name),
        (r#"{"name":"a","arguments":[]}"#, EnvelopeError::Arguments),
        (r#"{"name":"a","arguments":null}"#, EnvelopeError::Arguments),
        (r#"{"name":"a","arguments":"{}"}"#, EnvelopeError::Arguments),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let message = parse(&text).unwrap();
        assert_eq!(ToolCall::of(&message), Err(expected), "{params}");
    }
    let message = parse(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    assert_eq!(ToolCall::of(&message), Err(EnvelopeError::Name));
}

#[test]
fn foreign_text_is_escaped_and_cut_in_errors() {
    let text = format!(r#"{{"jsonrpc":"2.0","method":"a","\u202e{}":1}}"#, "x".repeat(200));
    let refused = refusal(&text);
    assert!(refused.contains(r"\u{202e}xxx") && refused.len() < 200, "{refused}");
}

#[test]
fn an_error_response_has_the_id_only_where_it_is_known() {
    let fault = Fault::new(Code::Denied, "no \"refund\"").with_data(json(r#"{"reason":"limit"}"#));
    assert_eq!(
        fault.response(Some(&RequestId::Number(3))),
        br#"{"error":{"code":403,"data":{"reason":"limit"},"message":"no \"refund\""},"id":3,"jsonrpc":"2.0"}"#
    );
    assert_eq!(
        Fault::new(Code::Internal, "a").response(None),
        br#"{"error":{"code":-32603,"message":"a"},"jsonrpc":"2.0"}"#
    );
    for (code, modern, legacy) in [
        (Code::Denied, 200, 200),
        (Code::Unavailable, 200, 200),
        (Code::Internal, 200, 200),
        (Code::InvalidParams, 200, 200),
        (Code::MethodNotFound, 404, 200),
        (Code::MissingCapability, 400, 400),
    ] {
        let fault = Fault::new(code, "");
        assert_eq!(fault.status(Era::Modern), modern, "{code:?}");
        assert_eq!(fault.status(Era::Legacy), legacy, "{code:?}");
    }
}

const SERVER: ServerInfo<'_> =
    ServerInfo { name: "desk", version: "1", instructions: Some("be kind") };

#[test]
fn results_are_written_for_their_era() {
    let id = RequestId::Text("a\"b".into());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let head = r#"{"jsonrpc":"2.0","id":"a\"b","result":"#;
    for (requested, answered) in [
        (Some("2025-06-18"), "2025-06-18"),
        (Some("2026-07-28"), "2025-11-25"),
        (Some("1999-01-01"), "2025-11-25"),
        (None, "2025-11-25"),
    ] {
        assert_eq!(
            text(initialize(&id, requested, &SERVER, Capabilities::default())),
            format!(
                r#"{head}{{"capabilities":{{"tools":{{}}}},"instructions":"be kind","protocolVersion":"{answered}","serverInfo":{{"name":"desk","version":"1"}}}}}}"#
            )
        );
    }
    let meta = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"desk","version":"1"}}"#;
    assert_eq!(
        text(discover(&id, &SERVER, Capabilities::default())),
        format!(
            r#"{head}{{{meta},"cacheScope":"private","capabilities":{{"tools":{{}}}},"instructions":"be kind","resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"ttlMs":60000}}}}"#
        )
    );
    let tools: [&[u8]; 2] = [br#"{ "name":"b"}"#, br#"{"name":"a"}"#];
    assert_eq!(
        text(tools_list(&id, Era::Legacy, &SERVER, tools, 500)),
        format!(r#"{head}{{"tools":[{{ "name":"b"}},{{"name":"a"}}]}}}}"#)
    );
    assert_eq!(
        text(tools_list(&id, Era::Modern, &SERVER, tools, 500)),
        format!(
            r#"{head}{{{meta},"cacheScope":"private","resultType":"complete","ttlMs":500,"tools":[{{ "name":"b"}},{{"name":"a"}}]}}}}"#
        )
    );
    assert_eq!(
        text(tools_list(&id, Era::Legacy, &SERVER, [], 1)),
        format!(r#"{head}{{"tools":[]}}}}"#)
    );
    let facts =
        r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"desk","version":"1"},"x":[1]}"#;
    assert_eq!(
        text(tool_error(&id, Era::Modern, &SERVER, "no", ("x", json("[1]")))),
        format!(
            r#"{head}{{{facts},"content":[{{"text":"no","type":"text"}}],"isError":true,"resultType":"complete"}}}}"#
        )
    );
    assert_eq!(
        text(tool_error(&id, Era::Legacy, &SERVER, "no", ("x", json("[1]")))),
        format!(
            r#"{head}{{"_meta":{{"x":[1]}},"content":[{{"text":"no","type":"text"}}],"isError":true}}}}"#
        )
    );
    assert_eq!(text(pong(&id)), format!("{head}{{}}}}"));
}

#[test]
fn a_message_with_line_breaks_is_one_event() {
    assert_eq!(event(b"{\"a\":\r\n1}"), b"event: message\ndata: {\"a\":\ndata: \ndata: 1}\n\n");
}

#[test]
fn bodies_are_json_and_answers_may_be_streams() {
    fn with(content_type: &str, accept: Option<&str>) -> Result<bool, MediaError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        }
        accepts(&headers).map(|accepts| accepts.event_stream)
    }
    for wrong in ["text/plain", "application/jsonp", "application/json-rpc", "", "json"] {
        assert_eq!(with(wrong, None), Err(MediaError::ContentType), "{wrong}");
    }
    assert_eq!(accepts(&HeaderMap::new()), Err(MediaError::ContentType));
    for (accept, expected) in [
        (None, Ok(true)),
        (Some("application/json, text/event-stream"), Ok(true)),
        (Some("Application/JSON;q=0.5"), Ok(false)),
        (Some("*/*"), Ok(true)),
        (Some("application/*, text/event-stream;q=0"), Ok(false)),
        (Some("*/*, application/json;q=0"), Err(MediaError::Accept)),
        (Some("text/event-stream"), Err(MediaError::Accept)),
        (Some("text/html"), Err(MediaError::Accept)),
        (Some(""), Err(MediaError::Accept)),
    ] {
        assert_eq!(with("application/json; charset=utf-8", accept), expected, "{accept:?}");
    }
}

proptest! {
    #[test]
    fn no_input_makes_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn any_text_survives_a_header(text in "\\PC{0,20}|[ \t\n=?a-z]{0,8}|=\\?base64\\?.{0,5}\\?=") {
        let value = encode(&text);
        let decoded = era::decode(value.to_str().unwrap()).unwrap();
        prop_assert_eq!(&*decoded, text.as_str());
    }
}
