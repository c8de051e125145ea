use model::Digest;

use super::*;
use crate::CheckpointKey;

fn seed(seed: u8) -> CheckpointKey {
    CheckpointKey::from_seed(&[seed; 32])
}

fn log() -> (CheckpointKey, VerifierKey) {
    let key = seed(100);
    let verifier = key.verifier("acme/prod/1").expect("it is a name");
    (key, verifier)
}

fn witness(number: u8) -> String {
    seed(number).witness(&format!("w{number}.example")).expect("it is a name").to_string()
}

/// A head of the log that these witnesses have cosigned.
fn note(by: &[u8]) -> String {
    let (key, verifier) = log();
    let origin = verifier.name().to_owned();
    let mut note = key.sign(&Checkpoint { origin, size: 7, root: Digest([9; 32]) }, &verifier);
    for number in by {
        let witness = witness(*number).parse().expect("it is a key");
        let line = seed(*number).cosign(note.as_bytes(), &witness, Timestamp::from_seconds(100));
        note += &line.expect("it can be cosigned");
    }
    note
}

/// Who counts, or why it is no quorum.
fn check(policy: &str, by: &[u8]) -> Result<usize, WitnessedError> {
    let policy = TlogPolicy::parse(policy.as_bytes()).expect("it is a policy");
    let checked = policy.check(&log().1, note(by).as_bytes(), Timestamp::from_seconds(100));
    checked.map(|witnessed| witnessed.by.len())
}

/// The example of the specification: two of three, and one of three others.
fn two_groups() -> String {
    let lines: Vec<String> =
        (1..=6).map(|number| format!("witness {number} {}", witness(number))).collect();
    format!(
        "# who\n\nlog {}\n{}\n group\tX 2 1 2 3 \ngroup Y any 4 5 6\ngroup X-and-Y all X Y\nquorum X-and-Y\n",
        log().1,
        lines.join("\n")
    )
}

#[test]
fn the_quorum_of_groups_is_met_by_enough_of_each_and_by_nothing_less() {
    let policy = two_groups();
    assert_eq!(check(&policy, &[1, 3, 6]), Ok(3));
    assert_eq!(check(&policy, &[1, 2, 3, 4, 5, 6]), Ok(6));
    for by in [&[][..], &[1, 2, 3], &[4, 5, 6], &[1, 4, 5, 6], &[7, 8, 9]] {
        let refused = check(&policy, by);
        assert!(matches!(refused, Err(WitnessedError::NoQuorum { .. })), "{by:?}: {refused:?}");
    }
}

#[test]
fn a_single_witness_or_none_may_be_the_quorum() {
    let one = format!("witness a {}\nquorum a\n", witness(1));
    assert_eq!(check(&one, &[1]), Ok(1));
    assert!(check(&one, &[2]).is_err());
    assert_eq!(check("quorum none", &[1]), Ok(0));
}

#[test]
fn names_are_octets_and_need_not_be_text() {
    let policy = [b"witness \xff ", witness(1).as_bytes(), b"\nquorum \xff"].concat();
    assert!(TlogPolicy::parse(&policy).is_ok());
}

#[test]
fn a_log_that_a_policy_does_not_list_is_not_accepted() {
    let other = seed(101).verifier("acme/prod/1").unwrap();
    let policy = format!("log {other}\nquorum none");
    assert_eq!(check(&policy, &[]), Err(WitnessedError::OtherLog("acme/prod/1".to_owned())));
}

#[test]
fn a_bad_line_of_a_known_witness_refuses_the_head_however_many_others_are_good() {
    let policy = TlogPolicy::parse(two_groups().as_bytes()).unwrap();
    let (good, (_, log), at) = (note(&[1, 2, 4]), log(), Timestamp::from_seconds);
    assert!(policy.check(&log, good.as_bytes(), at(100)).is_ok());
    let another = good.replacen("\n7\n", "\n8\n", 1);
    let witness = witness(5).parse().unwrap();
    let line = seed(5).cosign(another.as_bytes(), &witness, at(100)).unwrap();
    let bad = policy.check(&log, (good.clone() + &line).as_bytes(), at(100));
    assert_eq!(bad, Err(NoteError::BadSignature("w5.example".to_owned()).into()));
    let twice = good.clone() + good.lines().last().unwrap() + "\n";
    assert!(matches!(policy.check(&log, twice.as_bytes(), at(100)), Err(WitnessedError::Note(_))));
}

