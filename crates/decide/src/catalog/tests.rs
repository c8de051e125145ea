use super::*;

const DEFINITION: &str = r#"{"name":"refund","inputSchema":{"type":"object","properties":{
    "order":{"type":"string"},"amount":{},"meta":{"type":"object"}},"required":["order"]}}"#;

fn tool(id: &str, amount: Option<&str>) -> Result<Tool, MappingError> {
    tool_on("Refund", id, amount)
}

fn tool_on(kind: &str, id: &str, amount: Option<&str>) -> Result<Tool, MappingError> {
    let record = ToolRecord {
        server: "desk".parse().unwrap(),
        name: "refund".to_owned(),
        definition: DEFINITION.to_owned(),
        digest: Digest::default(),
        mapping: None,
        accepted_by: None,
        former: None,
        gone: false,
    };
    let effect = Effect {
        verb: Verb::Pay,
        resource: kind.to_owned(),
        id: id.to_owned(),
        amount: amount.map(str::to_owned),
        currency: amount.map(|_| "'EUR'".to_owned()),
        classes: None,
    };
    compile(
        &record,
        &Mapping { effects: vec![effect], ..Mapping::default() },
        &["pii".parse().unwrap()],
    )
}

fn resolve(id: &str, amount: Option<&str>, arguments: &str) -> Result<String, String> {
    let arguments =
        ijson::parse(arguments.as_bytes(), ijson::Limits { bytes: 1000, depth: 8 }).unwrap();
    let pairs = tool(id, amount)
        .map_err(|why| why.to_string())?
        .resolve(&arguments)
        .map_err(|why| why.to_string())?;
    let [pair] = &pairs[..] else { panic!("one effect, one pair") };
    let amount = pair.amount.map(|amount| format!(" {amount}")).unwrap_or_default();
    Ok(format!("{} {}{amount} {:?}", pair.verb, pair.resource, pair.classes))
}

#[test]
fn a_call_becomes_pairs_by_its_arguments() {
    let arguments = r#"{"order":"A-1","amount":4000,"meta":{"n":7}}"#;
    assert_eq!(
        resolve("args.order", Some("args.amount"), arguments).unwrap(),
        "pay desk/Refund/A-1 40.00 EUR {pii}"
    );
    assert_eq!(
        resolve("'o/' + args.meta.n", None, arguments).unwrap(),
        "pay desk/Refund/o/7 {pii}"
    );
}

