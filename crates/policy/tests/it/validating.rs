//! Policies are validated against a schema cut down to what they name; the full one, with Cedar's own validator, must
//! agree.

use std::sync::LazyLock;

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use policy::schema;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::dsl::{kinds, load};

static FULL: LazyLock<Validator> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(&schema(&kinds())).unwrap();
    Validator::new(schema)
});

fn principals() -> impl Strategy<Value = &'static str> {
    select(vec![
        "principal",
        "principal is Person",
        "principal is Agent",
        "principal is Bot",
        "principal is FoundCredential",
        r#"principal in Team::"x""#,
        r#"principal in Blueprint::"x""#,
        r#"principal is Agent in Team::"x""#,
        r#"principal == Workload::"x""#,
        "principal is Refund",
        "principal is Nothing",
    ])
}

fn actions() -> impl Strategy<Value = &'static str> {
    select(vec![
        "action",
        r#"action == Action::"pay""#,
        r#"action == Action::"write""#,
        r#"action in Action::"write""#,
        r#"action in [Action::"delete", Action::"read"]"#,
        r#"action == Action::"nothing""#,
    ])
}

fn resources() -> impl Strategy<Value = &'static str> {
    select(vec![
        "resource",
        "resource is Refund",
        "resource is Mail",
        "resource is Stop",
        "resource is Ledger",
        r#"resource in System::"x""#,
        r#"resource is Order in System::"x""#,
        r#"resource == Tool::"x/y""#,
        "resource is Agent",
        "resource is Nothing",
    ])
}

fn atoms() -> impl Strategy<Value = &'static str> {
    select(vec![
        "principal.id == resource.id",
        r#"principal.owner == Person::"x""#,
        "principal.attested",
        "principal is Agent && principal.attested",
        "principal is Person || principal.attested",
        "principal is Person && principal has manager && principal.manager == principal",
        "principal has manager && principal.manager == principal",
        r#"principal has owner && principal.owner == Person::"x""#,
        "resource.classes.contains(context.environment)",
        "resource has owner && resource.owner == principal",
        "resource has owner && principal is Person && resource.owner == principal",
        "resource has group && principal in resource.group",
        "resource is Approval && resource has group && principal in resource.group",
        "resource is Stop && resource.owner == principal",
        r#"resource is Refund || resource is Stop || resource.id == "x""#,
        r#"resource in Team::"x""#,
        r#"action in Action::"write""#,
        r#"action == Action::"export" && context.depth > 0"#,
        "context.amount > 3",
        "context has amount && context.amount > 3",
        "context has invoker && context.invoker == principal",
        r#"context has invoker && context.invoker in Team::"x""#,
        r#"principal is Agent && principal.owner in Team::"x""#,
        "context.depth > resource.id",
        "resource.id",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_loads_exactly_if_it_is_valid_under_the_full_schema(
        principal in principals(),
        action in actions(),
        resource in resources(),
        forbids in any::<bool>(),
        atoms in vec(atoms(), 0..3),
    ) {
        let effect = if forbids { "forbid" } else { "permit" };
        let clauses: String = atoms.iter().map(|atom| format!(" when {{ {atom} }}")).collect();
        let text = format!(r#"@id("a") {effect} ({principal}, {action}, {resource}){clauses};"#);
        let set: PolicySet = text.parse().unwrap();
        let full = FULL.validate_with_level(&set, ValidationMode::Strict, 1);
        let loaded = load(&text);
        prop_assert_eq!(loaded.is_ok(), full.validation_passed(), "{}\n{:?}\n{}", text, loaded, full);
    }
}
