//! Single texts, and the rule set as it is read.

use crate::rules::{FILE, RULES, Rules, with_plain_braces};

/// A token that is none: what its rule wants, and nobody's.
pub(super) const TOKEN: &str = "glpat-Zx8Qw2Er5Ty7Ui1Op3As";

fn json(text: &str) -> String {
    String::from_utf8(crate::bytes(text.as_bytes()).into_owned()).unwrap()
}

#[test]
fn every_rule_and_every_list_compiles() {
    RULES.try_compile_all().unwrap();
    assert_eq!(RULES.all.len(), 221);
    // A file that is a secret by its name; a text has none.
    assert_eq!(RULES.without_regex, ["pkcs12-file"]);
}

#[test]
fn a_rule_set_that_says_more_than_is_understood_is_refused() {
    let newer =
        FILE.replace("\nkeywords = [\"zendesk\"]", "\nkeywords = [\"zendesk\"]\nproximity = 3");
    assert!(Rules::read(&newer).err().unwrap().contains("proximity"));
    let silent = FILE.replace("\nkeywords = [\"zendesk\"]", "");
    assert!(Rules::read(&silent).err().unwrap().contains("`zendesk-secret-key` has no keyword"));
}

#[test]
fn a_brace_that_counts_nothing_is_a_brace() {
    for (pattern, plain) in [
        (r"\${{[^}]+}}", r"\$\{\{[^}]+}}"),
        (r"a{3}b{1,}c{2,5}", r"a{3}b{1,}c{2,5}"),
        (r"[{]{\d+}", r"[{]\{\d+}"),
        (r"[^]{]\{x", r"[^]{]\{x"),
        (r"[[:alnum:]{]{,3}", r"[[:alnum:]{]\{,3}"),
    ] {
        assert_eq!(with_plain_braces(pattern), plain);
    }
}

#[test]
fn a_secret_becomes_the_name_of_its_rule_and_the_rest_stays() {
    let text = format!("it said «{TOKEN}» twice: {TOKEN}.");
    let said = "it said «[secret:gitlab-pat]» twice: [secret:gitlab-pat].";
    assert_eq!(crate::text(&text), said);
    assert!(crate::holds_secret(&text));
    assert!(!crate::holds_secret(said));
    assert_eq!(crate::text(said), said);
}

#[test]
fn a_private_key_is_left_out_whole() {
    let lines = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n".repeat(20);
    let key = format!("-----BEGIN PRIVATE KEY-----\n{lines}-----END PRIVATE KEY-----");
    assert_eq!(crate::text(&format!("a {key} b")), "a [secret:private-key] b");
}

#[test]
fn the_name_of_a_member_says_what_its_value_is() {
    for (from, to) in [
        (r#"{"password":"hunter2"}"#, r#"{"password":"[secret:named]"}"#),
        (r#"{"a":[{"Client-Secret":"x"}]}"#, r#"{"a":[{"Client-Secret":"[secret:named]"}]}"#),
        (r#"{"pwd":1234}"#, r#"{"pwd":"[secret:named]"}"#),
        (r#"{"apiKey":["x","y"]}"#, r#"{"apiKey":["[secret:named]","[secret:named]"]}"#),
        (
            r#"{"headers":{"Authorization":"Bearer x"}}"#,
            r#"{"headers":{"Authorization":"[secret:named]"}}"#,
        ),
        // The last words of a name count, however they are put together.
        (r#"{"db_password":"hunter2"}"#, r#"{"db_password":"[secret:named]"}"#),
        (r#"{"smtpPassword2":"hunter2"}"#, r#"{"smtpPassword2":"[secret:named]"}"#),
        (r#"{"x-api-key":"k"}"#, r#"{"x-api-key":"[secret:named]"}"#),
        (r#"{"Pass_Word":"hunter2"}"#, r#"{"Pass_Word":"[secret:named]"}"#),
        (r#"{"topsecret":"no","mypwdhash":"no"}"#, r#"{"topsecret":"no","mypwdhash":"no"}"#),
        // What such a member holds is one at any depth, except for what says where a secret is.
        (
            r#"{"password":{"kind":"plain","value":"hunter2","tries":[1,{"old":"h"}],"ref":"env:P"}}"#,
            r#"{"password":{"kind":"[secret:named]","ref":"env:P","tries":["[secret:named]",{"old":"[secret:named]"}],"value":"[secret:named]"}}"#,
        ),
        // Not by its name alone, but as the general rule sees it: beside such a name it looks random.
        (r#"{"my_token":"q8Zr2Lw9Xv4Tb7Nc"}"#, r#"{"my_token":"[secret:generic-api-key]"}"#),
        (r#"{"my_title":"q8Zr2Lw9Xv4Tb7Nc"}"#, r#"{"my_title":"q8Zr2Lw9Xv4Tb7Nc"}"#),
    ] {
        assert_eq!(json(from), to);
    }
}

#[test]
fn every_name_that_marks_a_secret_gets_beyond_the_quick_look() {
    for name in crate::json::NAMES {
        assert_eq!(
            json(&format!("{{\"{name}\":\"x\"}}")),
            format!("{{\"{name}\":\"[secret:named]\"}}")
        );
    }
    assert!(crate::json::NAMES.is_sorted());
}

#[test]
fn json_within_json_is_read_as_json() {
    let inside = r#"{"body":"{\"password\":\"hunter2\",\"user\":\"anna\"}"}"#;
    assert_eq!(json(inside), r#"{"body":"{\"password\":\"[secret:named]\",\"user\":\"anna\"}"}"#);
}

#[test]
fn names_that_hold_secrets_are_left_out_and_stay_apart() {
    let other = TOKEN.replace("glpat-Z", "glpat-Y");
    let from = format!("{{\"{TOKEN}\":1,\"{other}\":2}}");
    assert_eq!(json(&from), r#"{"[secret:gitlab-pat]":2,"[secret:gitlab-pat]#2":1}"#);
}

#[test]
fn what_is_no_json_is_scrubbed_as_a_text() {
    assert_eq!(json(&format!("{{\"a\": {TOKEN}")), "{\"a\": [secret:gitlab-pat]");
    let wild = [b"\xff ", TOKEN.as_bytes()].concat();
    assert_eq!(&*crate::bytes(&wild), "\u{fffd} [secret:gitlab-pat]".as_bytes());
}

#[test]
fn a_letter_that_a_rule_cuts_through_goes_as_a_whole() {
    // `.` of a rule is a byte, and this rule's is followed by what is no letter.
    let text = format!("é{TOKEN}é");
    assert_eq!(crate::text(&text), "é[secret:gitlab-pat]é");
}

#[test]
fn the_fourth_encoding_around_a_secret_is_not_looked_through() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let wrap = |text: String| STANDARD.encode(text);
    let thrice = wrap(wrap(wrap(TOKEN.to_owned())));
    assert_eq!(crate::text(&thrice), "[secret:gitlab-pat]");
    let again = wrap(thrice);
    assert_eq!(crate::text(&again), again);
}
