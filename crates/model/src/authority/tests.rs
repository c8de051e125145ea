use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn currency() -> impl Strategy<Value = crate::Currency> {
    select(vec!["EUR", "USD"]).prop_map(|code| code.parse().unwrap())
}

fn money() -> impl Strategy<Value = Money> {
    (0_i64..5, currency()).prop_map(|(amount, currency)| Money::new(amount, currency).unwrap())
}

fn classes() -> impl Strategy<Value = BTreeSet<Name>> {
    vec(select(vec!["pii", "financial", "public"]), 0..3)
        .prop_map(|names| names.into_iter().map(|name| name.parse().unwrap()).collect())
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let system = select(vec!["*", "desk", "shop"]);
    let kind = select(vec!["*", "Order", "Refund"]);
    let id = select(vec!["*", "a/*", "a/b/*", "a/b", "c", "a"]);
    (system, kind, id)
        .prop_map(|(system, kind, id)| format!("{system}/{kind}/{id}").parse().unwrap())
}

fn verbs() -> impl Strategy<Value = Verbs> {
    vec(select(vec![Verb::Read, Verb::List, Verb::Pay]), 1..3)
        .prop_map(|verbs| verbs.into_iter().collect())
}

fn clause() -> impl Strategy<Value = Clause> {
    let conditions = (proptest::option::of(money()), proptest::option::of(classes()))
        .prop_map(|(amount_at_most, classes_within)| Conditions { amount_at_most, classes_within });
    (verbs(), pattern(), conditions, 0_i64..4).prop_map(
        |(verbs, resources, conditions, expires)| Clause {
            verbs,
            resources,
            conditions,
            expires: Timestamp::from_millis(expires),
        },
    )
}

fn authority() -> impl Strategy<Value = Authority> {
    (vec(clause(), 0..5), 0_u8..4).prop_map(|(clauses, depth)| Authority { clauses, depth })
}

/// One action, asked about with every authority of a case.
#[derive(Debug, Clone)]
struct Case {
    verb: Verb,
    resource: Resource,
    amount: Option<Money>,
    classes: BTreeSet<Name>,
    at: Timestamp,
}

impl Case {
    fn allowed_by(&self, authority: &Authority) -> bool {
        authority.allows(&Question {
            verb: self.verb,
            resource: &self.resource,
            amount: self.amount,
            classes: &self.classes,
            at: self.at,
        })
    }
}

fn case() -> impl Strategy<Value = Case> {
    let resource = (
        select(vec!["desk", "shop"]),
        select(vec!["Order", "Refund"]),
        select(vec!["a", "a/b", "a/b/c", "c"]),
    )
        .prop_map(|(system, kind, id)| Resource::new(system.parse().unwrap(), kind, id).unwrap());
    let verb = select(vec![Verb::Read, Verb::List, Verb::Pay]);
    (verb, resource, proptest::option::of(money()), classes(), 0_i64..4).prop_map(
        |(verb, resource, amount, classes, at)| Case {
            verb,
            resource,
            amount,
            classes,
            at: Timestamp::from_millis(at),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_authority_contains_itself(a in authority()) {
        prop_assert!(a.contains(&a));
    }

    #[test]
    fn containing_is_transitive(a in authority(), b in authority(), c in authority()) {
        let b = a.intersect(&b).unwrap();
        let c = b.intersect(&c).unwrap();
        prop_assert!(a.contains(&b) && b.contains(&c));
        prop_assert!(a.contains(&c));
    }

    #[test]
    fn what_is_contained_allows_nothing_more(a in authority(), b in authority(), case in case()) {
        for b in [a.intersect(&b).unwrap(), b] {
            prop_assert!(!a.contains(&b) || !case.allowed_by(&b) || case.allowed_by(&a));
        }
    }

    #[test]
    fn an_intersection_allows_exactly_what_both_allow(a in authority(), b in authority(), case in case()) {
        let both = a.intersect(&b).unwrap();
        prop_assert_eq!(case.allowed_by(&both), case.allowed_by(&a) && case.allowed_by(&b));
        prop_assert!(both.depth <= a.depth && both.depth <= b.depth);
    }

    #[test]
    fn a_delegate_never_gets_more(a in authority(), b in authority(), until in 0_i64..4, case in case()) {
        let wish = Authority { depth: b.depth.saturating_sub(1), ..a.intersect(&b).unwrap() };
        if let Ok(given) = a.attenuate(&wish, Timestamp::from_millis(until)) {
            prop_assert!(a.contains(&given));
            prop_assert!(given.depth < a.depth);
            prop_assert!(given.clauses.iter().all(|clause| clause.expires <= Timestamp::from_millis(until)));
            prop_assert!(!case.allowed_by(&given) || case.allowed_by(&a));
        } else {
            prop_assert!(wish.depth >= a.depth);
        }
    }

    #[test]
    fn a_wish_beyond_what_is_held_is_refused_whole(a in authority(), b in authority(), case in case()) {
        if let Ok(given) = a.attenuate(&b, Timestamp::NEVER) {
            prop_assert!(!case.allowed_by(&given) || case.allowed_by(&a));
            prop_assert_eq!(given.clauses.len(), b.clauses.len());
        }
    }

    #[test]
    fn an_authority_survives_its_written_form(a in authority()) {
        let text = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<Authority>(&text).unwrap(), a);
    }
}

#[test]
fn an_unknown_member_of_an_authority_is_refused() {
    let text = r#"{"clauses":[{"verbs":["read"],"resources":"*/*/*","expires":1,"unless":"x"}],"depth":0}"#;
    assert!(serde_json::from_str::<Authority>(text).is_err());
}

#[test]
fn an_authority_that_cannot_be_passed_on_delegates_nothing() {
    let held = Authority { clauses: Vec::new(), depth: 0 };
    assert_eq!(held.attenuate(&held, Timestamp::NEVER), Err(Widened::Depth { held: 0, wished: 1 }));
}

#[test]
fn a_condition_on_an_amount_is_not_met_by_an_action_without_one() {
    let limit = Money::new(100, "EUR".parse().unwrap()).unwrap();
    let conditions = Conditions { amount_at_most: Some(limit), classes_within: None };
    let clause = Clause {
        verbs: Verbs::of(&[Verb::Pay]),
        resources: "*/*/*".parse().unwrap(),
        conditions,
        expires: Timestamp::NEVER,
    };
    let authority = Authority { clauses: vec![clause], depth: 0 };
    let resource = Resource::new("desk".parse().unwrap(), "Refund", "1").unwrap();
    let mut case = Case {
        verb: Verb::Pay,
        resource,
        amount: None,
        classes: BTreeSet::new(),
        at: Timestamp::default(),
    };
    assert!(!case.allowed_by(&authority));
    case.amount = Some(limit);
    assert!(case.allowed_by(&authority));
    case.amount = Some(Money::new(1, "USD".parse().unwrap()).unwrap());
    assert!(!case.allowed_by(&authority));
}
