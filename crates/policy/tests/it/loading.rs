//! What is refused at load, where, and with which advice.

use std::collections::BTreeSet;

use model::Digest;
use policy::{MAX_POLICY_BYTES, MAX_SOURCE_BYTES, Policies, Source, check, schema};

use crate::dsl::{ALLOW, kinds, load, loaded, outcome, refusal, source, summary, verdict};

/// Refusals of one-line policies: the text and what is said about it.
fn refused(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(refusal(text), *expected, "{text}");
    }
}

/// A policy with this condition.
fn when(condition: &str) -> String {
    format!(r#"@id("a") permit (principal, action, resource) when {{ {condition} }};"#)
}

#[test]
fn a_policy_needs_an_id_and_no_two_share_one() {
    refused(&[
        (
            "\n  permit (principal, action, resource);",
            r#"test.cedar:2:3: this policy has no `@id` (write `@id("refund-limit")` before it)"#,
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            "test.cedar:2:1: another policy has the id `a` (the other is at test.cedar:1; rename one of them)",
        ),
    ]);
    let sources = [source("one.cedar", ALLOW), source("two.cedar", ALLOW)];
    let errors = Policies::load(&sources, &kinds()).unwrap_err().to_string();
    assert!(errors.starts_with(
        "two.cedar:1:1: another policy has the id `allow` (the other is at one.cedar:1"
    ));
}

#[test]
fn an_id_is_a_name_in_lower_case_so_that_no_two_look_alike() {
    let long = "a".repeat(64);
    for id in ["", "Allow", "аllow", "a b", "a..b", "-a", "größe", &long] {
        let text = format!(r#"@id("{id}") permit (principal, action, resource);"#);
        let refusal = refusal(&text);
        assert!(
            refusal.starts_with(&format!("test.cedar:1:1: `@id(\"{id}\")` is not understood")),
            "{refusal}"
        );
    }
}

#[test]
fn an_unknown_annotation_is_refused_and_the_nearest_known_one_is_named() {
    refused(&[
        (
            r#"@id("a") @hodl("finance") forbid (principal, action, resource);"#,
            "test.cedar:1:10: unknown annotation `@hodl` (did you mean `@hold`?)",
        ),
        (
            "@id(\"a\")\n@stepup(\"passkey\")\nforbid (principal, action, resource);",
            "test.cedar:2:1: unknown annotation `@stepup` (did you mean `@step_up`?)",
        ),
    ]);
}

#[test]
fn annotations_are_type_checked() {
    let hold = "is not understood (write `@hold(\"finance\")`, or `@hold(\"finance:2\")` for two of them (1 to 9))";
    let step_up = "is not understood (write `@step_up(\"passkey\")` or `@step_up(\"key\")`)";
    let mode = "is not understood (write `@mode(\"shadow\")` or `@mode(\"canary:10\")` with a percentage from 1 to 99)";
    let obligation =
        "is not understood (write `@obligation(\"mask:card\")`; several are separated by commas)";
    let sentence = "is not understood (write a sentence of 1 to 512 bytes)";
    let explain = "is not understood (write `@explain(\"agent\")`)";
    let long = format!("reason(\"{}\")", "a".repeat(513));
    for (annotation, expected) in [
        ("hold(\"\")", hold),
        ("hold(\"Finance\")", hold),
        ("hold(\"finance:0\")", hold),
        ("hold(\"finance:10\")", hold),
        ("hold(\"finance:+1\")", hold),
        ("hold(\"finance:1:1\")", hold),
        ("step_up(\"sms\")", step_up),
        ("mode(\"enforce\")", mode),
        ("mode(\"canary:0\")", mode),
        ("mode(\"canary:100\")", mode),
        ("mode(\"canary:05\")", mode),
        ("mode(\"canary\")", mode),
        ("mode(\"shadow:10\")", mode),
        ("obligation(\"\")", obligation),
        ("obligation(\"mask:\")", obligation),
        ("obligation(\"mask:card,\")", obligation),
        ("obligation(\"Mask\")", obligation),
        ("reason(\"\")", sentence),
        ("next(\" \")", sentence),
        ("explain(\"everybody\")", explain),
    ] {
        let text =
            format!("@id(\"a\") @hold(\"x\") @{annotation} forbid (principal, action, resource);");
        let text =
            if annotation.starts_with("hold") { text.replace("@hold(\"x\") ", "") } else { text };
        let text = if annotation.starts_with("step_up") {
            text.replace("@hold(\"x\") ", "")
        } else {
            text
        };
        let refusal = refusal(&text);
        assert!(
            refusal.contains(&format!("`@{annotation}` {expected}")),
            "{annotation}: {refusal}"
        );
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let text = format!("@id(\"a\") @{long} permit (principal, action, resource);");
    assert!(refusal(&text).contains(sentence));
    let bare = "@id(\"a\") @hold forbid (principal, action, resource);";
    assert!(refusal(bare).contains(hold), "an annotation without a value is an empty one");
}

#[test]
fn annotations_that_contradict_the_effect_are_refused() {
    let lifted = "only a forbid can be lifted: write it as a `forbid` beside this permit";
    refused(&[
        (
            r#"@id("a") @hold("finance") permit (principal, action, resource);"#,
            &format!("test.cedar:1:10: {lifted} (remove `@hold`)"),
        ),
        (
            r#"@id("a") @step_up("key") permit (principal, action, resource);"#,
            &format!("test.cedar:1:10: {lifted} (remove `@step_up`)"),
        ),
        (
            r#"@id("a") @hold("finance") @step_up("key") forbid (principal, action, resource);"#,
            "test.cedar:1:27: one policy makes one demand: write `@step_up` as a second forbid (remove `@step_up`)",
        ),
        (
            r#"@id("a") @obligation("mask") forbid (principal, action, resource);"#,
            "test.cedar:1:10: a hard forbid lets nothing happen that could be obliged (remove `@obligation`)",
        ),
    ]);
}

#[test]
fn syntax_errors_say_where_and_what_was_expected() {
    refused(&[
        (
            "@id(\"a\")\npermit (principal, action)",
            "test.cedar:2:27: unexpected end of input (expected `;` or identifier)",
        ),
        (
            "// größe\n@id(\"ä\") permit principal;",
            "test.cedar:2:17: unexpected token `principal` (expected `(`)",
        ),
        (
            r#"@id("a") @id("b") permit (principal, action, resource);"#,
            "test.cedar:1:10: duplicate annotation: @id",
        ),
    ]);
}

#[test]
fn templates_are_refused() {
    refused(&[(
        r#"@id("a") permit (principal == ?principal, action, resource);"#,
        "test.cedar:1:1: templates (`?principal`, `?resource`) are not supported \
         (write a policy over a team, a blueprint or a system)",
    )]);
}

#[test]
fn validation_is_strict_and_points_at_the_expression() {
    refused(&[
        (
            r#"@id("a") permit (principal, action, resource is Refnd);"#,
            "test.cedar:1:49: for policy `a`, unrecognized entity type `Refnd` (did you mean `Refund`?)",
        ),
        (
            r#"@id("a") permit (principal, action == Action::"reed", resource);"#,
            "test.cedar:1:39: for policy `a`, unrecognized action `Action::\"reed\"` (did you mean `Action::\"read\"`?)",
        ),
        (
            &when("3"),
            "test.cedar:1:54: for policy `a`, unexpected type: expected Bool but saw Long",
        ),
        (
            &when("context.amount > 3"),
            "test.cedar:1:54: for policy `a`, unable to guarantee safety of access to optional attribute `amount` \
             in context for Action::\"create\" (try testing for the attribute's presence with `context has amount && ..`)",
        ),
    ]);
    let unknown = [Source {
        name: "test.cedar".to_owned(),
        text: r#"@id("a") permit (principal, action, resource is Order);"#.to_owned(),
    }];
    let none = policy::check(&unknown, &BTreeSet::new()).unwrap_err().to_string();
    assert!(none.ends_with("`Order` (no tool is accepted yet, and a kind is known once a tool whose mapping names it is)"), "{none}");
    let some = policy::check(&unknown, &["Invoice".to_owned()].into()).unwrap_err().to_string();
    assert!(some.ends_with("`Order` (no accepted tool names it; they name `Invoice`)"), "{some}");
    assert!(refusal(&when("context.amout > 3")).contains("did you mean `amount`?"));
    assert!(refusal(&when("resource.owner == principal")).contains("`owner`"));
    assert!(refusal(&when(r#"[].contains("a")"#)).contains("empty set"));
}

#[test]
fn a_condition_looks_one_step_and_no_further() {
    for condition in [
        r#"principal is Agent && principal.owner in Team::"x""#,
        "principal is Person && principal has manager && principal.manager has manager",
        r#"resource has owner && resource.owner in Team::"x""#,
        r#"Refund::"support-desk/1".id == "1""#,
    ] {
        let refusal = refusal(&when(condition));
        assert!(
            refusal.contains("a condition looks at the principal, the resource and the invoker"),
            "{refusal}"
        );
    }
    loaded(&when(r#"context has invoker && context.invoker in Team::"x""#));
    loaded(&when(
        "principal is Agent && context has invoker && principal.owner == context.invoker",
    ));
    loaded(&when("resource is Approval && resource has group && principal in resource.group"));
}

#[test]
fn a_name_that_nothing_can_have_is_refused_since_a_forbid_on_it_would_forbid_nothing() {
    for (text, hint) in [
        (r#"Refund::"4711""#, r#"`Refund::"support-desk/4711"`"#),
        (r#"Refund::"Support Desk/4711""#, r#"`Refund::"support-desk/4711"`"#),
        (r#"Refund::"support-desk/""#, r#"`Refund::"support-desk/4711"`"#),
        (r#"Refund::"support-desk/a//b""#, r#"`Refund::"support-desk/4711"`"#),
    ] {
        let refusal =
            refusal(&format!(r#"@id("a") forbid (principal, action, resource == {text});"#));
        assert!(refusal.contains(&format!("nothing can be named `{text}`")), "{refusal}");
        assert!(refusal.contains(hint), "{refusal}");
    }
    for text in
        [r#"Team::"Finance""#, r#"Agent::"agent/bot""#, r#"Blueprint::"größe""#, r#"Person::"аnn""#]
    {
        let refusal =
            refusal(&format!(r#"@id("a") forbid (principal in {text}, action, resource);"#));
        assert!(refusal.contains(&format!("nothing can be named `{text}`")), "{refusal}");
    }
    let system = r#"@id("a") forbid (principal, action, resource in System::"a/b");"#;
    assert!(refusal(system).contains("nothing can be named"));
}

#[test]
fn text_that_does_not_read_as_it_looks_is_refused() {
    refused(&[
        (
            "@id(\"a\") forbid (principal, action, resource); // \u{202e}dne",
            "test.cedar:1:51: `\\u{202e}` cannot be seen by who reads the policy (remove the character)",
        ),
        (
            "@id(\"a\") forbid (principal in Team::\"fin\u{200b}ance\", action, resource);",
            "test.cedar:1:41: `\\u{200b}` cannot be seen by who reads the policy (remove the character)",
        ),
        (
            "// ok\n@id(\"a\") forbid (principal, action, resource == Order::\"s/cafe\u{301}\");",
            "test.cedar:2:62: this text is not normalized (NFC), and would equal no resource's id \
             (save the file in Unicode normalization form C)",
        ),
        (
            r#"@id("a") forbid (principal, action, resource == Order::"s/\u{65}");"#,
            "test.cedar:1:59: the escape `\\u` hides what the policy says (write the character itself)",
        ),
        (
            r#"@id("a") forbid (principal, action, resource) when { context.environment == "\x41" };"#,
            "test.cedar:1:78: the escape `\\x` hides what the policy says (write the character itself)",
        ),
    ]);
    loaded(
        r#"@id("a") permit (principal, action, resource) when { resource.id like "a\*\"\\*" }; // C:\temp"#,
    );
    loaded(
        "\r\n\t@id(\"a\")\r\npermit (principal, action, resource) when { resource.id == \"größe 東京\" };\r\n",
    );
}

#[test]
fn sizes_are_bounded() {
    let comment = "// x\n".repeat(MAX_SOURCE_BYTES / 5 + 1);
    assert!(refusal(&comment).contains("a policy file has at most 10485760"));
    let long = format!("{} {ALLOW}", "// x\n".repeat(MAX_POLICY_BYTES / 5 + 1));
    assert!(refusal(&long).contains("has at most 65536 bytes"));
    let spread: String = (0..3)
        .map(|n| {
            format!(
                "{}@id(\"p{n}\") permit (principal, action, resource);\n",
                "// x\n".repeat(8_000)
            )
        })
        .collect();
    assert_eq!(loaded(&spread).iter().len(), 3);
    let sets: Vec<Source> =
        (0..7).map(|n| source(&n.to_string(), &" ".repeat(MAX_SOURCE_BYTES))).collect();
    let errors = Policies::load(&sets, &kinds()).unwrap_err().to_string();
    assert_eq!(errors, "73400320 bytes of policies; a set has at most 67108864");
    let semicolons = ";".repeat(policy::MAX_POLICIES + 1);
    assert!(refusal(&semicolons).contains("a set has at most 100000 policies"));
    for name in ["", "a\u{202e}b", &"a".repeat(257)] {
        let errors = Policies::load(&[source(name, ALLOW)], &kinds()).unwrap_err();
        assert!(errors.to_string().contains("a policy file's name has 1 to 256 bytes"));
    }
}

#[test]
fn at_most_a_hundred_remarks_are_made() {
    let many = "permit (principal, action, resource);\n".repeat(1_000);
    assert_eq!(load(&many).unwrap_err().remarks().len(), 100);
}

#[test]
fn nesting_is_bounded_before_the_parser_and_the_evaluator_run_out_of_stack() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        when(&format!("{}{inner}{}", open.repeat(times), close.repeat(times)))
    };
    for times in [100, 100_000 / 64, 20_000] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{a: ", "}"), ("(if true then ", " else true)")]
        {
            let refusal = refusal(&nested(open, "true", close, times));
            let bounded = ["brackets in one another", "at most 65536 bytes"];
            assert!(
                bounded.iter().any(|bound| refusal.contains(bound)),
                "{open} {times}: {refusal}"
            );
        }
        for (open, inner) in
            [("1 + ", "1 == 1"), ("if true then true else ", "true"), ("context.a", "")]
        {
            let refusal = refusal(&when(&format!("{}{inner}", open.repeat(times))));
            let bounded = ["in one another", "at most 65536 bytes", "unexpected token"];
            assert!(
                bounded.iter().any(|bound| refusal.contains(bound)),
                "{open} {times}: {refusal}"
            );
        }
    }
    assert!(refusal(&when(&format!("{}true", "!".repeat(5)))).contains("too many occurrences"));
}

#[test]
fn what_is_within_the_bounds_is_validated_to_its_last_operator() {
    let chain = |last: &str| when(&format!("{}{last}", "context.depth == 1 || ".repeat(480)));
    assert_eq!(verdict(&chain("context.depth == 0"), "support-bot read Order/1"), "permit; by a");
    assert!(refusal(&chain("context.nothing == 0")).contains("`nothing`"));
    assert!(
        refusal(&when(&format!("{}true", "context.depth == 1 || ".repeat(501))))
            .contains("more than 500")
    );
    let deep = |inner: &str| {
        when(&format!(
            "{}{inner}{}",
            "(context.depth == 0 && (context.depth == 1 || ".repeat(6),
            "))".repeat(6)
        ))
    };
    assert_eq!(verdict(&deep("context.at > 0"), "support-bot read Order/1"), "permit; by a");
    assert!(refusal(&deep("context.nothing > 0")).contains("`nothing`"));
    let deeper =
        when(&format!("{}true{}", "(true && (context.depth == 1 || ".repeat(20), "))".repeat(20)));
    assert!(refusal(&deeper).contains("more than 16 levels"));
}

#[test]
fn a_bad_set_loads_nothing_and_says_everything() {
    let sources = [
        source("b.cedar", "permit (principal, action, resource);"),
        source("a.cedar", r#"@id("Z") permit (principal, action, resource);"#),
        source("c.cedar", ALLOW),
    ];
    let errors = Policies::load(&sources, &kinds()).unwrap_err();
    let places: Vec<String> = errors
        .remarks()
        .iter()
        .map(|remark| remark.place.as_ref().unwrap().file.to_string())
        .collect();
    assert_eq!(places, ["a.cedar", "b.cedar"]);
}

#[test]
fn the_kinds_of_the_catalog_are_checked() {
    for (kind, expected) in [
        ("refund", "the catalog's kind `refund` is not a type name"),
        ("Refund Item", "is not a type name"),
        ("R\u{202e}", "the catalog's kind `R\\u{202e}` is not a type name"),
        ("Person", "the catalog's kind `Person` means something else in policies"),
        ("String", "the catalog's kind `String` means something else in policies"),
        ("Action", "means something else"),
    ] {
        let errors =
            Policies::load(&[], &BTreeSet::from([kind.to_owned()])).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
    }
    let many = (0..=policy::MAX_KINDS).map(|n| format!("K{n}")).collect();
    assert!(
        Policies::load(&[], &many).unwrap_err().to_string().contains("a catalog has at most 1000")
    );
}

#[test]
fn words_of_cedar_that_are_no_types_of_ours_can_be_kinds() {
    for kind in [
        "Record",
        "Entity",
        "Extension",
        "Boolean",
        "Namespace",
        "Principal",
        "Context",
        "Is",
        "True",
    ] {
        let kinds = BTreeSet::from([kind.to_owned()]);
        let text =
            format!(r#"@id("a") permit (principal, action, resource is {kind} in System::"s");"#);
        Policies::load(&[source("a.cedar", &text)], &kinds)
            .unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn the_published_schema_is_one_that_cedar_reads_and_validates_the_same_policies_with() {
    let schema = cedar_policy::Schema::from_cedarschema_str(&schema(&kinds())).unwrap().0;
    let validator = cedar_policy::Validator::new(schema);
    for source in policy::guard() {
        let set: cedar_policy::PolicySet = source.text.parse().unwrap();
        let result = validator.validate(&set, cedar_policy::ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result}");
    }
}

#[test]
fn the_digest_names_the_policies_and_not_how_files_are_cut() {
    let (a, b) = (
        r#"@id("a") permit (principal, action, resource);"#,
        r#"@id("b") forbid (principal, action, resource);"#,
    );
    let digest = |sources: &[Source]| Policies::load(sources, &kinds()).unwrap().digest();
    let together = digest(&[source("x", &format!("{a}\n{b}"))]);
    assert_eq!(together, digest(&[source("1", b), source("2", &format!("// comment\n\n{a}"))]));
    assert_ne!(together, digest(&[source("x", a)]));
    assert_ne!(
        together,
        digest(&[source("x", &format!("{a}\n{}", b.replace("forbid ", "forbid  ")))])
    );
    assert_eq!(Policies::none().digest(), digest(&[]));
    assert_ne!(Policies::none().digest(), Digest::default());
}

#[test]
fn rules_say_who_they_are_in_the_order_of_their_ids() {
    let policies = loaded(
        "@id(\"b\") @hold(\"ops\") forbid (principal, action, resource);\n\n  @id(\"a\") permit (principal, action, resource);",
    );
    let rules: Vec<String> = policies
        .iter()
        .map(|rule| {
            let place = rule.place();
            format!(
                "{} {} {}:{}:{}",
                rule.id(),
                rule.effect().name(),
                place.file,
                place.line,
                place.column
            )
        })
        .collect();
    assert_eq!(rules, ["a permit test.cedar:3:3", "b soft_forbid test.cedar:1:1"]);
}

#[test]
fn check_says_what_is_allowed_and_looks_like_a_mistake() {
    let text = r#"@id("a") permit (principal, action, resource is Refund) when { principal in System::"x" };
@id("b") permit (principal, action == Action::"read", resource);
@id("c") permit (principal, action, resource is Order) when { resource.id == "pаypal" };"#;
    let remarks: Vec<String> = check(&[source("a.cedar", text)], &kinds())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "no policy names the kind `Mail`",
        "a.cedar:1:1: for policy `a`, policy is impossible",
        "a.cedar:2:1: `b` names no system, and so permits governance too",
        "a.cedar:3:",
    ];
    assert_eq!(remarks.len(), expected.len(), "{remarks:#?}");
    for (remark, expected) in remarks.iter().zip(expected) {
        assert!(remark.starts_with(expected), "{remark} / {expected}");
    }
    assert!(check(&[source("a.cedar", "permit")], &kinds()).is_err());
    let guard = check(&policy::guard(), &BTreeSet::new()).unwrap();
    assert_eq!(guard, [], "the guard has nothing that looks like a mistake");
}

#[test]
fn a_policy_over_a_kind_in_one_system_says_nothing_about_another() {
    let text = r#"@id("a") permit (principal, action, resource is Refund in System::"shop");"#;
    assert_eq!(verdict(text, "support-bot read shop/Refund/1"), "permit; by a");
    assert_eq!(summary(&outcome(text, "support-bot read Refund/1")), "deny not_permitted");
}

#[test]
fn a_set_narrows_another_when_it_forbids_no_less_and_permits_nothing_new() {
    let permit = r#"@id("desk") permit (principal, action == Action::"read", resource);"#;
    let other = r#"@id("mail") permit (principal, action == Action::"send", resource);"#;
    let never = r#"@id("never") forbid (principal, action == Action::"pay", resource);"#;
    let waits =
        r#"@id("waits") @hold("finance") forbid (principal, action == Action::"pay", resource);"#;
    let trial =
        r#"@id("never") @mode("shadow") forbid (principal, action == Action::"pay", resource);"#;
    let narrows = |next: &[&str], before: &[&str]| {
        loaded(&next.join("\n")).narrows(&loaded(&before.join("\n")))
    };
    assert!(narrows(&[permit, other], &[permit, other]), "the same");
    assert!(narrows(&[permit], &[permit, other]), "a permit less");
    assert!(narrows(&[permit, never], &[permit]), "a forbid more");
    assert!(narrows(&[permit, waits], &[permit]), "a hold more");
    assert!(!narrows(&[permit, other], &[permit]), "a permit more");
    assert!(!narrows(&[permit], &[permit, never]), "a forbid less");
    assert!(!narrows(&[permit, waits], &[permit, never]), "a hold instead of a forbid");
    assert!(!narrows(&[permit, trial], &[permit, never]), "a forbid that is only tried");
}
