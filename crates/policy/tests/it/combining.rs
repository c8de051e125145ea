//! Several requests that make up one action: the laws of `combine`.

use model::Digest;
use policy::{
    Demand, DenyClass, Determining, Effect, Fault, Lift, Method, NearMiss, Obligation, Outcome,
    Shadow, Verdict, combine,
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::dsl::{ALLOW, name, outcome, summary};

const POLICIES: &str = r#"
    @id("allow") @obligation("log") permit (principal is Agent, action, resource);
    @id("people") permit (principal is Person, action in [Action::"read", Action::"pay"], resource);
    @id("limit") @hold("finance") forbid (principal, action == Action::"pay", resource);
    @id("present") @step_up("passkey") forbid (principal, action == Action::"send", resource);
    @id("never") forbid (principal, action == Action::"delete", resource);
    @id("errs") forbid (principal, action == Action::"export", resource)
      when { context.at * 9223372036854775807 > 0 };"#;

fn combined(questions: &[&str]) -> String {
    let parts: Vec<Outcome> =
        questions.iter().map(|question| outcome(POLICIES, question)).collect();
    summary(&combine(&parts))
}

#[test]
fn all_must_permit() {
    assert_eq!(
        combined(&["support-bot read Order/1", "person/ann read Order/1"]),
        "permit; by allow, people; must log"
    );
    assert_eq!(
        combined(&["support-bot list Order/1", "person/ann list Order/1"]),
        "deny not_permitted",
        "an agent may do no more than the person behind it"
    );
}

#[test]
fn the_worst_verdict_wins_and_demands_are_united() {
    assert_eq!(
        combined(&[
            "support-bot pay Refund/1",
            "support-bot send Mail/1",
            "support-bot read Order/1"
        ]),
        "hold; by allow, limit, present; demands hold finance:1 (limit), step_up passkey (present)"
    );
    assert_eq!(
        combined(&["support-bot send Mail/1", "support-bot read Order/1"]),
        "step_up; by allow, present; demands step_up passkey (present)"
    );
    assert_eq!(
        combined(&["support-bot pay Refund/1", "support-bot delete Order/1"]),
        "deny forbidden; by never; demands hold finance:1 (limit)"
    );
}

#[test]
fn the_most_final_class_wins() {
    assert_eq!(
        combined(&["support-bot export Order/1", "person/ann list Order/1"]),
        "deny policy_error; by errs; fault in errs"
    );
    assert_eq!(
        combined(&["support-bot export Order/1", "support-bot delete Order/1"]),
        "deny forbidden; by never; fault in errs"
    );
}

#[test]
fn nothing_at_all_is_not_permitted() {
    assert_eq!(summary(&combine(&[])), "deny not_permitted");
}

#[test]
fn one_outcome_is_its_own_combination() {
    for question in
        ["read Order/1", "pay Refund/1", "send Mail/1", "delete Order/1", "export Order/1"]
    {
        let part = outcome(POLICIES, &format!("support-bot {question}"));
        assert_eq!(combine(std::slice::from_ref(&part)), part);
    }
    let part = outcome(ALLOW, "support-bot read Invoice/1");
    assert_eq!(combine(std::slice::from_ref(&part)), part);
}

fn ids() -> impl Strategy<Value = model::Name> {
    select(vec!["a", "b", "c", "d"]).prop_map(name)
}

fn determining() -> impl Strategy<Value = Determining> {
    let effects = select(vec![Effect::Permit, Effect::Forbid, Effect::SoftForbid]);
    (ids(), effects).prop_map(|(policy, effect)| Determining {
        policy,
        digest: Digest::default(),
        effect,
        reason: None,
        next: None,
        explained_to_agents: false,
    })
}

fn demands() -> impl Strategy<Value = Demand> {
    let lifts = select(vec![
        Lift::Hold { group: name("finance"), quorum: 1 },
        Lift::Hold { group: name("finance"), quorum: 2 },
        Lift::StepUp { method: Method::Passkey },
    ]);
    (ids(), lifts).prop_map(|(policy, lift)| Demand { policy, lift })
}

fn verdicts() -> impl Strategy<Value = (Verdict, Option<DenyClass>)> {
    select(vec![
        (Verdict::Permit, None),
        (Verdict::StepUp, None),
        (Verdict::Hold, None),
        (Verdict::Deny, Some(DenyClass::NotPermitted)),
        (Verdict::Deny, Some(DenyClass::PolicyError)),
        (Verdict::Deny, Some(DenyClass::Forbidden)),
    ])
}

/// Outcomes as an evaluation makes them: sorted, obligations only with a permit.
fn outcomes() -> impl Strategy<Value = Outcome> {
    let obligation = ids().prop_map(|name| Obligation { name, argument: None });
    let near_miss = ids().prop_map(|policy| NearMiss { policy, part: None });
    let fault = ids().prop_map(|id| Fault { policy: Some(id), message: "overflow".to_owned() });
    let shadow = ids().prop_map(|policy| Shadow {
        policy,
        digest: Digest::default(),
        effect: Effect::Permit,
    });
    let lists = (
        vec(determining(), 0..4),
        vec(demands(), 0..4),
        vec(obligation, 0..3),
        vec(near_miss, 0..4),
        vec(fault, 0..3),
        vec(shadow, 0..3),
    );
    (verdicts(), lists).prop_map(|((verdict, class), lists)| {
        let (determining, demands, obligations, near_misses, faults, shadow) = lists;
        let permitted = verdict == Verdict::Permit;
        Outcome {
            verdict,
            class,
            determining: sorted(determining),
            demands: sorted(demands),
            obligations: if permitted { sorted(obligations) } else { Vec::new() },
            faults: sorted(faults),
            shadow: sorted(shadow),
            near_misses: sorted(near_misses),
        }
    })
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

proptest! {
    #[test]
    fn the_order_of_parts_does_not_matter(parts in vec(outcomes(), 0..5), turn in 0_usize..5) {
        let mut turned = parts.clone();
        turned.reverse();
        prop_assert_eq!(combine(&parts), combine(&turned));
        turned.rotate_left(turn % parts.len().max(1));
        prop_assert_eq!(combine(&parts), combine(&turned));
    }

    #[test]
    fn parts_can_be_combined_in_any_grouping(a in outcomes(), b in outcomes(), c in outcomes()) {
        let left = combine(&[combine(&[a.clone(), b.clone()]), c.clone()]);
        let right = combine(&[a.clone(), combine(&[b.clone(), c.clone()])]);
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(left, combine(&[a, b, c]));
    }

    #[test]
    fn repeating_a_part_changes_nothing(a in outcomes(), b in outcomes()) {
        prop_assert_eq!(combine(&[a.clone(), a.clone(), b.clone()]), combine(&[a.clone(), b]));
        prop_assert_eq!(combine(std::slice::from_ref(&a)), a);
    }

    #[test]
    fn a_whole_is_never_more_permissive_than_any_part(parts in vec(outcomes(), 1..5)) {
        let whole = combine(&parts);
        prop_assert_eq!(whole.class.is_some(), whole.verdict == Verdict::Deny);
        for part in &parts {
            prop_assert!(whole.verdict >= part.verdict);
            prop_assert!(whole.class >= part.class);
            prop_assert!(part.demands.iter().all(|demand| whole.demands.contains(demand)));
            prop_assert!(
                whole.verdict != Verdict::Permit
                    || part.obligations.iter().all(|duty| whole.obligations.contains(duty))
            );
        }
    }
}
