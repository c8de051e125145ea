use ledger::verify::{self, Class};
use model::{ActionId, Digest};

use super::*;

/// A log written from a little script: for each entry `kind action [parents…]`, parents by position, all of one agent, or of
/// a person alone where the kind starts with `own:`. Gives what `verify` says of it.
fn told(script: &[&str]) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut hashes: Vec<Digest> = Vec::new();
    for (number, line) in (0..).zip(script) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        let mut draft = draft(number);
        let alone = kind.strip_prefix("own:");
        if alone.is_none() {
            let id = "agent/bot".parse().unwrap();
            draft.agent = Some(ledger::AgentMark { id, instance: None, version: None });
        }
        let kind = alone.unwrap_or(kind);
        let (kind, verdict) = kind.split_once(':').unwrap_or((kind, ""));
        draft.kind = kind.to_owned();
        draft.verdict = Some(verdict.to_owned()).filter(|verdict| !verdict.is_empty());
        draft.action = Some(ActionId::from_bits(words.next().unwrap().parse().unwrap()));
        draft.parents = words
            .map(|word| word.parse().map_or(Digest([0xff; 32]), |at: usize| hashes[at]))
            .collect();
        let sealed = log.seal(draft).unwrap();
        hashes.push(sealed.hash());
        log.append(sealed).wait().unwrap();
    }
    log.close().unwrap();
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &[], None);
    assert!(report.holds(Class::Integrity), "{:?}", report.findings);
    let open = report.open.iter().map(|open| format!("open: entry {}", open.index));
    report.findings.iter().map(ToString::to_string).chain(open).collect()
}

#[test]
fn an_action_that_was_permitted_and_ended_is_in_order() {
    assert_eq!(
        told(&[
            "decision:hold 1",
            "decision:permit 1 0",
            "outcome 1 1",
            "decision:deny 2",
            "decision:permit 3",
            "lapsed 3 4",
        ]),
        <[&str; 0]>::default()
    );
}

#[test]
fn a_permit_without_an_outcome_is_listed_as_open() {
    assert_eq!(told(&["decision:permit 1", "decision:permit 2", "outcome 2 1"]), ["open: entry 0"]);
}

#[test]
fn what_a_person_decides_for_themself_is_done_with_the_decision() {
    assert_eq!(told(&["own:decision:permit 1"]), <[&str; 0]>::default());
}

#[test]
fn an_outcome_needs_an_earlier_permit_of_its_action() {
    assert_eq!(
        told(&["outcome 1", "decision:permit 1", "decision:deny 2", "outcome 2 2"]),
        [
            "correctness: entry 0: outcome of an action that was not permitted",
            "correctness: entry 3: outcome of an action that was not permitted",
        ]
    );
    assert_eq!(
        told(&["decision:permit 1", "token 1", "outcome 1 1"]),
        ["correctness: entry 2: it does not name entry 0, its permit"]
    );
}

#[test]
fn what_was_given_in_the_course_of_an_action_may_lapse_once() {
    let given = [
        "own:decision:permit 1",
        "own:task 1 0",
        "own:lapsed 1 1",
        "own:token 1 0",
        "own:lapsed 1 3",
    ];
    assert_eq!(told(&given), <[&str; 0]>::default());
    assert_eq!(told(&["token 1", "lapsed 1 0"]), <[&str; 0]>::default());
    assert_eq!(
        told(&["token 1", "lapsed 1 0", "lapsed 1 0", "lapsed 1", "token 2", "lapsed 1 4"]),
        [
            "correctness: entry 2: its parent had lapsed with entry 1 already",
            "correctness: entry 3: lapsed of an action that was not permitted",
            "correctness: entry 5: its action had ended with entry 3 already",
        ]
    );
    assert_eq!(
        told(&["decision:permit 1", "token 1 0", "lapsed 1 1", "outcome 1 0"]),
        <[&str; 0]>::default(),
        "what lapsed is the token, not the permit"
    );
}

#[test]
fn an_action_is_permitted_once_and_ends_once() {
    assert_eq!(
        told(&["decision:permit 1", "decision:permit 1", "outcome 1 0", "outcome 1 0"]),
        [
            "correctness: entry 1: its action was permitted by entry 0 already",
            "correctness: entry 3: its action had ended with entry 2 already",
        ]
    );
}

#[test]
fn a_parent_that_is_not_in_the_log_is_reported_as_missing() {
    let unknown =
        format!("completeness: entry 1: its parent {} is not in this log", Digest([0xff; 32]));
    assert_eq!(told(&["token 1", "token 2 0 unknown"]), [unknown]);
}
