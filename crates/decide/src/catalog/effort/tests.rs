use super::*;

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// A schema of so many parts, each of which is this with `NEXT` for the one behind it.
fn chain(parts: usize, part: &str) -> Json {
    let next = |at: usize| part.replace("NEXT", &format!(r##"{{"$ref":"#/$defs/{}"}}"##, at + 1));
    let parts: Vec<String> = (0..parts).map(|at| format!(r#""{at}":{},"#, next(at))).collect();
    let (parts, count) = (parts.concat(), parts.len());
    json(&format!(r##"{{"$ref":"#/$defs/0","$defs":{{{parts}"{count}":{{"type":"integer"}}}}}}"##))
}

#[test]
fn schemas_as_tools_have_them_are_cheap() {
    for (schema, arguments) in [
        (r#"{"type":"object","properties":{"a":{"enum":["x","y"]}}}"#, r#"{"a":"x"}"#),
        (
            r##"{"properties":{"tree":{"$ref":"#/definitions/a~1b"}},"definitions":{"a/b":{"type":"object",
                "properties":{"left":{"$ref":"#/definitions/a~1b"},"right":{"$ref":"#/definitions/a~1b"}}}}}"##,
            r#"{"tree":{"left":{"left":{},"right":{}},"right":{"left":{}}}}"#,
        ),
        (r##"{"items":{"$ref":"#"},"anyOf":[{"type":"array"},true]}"##, "[[[[[[1],2],3]]]]"),
    ] {
        let schema = json(schema);
        assert_eq!(check(&schema), Ok(()));
        assert_eq!(count(&schema, &json(arguments)), Ok(()));
    }
    let uuids = json(r#"{"items":{"pattern":"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}}"#);
    let uuid = r#""123e4567-e89b-12d3-a456-426614174000","#;
    assert_eq!(count(&uuids, &json(&format!("[{}1]", uuid.repeat(1_000)))), Ok(()));
    let content = json(r#"{"pattern":"^[A-Za-z0-9+/]*={0,2}$"}"#);
    assert_eq!(count(&content, &Json::String("A".repeat(1 << 20))), Ok(()));
    assert_eq!(check(&chain(20, r#"{"not":NEXT}"#)), Ok(()));
}

#[test]
fn a_short_schema_that_asks_for_endless_work_is_noticed_in_time() {
    let nested = json(&format!("{}1{}", "[".repeat(60), "]".repeat(60)));
    let twice = r##"{"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}"##;
    let list = |items: usize| json(&format!("[{}1]", "1,".repeat(items)));
    let texts = json(&format!("[{}1]", format!(r#""{}","#, "x".repeat(1_000)).repeat(400)));
    let members = |count: usize, value: &str| {
        let members: Vec<_> = (0..count).map(|at| format!(r#""{at}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let object = json(&members(60_000, "1"));
    let same = |part: &str, times: usize| {
        let refs = vec![r##"{"$ref":"#/$defs/a"}"##; times].join(",");
        json(&format!(r#"{{"allOf":[{refs}],"$defs":{{"a":{part}}}}}"#))
    };
    let names = format!("{:?}", ["a"; 100]);
    // Each reference reads all of `$defs`.
    let far = json(&format!(
        r##"{{"items":{{"$ref":"#/$defs/4999"}},"$defs":{}}}"##,
        members(5_000, "true")
    ));
    let text = Json::String("ab".repeat(100_000));
    for (schema, arguments) in [
        (chain(30, r#"{"allOf":[NEXT,NEXT]}"#), json("1")),
        (json(twice), nested),
        (json(r##"{"$ref":"#"}"##), json("1")),
        (json(&format!(r#"{{"items":{{"enum":{:?}}}}}"#, [1; 200])), list(20_000)),
        (json(&format!(r#"{{"items":{{"const":{:?}}}}}"#, [1; 200])), list(20_000)),
        (same(r#"{"uniqueItems":true}"#, 10), texts),
        (json(&format!(r#"{{"properties":{}}}"#, members(15_000, "{}"))), object.clone()),
        (same(r#"{"properties":{"59999":{"const":1},"a":true}}"#, 200), object.clone()),
        (same(r#"{"propertyNames":{"maxLength":5}}"#, 4), object.clone()),
        (same(r#"{"patternProperties":{"x":true,"y":true}}"#, 2), object.clone()),
        (same(r#"{"additionalProperties":true}"#, 4), object),
        (same(&format!(r#"{{"required":{names}}}"#), 2_000), json("{}")),
        (same(&format!(r#"{{"dependentRequired":{{"a":{names}}}}}"#), 2_000), json("{}")),
        (same(&format!(r#"{{"dependencies":{{"a":{names}}}}}"#), 2_000), json("{}")),
        (json(r#"{"pattern":"^[ab]*a[ab]{2000}[cd][ab]*$"}"#), text.clone()),
        (json(r#"{"pattern":"^(([ab]{20}){20}){20}$"}"#), text),
        (
            json(r#"{"propertyNames":{"pattern":"^(a|b){9000}$"}}"#),
            json(&format!(r#"{{"{}":1}}"#, "a".repeat(2_000))),
        ),
        (
            json(r#"{"patternProperties":{"^(a|b){9000}$":true}}"#),
            json(&format!(r#"{{"{}":1}}"#, "a".repeat(2_000))),
        ),
        (far, list(4_000)),
    ] {
        assert_eq!(check(&schema), Ok(()));
        assert_eq!(count(&schema, &arguments), Err(TooMuch), "{:.60}", schema.to_value());
    }
}

#[test]
fn a_schema_too_deep_for_a_stack_or_that_leads_elsewhere_is_refused() {
    for schema in [
        chain(5_000, "NEXT"),
        chain(130, "NEXT"),
        chain(60, r#"{"not":{"not":NEXT}}"#),
        json(r##"{"$ref":"#anchor"}"##),
        json(r##"{"$ref":"#/nowhere"}"##),
        json(r##"{"$ref":"other.json"}"##),
        json(r##"{"properties":{"a":{"$id":"b","$ref":"#"}}}"##),
        json(r##"{"$dynamicRef":"#"}"##),
    ] {
        assert!(check(&schema).is_err(), "{schema:?}");
    }
}

/// `unevaluated…` doubles what is beside it, at each level where it stands within another.
#[test]
fn what_unevaluated_looks_into_costs_as_much_again_at_every_level() {
    for (part, last) in [
        (r#"{"allOf":[NEXT],"unevaluatedProperties":false}"#, r#"{"x":1}"#),
        (r#"{"anyOf":[NEXT],"unevaluatedProperties":false}"#, r#"{"x":1}"#),
        (r#"{"oneOf":[NEXT],"unevaluatedProperties":false}"#, r#"{"x":1}"#),
        (r#"{"if":NEXT,"unevaluatedProperties":false}"#, r#"{"x":1}"#),
        (r#"{"dependentSchemas":{"x":NEXT},"unevaluatedProperties":false}"#, r#"{"x":1}"#),
        (r#"{"allOf":[NEXT],"unevaluatedItems":false}"#, "[1]"),
        (r#"{"anyOf":[NEXT],"unevaluatedItems":false}"#, "[1]"),
        (r#"{"if":NEXT,"unevaluatedItems":false}"#, "[1]"),
    ] {
        let nested = (0..25)
            .fold(r#"{"properties":{"x":{}}}"#.to_owned(), |inner, _| part.replace("NEXT", &inner));
        assert_eq!(count(&json(&nested), &json(last)), Err(TooMuch), "{part}");
        let few = (0..3).fold("{}".to_owned(), |inner, _| part.replace("NEXT", &inner));
        assert_eq!(check(&json(&few)), Ok(()), "{part}");
        assert_eq!(count(&json(&few), &json(last)), Ok(()), "{part}");
    }
    // One of them alone, in a list that holds itself.
    let list = json(r##"{"anyOf":[{"prefixItems":[{"$ref":"#"}]}],"unevaluatedItems":false}"##);
    let nested = json(&format!("{}{}", "[".repeat(60), "]".repeat(60)));
    assert_eq!(check(&list), Ok(()));
    assert_eq!(count(&list, &nested), Err(TooMuch));
}

#[test]
fn a_schema_that_takes_too_much_to_compile_is_refused() {
    let twice = chain(25, r#"{"allOf":[NEXT,NEXT]}"#).to_value().to_string();
    let looking = format!(r#"{},"unevaluatedProperties":false}}"#, &twice[..twice.len() - 1]);
    let patterns = |count: usize| {
        let parts = (0..count).map(|at| format!(r#""{at}":{{"pattern":"x{at}"}}"#));
        let parts: Vec<_> = parts.collect();
        json(&format!(r#"{{"properties":{{{}}}}}"#, parts.join(",")))
    };
    assert_eq!(check(&json(&twice)), Ok(()));
    assert_eq!(check(&patterns(MAX_PATTERNS)), Ok(()));
    for schema in [json(&looking), patterns(MAX_PATTERNS + 1)] {
        assert!(check(&schema).is_err(), "{schema:?}");
    }
}
