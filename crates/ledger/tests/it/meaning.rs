use ledger::verify::{self, Class, Level, Report, Verdict};
use model::{ActionId, ApprovalId, Digest, LinkId, TaskId};

use super::*;

/// A log written from a little script, a line an entry: `kind[:verdict] words…`. Of the words a number is a parent by its
/// position and `?` one that is not there, `@2` is the action, `#3` the task, `~1,2` the chain of delegations (1 alone when
/// left out, none with `~`), `+4` the delegation that a token adds (the last of its chain when left out), `!6` the approval,
/// `name=5` a number in the body, `name:text` a text (for `order` the id of the entry at a position, for `links` a list of
/// one), and `widens` says so. All are of one agent, or of a person alone where the kind starts with `own:`.
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
            "!" => draft.approval = Some(ApprovalId::from_bits(id())),
            "?" => draft.parents.push(Digest([0xff; 32])),
            _ if word == "widens" => body.push(("widens", Json::Bool(true))),
            _ if word.contains(':') => {
                let (name, text) = word.split_once(':').unwrap();
                let value = match name {
                    "order" => entry_id(text.parse().unwrap()).to_string(),
                    "links" => LinkId::from_bits(text.parse().unwrap()).to_string(),
                    _ => text.to_owned(),
                };
                let value = Json::String(value);
                let list = |value| if name == "links" { Json::Array(vec![value]) } else { value };
                body.push((name, list(value)));
            }
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
            "correctness: entry 5: no entry that it follows from permits it",
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
        "correctness: entry 4: it permits what no token that it follows from was issued for";
    let with = |decision: &str| {
        told(&[
            "own:token",
            "own:decision:permit @8 0",
            "own:task #5 1",
            "token #5 ~7 2",
            decision,
            "outcome @1 #5 ~7 4",
        ])
        .into_iter()
        .filter(|line| !line.starts_with("open task"))
        .collect::<Vec<_>>()
    };
    assert_eq!(with("decision:permit @1 #5 ~7 3"), NOTHING);
    for wrong in [
        "decision:permit @1 #5 ~7",
        "decision:permit @1 #5 ~7 2",
        "decision:permit @1 #5 ~7 0",
        "decision:permit @1 #5 ~7,8 3",
        "decision:permit @1 #5 ~ 3",
        "decision:permit @1 ~7 3",
        "own:decision:permit @1 #5 ~7 3",
    ] {
        assert_eq!(with(wrong)[0], beyond, "{wrong}");
    }
    // A refusal gives nothing, whatever it follows from.
    assert_eq!(told(&["decision:deny @1", "decision:hold @2", "decision:step_up @3"]), NOTHING);
}

#[test]
fn a_token_adds_one_delegation_of_its_own_to_the_one_that_it_was_bought_with() {
    let begun = [
        "own:token",
        "own:decision:permit @8 0",
        "own:task #5 1",
        "own:token #5 ~7 2",
        "own:task #6 1",
    ];
    let with = |token: &str| {
        let told = told(&[&begun[..], &[token]].concat());
        told.into_iter().filter(|line| !line.starts_with("open task")).collect::<Vec<_>>()
    };
    for fine in ["token #5 ~7,8 3", "token #5 ~9 2", "own:token ~4"] {
        assert_eq!(with(fine), NOTHING, "{fine}");
    }
    let more = "correctness: entry 5: it is a token for more than it was issued on";
    for wrong in [
        "token #5 ~7,8",
        "token #5 ~7,8 0",
        "token #5 ~7,8,9 3",
        "token #5 ~3,8 3",
        "token #6 ~7,8 3",
        "token ~7,8 3",
        "token #5 ~9",
        "token #6 ~9 2",
    ] {
        assert_eq!(with(wrong), [more], "{wrong}");
    }
    assert_eq!(with("token ~"), ["correctness: entry 5: it is a token of no delegation"]);
    let other = "correctness: entry 5: the delegation that it adds is not the last of its chain";
    assert_eq!(with("token #5 ~7,8 +7 3"), [other]);
    assert_eq!(with("token #5 ~7,8 +9 3"), [other]);
}

