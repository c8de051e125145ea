use std::collections::BTreeSet;

use model::{Foreign, IdentityKind, Name, Resource, Verb};

use crate::Remark;

/// The schema without the kinds of the catalog and the verbs, with its comments: the reference for who writes policies.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The system whose resources are governance itself.
pub const GOVERNED_SYSTEM: &str = "bailiwick";

/// The kinds of resource in system `bailiwick`; always declared. A catalog may name one of them too (a tracker's
/// `Task`): the system tells them apart.
pub const BUILT_IN_KINDS: [&str; 10] = [
    "Registration",
    "Server",
    "Tool",
    "PolicySet",
    "Task",
    "Approval",
    "Stop",
    "Grant",
    "Ledger",
    "LinkedAccount",
];

/// The types of who acts.
pub(crate) const PRINCIPALS: [&str; 8] = [
    "Person",
    "Agent",
    "ServiceAccount",
    "Workload",
    "Pipeline",
    "Bot",
    "OauthApp",
    "FoundCredential",
];

/// Names that mean something else in [`SCHEMA`], so that no resource can be of this kind.
const RESERVED: [&str; 9] =
    ["Action", "Team", "Blueprint", "System", "Facts", "Bool", "Long", "String", "Set"];

/// The whole schema for a catalog with these kinds of resource, as text that every Cedar tool reads.
pub fn schema(kinds: &BTreeSet<String>) -> String {
    schema_over(kinds, |_| true)
}

/// The schema in which actions apply only to what a policy names, and to one of each sort that it does not name: as
/// the policy cannot tell those apart, it is valid under this schema exactly if it is under [`schema`]. Cedar checks
/// a policy once for each principal, action and resource, so that this takes a fraction of the time.
pub(crate) fn schema_naming(kinds: &BTreeSet<String>, words: &BTreeSet<&str>) -> String {
    schema_over(kinds, |name| words.contains(name))
}

/// The words of a policy that may name a type, a verb or the group of verbs.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric())
}

fn schema_over(kinds: &BTreeSet<String>, named: impl Fn(&str) -> bool) -> String {
    let catalog: Vec<&str> =
        kinds.iter().map(String::as_str).filter(|kind| !BUILT_IN_KINDS.contains(kind)).collect();
    let mut text = SCHEMA.to_owned();
    if !catalog.is_empty() {
        text += "\n// The catalog.\n";
        text += &format!("entity {} in [System] = {{\n", catalog.join(", "));
        text += "  id: String,\n  classes: Set<String>,\n};\n";
    }
    let chosen = |sorts: &[&[&'static str]]| {
        sorts.iter().flat_map(|sort| choose(sort, &named).0).collect::<Vec<_>>().join(", ")
    };
    let resources = [choose(&BUILT_IN_KINDS, &named).0, choose(&catalog, &named).0].concat();
    let applies = format!(
        "appliesTo {{\n  principal: [{}],\n  resource: [{}],\n  context: Facts,\n}}",
        chosen(&[&PRINCIPALS[..1], &PRINCIPALS[1..2], &PRINCIPALS[2..]]),
        resources.join(", "),
    );
    text += "\n// The verbs; `write` is the group of create, update and delete.\naction write;\n";
    for (group, in_group) in [(" in [write]", true), ("", false)] {
        let verbs = Verb::ALL.iter().filter(|verb| in_write(**verb) == in_group);
        let verbs: Vec<&str> = verbs.map(|verb| verb.name()).collect();
        let (chosen, others) = choose(&verbs, &named);
        text += &format!("action {}{group} {applies};\n", chosen.join(", "));
        if !others.is_empty() {
            text += &format!("action {}{group};\n", others.join(", "));
        }
    }
    text
}

/// Of names that mean things of one sort: those that are named and the first that is not; and the others.
fn choose<'a>(sort: &[&'a str], named: impl Fn(&str) -> bool) -> (Vec<&'a str>, Vec<&'a str>) {
    let first_unnamed = sort.iter().find(|name| !named(name));
    sort.iter().partition(|name| named(name) || Some(*name) == first_unnamed)
}

