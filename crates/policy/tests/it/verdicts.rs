//! The order of verdicts, errors, demands, obligations and modes: the rules of the design, one test each.

use model::Digest;
use policy::{DenyClass, Effect, Policies, Verdict};

use crate::dsl::{ALLOW, Question, loaded, outcome, summary, verdict};

const FORBID: &str = r#"@id("never") forbid (principal, action == Action::"pay", resource);"#;
const HOLD: &str = r#"@id("limit") @hold("finance") forbid (principal, action == Action::"pay", resource is Refund)
    when { context has amount && context.amount > 1000 };"#;
const STEP_UP: &str =
    r#"@id("present") @step_up("passkey") forbid (principal, action == Action::"pay", resource);"#;

/// Overflows for every amount above one, so that its condition errs.
const ERRS: &str = r#"context has amount && context.amount * 9223372036854775807 > 0"#;

fn together(policies: &[&str]) -> String {
    policies.join("\n")
}

#[test]
fn no_policy_is_a_deny() {
    assert_eq!(verdict("", "support-bot read Order/1"), "deny not_permitted");
    let question = Question::parse("support-bot read Order/1");
    let outcome = Policies::none().evaluate(&question.request());
    assert_eq!((outcome.verdict, outcome.class), (Verdict::Deny, Some(DenyClass::NotPermitted)));
}

#[test]
fn a_permit_permits_what_it_covers_and_nothing_else() {
    let policy = r#"@id("read") permit (principal in Blueprint::"support", action == Action::"read", resource is Order in System::"support-desk");"#;
    assert_eq!(verdict(policy, "support-bot read Order/1"), "permit; by read");
    for other in [
        "support-bot update Order/1",
        "support-bot read Refund/1",
        "support-bot read shop/Order/1",
        "person/olivia read Order/1",
        "pipeline/ci read Order/1",
    ] {
        assert_eq!(verdict(policy, other), "deny not_permitted", "{other}");
    }
}

#[test]
fn a_hard_forbid_wins_over_a_soft_forbid_and_a_permit() {
    let policies = together(&[ALLOW, FORBID, HOLD]);
    assert_eq!(
        verdict(&policies, "support-bot pay Refund/7 amount=1500"),
        "deny forbidden; by never; demands hold finance:1 (limit)"
    );
}

#[test]
fn refund_over_the_limit_waits_for_finance() {
    let policies = together(&[ALLOW, HOLD]);
    assert_eq!(verdict(&policies, "support-bot pay Refund/7 amount=1000"), "permit; by allow");
    assert_eq!(
        verdict(&policies, "support-bot pay Refund/7 amount=1500"),
        "hold; by allow, limit; demands hold finance:1 (limit)"
    );
}

#[test]
fn a_hold_is_offered_only_if_lifting_it_would_permit() {
    assert_eq!(
        verdict(HOLD, "support-bot pay Refund/7 amount=1500"),
        "deny not_permitted; demands hold finance:1 (limit)"
    );
}

#[test]
fn an_approval_lifts_the_soft_forbid_that_it_names_and_the_same_policies_determine() {
    let policies = together(&[ALLOW, HOLD]);
    let question = "support-bot pay Refund/7 amount=1500";
    let before = outcome(&policies, question);
    let after = outcome(&policies, &format!("{question} lifted=limit"));
    assert_eq!(summary(&after), "permit; by allow, limit");
    assert_eq!(before.determining, after.determining);
    assert_eq!(before.determining[1].effect, Effect::SoftForbid);
    let other = outcome(&policies, &format!("{question} lifted=other"));
    assert_eq!(other, before, "an approval of something else lifts nothing");
}

#[test]
fn an_approval_never_lifts_a_hard_forbid_and_never_replaces_a_permit() {
    let forbidden = together(&[ALLOW, FORBID]);
    assert_eq!(
        verdict(&forbidden, "support-bot pay Refund/7 lifted=never,allow"),
        "deny forbidden; by never"
    );
    assert_eq!(
        verdict(HOLD, "support-bot pay Refund/7 amount=1500 lifted=limit"),
        "deny not_permitted"
    );
}

#[test]
fn every_demand_must_be_met_and_a_hold_outweighs_a_step_up() {
    let policies = together(&[ALLOW, HOLD, STEP_UP]);
    let question = "support-bot pay Refund/7 amount=1500";
    assert_eq!(
        verdict(&policies, question),
        "hold; by allow, limit, present; demands hold finance:1 (limit), step_up passkey (present)"
    );
    assert_eq!(
        verdict(&policies, &format!("{question} lifted=limit")),
        "step_up; by allow, limit, present; demands step_up passkey (present)"
    );
    assert_eq!(
        verdict(&policies, &format!("{question} lifted=present")),
        "hold; by allow, limit, present; demands hold finance:1 (limit)"
    );
    assert_eq!(
        verdict(&policies, &format!("{question} lifted=limit,present")),
        "permit; by allow, limit, present"
    );
}

