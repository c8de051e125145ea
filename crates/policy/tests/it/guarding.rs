//! The policies that ship: who may govern.

use std::sync::LazyLock;

use policy::{Policies, guard};

use crate::dsl::{ALLOW, Question, kinds, source, summary};

/// The guard beside the worst policy that somebody could write: one that allows everything.
static GOVERNED: LazyLock<Policies> = LazyLock::new(|| {
    let mut sources = guard();
    sources.push(source("user.cedar", ALLOW));
    Policies::load(&sources, &kinds()).unwrap()
});

static ALONE: LazyLock<Policies> = LazyLock::new(|| Policies::load(&guard(), &kinds()).unwrap());

fn governed(question: &str) -> String {
    summary(&GOVERNED.evaluate(&Question::parse(question).request()))
}

fn alone(question: &str) -> String {
    summary(&ALONE.evaluate(&Question::parse(question).request()))
}

#[test]
fn what_is_not_a_person_governs_nothing_whatever_other_policies_say() {
    for who in ["support-bot", "pipeline/ci", "service_account/x", "workload/x", "bot/x"] {
        for verb in model::Verb::ALL {
            for kind in policy::BUILT_IN_KINDS {
                let answer = governed(&format!("{who} {verb} bailiwick/{kind}/x"));
                assert!(answer.starts_with("deny forbidden"), "{who} {verb} {kind}: {answer}");
            }
        }
    }
    assert_eq!(governed("support-bot read Order/1"), "permit; by allow");
}

#[test]
fn a_decision_carried_by_an_agent_is_not_the_persons_own() {
    for act in ["approve", "grant", "admin", "deploy"] {
        let question = format!("person/ann@administrator {act} bailiwick/Approval/x depth=1");
        let answer = governed(&question);
        assert!(answer.starts_with("deny forbidden; by guard-own-session"), "{answer}");
    }
}

#[test]
fn administrators_govern_and_other_persons_do_not() {
    let act = "update bailiwick/Registration/agent/helper";
    assert_eq!(
        alone(&format!("person/ann@administrator {act}")),
        "permit; by guard-administrators"
    );
    assert_eq!(alone(&format!("person/ann@finance {act}")), "deny not_permitted");
}

#[test]
fn an_owner_suspends_and_stops_their_own_agents_and_no_others() {
    for (kind, policy) in [("Registration", "guard-owners-suspend"), ("Stop", "guard-owners-stop")]
    {
        let act = format!("admin bailiwick/{kind}/agent/helper owner=person/olivia");
        assert_eq!(alone(&format!("person/olivia {act}")), format!("permit; by {policy}"));
        assert_eq!(alone(&format!("person/mallory {act}")), "deny not_permitted");
        let unowned = format!("person/olivia admin bailiwick/{kind}/agent/helper");
        assert_eq!(alone(&unowned), "deny not_permitted");
    }
    let resume = "person/olivia delete bailiwick/Stop/1 owner=person/olivia";
    assert_eq!(
        alone(resume),
        "deny not_permitted; demands hold administrator:1 (guard-second-person-resume)"
    );
}

#[test]
fn an_owner_asks_for_their_agent_to_act_again_and_an_administrator_approves() {
    let act = "deploy bailiwick/Registration/agent/helper owner=person/olivia";
    let held = "hold; by guard-owners-reinstate, guard-second-person-agents; demands hold administrator:1 (guard-second-person-agents)";
    for administrators in [2, 1] {
        let question = format!("person/olivia {act} administrators={administrators}");
        assert_eq!(alone(&question), held, "a lone administrator is a second person, too");
    }
    let other = alone(&format!("person/mallory {act}"));
    assert!(other.starts_with("deny not_permitted"), "{other}");
    let carried = alone(&format!("person/olivia {act} depth=1"));
    assert!(carried.starts_with("deny forbidden; by guard-own-session"), "{carried}");
}

#[test]
fn any_person_delegates_to_agents_and_ends_what_is_theirs() {
    for verb in ["create", "delegate"] {
        let act = format!("person/ann {verb} bailiwick/Task/1");
        assert_eq!(alone(&act), "permit; by guard-persons-delegate");
    }
    let end = "person/ann delete bailiwick/Task/1 owner=person/ann";
    assert_eq!(alone(end), "permit; by guard-persons-end-their-tasks");
    assert_eq!(alone("person/ann delete bailiwick/Task/1 owner=person/eve"), "deny not_permitted");
    assert_eq!(alone("person/ann delegate tracker/Task/1"), "deny not_permitted");
    assert_eq!(alone("person/ann update bailiwick/Task/1 owner=person/eve"), "deny not_permitted");
}

