use ledger::verify::{self, Class, Level, Report, Verdict};
use model::{ActionId, Digest, LinkId, TaskId};

use super::*;

/// A log written from a little script, a line an entry: `kind[:verdict] words…`. Of the words a number is a parent by its
/// position and `?` one that is not there, `@2` is the action, `#3` the task, `~1,2` the chain of delegations (1 alone when
/// left out, none with `~`), `+4` the delegation that a token adds (the last of its chain when left out), and `name=5` a
/// number in the body. All are of one agent, or of a person alone where the kind starts with `own:`.
fn report(script: &[&str]) -> Report {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut hashes: Vec<Digest> = Vec::new();
    for (number, line) in (0..).zip(script) {
        let sealed = log.seal(entry(number, line, &hashes)).unwrap();
        hashes.push(sealed.hash());
        log.append(sealed).wait().unwrap();
    }
    log.close().unwrap();
    verify::log(&place.path().join("log"), &log.verifier_key(), &[], None)
}

fn entry(number: u64, line: &str, hashes: &[Digest]) -> Draft {
    let mut words = line.split(' ');
    let kind = words.next().unwrap();
    let mut draft = draft(number);
    let alone = kind.strip_prefix("own:");
    if alone.is_none() {
        let id = "agent/bot".parse().unwrap();
        draft.agent = Some(ledger::AgentMark { id, instance: None, version: None });
    }
    let (kind, verdict) =
        alone.unwrap_or(kind).split_once(':').unwrap_or((alone.unwrap_or(kind), ""));
    draft.kind = kind.to_owned();
    draft.verdict = Some(verdict.to_owned()).filter(|verdict| !verdict.is_empty());
    draft.chain = vec![LinkId::from_bits(1)];
    let (mut body, mut adds) = (Vec::new(), None);
    for word in words {
        let (mark, rest) = word.split_at(1);
        let id = || rest.parse().unwrap();
        match mark {
            "@" => draft.action = Some(ActionId::from_bits(id())),
            "#" => draft.task = Some(TaskId::from_bits(id())),
            "~" => {
                let links = rest.split(',').filter(|link| !link.is_empty());
                draft.chain = links.map(|link| LinkId::from_bits(link.parse().unwrap())).collect();
            }
            "+" => adds = Some(LinkId::from_bits(id())),
            "?" => draft.parents.push(Digest([0xff; 32])),
            _ => match word.split_once('=') {
                Some(("spent", amount)) => {
                    let amount = Json::Integer(amount.parse().unwrap());
                    let currency = Json::String("EUR".to_owned());
                    body.push((
                        "spent",
                        Json::object([("amount", amount), ("currency", currency)]),
                    ));
                }
                Some((name, count)) => body.push((
                    name,
                    match count.parse() {
                        Ok(count) => Json::Integer(count),
                        Err(_) => Json::String(count.to_owned()),
                    },
                )),
                None => draft.parents.push(hashes[word.parse::<usize>().unwrap()]),
            },
        }
    }
    if kind == "token" {
        let link = adds.or(draft.chain.last().copied());
        body.extend(link.map(|link| ("link", Json::String(link.to_string()))));
    }
    draft.body = Canonical::of(&Json::object(body)).unwrap();
    draft
}