/// A task with a permit that was answered, a refusal, and the end that counts them.
fn task(end: &str) -> [&str; 8] {
    [
        "own:token",
        "own:decision:permit @8 0",
        "own:task #5 1",
        "token #5 ~7 2",
        "decision:permit @1 #5 ~7 3",
        "outcome @1 #5 ~7 4 spent=40",
        "decision:deny @2 #5 ~7 3",
        end,
    ]
}

const COUNTS: &str = "entries=5 permits=1 refusals=1 outcomes=1 tokens=1 spent=40";

#[test]
fn the_end_of_a_task_counts_what_the_log_holds_of_it() {
    let end = format!("own:task_end #5 2 6 {COUNTS}");
    assert_eq!(told(&task(&end)), NOTHING);
    // Without a budget nobody counts money, and what comes behind the end is not counted.
    let end = "own:task_end #5 2 entries=5 permits=1 refusals=1 outcomes=1 tokens=1";
    assert_eq!(told(&[&task(end)[..], &["decision:deny @9 #5 ~7 3"]].concat()), NOTHING);
    let nothing = "correctness: entry 7: it does not count the entries of its task";
    assert_eq!(told(&task("own:task_end #5 2 calls=1")), [nothing]);

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
        let end = format!("own:task_end #5 2 {}", counts.join(" "));
        let expected = format!("{class}: entry 7: of its task it counts {said} before it");
        assert_eq!(told(&task(&end)), [expected]);
    }
}

#[test]
fn a_task_is_opened_once_and_ends_once() {
    let end = format!("own:task_end #5 2 {COUNTS}");
    let again = |line| told(&[&task(&end)[..], &[line]].concat());
    assert_eq!(
        again("own:task_end #5 2 calls=1"),
        ["correctness: entry 8: its task was closed by entry 7 already"]
    );
    assert_eq!(
        again("own:task #5 1")[0],
        "correctness: entry 8: its task was opened by entry 2 already"
    );
    assert_eq!(
        again("own:task_end #6 2 calls=1"),
        ["correctness: entry 8: it is of a task that was not opened before"]
    );
    assert_eq!(
        told(&task("own:task_end #5 0 calls=1")),
        ["correctness: entry 7: it does not name entry 2, which opened its task"]
    );
}

#[test]
fn a_task_without_an_end_is_listed_as_open_unless_its_opening_lapsed() {
    assert_eq!(told(&task("decision:deny @3 #5 ~7 3")), ["open task: entry 2"]);
    let lapsed = ["own:token", "own:decision:permit @1 0", "own:task @1 #5 1", "lapsed @1 #5 2"];
    assert_eq!(told(&lapsed), NOTHING);
    assert_eq!(told(&lapsed[..3]), ["open task: entry 2"]);
}

#[test]
fn one_gap_does_not_explain_what_two_tasks_lack() {
    let two = |gap: &str| {
        let counts = "entries=3 permits=0 refusals=1 outcomes=0 tokens=1";
        let ends = [format!("own:task_end #5 2 {counts}"), format!("own:task_end #6 3 {counts}")];
        let begun = ["own:token", "own:decision:permit @8 0", "own:task #5 1", "own:task #6 1"];
        let tokens = ["token #5 ~7 2", "token #6 ~9 3", ends[0].as_str(), ends[1].as_str(), gap];
        told(&[&begun[..], &tokens].concat())
    };
    assert_eq!(two("gap n=2 from=1 to=2"), NOTHING);
    assert_eq!(
        two("gap n=1 from=1 to=2"),
        ["completeness: entry 7: of its task it counts entries: 3, and this log holds 2 before it"]
    );
}

