//! Which verbs a soft forbid may keep waiting, by its head alone.

use model::Verbs;

use crate::dsl::{ALLOW, Question, loaded};

/// The verbs that may wait for somebody at the support desk, in a policy with this head.
fn waits(annotations: &str, head: &str, condition: &str, who: &str) -> String {
    let policies =
        loaded(&format!("{ALLOW}\n@id(\"no\") {annotations} forbid ({head}) {condition};"));
    let question = Question::parse(&format!("{who} pay Refund/7"));
    let system = "support-desk".parse().unwrap();
    let verbs = policies
        .may_wait(&question.principal, &system)
        .fold(Verbs::default(), |all, (_, verbs)| all.union(verbs));
    format!("{verbs:?}")
}

fn pays(resource: &str, condition: &str) -> String {
    let head = format!("principal, action == Action::\"pay\", {resource}");
    waits(r#"@hold("finance")"#, &head, condition, "support-bot")
}

#[test]
fn a_verb_may_wait_whatever_the_condition_of_what_holds_it_says() {
    for condition in ["", r#"when { resource.id == "8" }"#, "when { context.depth > 100 }"] {
        assert_eq!(pays("resource", condition), r#"{"pay"}"#, "{condition}");
    }
    let groups = r#"principal, action in [Action::"read", Action::"write"], resource"#;
    assert_eq!(
        waits(r#"@step_up("passkey")"#, groups, "", "support-bot"),
        r#"{"read", "create", "update", "delete"}"#
    );
}

#[test]
fn only_what_can_hold_somebody_at_this_system_counts() {
    for resource in [
        "resource is Refund",
        r#"resource in System::"support-desk""#,
        r#"resource is Refund in System::"support-desk""#,
        r#"resource == Refund::"support-desk/7""#,
    ] {
        assert_eq!(pays(resource, ""), r#"{"pay"}"#, "{resource}");
    }
    for resource in [
        r#"resource in System::"shop""#,
        r#"resource == Refund::"support-desk-2/7""#,
        "resource is Registration",
        r#"resource is Registration in System::"bailiwick""#,
    ] {
        assert_eq!(pays(resource, ""), "{}", "{resource}");
    }
    let all = "principal, action, resource";
    assert_eq!(waits(r#"@hold("a") @mode("shadow")"#, all, "", "support-bot"), "{}");
    assert_eq!(waits("", all, "", "support-bot"), "{}", "a hard forbid keeps nobody waiting");
    assert_ne!(waits(r#"@hold("a") @mode("canary:1")"#, all, "", "support-bot"), "{}");
    let persons = "principal is Person, action, resource";
    assert_eq!(waits(r#"@hold("a")"#, persons, "", "support-bot"), "{}");
    assert_ne!(waits(r#"@hold("a")"#, persons, "", "person/ann"), "{}");
}