/// What `verify` says of such a log: findings, then what is open.
fn told(script: &[&str]) -> Vec<String> {
    let report = report(script);
    assert!(report.holds(Class::Integrity), "{:?}", report.findings);
    let meant = report.findings.iter().all(|finding| finding.level == Level::Meaning);
    assert!(meant, "{:?}", report.findings);
    let expected = if report.is_clean() { Verdict::Holds } else { Verdict::Fails };
    assert_eq!(report.verdict(Level::Meaning), expected);
    let open = report.open.iter().map(|open| format!("open: entry {}", open.index));
    let tasks = report.open_tasks.iter().map(|open| format!("open task: entry {}", open.index));
    report.findings.iter().map(ToString::to_string).chain(open).chain(tasks).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_action_that_was_permitted_and_ended_is_in_order() {
    assert_eq!(
        told(&[
            "token",
            "decision:hold @1 0",
            "decision:permit @1 0 1",
            "outcome @1 2",
            "decision:deny @2",
            "decision:permit @3 0",
            "input @4 5",
            "lapsed @3 5",
        ]),
        NOTHING
    );
}

#[test]
fn a_permit_without_an_outcome_is_listed_as_open() {
    assert_eq!(
        told(&["token", "decision:permit @1 0", "decision:permit @2 0", "outcome @2 2"]),
        ["open: entry 1"]
    );
}

#[test]
fn what_a_person_decides_for_themself_is_done_with_the_decision() {
    assert_eq!(told(&["own:token", "own:decision:permit @1 0"]), NOTHING);
}

#[test]
fn an_outcome_needs_an_earlier_permit_of_its_action() {
    assert_eq!(
        told(&[
            "token",
            "outcome @1",
            "decision:permit @1 0",
            "decision:deny @2",
            "outcome @2 3",
            "input @3 3"
        ]),
        [
            "correctness: entry 1: outcome of an action that was not permitted",
            "correctness: entry 4: outcome of an action that was not permitted",
            "correctness: entry 5: it is an answer to a call that was not permitted",
        ]
    );
    assert_eq!(
        told(&["token", "decision:permit @1 0", "token @1", "outcome @1 2"]),
        ["correctness: entry 3: it does not name entry 1, its permit"]
    );
}

#[test]
fn what_was_given_in_the_course_of_an_action_may_lapse_once() {
    let given = [
        "own:token",
        "own:decision:permit @1 0",
        "own:task @1 #1 1",
        "own:lapsed @1 #1 2",
        "own:token @1",
        "own:lapsed @1 4",
    ];
    assert_eq!(told(&given), NOTHING);
    assert_eq!(told(&["token @1", "lapsed @1 0"]), NOTHING);
    assert_eq!(
        told(&["token @1", "lapsed @1 0", "lapsed @1 0", "lapsed @1", "token @2", "lapsed @1 4"]),
        [
            "correctness: entry 2: its parent had lapsed with entry 1 already",
            "correctness: entry 3: lapsed of an action that was not permitted",
            "correctness: entry 5: its action had ended with entry 3 already",
        ]
    );
    assert_eq!(
        told(&["token", "decision:permit @1 0", "token @1", "lapsed @1 2", "outcome @1 1"]),
        NOTHING,
        "what lapsed is the token, not the permit"
    );
}

#[test]
fn an_action_is_permitted_once_and_ends_once() {
    assert_eq!(
        told(&[
            "token",
            "decision:permit @1 0",
            "decision:permit @1 0",
            "outcome @1 1",
            "outcome @1 1"
        ]),
        [
            "correctness: entry 2: its action was permitted by entry 1 already",
            "correctness: entry 4: its action had ended with entry 3 already",
        ]
    );
}

#[test]
fn a_parent_that_is_not_in_the_log_is_reported_as_missing() {
    let unknown =
        format!("completeness: entry 1: its parent {} is not in this log", Digest([0xff; 32]));
    assert_eq!(told(&["token @1", "token @2 ~1,2 0 ?"]), [unknown]);
}

#[test]
fn a_permit_follows_from_a_token_of_its_delegations_and_its_task_issued_to_who_acts() {
    let beyond =
        "correctness: entry 3: it permits what no token that it follows from was issued for";
    let with = |decision: &str| {
        told(&["own:token", "own:task #5 0", "token #5 ~7 1", decision, "outcome @1 #5 ~7 3"])
            .into_iter()
            .filter(|line| !line.starts_with("open task"))
            .collect::<Vec<_>>()
    };
    assert_eq!(with("decision:permit @1 #5 ~7 2"), NOTHING);
    for wrong in [
        "decision:permit @1 #5 ~7",
        "decision:permit @1 #5 ~7 1",
        "decision:permit @1 #5 ~7 0",
        "decision:permit @1 #5 ~7,8 2",
        "decision:permit @1 #5 ~ 2",
        "decision:permit @1 ~7 2",
        "own:decision:permit @1 #5 ~7 2",
    ] {
        assert_eq!(with(wrong)[0], beyond, "{wrong}");
    }
    // A refusal gives nothing, whatever it follows from.
    assert_eq!(told(&["decision:deny @1", "decision:hold @2", "decision:step_up @3"]), NOTHING);
}

#[test]
fn a_token_adds_one_delegation_of_its_own_to_the_one_that_it_was_bought_with() {
    let begun = ["own:token", "own:task #5 0", "own:token #5 ~7 1", "own:task #6 0"];
    let with = |token: &str| {
        let told = told(&[&begun[..], &[token]].concat());
        told.into_iter().filter(|line| !line.starts_with("open task")).collect::<Vec<_>>()
    };
    for fine in ["token #5 ~7,8 2", "token #5 ~9 1", "own:token ~4"] {
        assert_eq!(with(fine), NOTHING, "{fine}");
    }
    let more = "correctness: entry 4: it is a token for more than it was issued on";
    for wrong in [
        "token #5 ~7,8",
        "token #5 ~7,8 0",
        "token #5 ~7,8,9 2",
        "token #5 ~3,8 2",
        "token #6 ~7,8 2",
        "token ~7,8 2",
        "token #5 ~9",
        "token #6 ~9 1",
    ] {
        assert_eq!(with(wrong), [more], "{wrong}");
    }
    assert_eq!(with("token ~"), ["correctness: entry 4: it is a token of no delegation"]);
    let other = "correctness: entry 4: the delegation that it adds is not the last of its chain";
    assert_eq!(with("token #5 ~7,8 +7 2"), [other]);
    assert_eq!(with("token #5 ~7,8 +9 2"), [other]);
}

/// A task with a permit that was answered, a refusal, and the end that counts them.
fn task(end: &str) -> [&str; 7] {
    [
        "own:token",
        "own:task #5 0",
        "token #5 ~7 1",
        "decision:permit @1 #5 ~7 2",
        "outcome @1 #5 ~7 3 spent=40",
        "decision:deny @2 #5 ~7 2",
        end,
    ]
}

const COUNTS: &str = "entries=5 permits=1 refusals=1 outcomes=1 tokens=1 spent=40";

#[test]
fn the_end_of_a_task_counts_what_the_log_holds_of_it() {
    let end = format!("own:task_end #5 1 5 {COUNTS}");
    assert_eq!(told(&task(&end)), NOTHING);
    // Without a budget nobody counts money, and what comes behind the end is not counted.
    let end = "own:task_end #5 1 entries=5 permits=1 refusals=1 outcomes=1 tokens=1";
    assert_eq!(told(&[&task(end)[..], &["decision:deny @9 #5 ~7 2"]].concat()), NOTHING);
    assert_eq!(told(&task("own:task_end #5 1 calls=1")), NOTHING, "it counts nothing");

    for (count, class, said) in [
        ("entries=6", "completeness", "entries: 6, and this log holds 5"),
        ("entries=4", "correctness", "entries: 4, and this log holds 5"),
        ("permits=2", "completeness", "permits: 2, and this log holds 1"),
        ("refusals=0", "correctness", "refusals: 0, and this log holds 1"),
        ("outcomes=2", "completeness", "outcomes: 2, and this log holds 1"),
        ("tokens=0", "correctness", "tokens: 0, and this log holds 1"),
        ("spent=41", "completeness", "money: 41, and this log holds 40"),
    ] {
        let name = count.split('=').next().unwrap();
        let counts: Vec<&str> = COUNTS
            .split(' ')
            .map(|other| if other.starts_with(name) { count } else { other })
            .collect();
        let end = format!("own:task_end #5 1 {}", counts.join(" "));
        let expected = format!("{class}: entry 6: of its task it counts {said} before it");
        assert_eq!(told(&task(&end)), [expected]);
    }
}

#[test]
fn a_task_is_opened_once_and_ends_once() {
    let end = format!("own:task_end #5 1 {COUNTS}");
    let again = |line| told(&[&task(&end)[..], &[line]].concat());
    assert_eq!(
        again("own:task_end #5 1 calls=1"),
        ["correctness: entry 7: its task was closed by entry 6 already"]
    );
    assert_eq!(
        again("own:task #5 0")[0],
        "correctness: entry 7: its task was opened by entry 1 already"
    );
    assert_eq!(
        again("own:task_end #6 1 calls=1"),
        ["correctness: entry 7: it is of a task that was not opened before"]
    );
    assert_eq!(
        told(&task("own:task_end #5 0 calls=1")),
        ["correctness: entry 6: it does not name entry 1, which opened its task"]
    );
}

#[test]
fn a_task_without_an_end_is_listed_as_open_unless_its_opening_lapsed() {
    assert_eq!(told(&task("decision:deny @3 #5 ~7 2")), ["open task: entry 1"]);
    let lapsed = ["own:token", "own:decision:permit @1 0", "own:task @1 #5 1", "lapsed @1 #5 2"];
    assert_eq!(told(&lapsed), NOTHING);
    assert_eq!(told(&lapsed[..3]), ["open task: entry 2"]);
}

#[test]
fn gaps_are_listed_and_explain_no_more_than_they_say_of_what_nothing_waits_for() {
    let end = "own:task_end #5 1 entries=8 permits=1 refusals=4 outcomes=1 tokens=1 spent=40";
    let with = |gap| report(&[&task(end)[..], &[gap]].concat());
    let gap = with("gap n=3 from=1000 to=2000");
    assert!(gap.is_clean(), "{:?}", gap.findings);
    let [gap] = gap.gaps[..] else { panic!("{:?}", gap.gaps) };
    assert_eq!((gap.index, gap.lost, gap.from.millis(), gap.to.millis()), (7, 3, 1000, 2000));
    let few = with("gap n=2 from=1000 to=2000");
    assert!(!few.holds(Class::Completeness) && few.gaps.len() == 1);
    // An outcome is noted as well, with the money that it spent.
    let counted = |counts: &str, gap: &str| {
        let end = format!("own:task_end #5 1 permits=1 refusals=1 tokens=1 {counts}");
        report(&[&task(&end)[..], &[gap]].concat()).is_clean()
    };
    let one = "gap n=1 from=1000 to=2000";
    assert!(counted("entries=6 outcomes=2 spent=90", one));
    assert!(!counted("entries=6 outcomes=2 spent=90", "gap n=0 from=1000 to=2000"));
    assert!(!counted("entries=6 outcomes=1 spent=90", one), "money that no outcome spent");
    assert!(!counted("entries=5 outcomes=2 spent=90", one), "an outcome that is no entry");
    // So may what followed from it lack its parent.
    let orphan = ["token @1", "token @2 ~1,2 0 ?"];
    assert!(report(&[&orphan[..], &[one]].concat()).is_clean());
    assert!(!report(&[&orphan[..], &["gap n=0 from=1000 to=2000"]].concat()).is_clean());
    // What waits for its record is never missing, whatever was lost.
    let end = "own:task_end #5 1 entries=6 permits=2 refusals=1 outcomes=1 tokens=1 spent=40";
    let other = report(&[&task(end)[..], &["gap n=9 from=1000 to=2000"]].concat());
    assert!(!other.holds(Class::Completeness));
    for wrong in ["gap from=1 to=2", "gap n=1 to=2", "gap n=1 from=1", "gap n=-1 from=1 to=2"] {
        assert_eq!(
            told(&[wrong]),
            [
                "correctness: entry 0: it says of a gap neither how much is missing nor from when to when"
            ],
            "{wrong}"
        );
    }
}

/// An agent that was given a token, did one thing and was refused another, then what the test adds.
fn retired(rest: &[&'static str]) -> Vec<String> {
    let life = ["token", "decision:permit @1 0", "outcome @1 1", "decision:deny @2"];
    told(&[&life[..], rest].concat())
}

#[test]
fn the_end_of_an_agent_counts_what_the_log_holds_of_it_and_it_does_nothing_behind_it() {
    const END: &str =
        "own:agent_end ~ agent=agent/bot entries=4 permits=1 refusals=1 outcomes=1 tokens=1";
    assert_eq!(retired(&[END]), NOTHING);
    assert_eq!(retired(&[END, "decision:deny @4"]), NOTHING, "it is still refused");
    for acts in ["decision:permit @4 0", "token"] {
        let found = retired(&[END, acts]);
        let what = "correctness: entry 5: entry 4 had closed the log of `agent/bot`";
        assert!(found.contains(&what.to_owned()), "{found:?}");
    }
    let twice = retired(&[END, END]);
    assert_eq!(twice, ["correctness: entry 5: entry 4 had closed the log of its agent already"]);
    for (count, other) in [
        ("entries=4", "entries=5"),
        ("permits=1", "permits=2"),
        ("refusals=1", "refusals=0"),
        ("outcomes=1", "outcomes=2"),
        ("tokens=1", "tokens=0"),
    ] {
        let end: &'static str = END.replace(count, other).leak();
        let found = retired(&[end]);
        assert!(found.len() == 1 && found[0].contains("of its agent it counts"), "{found:?}");
    }
    assert_eq!(
        retired(&["own:agent_end ~ agent=agent/bot"]),
        ["correctness: entry 4: it does not count the entries of its agent"]
    );
    assert_eq!(
        retired(&["own:agent_end ~ entries=4 permits=1 refusals=1 outcomes=1 tokens=1"]),
        ["correctness: entry 4: it closes the log of no agent"]
    );
    const LOST: &str =
        "own:agent_end ~ agent=agent/bot entries=5 permits=1 refusals=2 outcomes=1 tokens=1";
    assert_eq!(retired(&["own:gap ~ n=1 from=1 to=2", LOST]), NOTHING, "the log says so itself");
}