#[test]
fn what_only_a_decision_brings_about_follows_from_a_permit() {
    let unpermitted = "correctness: entry 2: no entry that it follows from permits it";
    let with = |entry: &str| {
        let told = told(&["own:token", "own:decision:permit @1 0", entry]);
        told.into_iter().filter(|line| !line.starts_with("open")).collect::<Vec<_>>()
    };
    for entry in [
        "own:task #5",
        "own:stop scope:all",
        "own:resume order:0",
        "own:searched found=1",
        "own:erasure subject:person/lena",
        "own:governance object:grant widens",
    ] {
        assert_eq!(with(&format!("{entry} @1 1")), NOTHING, "{entry}");
        assert_eq!(with(entry), [unpermitted], "{entry}");
        assert_eq!(with(&format!("{entry} 0")), [unpermitted], "{entry}");
    }
    // What takes away needs nobody's word, and a stop has an entry of its own.
    assert_eq!(with("own:governance object:grant"), NOTHING);
    assert_eq!(with("own:governance object:stop widens"), NOTHING);
    // Somebody has to be the first.
    assert_eq!(told(&["own:governance object:person widens"]), NOTHING);
}

#[test]
fn what_is_decided_or_done_names_its_action_and_what_is_of_a_task_its_task() {
    for kind in ["decision:deny", "outcome", "lapsed"] {
        assert_eq!(told(&[kind]), ["correctness: entry 0: it names no action"], "{kind}");
    }
    for kind in ["task_end", "parked"] {
        assert_eq!(told(&[kind]), ["correctness: entry 0: it names no task"], "{kind}");
    }
}

#[test]
fn an_approval_lifts_one_hold_unless_nothing_came_of_it() {
    let with = |end: &str| {
        told(&["token", "decision:permit @1 !4 0", end, "decision:permit @2 !4 0", "outcome @2 3"])
    };
    let used = "correctness: entry 3: its approval was used by entry 1 already";
    assert_eq!(with("outcome @1 1 status:completed"), [used]);
    assert_eq!(with("outcome @1 1 status:unknown"), [used]);
    assert_eq!(with("token @9"), [used, "open: entry 1"]);
    assert_eq!(with("lapsed @1 1"), NOTHING);
    assert_eq!(with("outcome @1 1 status:not_sent"), NOTHING);
}

/// A task with an agent, and one that it handed part of it to.
fn handed(rest: &[&str]) -> Vec<String> {
    let begun = [
        "own:token",
        "own:decision:permit @8 0",
        "own:task #5 1 deadline=100",
        "token #5 ~7 2 expires=50",
        "token #5 ~7,8 3 expires=40",
    ];
    let told = told(&[&begun[..], rest].concat());
    told.into_iter().filter(|line| !line.starts_with("open task")).collect()
}

#[test]
fn no_call_leaves_on_what_had_ended_before_it_was_permitted() {
    let counts = "entries=3 permits=0 refusals=0 outcomes=0 tokens=2";
    let end = format!("own:task_end #5 2 {counts}");
    for (end, why) in [
        ("own:stop scope:all 1", "entry 5 had stopped `all` before it was permitted"),
        ("own:stop scope:agent:bot 1", "entry 5 had stopped `agent:bot` before it was permitted"),
        (
            "own:stop scope:system:desk 1",
            "entry 5 had stopped `system:desk` before it was permitted",
        ),
        ("own:revoked links:7 1", "entry 5 had withdrawn a delegation that it was permitted on"),
        (&end, "entry 5 had closed its task before it was permitted"),
    ] {
        let permit = "decision:permit @1 #5 ~7,8 4 system:desk";
        for left in ["completed", "input_required", "failed", "cut"] {
            let outcome = format!("outcome @1 #5 ~7,8 6 status:{left}");
            let found = format!("correctness: entry 7: its call left, and {why}");
            assert_eq!(handed(&[end, permit, &outcome]), [found]);
            let before = outcome.replace(" 6 ", " 5 ");
            let end = end.replace("permits=0", "permits=1").replace("entries=3", "entries=4");
            assert_eq!(handed(&[permit, &end, &before]), NOTHING, "it was on its way: {end}");
        }
        for stayed in ["lapsed @1 #5 ~7,8 6", "outcome @1 #5 ~7,8 6 status:not_sent"] {
            assert_eq!(handed(&[end, permit, stayed]), NOTHING, "{end} {stayed}");
        }
        let unknown = "outcome @1 #5 ~7,8 6 status:unknown";
        assert_eq!(handed(&[end, permit, unknown]), NOTHING, "nobody knows whether it left");
    }
    for other in ["agent:other", "system:other", "task:other", "blueprint:bot"] {
        let stop = format!("own:stop scope:{other} 1");
        let rest = [&stop, "decision:permit @1 #5 ~7,8 4", "outcome @1 #5 ~7,8 6 status:completed"];
        assert_eq!(handed(&rest), NOTHING, "{other}");
    }
}

