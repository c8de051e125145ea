//! What is denied whatever the id of the thing and the amount are, so that nobody has to be shown it.

use policy::{Policies, Verdict};

use crate::dsl::{ALLOW, Question, loaded};

/// Questions that differ in what only arguments say.
const ARGUMENTS: [&str; 4] =
    ["Refund/any", "Refund/7", "Refund/7 amount=1", "Refund/8 amount=99999999"];

/// Whether it is denied for all arguments. Whatever is, is denied for each.
fn denied(policies: &str, who: &str) -> bool {
    let policies = loaded(policies);
    let ask = |rest: &str| Question::parse(&format!("{who} pay {rest}"));
    let denied = policies.denies_kind(&ask(ARGUMENTS[0]).request());
    let mut each = ARGUMENTS.iter().map(|rest| policies.evaluate(&ask(rest).request()).verdict);
    assert!(!denied || each.all(|verdict| verdict == Verdict::Deny), "it says more than is so");
    denied
}

fn forbid(head: &str, condition: &str) -> String {
    format!("{ALLOW}\n{head} forbid (principal, action == Action::\"pay\", resource) {condition};")
}

#[test]
fn a_hard_forbid_that_asks_for_no_argument_denies_all_of_them() {
    for condition in [
        "",
        r#"when { principal is Agent }"#,
        r#"unless { principal is Person }"#,
        r#"when { context.depth < 100 && resource is Refund }"#,
        r#"when { context.depth < 100 || resource.id == "7" }"#,
        r#"when { !(context.depth > 100) }"#,
        // It errs for everybody, and then counts as matched.
        r#"when { context.depth + 9223372036854775807 > 0 && context.depth + 9223372036854775807 > 0 || context.at * 9223372036854775807 > 0 }"#,
    ] {
        let policies = forbid(r#"@id("no")"#, condition);
        assert!(denied(&policies, "support-bot"), "{condition}");
    }
}

#[test]
fn what_depends_on_arguments_or_can_be_lifted_is_not_denied_for_all_of_them() {
    for (head, condition) in [
        (r#"@id("no")"#, r#"when { context has amount && context.amount > 1 }"#),
        (r#"@id("no")"#, r#"when { resource.id == "7" }"#),
        (r#"@id("no")"#, r#"when { resource == Refund::"support-desk/7" }"#),
        (r#"@id("no")"#, r#"when { context.history.spent > 1 }"#),
        (r#"@id("no")"#, r#"unless { context has amount || principal is Person }"#),
        (r#"@id("no")"#, r#"when { principal is Person }"#),
        (r#"@id("no") @mode("shadow")"#, ""),
        (r#"@id("no") @hold("finance")"#, ""),
    ] {
        assert!(!denied(&forbid(head, condition), "support-bot"), "{head} {condition}");
    }
    let one = r#"@id("no") forbid (principal, action, resource == Refund::"support-desk/7");"#;
    assert!(!denied(&format!("{ALLOW}\n{one}"), "support-bot"));
    let another = r#"@id("no") forbid (principal, action, resource in System::"shop");"#;
    assert!(!denied(&format!("{ALLOW}\n{another}"), "support-bot"));
}

#[test]
fn what_no_permit_can_reach_is_denied_for_all_arguments() {
    let permit = |resource: &str, condition: &str| {
        format!(
            "@id(\"yes\") permit (principal, action == Action::\"pay\", {resource}) {condition};"
        )
    };
    for (resource, condition) in [
        ("resource is Order", ""),
        (r#"resource in System::"shop""#, ""),
        (r#"resource == Refund::"shop/7""#, ""),
        ("resource", r#"when { principal is Person }"#),
        ("resource", r#"when { context has amount && principal is Person }"#),
    ] {
        assert!(denied(&permit(resource, condition), "support-bot"), "{resource} {condition}");
    }
    for (resource, condition) in [
        ("resource is Refund", ""),
        (r#"resource == Refund::"support-desk/7""#, ""),
        (r#"resource in System::"support-desk""#, r#"when { principal is Agent }"#),
        ("resource", r#"when { context has amount && context.amount < 5 }"#),
        ("resource", r#"unless { resource.id == "7" }"#),
    ] {
        assert!(!denied(&permit(resource, condition), "support-bot"), "{resource} {condition}");
    }
    let question = Question::parse("support-bot pay Refund/7");
    assert!(Policies::none().denies_kind(&question.request()));
}