#[test]
fn a_hold_names_its_group_and_how_many_must_approve() {
    let hold = r#"@id("two") @hold("finance:2") forbid (principal, action, resource);"#;
    assert_eq!(
        verdict(&together(&[ALLOW, hold]), "support-bot pay Refund/7"),
        "hold; by allow, two; demands hold finance:2 (two)"
    );
}

#[test]
fn a_permit_that_errs_does_not_match() {
    let policy = format!(r#"@id("errs") permit (principal, action, resource) when {{ {ERRS} }};"#);
    assert_eq!(
        verdict(&policy, "support-bot pay Refund/7 amount=2"),
        "deny not_permitted; fault in errs"
    );
    assert_eq!(
        verdict(&together(&[ALLOW, &policy]), "support-bot pay Refund/7 amount=2"),
        "permit; by allow; fault in errs"
    );
    assert_eq!(verdict(&policy, "support-bot pay Refund/7 amount=1"), "permit; by errs");
}

#[test]
fn a_hard_forbid_that_errs_counts_as_matched() {
    let policy = format!(r#"@id("errs") forbid (principal, action, resource) when {{ {ERRS} }};"#);
    let policies = together(&[ALLOW, &policy]);
    assert_eq!(
        verdict(&policies, "support-bot pay Refund/7 amount=2"),
        "deny policy_error; by errs; fault in errs"
    );
    assert_eq!(verdict(&policies, "support-bot pay Refund/7"), "permit; by allow");
    assert_eq!(
        verdict(&together(&[ALLOW, &policy, FORBID]), "support-bot pay Refund/7 amount=2"),
        "deny forbidden; by errs, never; fault in errs",
        "a forbid that applies is more final than one that could not be evaluated"
    );
}

#[test]
fn a_soft_forbid_that_errs_counts_as_matched_and_can_be_lifted() {
    let policy = format!(
        r#"@id("errs") @hold("finance") forbid (principal, action, resource) when {{ {ERRS} }};"#
    );
    let policies = together(&[ALLOW, &policy]);
    assert_eq!(
        verdict(&policies, "support-bot pay Refund/7 amount=2"),
        "hold; by allow, errs; demands hold finance:1 (errs); fault in errs"
    );
    assert_eq!(
        verdict(&policies, "support-bot pay Refund/7 amount=2 lifted=errs"),
        "permit; by allow, errs; fault in errs"
    );
}

#[test]
fn every_operator_that_can_err_errs_alike_in_every_effect() {
    let big = "9223372036854775807";
    let operators = [
        format!("context.at + {big} > 0"),
        format!("context.at * {big} > 0"),
        format!("(0 - context.at) - {big} < 0"),
        format!("-((0 - {big}) - context.depth) > 0"),
    ];
    for operator in operators {
        for (head, expected) in [
            (r#"@id("errs") permit"#, "permit; by allow; fault in errs"),
            (r#"@id("errs") forbid"#, "deny policy_error; by errs; fault in errs"),
            (
                r#"@id("errs") @step_up("key") forbid"#,
                "step_up; by allow, errs; demands step_up key (errs); fault in errs",
            ),
        ] {
            let policy = format!("{head} (principal, action, resource) when {{ {operator} }};");
            let policies = together(&[ALLOW, &policy]);
            let question = "support-bot read Order/1 depth=1";
            assert_eq!(verdict(&policies, question), expected, "{operator}");
        }
    }
}

#[test]
fn a_missing_attribute_is_refused_at_load_in_every_effect() {
    for head in [r#"@id("a") permit"#, r#"@id("a") forbid"#, r#"@id("a") @hold("x") forbid"#] {
        let policy = format!("{head} (principal, action, resource) when {{ context.amount > 5 }};");
        let refusal = crate::dsl::refusal(&policy);
        assert!(refusal.contains("optional attribute `amount`"), "{refusal}");
        assert!(refusal.contains("context has amount"), "{refusal}");
    }
}

#[test]
fn a_policy_in_shadow_is_reported_and_never_decides() {
    let policies = together(&[
        r#"@id("allow") @mode("shadow") permit (principal, action, resource);"#,
        r#"@id("read") permit (principal, action == Action::"read", resource);"#,
        r#"@id("never") @mode("shadow") forbid (principal, action == Action::"read", resource);"#,
        r#"@id("wait") @mode("shadow") @hold("ops") forbid (principal, action, resource);"#,
        &format!(
            r#"@id("errs") @mode("shadow") forbid (principal, action, resource) when {{ {ERRS} }};"#
        ),
    ]);
    assert_eq!(
        verdict(&policies, "support-bot read Order/1"),
        "permit; by read; shadow permit allow, forbid never, forbid wait"
    );
    assert_eq!(
        verdict(&policies, "support-bot pay Order/1 amount=2"),
        "deny not_permitted; shadow permit allow, forbid errs, forbid wait; fault in errs"
    );
}

#[test]
fn a_canary_decides_below_its_percentage_and_is_a_shadow_above() {
    let policies = together(&[
        ALLOW,
        r#"@id("never") @mode("canary:10") forbid (principal, action, resource);"#,
    ]);
    for (bucket, expected) in [
        (0, "deny forbidden; by never"),
        (9, "deny forbidden; by never"),
        (10, "permit; by allow; shadow forbid never"),
        (99, "permit; by allow; shadow forbid never"),
    ] {
        let question = format!("support-bot read Order/1 canary={bucket}");
        assert_eq!(verdict(&policies, &question), expected);
    }
    let permit = r#"@id("new") @mode("canary:10") permit (principal, action, resource);"#;
    assert_eq!(verdict(permit, "support-bot read Order/1 canary=9"), "permit; by new");
    assert_eq!(
        verdict(permit, "support-bot read Order/1 canary=10"),
        "deny not_permitted; shadow permit new"
    );
}

#[test]
fn obligations_come_from_the_permits_and_the_lifted_forbids_of_a_permit_alone() {
    let policies = together(&[
        r#"@id("allow") @obligation("mask:card, log") permit (principal, action, resource);"#,
        r#"@id("limit") @hold("finance") @obligation("receipt") forbid (principal, action == Action::"pay", resource);"#,
        r#"@id("other") @obligation("mask:name") permit (principal, action == Action::"send", resource);"#,
        r#"@id("trial") @mode("shadow") @obligation("drop") permit (principal, action, resource);"#,
    ]);
    assert_eq!(
        verdict(&policies, "support-bot read Order/1"),
        "permit; by allow; must log, mask:card; shadow permit trial"
    );
    assert_eq!(
        verdict(&policies, "support-bot pay Order/1"),
        "hold; by allow, limit; demands hold finance:1 (limit); shadow permit trial"
    );
    assert_eq!(
        verdict(&policies, "support-bot pay Order/1 lifted=limit"),
        "permit; by allow, limit; must log, mask:card, receipt; shadow permit trial"
    );
}

#[test]
fn a_reason_reaches_an_agent_only_with_explain_and_a_next_step_always() {
    let policies = |explain: &str| {
        format!(
            r#"@id("never") @reason("over 10.00 EUR") @next("ask finance") {explain} forbid (principal, action, resource);"#
        )
    };
    let silent = outcome(&policies(""), "support-bot read Order/1");
    let open = outcome(&policies(r#"@explain("agent")"#), "support-bot read Order/1");
    let [silent, open] = [&silent.determining[0], &open.determining[0]];
    assert_eq!(silent.reason.as_deref(), Some("over 10.00 EUR"));
    assert_eq!(silent.next.as_deref(), Some("ask finance"));
    assert_eq!(silent.reason_for_agent(), None);
    assert_eq!(open.reason_for_agent(), Some("over 10.00 EUR"));
}

#[test]
fn a_default_deny_names_the_permits_that_came_closest_and_the_first_part_that_is_not_true() {
    let policies = together(&[
        r#"@id("small") permit (principal, action == Action::"pay", resource is Refund)
           when { context has amount  &&
                  context.amount <= 1000 && context.environment == "test" };"#,
        r#"@id("other-verb") permit (principal, action == Action::"read", resource);"#,
        r#"@id("not-pii") permit (principal, action, resource) unless { resource.classes.contains("pii") };"#,
        r#"@id("trial") @mode("shadow") permit (principal, action, resource) when { context.depth > 5 };"#,
    ]);
    let outcome = outcome(&policies, "support-bot pay Refund/7 amount=1500 classes=pii");
    let misses: Vec<_> = outcome
        .near_misses
        .iter()
        .map(|miss| format!("{}: {}", miss.policy, miss.part.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        misses,
        [
            r#"not-pii: unless { resource.classes.contains("pii") }"#,
            "small: context.amount <= 1000",
        ]
    );
    assert!(super::dsl::outcome(ALLOW, "support-bot pay Refund/7").near_misses.is_empty());
    assert!(super::dsl::outcome(FORBID, "support-bot pay Refund/7").near_misses.is_empty());
}

#[test]
fn near_misses_are_bounded() {
    let many: Vec<String> = (0..50)
        .map(|n| {
            format!(
                r#"@id("p{n}") permit (principal, action, resource) when {{ context.depth > 5 }};"#
            )
        })
        .collect();
    let outcome = outcome(&many.join("\n"), "support-bot read Order/1");
    assert_eq!(outcome.near_misses.len(), policy::MAX_NEAR_MISSES);
}

#[test]
fn a_determining_policy_is_named_with_the_digest_of_its_wording() {
    let policies = loaded(ALLOW);
    let outcome = policies.evaluate(&Question::parse("support-bot read Order/1").request());
    let rule = policies.iter().next().unwrap();
    assert_eq!(outcome.determining[0].digest, rule.digest());
    assert_ne!(rule.digest(), Digest::default());
    assert_eq!(rule.text(), ALLOW);
}

#[test]
fn the_same_request_has_the_same_outcome_twice() {
    let policies = loaded(&together(&[ALLOW, HOLD, STEP_UP]));
    let question = Question::parse("support-bot pay Refund/7 amount=1500 labels=b,a");
    assert_eq!(policies.evaluate(&question.request()), policies.evaluate(&question.request()));
}