/// Whether a verb is one of the group `write`.
pub(crate) fn in_write(verb: Verb) -> bool {
    matches!(verb, Verb::Create | Verb::Update | Verb::Delete)
}

/// The Cedar type of an identity.
pub(crate) fn principal_type(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Person => "Person",
        IdentityKind::Agent => "Agent",
        IdentityKind::ServiceAccount => "ServiceAccount",
        IdentityKind::Workload => "Workload",
        IdentityKind::Pipeline => "Pipeline",
        IdentityKind::Bot => "Bot",
        IdentityKind::OauthApp => "OauthApp",
        IdentityKind::FoundCredential => "FoundCredential",
    }
}

/// Whether a name means something else in policies, so that no resource of a catalog can be of this kind.
pub fn is_reserved_kind(kind: &str) -> bool {
    RESERVED.contains(&kind) || PRINCIPALS.contains(&kind)
}

/// What is wrong with the catalog's kinds.
pub(crate) fn check_kinds(kinds: &BTreeSet<String>) -> Vec<Remark> {
    let is_type_name = |kind: &str| {
        let system: Option<Name> = GOVERNED_SYSTEM.parse().ok();
        system.is_some_and(|system| Resource::new(system, kind, "x").is_ok())
    };
    let remark = |kind: &String| {
        let shown: String = kind.chars().take(80).collect();
        if !is_type_name(kind) {
            let what = format!("the catalog's kind `{}` is not a type name", Foreign::new(shown));
            Some(
                Remark::new(what)
                    .hint("name it like `Refund`: one upper-case letter, then letters and digits"),
            )
        } else if is_reserved_kind(kind) {
            let what = format!("the catalog's kind `{shown}` means something else in policies");
            Some(Remark::new(what).hint(format!("rename it, for example to `{shown}Item`")))
        } else {
            None
        }
    };
    kinds.iter().filter_map(remark).collect()
}

/// Why an entity that a policy names can never be one that a request names; `None` when it can.
///
/// A forbid on such a name would silently forbid nothing.
pub(crate) fn never_matches(kind: &str, id: &str) -> Option<&'static str> {
    match kind {
        "Action" => None,
        "Team" | "Blueprint" | "System" => {
            let name = id.parse::<Name>().is_err();
            name.then_some(
                "it is named like `support-desk`: lower-case letters, digits, `-`, `_`, `.`",
            )
        }
        _ if PRINCIPALS.contains(&kind) => {
            let name = id.parse::<Name>().is_err();
            name.then_some("an identity is named without its kind, like `Agent::\"support-bot\"`")
        }
        _ => {
            let (system, rest) = id.split_once('/').unwrap_or(("", ""));
            let resource = system.parse().ok().map(|system| Resource::new(system, kind, rest));
            let wrong = !matches!(resource, Some(Ok(_)));
            wrong.then_some(
                "a resource is named system and id, like `Refund::\"support-desk/4711\"`",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_create_update_and_delete_are_in_the_group_write() {
        let text = schema(&BTreeSet::new());
        assert!(text.contains("action create, update, delete in [write] appliesTo"));
        assert!(text.contains(
            "action read, list, execute, send, export, deploy, pay, approve, grant, delegate, admin appliesTo"
        ));
    }

    #[test]
    fn a_schema_for_words_keeps_what_is_named_and_one_of_each_other_sort() {
        let kinds = ["Mail", "Order", "Refund"].map(str::to_owned).into();
        let text = schema_naming(&kinds, &words("Action::\"pay\", Refund, Agent").collect());
        assert!(text.contains("principal: [Person, Agent, ServiceAccount]"), "{text}");
        assert!(text.contains("resource: [Registration, Mail, Refund]"), "{text}");
        assert!(text.contains("action create in [write] appliesTo"), "{text}");
        assert!(text.contains("action read, pay appliesTo"), "{text}");
        assert!(text.contains("action update, delete in [write];"), "{text}");
    }
}
