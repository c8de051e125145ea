//! How requests become Cedar's principal, action, resource and context.

use policy::Policies;

use crate::dsl::{ALLOW, Question, kinds, source, summary, verdict};

/// Whether a condition is true of a question.
fn holds(condition: &str, question: &str) -> bool {
    let policy =
        format!(r#"@id("a") permit (principal, action, resource) when {{ {condition} }};"#);
    match verdict(&policy, question).as_str() {
        "permit; by a" => true,
        "deny not_permitted" => false,
        other => panic!("{condition}: {other}"),
    }
}

#[test]
fn conditions_read_every_fact() {
    let question = "support-bot pay Refund/7 amount=1500 spent=20 environment=test invoker=person/ann@finance \
                    depth=2 purpose=refunds tool=refund_order labels=pii,untrusted administrators=3 classes=pii \
                    at=1700000000 actor=agent/helper attested=true";
    for condition in [
        "context has amount && context.amount == 1500",
        r#"context has currency && context.currency == "EUR""#,
        r#"context.classes == ["pii"] && resource.classes == context.classes"#,
        r#"context.environment == "test""#,
        "context.at == 1700000000000",
        "context.hour == 22 && context.weekday == 2",
        r#"context has invoker && context.invoker == Person::"ann" && context.invoker in Team::"finance""#,
        r#"context has invoker && context.invoker.id == "ann""#,
        r#"context.actor == "agent/helper""#,
        "context.depth == 2",
        r#"context has purpose && context.purpose == "refunds""#,
        r#"context has tool && context.tool == "refund_order""#,
        r#"context.history.labels.containsAll(["pii", "untrusted"]) && context.history.spent == 20"#,
        "context.administrators == 3",
        r#"resource.id == "7" && resource in System::"support-desk" && resource == Refund::"support-desk/7""#,
        r#"principal is Agent && principal.id == "support-bot" && principal.owner == Person::"olivia" && principal.attested"#,
        r#"principal in Blueprint::"support""#,
        r#"action == Action::"pay""#,
    ] {
        assert!(holds(condition, question), "{condition}");
    }
}

#[test]
fn a_fact_that_is_not_known_is_absent() {
    for fact in ["amount", "currency", "invoker", "purpose", "tool"] {
        assert!(holds(&format!("!(context has {fact})"), "support-bot read Order/1"), "{fact}");
    }
    assert!(holds("context.history.spent == 0", "support-bot read Order/1"));
    assert!(holds("!(principal is Person && principal has manager)", "person/ann read Order/1"));
}

#[test]
fn create_update_and_delete_are_the_group_write() {
    let scope = r#"@id("a") permit (principal, action in Action::"write", resource);"#;
    let condition =
        r#"@id("a") permit (principal, action, resource) when { action in Action::"write" };"#;
    for verb in model::Verb::ALL {
        let writes = ["create", "update", "delete"].contains(&verb.name());
        let expected = if writes { "permit; by a" } else { "deny not_permitted" };
        let question = format!("support-bot {verb} Order/1");
        assert_eq!(verdict(scope, &question), expected);
        assert_eq!(verdict(condition, &question), expected);
    }
}

#[test]
fn a_person_is_in_their_teams_and_reports_to_their_manager() {
    assert!(holds(r#"principal in Team::"finance""#, "person/ann@finance,support read Order/1"));
    assert!(!holds(r#"principal in Team::"finance""#, "person/ann@support read Order/1"));
    let manager =
        r#"principal is Person && principal has manager && principal.manager == Person::"mia""#;
    assert!(holds(manager, "person/ann read Order/1 manager=person/mia"));
    assert!(!holds(manager, "person/ann read Order/1 manager=agent/mia"));
}

#[test]
fn only_a_person_has_teams_and_only_an_agent_has_a_blueprint() {
    let mut bot = Question::parse("support-bot read Order/1");
    bot.principal.teams = vec![crate::dsl::name("administrator")];
    let team = r#"@id("a") permit (principal in Team::"administrator", action, resource);"#;
    let outcome = crate::dsl::loaded(team).evaluate(&bot.request());
    assert_eq!(summary(&outcome), "deny not_permitted");
    assert!(!holds(r#"principal in Blueprint::"support""#, "pipeline/ci read Order/1"));
}

#[test]
fn an_invoker_who_is_no_person_did_not_invoke() {
    assert!(!holds("context has invoker", "support-bot read Order/1 invoker=pipeline/ci"));
}

#[test]
fn a_person_who_acts_for_themselves_is_principal_and_invoker_at_once() {
    let condition =
        r#"context has invoker && principal == context.invoker && principal in Team::"finance""#;
    assert!(holds(condition, "person/ann@finance read Order/1 invoker=person/ann@finance"));
}

#[test]
fn what_is_not_a_person_and_has_no_owner_is_denied_before_any_policy() {
    for who in ["support-bot", "found_credential/key-1", "workload/w"] {
        for owner in ["nobody", "agent/other"] {
            let question = format!("{who} read Order/1 principal-owner={owner}");
            let answer = verdict(ALLOW, &question);
            assert!(answer.starts_with("deny not_permitted; fault in"), "{answer}");
            assert!(
                answer.contains("has no owner; give it a person who answers for it"),
                "{answer}"
            );
        }
    }
}

#[test]
fn a_kind_that_the_catalog_does_not_have_is_denied_before_any_policy() {
    assert_eq!(
        verdict(ALLOW, "support-bot read Invoice/1"),
        "deny not_permitted; fault in `the catalog has no kind `Invoice`; accept a mapping that names it`"
    );
}

#[test]
fn money_in_two_currencies_is_denied_before_any_policy() {
    assert!(holds(
        r#"context has currency && context.currency == "USD""#,
        "support-bot pay Refund/1 spent=5USD"
    ));
    assert_eq!(
        verdict(ALLOW, "support-bot pay Refund/1 amount=5EUR spent=5USD"),
        "deny not_permitted; fault in `EUR are to be moved and USD were spent; convert one`"
    );
}

#[test]
fn every_kind_of_identity_has_its_type() {
    for (who, kind) in [
        ("person/x", "Person"),
        ("agent/x", "Agent"),
        ("service_account/x", "ServiceAccount"),
        ("workload/x", "Workload"),
        ("pipeline/x", "Pipeline"),
        ("bot/x", "Bot"),
        ("oauth_app/x", "OauthApp"),
        ("found_credential/x", "FoundCredential"),
    ] {
        let condition = format!(r#"principal is {kind} && principal == {kind}::"x""#);
        assert!(holds(&condition, &format!("{who} read Order/1")), "{kind}");
    }
}

#[test]
fn ids_of_resources_are_values_whatever_is_in_them() {
    let policy = r#"@id("a") permit (principal, action, resource == Order::"support-desk/1");"#;
    for id in ["1\"", "1\\", "1\");permit(principal,action,resource);", "１", "1 "] {
        let mut question = Question::parse("support-bot read Order/1");
        question.resource =
            model::Resource::new(crate::dsl::name("support-desk"), "Order", id).unwrap();
        let outcome = crate::dsl::loaded(policy).evaluate(&question.request());
        assert_eq!(summary(&outcome), "deny not_permitted", "{id}");
    }
    let umlaut =
        r#"@id("a") permit (principal, action, resource == Order::"support-desk/größe/\"1\"");"#;
    assert_eq!(verdict(umlaut, "support-bot read support-desk/Order/größe/\"1\""), "permit; by a");
}

#[test]
fn a_tasks_kind_of_a_catalog_and_governances_task_are_told_apart_by_their_system() {
    let policy = r#"@id("a") permit (principal, action, resource is Task in System::"tracker");"#;
    let mut kinds = kinds();
    kinds.insert("Task".to_owned());
    let policies = Policies::load(&[source("a.cedar", policy)], &kinds).unwrap();
    let answer = |question: &str| summary(&policies.evaluate(&Question::parse(question).request()));
    assert_eq!(answer("support-bot read tracker/Task/1"), "permit; by a");
    assert_eq!(answer("support-bot read bailiwick/Task/1"), "deny not_permitted");
}