#[test]
fn what_the_mapping_needs_and_the_call_lacks_refuses_the_call() {
    for (arguments, why) in [
        (r#"{"order":"A-1"}"#, "`args.amount` is missing"),
        (r#"{"order":"A-1","amount":"4000"}"#, "`args.amount` is not a whole number"),
        (r#"{"order":"A-1","amount":40.5}"#, "`args.amount` is not a whole number"),
        (r#"{"order":"A-1","amount":-1}"#, "between 0 and 2^53"),
        (r#"{"order":"../x","amount":1}"#, "without control characters"),
        (r#"{"order":"","amount":1}"#, "1 to 256 bytes"),
        (r#"{"order":"e\u0301","amount":1}"#, "normalized"),
        (r#"{"amount":1}"#, "required"),
        (r#"{"order":7,"amount":1}"#, "schema"),
        (r#"{"order":"A-1","amount":1,"extra":1}"#, "schema"),
    ] {
        let error = resolve("args.order", Some("args.amount"), arguments).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    }
}

#[test]
fn arguments_that_the_mapping_cannot_know_are_refused_whatever_the_servers_schema_says() {
    for open in [r#""additionalProperties":true"#, r#""patternProperties":{".*":{}}"#] {
        let definition = format!(
            r#"{{"name":"t","inputSchema":{{"type":"object","properties":{{"order":{{}}}},{open}}}}}"#
        );
        let record = ToolRecord {
            server: "desk".parse().unwrap(),
            name: "t".to_owned(),
            definition,
            digest: Digest::default(),
            mapping: None,
            accepted_by: None,
            former: None,
            gone: false,
        };
        let effect = Effect {
            verb: Verb::Read,
            resource: "Order".to_owned(),
            id: "args.order".to_owned(),
            amount: None,
            currency: None,
            classes: None,
        };
        let mapping = Mapping { effects: vec![effect], ..Mapping::default() };
        let tool = compile(&record, &mapping, &[]).unwrap();
        let arguments = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        assert!(tool.resolve(&arguments(r#"{"order":"A-1"}"#)).is_ok());
        assert!(tool.resolve(&arguments(r#"{"order":"A-1","really":9}"#)).is_err(), "{open}");
    }
}

/// Through the validator itself, which stands on the same stack.
#[test]
fn a_schema_that_asks_for_endless_work_or_stack_decides_no_call() {
    let with = |schema: &str| {
        let record = ToolRecord {
            server: "desk".parse().unwrap(),
            name: "t".to_owned(),
            definition: format!(r#"{{"name":"t","inputSchema":{schema}}}"#),
            digest: Digest::default(),
            mapping: None,
            accepted_by: None,
            former: None,
            gone: false,
        };
        let effect = Effect {
            verb: Verb::Read,
            resource: "Order".to_owned(),
            id: "'all'".to_owned(),
            amount: None,
            currency: None,
            classes: None,
        };
        compile(&record, &Mapping { effects: vec![effect], ..Mapping::default() }, &[])
    };
    let parts = |count: usize, part: &str| {
        let next = |at: usize| part.replace("NEXT", &format!(r##"{{"$ref":"#/$defs/{at}"}}"##));
        let parts: Vec<_> = (0..count).map(|at| format!(r#""{at}":{}"#, next(at + 1))).collect();
        let parts = parts.join(",");
        format!(
            r##"{{"properties":{{"a":{{"$ref":"#/$defs/0"}}}},"$defs":{{{parts},"{count}":{{}}}}}}"##
        )
    };
    assert!(with(&parts(5_000, "NEXT")).is_err(), "it would overflow the stack");
    let deepest = with(&parts(60, "NEXT")).unwrap();
    let wide = with(&parts(25, r#"{"allOf":[NEXT,NEXT]}"#)).unwrap();
    let one = serde_json::from_str::<Json>(r#"{"a":1}"#).unwrap();
    assert!(deepest.resolve(&one).is_ok());
    assert!(matches!(wide.resolve(&one), Err(ResolveError::Schema(why)) if why.contains("steps")));
    for beside in [
        "{\"allOf\":[NEXT],",
        "{\"anyOf\":[NEXT],",
        "{\"if\":NEXT,",
        "{\"dependentSchemas\":{\"x\":NEXT},",
    ] {
        for (keyword, value) in
            [("unevaluatedProperties", r#"{"x":1}"#), ("unevaluatedItems", "[1]")]
        {
            let part = format!(r#"{beside}"{keyword}":false}}"#);
            let nested = (0..25).fold(r#"{"properties":{"x":{}}}"#.to_owned(), |inner, _| {
                part.replace("NEXT", &inner)
            });
            let doubled = with(&format!(r#"{{"properties":{{"a":{nested}}}}}"#)).unwrap();
            let value = serde_json::from_str::<Json>(&format!(r#"{{"a":{value}}}"#)).unwrap();
            let resolved = doubled.resolve(&value);
            assert!(
                matches!(resolved, Err(ResolveError::Schema(why)) if why.contains("steps")),
                "{part}"
            );
        }
    }
    let composite = with(
        r##"{"properties":{"a":{"allOf":[{"$ref":"#/$defs/b"},{"properties":{"y":{"type":"integer"}}}],"unevaluatedProperties":false}},
            "$defs":{"b":{"properties":{"x":{"type":"integer"}}}}}"##,
    )
    .unwrap();
    let one = |text: &str| serde_json::from_str::<Json>(text).unwrap();
    assert!(composite.resolve(&one(r#"{"a":{"x":1,"y":2}}"#)).is_ok());
    assert!(composite.resolve(&one(r#"{"a":{"x":1,"z":2}}"#)).is_err());
    // As deep as a value can be, in a schema that takes several steps for each of its levels.
    let levels = with(
        r##"{"properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"anyOf":[{"allOf":[{"items":{"$ref":"#/$defs/x"}}]}]}}}"##,
    );
    let nested = format!(r#"{{"a":{}1{}}}"#, "[".repeat(62), "]".repeat(62));
    let nested = serde_json::from_str::<Json>(&nested).unwrap();
    assert!(levels.unwrap().resolve(&nested).is_ok());
}

#[test]
fn an_expression_outside_the_accepted_part_is_refused_at_acceptance() {
    for expression in [
        "",
        "order",
        "args",
        "args.",
        "args.a[0]",
        "args.x.map(y, y)",
        "'a",
        "'a'b'",
        "args.a ? 1 : 2",
        "\"\\n\"",
    ] {
        assert!(tool(expression, None).is_err(), "{expression} was accepted");
    }
    assert!(tool(&"a".repeat(2000), None).is_err());
}

/// What is accepted is loaded with the policies from then on; a type that does not load would freeze them.
#[test]
fn a_mapping_is_refused_exactly_where_no_policies_could_be_loaded_with_its_resource_type() {
    for (kind, taken) in [
        ("System", true),
        ("Team", true),
        ("Blueprint", true),
        ("Person", true),
        ("Agent", true),
        ("ServiceAccount", true),
        ("Workload", true),
        ("Pipeline", true),
        ("Bot", true),
        ("OauthApp", true),
        ("FoundCredential", true),
        ("Action", true),
        ("Facts", true),
        ("Bool", true),
        ("Long", true),
        ("String", true),
        ("Set", true),
        ("Record", false),
        ("Entity", false),
        ("Extension", false),
        ("Boolean", false),
        ("Decimal", false),
        ("Datetime", false),
        ("Order", false),
        ("Resource", false),
        ("Task", false),
        ("Approval", false),
        ("Stop", false),
        ("Ledger", false),
        ("Cedar", false),
        ("Set2", false),
        ("Type", false),
    ] {
        let compiled = tool_on(kind, "args.order", None);
        let reserved = matches!(&compiled, Err(MappingError::Reserved(named)) if named == kind);
        assert_eq!((reserved, compiled.is_err()), (taken, taken), "{kind}");
        let text = format!(
            "@id(\"uses\") permit (principal, action == Action::\"read\", resource is {kind});"
        );
        for text in [String::new(), text] {
            let sources = [policy::Source { name: "a.cedar".to_owned(), text }];
            let loaded = policy::Policies::load(&sources, &[kind.to_owned()].into());
            assert_eq!(loaded.is_err(), taken, "{kind}");
        }
    }
}