#[test]
fn what_widens_needs_a_second_administrator_where_there_is_one() {
    for (act, policy) in [
        ("deploy bailiwick/PolicySet/main", "guard-second-person-policies"),
        ("create bailiwick/Tool/refund_order", "guard-second-person-tools"),
        ("update bailiwick/Tool/refund_order", "guard-second-person-tools"),
        ("create bailiwick/Server/support-desk", "guard-second-person-servers"),
        ("update bailiwick/Server/support-desk", "guard-second-person-servers"),
        ("delete bailiwick/Stop/1", "guard-second-person-resume"),
        ("grant bailiwick/Grant/1", "guard-second-person-grants"),
        ("grant bailiwick/Registration/person/bob", "guard-second-person-grants"),
        ("create bailiwick/Registration/agent/helper", "guard-second-person-agents"),
        ("deploy bailiwick/Registration/agent/helper", "guard-second-person-agents"),
    ] {
        let question = format!("person/ann@administrator {act}");
        assert_eq!(
            alone(&question),
            format!(
                "hold; by guard-administrators, {policy}; demands hold administrator:1 ({policy})"
            )
        );
        let lone = format!("{question} administrators=1");
        assert_eq!(
            alone(&lone),
            "permit; by guard-administrators",
            "a lone administrator has nobody to ask"
        );
        let lifted = format!("{question} lifted={policy}");
        assert_eq!(alone(&lifted), format!("permit; by guard-administrators, {policy}"));
    }
}

#[test]
fn what_takes_away_waits_for_nobody() {
    for act in [
        "admin bailiwick/Stop/1",
        "admin bailiwick/Registration/agent/helper",
        "delete bailiwick/Grant/1",
        "delete bailiwick/Server/support-desk",
        "delete bailiwick/Tool/refund_order",
        "delete bailiwick/Registration/agent/helper",
    ] {
        let question = format!("person/ann@administrator {act}");
        assert_eq!(alone(&question), "permit; by guard-administrators", "{act}");
    }
}

#[test]
fn the_team_that_is_asked_approves_and_never_in_its_own_cause() {
    let ask = "approve bailiwick/Approval/1 group=finance owner=person/olivia";
    assert_eq!(alone(&format!("person/ann@finance {ask}")), "permit; by guard-asked-teams-approve");
    assert_eq!(alone(&format!("person/ann@support {ask}")), "deny not_permitted");
    assert_eq!(
        alone(&format!("person/olivia@finance,administrator {ask}")),
        "deny forbidden; by guard-no-own-approval"
    );
}

#[test]
fn who_answers_for_a_thing_or_is_asked_about_it_may_look_at_it_and_only_look() {
    for kind in policy::BUILT_IN_KINDS {
        let own = format!("bailiwick/{kind}/x owner=person/olivia");
        assert_eq!(alone(&format!("person/olivia read {own}")), "permit; by guard-owners-look");
        assert_eq!(alone(&format!("person/mallory read {own}")), "deny not_permitted");
        // Of a task, that is to let it go on after it was parked.
        let update =
            if kind == "Task" { "permit; by guard-owners-unpark" } else { "deny not_permitted" };
        assert!(alone(&format!("person/olivia update {own}")).starts_with(update), "{kind}");
    }
    let asked = "read bailiwick/Approval/1 group=finance owner=person/olivia";
    assert_eq!(alone(&format!("person/ann@finance {asked}")), "permit; by guard-asked-teams-look");
    assert_eq!(alone(&format!("person/ann@support {asked}")), "deny not_permitted");
    assert!(
        alone("support-bot read bailiwick/Task/1 owner=person/olivia")
            .starts_with("deny forbidden")
    );
}

#[test]
fn ids_of_the_guard_are_kept_for_the_guard() {
    let text = r#"@id("guard-mine") permit (principal, action, resource);"#;
    let refusal = crate::dsl::refusal(text);
    assert_eq!(
        refusal,
        "test.cedar:1:1: the id `guard-mine` is kept for policies that ship with bailiwick \
         (choose an id that does not start with `guard-`)"
    );
    let mut changed = guard();
    changed[0].text =
        changed[0].text.replace("context.administrators > 1", "context.administrators > 9");
    let errors = Policies::load(&changed, &kinds()).unwrap_err();
    assert!(errors.remarks().len() > 5, "a changed guard is not the guard");
    let twice = [guard(), guard()].concat();
    let errors = Policies::load(&twice, &kinds()).unwrap_err().to_string();
    assert!(errors.contains("another policy has the id `guard-persons-govern`"), "{errors}");
}

#[test]
fn every_policy_of_the_guard_says_why_when_it_refuses() {
    let policies = Policies::load(&guard(), &kinds()).unwrap();
    for rule in policies.iter() {
        assert!(rule.id().as_str().starts_with(policy::GUARD_PREFIX));
        let refuses = rule.effect() != policy::Effect::Permit;
        assert_eq!(rule.text().contains("@reason"), refuses, "{}", rule.id());
    }
}
