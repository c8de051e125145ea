use super::*;

/// What a request is, or what its client gets: `code message`.
fn era(headers: &[(&str, &str)], method: &str, params: &str) -> Result<Era, String> {
    of(headers, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
}

fn of(headers: &[(&str, &str)], message: &str) -> Result<Era, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Era::of(&map, &parse(message).unwrap()).map_err(|error| {
        let fault = error.fault();
        assert_eq!(fault.status(Era::Modern), StatusCode::BAD_REQUEST);
        format!("{} {}", fault.code().number(), fault.message())
    })
}

fn modern(more: &str) -> String {
    format!(
        r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}{more}}}"#
    )
}

const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const CALL: (&str, &str) = ("Mcp-Method", "tools/call");

#[test]
fn a_modern_request_repeats_itself_in_its_headers() {
    let list = modern("");
    assert_eq!(era(&[VERSION, ("mcp-method", "tools/list")], "tools/list", &list), Ok(Era::Modern));
    let call = modern(r#","name":"refund_order""#);
    let name = ("Mcp-Name", "refund_order");
    assert_eq!(era(&[VERSION, CALL, name], "tools/call", &call), Ok(Era::Modern));
    let encoded = ("Mcp-Name", "=?base64?cmVmdW5kX29yZGVy?=");
    assert_eq!(era(&[VERSION, CALL, encoded], "tools/call", &call), Ok(Era::Modern));
    let read = modern(r#","uri":"file:///a""#);
    let headers = [VERSION, ("Mcp-Method", "resources/read"), ("Mcp-Name", "file:///a")];
    assert_eq!(era(&headers, "resources/read", &read), Ok(Era::Modern));
}

#[test]
fn a_modern_request_whose_headers_say_something_else_is_refused() {
    let call = modern(r#","name":"refund_order""#);
    let name = ("Mcp-Name", "refund_order");
    for (headers, expected) in [
        (&[CALL, name][..], "-32020 header `mcp-protocol-version` is missing"),
        (&[VERSION, name], "-32020 header `mcp-method` is missing"),
        (&[VERSION, CALL], "-32020 header `mcp-name` is missing"),
        (&[VERSION, ("Mcp-Method", "tools/list"), name], "-32020 header `mcp-method` says"),
        (&[VERSION, ("Mcp-Method", "Tools/Call"), name], "-32020 header `mcp-method` says"),
        (&[VERSION, CALL, ("Mcp-Name", "get_order")], "-32020 header `mcp-name` says `get_order`"),
        (
            &[VERSION, CALL, ("Mcp-Name", "r\u{435}fund_order")],
            "-32020 header `mcp-name` cannot be read",
        ),
        (
            &[VERSION, CALL, ("Mcp-Name", "=?base64?cmVmdW5kX29yZGVy")],
            "-32020 header `mcp-name` says",
        ),
        (&[VERSION, CALL, ("Mcp-Name", "=?base64?!?=")], "-32020 header `mcp-name` cannot be read"),
        (
            &[VERSION, CALL, ("Mcp-Name", "=?base64?gICA?=")],
            "-32020 header `mcp-name` cannot be read",
        ),
        (&[VERSION, CALL, name, name], "-32020 header `mcp-name` is given more than once"),
        (&[VERSION, VERSION, CALL, name], "-32020 header `mcp-protocol-version` is given more"),
        (
            &[("MCP-Protocol-Version", "2025-11-25"), CALL, name],
            "-32020 header `mcp-protocol-version` says",
        ),
        (
            &[("MCP-Protocol-Version", "2027-01-01"), CALL, name],
            "-32020 header `mcp-protocol-version` says",
        ),
    ] {
        let refused = era(headers, "tools/call", &call).unwrap_err();
        assert!(refused.starts_with(expected), "{headers:?}: {refused}");
    }
    let nameless = era(&[VERSION, CALL, name], "tools/call", &modern("")).unwrap_err();
    assert!(nameless.starts_with("-32602 `params.name`"), "{nameless}");
}

#[test]
fn a_modern_request_says_who_asks_in_its_meta() {
    for meta in [
        r#"{}"#,
        r#"{"_meta":{}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#,
    ] {
        let refused = era(&[VERSION, ("Mcp-Method", "tools/list")], "tools/list", meta);
        assert!(refused.clone().unwrap_err().starts_with("-32602 `params._meta`"), "{refused:?}");
    }
}

#[test]
fn an_unsupported_version_is_answered_with_those_that_are() {
    for version in ["2024-11-05", "1900-01-01", "2026-07-29", "", "2026-07-28 "] {
        let meta = format!(
            r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}"#
        );
        for params in [meta.as_str(), "{}"] {
            let headers = [("MCP-Protocol-Version", version), ("Mcp-Method", "tools/list")];
            let refused = era(&headers, "tools/list", params).unwrap_err();
            assert!(refused.starts_with("-32022 protocol version"), "{version}: {refused}");
        }
    }
    let data = HeaderError::Unsupported(model::Foreign::new("1")).fault().response(None);
    let data = json(std::str::from_utf8(&data).unwrap());
    let data = data.member("error").and_then(|error| error.member("data")).unwrap();
    assert_eq!(
        data,
        &json(
            r#"{"requested":"1","supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]}"#
        )
    );
}

#[test]
fn a_session_is_opened_by_initialize_and_goes_on_with_its_version() {
    let opening = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{}}"#;
    assert_eq!(era(&[], "initialize", opening), Ok(Era::Legacy));
    // A client of the future opens a session only where it must: the answer names what is spoken.
    assert_eq!(era(&[], "initialize", r#"{"protocolVersion":"2026-07-28"}"#), Ok(Era::Legacy));
    for version in LEGACY_VERSIONS {
        assert_eq!(era(&[("MCP-Protocol-Version", version)], "tools/list", "{}"), Ok(Era::Legacy));
    }
    assert_eq!(era(&[], "tools/list", "{}"), Ok(Era::Legacy));
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(of(&[("MCP-Protocol-Version", "2025-11-25")], initialized), Ok(Era::Legacy));

    let other = [("MCP-Protocol-Version", "2025-06-18")];
    assert!(era(&other, "initialize", opening).unwrap_err().starts_with("-32020"));
    let refused = era(&[], "initialize", r#"{"protocolVersion":1}"#).unwrap_err();
    assert!(refused.starts_with("-32602"), "{refused}");
    // What a proxy on the way may have routed by must be true in any era.
    assert!(
        era(&[("Mcp-Method", "ping")], "initialize", opening).unwrap_err().starts_with("-32020")
    );
    let headers = [("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Name", "get_order")];
    let refused = era(&headers, "tools/call", r#"{"name":"refund_order"}"#).unwrap_err();
    assert!(refused.starts_with("-32020 header `mcp-name` says"), "{refused}");
}

#[test]
fn a_modern_notification_needs_only_its_version() {
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    assert_eq!(of(&[VERSION], cancelled), Ok(Era::Modern));
    let refused = of(&[VERSION, ("Mcp-Method", "tools/call")], cancelled).unwrap_err();
    assert!(refused.starts_with("-32020"), "{refused}");
}

proptest! {
    #[test]
    fn what_a_client_sends_along_is_what_a_server_demands(
        name in "[a-z_]{1,8}|\\PC{1,8}",
        argument in "\\PC{0,8}",
        method in "tools/call|tools/list|prompts/get|ping|initialize",
        is_modern: bool,
        agreed in proptest::option::of("2025-11-25|2025-06-18"),
    ) {
        let mut params = Json::object([("name", Json::String(name)), ("arguments", Json::object([("city", Json::String(argument))]))]);
        if is_modern && let Json::Object(members) = &mut params {
            members.insert(0, ("_meta".to_owned(), json(&modern("")).member("_meta").unwrap().clone()));
        }
        let message = Json::object([("jsonrpc", Json::String("2.0".to_owned())), ("id", Json::Integer(1)), ("method", Json::String(method.clone())), ("params", params)]);
        let message = Message::parse(&message.canonical()).unwrap();
        let schema = json(r#"{"type":"object","properties":{"city":{"type":"string","x-mcp-header":"City"}}}"#);
        let mirror = Mirror::of(&schema).unwrap();
        let headers = request_headers(&message, agreed.as_deref(), &mirror);
        let era = if is_modern && method != "initialize" { Era::Modern } else { Era::Legacy };
        prop_assert_eq!(Era::of(&headers, &message), Ok(era));
        if is_modern {
            prop_assert_eq!(mirror.check(&headers, message.param("arguments").unwrap()), Ok(()));
        }
        prop_assert_eq!(headers.contains_key("mcp-protocol-version"), method != "initialize" && (is_modern || agreed.is_some()));
    }
}