#[test]
fn a_line_from_the_future_counts_for_nobody_and_spoils_no_other() {
    let policy = format!(
        "witness a {}\nwitness b {}\ngroup any any a b\nquorum any\n",
        witness(1),
        witness(2)
    );
    let policy = TlogPolicy::parse(policy.as_bytes()).unwrap();
    let (good, (_, log), at) = (note(&[1]), log(), Timestamp::from_seconds);
    let key = witness(2).parse().unwrap();
    let early = good.clone() + &seed(2).cosign(good.as_bytes(), &key, at(1_000)).unwrap();
    let by = policy.check(&log, early.as_bytes(), at(100)).map(|witnessed| witnessed.by);
    assert_eq!(by, Ok(vec![("w1.example".to_owned(), at(100))]));
    let refused = policy.check(&log, good.as_bytes(), at(69)).unwrap_err();
    assert_eq!(refused, WitnessedError::NoQuorum { cosigned: 0, known: 2, early: 1 });
    assert!(refused.to_string().ends_with("1 more lines are from the future, compare the clocks"));
    // A bad one is bad even so.
    let bad = early.replacen("\n7\n", "\n8\n", 1);
    assert!(matches!(policy.check(&log, bad.as_bytes(), at(100)), Err(WitnessedError::Note(_))));
}

#[test]
fn a_policy_that_wants_no_witness_says_so() {
    let wants = |policy: &str| TlogPolicy::parse(policy.as_bytes()).unwrap().wants_witnesses();
    assert!(!wants("quorum none"));
    assert!(wants(&two_groups()));
}

#[test]
fn a_policy_of_any_other_form_is_refused() {
    let (a, b, log) = (witness(1), witness(2), log().1);
    let same_key = seed(1).witness("another.example").unwrap();
    let same_log = seed(100).verifier("another.example").unwrap();
    let many: String =
        (1..=65).map(|number| format!("witness {number} {}\n", witness(number))).collect();
    for (policy, why) in [
        (String::new(), "no line `quorum`"),
        ("quorum a".to_owned(), "line 1"),
        ("quorum none\nquorum none".to_owned(), "line 2"),
        (format!("witness a {a}\nwitness a {b}\nquorum a"), "line 2"),
        (format!("witness a {a}\nwitness b {same_key}\nquorum a"), "line 2"),
        (format!("log {log}\nlog {same_log}\nquorum none"), "line 2"),
        (format!("witness none {a}\nquorum none"), "line 1"),
        (format!("witness a {log}\nquorum a"), "line 1"),
        (format!("log {a}\nquorum none"), "line 1"),
        (format!("witness a {a} http://x more\nquorum a"), "line 1"),
        (format!("witness a {a}\ngroup g any\nquorum a"), "line 2"),
        (format!("witness a {a}\ngroup g 0 a\nquorum a"), "line 2"),
        (format!("witness a {a}\ngroup g 2 a\nquorum a"), "line 2"),
        (format!("witness a {a}\ngroup g 01 a\nquorum a"), "line 2"),
        (format!("witness a {a}\ngroup g any a a\nquorum a"), "line 2"),
        (format!("witness a {a}\ngroup g any a\ngroup h any a\nquorum a"), "line 3"),
        (format!("witness a {a}\ngroup g any none\nquorum a"), "line 2"),
        (format!("group g any g\nwitness a {a}\nquorum a"), "line 1"),
        ("quorum none extra".to_owned(), "line 1"),
        ("Quorum none".to_owned(), "line 1"),
        ("quorum none\r\n".to_owned(), "control"),
        (many + "quorum none", "line 65"),
        ("#".repeat(MAX_POLICY + 1), "longer"),
    ] {
        let refused = TlogPolicy::parse(policy.as_bytes()).err().map(|why| why.to_string());
        assert!(refused.is_some_and(|said| said.contains(why)), "{policy}");
    }
}
