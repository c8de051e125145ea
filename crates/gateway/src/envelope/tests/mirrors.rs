use super::*;

const SCHEMA: &str = r#"{"type":"object","properties":{
    "region":{"type":"string","x-mcp-header":"Region"},
    "options":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry-Run"}}},
    "limit":{"type":"integer","x-mcp-header":"Limit"},
    "note":{"type":"string","default":{"x-mcp-header":"no mark"}}}}"#;

fn checked(headers: &[(&str, &str)], arguments: &str) -> Result<(), String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let mirror = Mirror::of(&json(SCHEMA)).unwrap();
    mirror.check(&map, &json(arguments)).map_err(|error| error.to_string())
}

#[test]
fn marked_arguments_are_sent_as_headers_and_pass_their_own_check() {
    let mirror = Mirror::of(&json(SCHEMA)).unwrap();
    for (arguments, expected) in [
        (
            r#"{"region":"eu","options":{"dry":true},"limit":-3,"note":"x"}"#,
            &[("mcp-param-region", "eu"), ("mcp-param-dry-run", "true"), ("mcp-param-limit", "-3")]
                [..],
        ),
        (r#"{"region":"M\u00fcnchen"}"#, &[("mcp-param-region", "=?base64?TcO8bmNoZW4=?=")]),
        (r#"{"region":null,"options":[]}"#, &[]),
        (r#"{"region":["eu"],"limit":1.5}"#, &[]),
        ("{}", &[]),
    ] {
        let arguments = json(arguments);
        let headers = mirror.headers(&arguments);
        assert_eq!(headers.len(), expected.len(), "{headers:?}");
        for (name, value) in expected {
            assert_eq!(headers[*name], *value);
        }
        assert_eq!(mirror.check(&headers, &arguments), Ok(()));
    }
}

#[test]
fn headers_that_differ_from_the_arguments_are_refused() {
    let region = ("Mcp-Param-Region", "eu");
    assert_eq!(
        checked(&[region, ("Mcp-Param-Limit", "42.0")], r#"{"region":"eu","limit":42}"#),
        Ok(())
    );
    assert_eq!(checked(&[("Mcp-Param-Unknown", "1")], "{}"), Ok(()));
    for (headers, arguments, expected) in [
        (&[][..], r#"{"region":"eu"}"#, "is missing"),
        (&[("Mcp-Param-Region", "us")], r#"{"region":"eu"}"#, "says `us`, the body says `eu`"),
        (&[region], "{}", "stands for a value that is not in the body"),
        (&[region], r#"{"region":null}"#, "stands for a value that is not in the body"),
        (&[region, region], r#"{"region":"eu"}"#, "more than once"),
        (&[("Mcp-Param-Region", "=?base64?!?=")], r#"{"region":"eu"}"#, "cannot be read"),
        (&[("Mcp-Param-Limit", "43")], r#"{"limit":42}"#, "says `43`"),
        // Numbers that readers round are the same as no other.
        (
            &[("Mcp-Param-Limit", "9007199254740993")],
            r#"{"limit":9007199254740992}"#,
            "says `9007199254740993`",
        ),
    ] {
        let refused = checked(headers, arguments).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_schema_with_a_wrong_mark_is_refused() {
    let one = |mark: &str| {
        format!(r#"{{"properties":{{"a":{{"type":"string","x-mcp-header":{mark}}}}}}}"#)
    };
    for (schema, expected) in [
        (one("\"\""), MirrorError::Name),
        (one("1"), MirrorError::Name),
        (one("\"a b\""), MirrorError::Name),
        (one("\"a\\r\\nx: y\""), MirrorError::Name),
        (r#"{"x-mcp-header":"A"}"#.into(), MirrorError::Place),
        (r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#.into(), MirrorError::Kind),
        (r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#.into(), MirrorError::Kind),
        (r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#.into(), MirrorError::Place),
        (r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#.into(), MirrorError::Place),
        (r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#.into(), MirrorError::Place),
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#.into(), MirrorError::Repeated),
    ] {
        assert_eq!(Mirror::of(&json(&schema)), Err(expected), "{schema}");
    }
}