#[test]
fn no_call_leaves_on_a_token_or_a_task_whose_time_was_over() {
    let at = |moment: u64, token: u64| {
        let pass = vec!["own:start"; usize::try_from(moment).unwrap() - 5];
        let permit =
            format!("decision:permit @1 #5 ~{} {token}", if token == 3 { "7" } else { "7,8" });
        let outcome = format!("outcome @1 #5 {moment} status:completed");
        handed(&[&pass[..], &[&permit, &outcome]].concat())
    };
    let over = |index: u64, what: &str| {
        [format!("correctness: entry {index}: its call left, and {what} before it was permitted")]
    };
    assert_eq!(at(39, 4), NOTHING);
    assert_eq!(at(40, 4), over(41, "its token had ended"));
    assert_eq!(at(49, 3), NOTHING);
    assert_eq!(at(50, 3), over(51, "its token had ended"));
    assert_eq!(at(100, 3), over(101, "the time of its task was over"));
}

#[test]
fn after_a_stop_was_resumed_calls_leave_again_unless_that_lapsed() {
    let resumed = |more: &[&str]| {
        let rest = ["own:stop scope:all 1", "own:decision:permit @9 0", "own:resume @9 order:5 6"];
        handed(&[&rest[..], more].concat())
    };
    let call = ["decision:permit @1 #5 ~7,8 4", "outcome @1 #5 ~7,8 8 status:completed"];
    assert_eq!(resumed(&call), NOTHING);
    let late = ["own:lapsed @9 7", call[0], "outcome @1 #5 ~7,8 9 status:completed"];
    assert_eq!(
        resumed(&late),
        [
            "correctness: entry 10: its call left, and entry 5 had stopped `all` before it was permitted"
        ]
    );
}

#[test]
fn gaps_are_listed_and_explain_no_more_than_they_say_of_what_nothing_waits_for() {
    let end = "own:task_end #5 2 entries=8 permits=1 refusals=4 outcomes=1 tokens=1 spent=40";
    let with = |gap| report(&[&task(end)[..], &[gap]].concat());
    let gap = with("gap n=3 from=1000 to=2000");
    assert!(gap.is_clean(), "{:?}", gap.findings);
    let [gap] = gap.gaps[..] else { panic!("{:?}", gap.gaps) };
    assert_eq!((gap.index, gap.lost, gap.from.millis(), gap.to.millis()), (8, 3, 1000, 2000));
    let few = with("gap n=2 from=1000 to=2000");
    assert!(!few.holds(Class::Completeness) && few.gaps.len() == 1);
    // An outcome is noted as well, with the money that it spent.
    let counted = |counts: &str, gap: &str| {
        let end = format!("own:task_end #5 2 permits=1 refusals=1 tokens=1 {counts}");
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
    let end = "own:task_end #5 2 entries=6 permits=2 refusals=1 outcomes=1 tokens=1 spent=40";
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
