use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use super::{
    journal::{Line, MAX_BYTES, MAX_HELD_BYTES, MAX_SAME_SCOPE},
    *,
};

fn order(scope: &str) -> Order {
    let at = Timestamp::from_millis(5);
    Order {
        id: EntryId::compose(at, 1, scope.len() as u64),
        scope: scope.parse().unwrap(),
        by: "person/p1".parse().unwrap(),
        at,
        reason: "test".to_owned(),
    }
}

fn touches() -> Touches {
    let agent = |name: &str| {
        Arc::new(AgentTouch {
            name: name.parse().unwrap(),
            blueprint: "support".parse().unwrap(),
            owner: Some("p1".parse().unwrap()),
            model: "m-1".to_owned(),
        })
    };
    Touches {
        action: Some(ActionId::from_bits(1)),
        person: None,
        task: Some(TaskId::from_bits(2)),
        links: vec![LinkId::from_bits(3), LinkId::from_bits(4)],
        agents: vec![agent("support-bot"), agent("lookup")],
        system: Some("desk".parse().unwrap()),
        tool: None,
    }
}

fn stops(directory: &tempfile::TempDir) -> Arc<Stops> {
    Stops::open(&directory.path().join("stops")).unwrap()
}

#[test]
fn every_scope_that_touches_a_call_halts_it_and_no_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let id = |bits: u128| TaskId::from_bits(bits);
    for (scope, halts) in [
        ("all".to_owned(), true),
        ("agent:support-bot".to_owned(), true),
        ("agent:lookup".to_owned(), true),
        ("agent:other".to_owned(), false),
        ("blueprint:support".to_owned(), true),
        ("owner:p1".to_owned(), true),
        ("owner:p2".to_owned(), false),
        ("system:desk".to_owned(), true),
        ("model:m-1".to_owned(), true),
        (format!("task:{}", id(2)), true),
        (format!("task:{}", id(3)), false),
        (format!("delegation:{}", id(3)), true),
        (format!("action:{}", id(1)), true),
    ] {
        let stops = stops(&directory);
        stops.order(&order(&scope));
        assert_eq!(stops.halts(&touches()).is_some(), halts, "{scope}");
    }
}

#[test]
fn an_order_survives_the_process_and_ends_only_by_resume() {
    let directory = tempfile::tempdir().unwrap();
    let first = order("agent:support-bot");
    stops(&directory).journal_order(&first).unwrap();
    let second = stops(&directory);
    assert_eq!(second.halts(&touches()), Some(first.clone()));
    let epoch = second.epoch();
    second.resume(first.id);
    second.journal_resume(first.id).unwrap();
    assert!(second.epoch() > epoch);
    assert_eq!(second.order(&first), 0, "an order that was resumed stays resumed");
    assert_eq!(second.halts(&touches()), None);
    assert_eq!(stops(&directory).halts(&touches()), None);
}

#[test]
fn a_line_that_was_never_finished_is_cut_off_and_a_damaged_one_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    stops(&directory).journal_order(&order("all")).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"order\":{\"id\""].concat()).unwrap();
    assert_eq!(stops(&directory).orders().len(), 1);
    stops(&directory).journal_order(&order("agent:lookup")).unwrap();
    assert_eq!(stops(&directory).orders().len(), 2);
    std::fs::write(&path, [b"{}\n", &whole[..]].concat()).unwrap();
    assert!(matches!(Stops::open(&path), Err(JournalError::Damaged { line: 1 })));
}

#[tokio::test]
async fn a_stop_cuts_the_calls_in_its_scope_and_waits_until_they_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let stops = stops(&directory);
    let call = stops.register(ActionId::from_bits(1), touches());
    let other = stops.register(ActionId::from_bits(9), Touches::default());
    let order = order("agent:lookup");
    assert_eq!(stops.order(&order), 1);
    call.cut().await;
    assert!(!other.is_cut());
    let waiting = tokio::spawn({
        let stops = stops.clone();
        async move { stops.quiet(&order.scope).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(call);
    waiting.await.unwrap();
    assert_eq!(stops.live_calls(), 1);
}

#[test]
fn a_text_that_is_no_scope_is_refused() {
    for text in ["", "agent", "agent:", "agent:A", "everything", "task:1", "model:"] {
        assert!(text.parse::<StopScope>().is_err(), "{text}");
    }
}

/// A journal with these bytes, as it is found at a start: its orders or why there is none, and what is left of it.
fn found(bytes: &[u8]) -> (Result<usize, JournalError>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    std::fs::write(&path, bytes).unwrap();
    let opened = Stops::open(&path).map(|stops| stops.orders().len());
    (opened, std::fs::read(&path).unwrap())
}

/// The line of the journal that tells of an order.
fn line(scope: &str) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Line::Order(order(scope))).unwrap();
    line.push(b'\n');
    line
}

#[test]
fn a_line_is_cut_off_wherever_it_was_left_and_those_before_it_stay() {
    let (whole, last) = (line("all"), line("agent:lookup"));
    for length in 0..last.len() {
        let (orders, left) = found(&[&whole[..], &last[..length]].concat());
        assert_eq!((orders.unwrap(), left), (1, whole.clone()), "{length} bytes of the last line");
    }
    assert_eq!(found(&[&whole[..], &last[..]].concat()).0.unwrap(), 2);
}

#[test]
fn a_damaged_line_stops_the_start_wherever_it_stands_and_is_left_for_people_to_see() {
    let (first, last) = (line("all"), line("agent:lookup"));
    let resume = br#"{"resume":{"order":"0199f3a2-7c11-8001-8a2b-3c4d5e6f7081"}}"#;
    let torn = &first[..first.len() / 2];
    let twice = [&first[..first.len() - 1], &first[..first.len() - 1]].concat();
    let unknown =
        String::from_utf8(first.clone()).unwrap().replacen("\"by\"", "\"or\":1,\"by\"", 1);
    let elsewhere = String::from_utf8(first.clone()).unwrap().replace("all", "nowhere");
    for damaged in [
        b"garbage",
        &b"\0\0\0\0"[..],
        b"null",
        b"\xff\xfe",
        b"{}",
        br#"{"resume":{}}"#,
        br#"{"resume":{"order":"0199f3a2-7c11-8001-8a2b-3c4d5e6f7081","but":1}}"#,
        torn,
        &twice,
        unknown.trim_end().as_bytes(),
        elsewhere.trim_end().as_bytes(),
    ] {
        let bytes = [&first[..], damaged, b"\n", &last[..]].concat();
        let (opened, left) = found(&bytes);
        let shown = String::from_utf8_lossy(damaged);
        assert!(matches!(opened, Err(JournalError::Damaged { line: 2 })), "{shown}: {opened:?}");
        assert_eq!(left, bytes, "{shown}");
        let (opened, _) = found(&[&first[..], &last[..], damaged, b"\n"].concat());
        assert!(matches!(opened, Err(JournalError::Damaged { line: 3 })), "{shown}: {opened:?}");
    }
    assert_eq!(found(&[&first[..], resume, b"\n", &last[..]].concat()).0.unwrap(), 2);
}

/// An order that is told from others by its number.
fn numbered(number: u64, scope: &str, reason: String) -> Order {
    let at = Timestamp::from_millis(number as i64);
    Order { id: EntryId::compose(at, 1, number), reason, ..order(scope) }
}

/// A journal of ours as it is on disk: how long it is, and which file it is.
fn measured(directory: &tempfile::TempDir) -> (u64, u64) {
    let file = std::fs::metadata(directory.path().join("stops")).unwrap();
    (file.len(), file.ino())
}

#[test]
fn what_was_resumed_takes_no_room_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let first = stops(&directory);
    let lasting = numbered(1, "agent:lookup", "it loops".to_owned());
    first.order(&lasting);
    first.journal_order(&lasting).unwrap();
    let length = measured(&directory).0;
    for number in 2..50 {
        let order = numbered(number, "agent:support-bot", "it loops".to_owned());
        first.order(&order);
        first.journal_order(&order).unwrap();
        first.journal_resume(order.id).unwrap();
        first.resume(order.id);
    }
    assert!(measured(&directory).0 > 48 * length);
    drop(first);
    let second = stops(&directory);
    assert_eq!(second.orders(), std::slice::from_ref(&lasting));
    assert_eq!(second.order(&numbered(7, "agent:support-bot", String::new())), 0);
    assert_eq!(
        second.orders(),
        std::slice::from_ref(&lasting),
        "it stays resumed, wherever it is heard of"
    );
    let (short, file) = measured(&directory);
    assert_eq!(short, length);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    drop(second);
    assert_eq!(stops(&directory).orders(), [lasting]);
    assert_eq!(measured(&directory), (short, file), "what is short already is left alone");
}

#[test]
fn a_journal_is_written_anew_before_it_is_too_long_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    let first = stops(&directory);
    let orders = [
        numbered(1, "agent:lookup", "one".to_owned()),
        numbered(2, "agent:support-bot", "two".to_owned()),
        numbered(3, "all", "three".to_owned()),
    ];
    orders[..2].iter().for_each(|order| first.journal_order(order).unwrap());
    // Lines that are of no use, up to the last byte that a journal may have.
    let length = measured(&directory).0;
    let filler = "\n".repeat((MAX_BYTES - length) as usize);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(filler.as_bytes(), length).unwrap();
    first.journal_order(&orders[2]).unwrap();
    let text = std::fs::read(&path).unwrap();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 3);
    file.set_len(0).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), text, "it is another file");

    OpenOptions::new().write(true).open(&path).unwrap().set_len(MAX_BYTES).unwrap();
    first.journal_resume(orders[1].id).unwrap();
    drop(first);
    assert_eq!(stops(&directory).orders(), [orders[0].clone(), orders[2].clone()]);
}

#[test]
fn a_machine_that_stops_while_the_journal_is_written_anew_loses_no_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    let (kept, gone) = (order("all"), order("agent:lookup"));
    let first = stops(&directory);
    first.journal_order(&kept).unwrap();
    first.journal_order(&gone).unwrap();
    first.journal_resume(gone.id).unwrap();
    drop(first);
    // The new file was begun, and has not got its name.
    std::fs::write(directory.path().join("stops.new"), &line("agent:lookup")[..9]).unwrap();
    assert_eq!(stops(&directory).orders(), [kept]);
    assert_eq!(std::fs::read(&path).unwrap(), line("all"));
    assert!(!directory.path().join("stops.new").exists());
}

#[test]
fn a_journal_that_cannot_be_written_anew_is_read_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, gone) = (order("all"), order("agent:lookup"));
    let first = stops(&directory);
    first.journal_order(&kept).unwrap();
    first.journal_order(&gone).unwrap();
    first.journal_resume(gone.id).unwrap();
    drop(first);
    std::fs::create_dir(directory.path().join("stops.new")).unwrap();
    let second = stops(&directory);
    assert_eq!(second.orders(), [kept]);
    second.journal_order(&order("system:desk")).unwrap();
    assert_eq!(stops(&directory).orders().len(), 2);
}

/// Earlier builds wrote reasons as long as a request, and then refused to read so long a journal.
#[test]
fn a_journal_of_long_reasons_is_read_and_made_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    let mut file = std::fs::File::create(&path).unwrap();
    for number in 0..70 {
        let reason = "ä".repeat(500_000);
        let order = numbered(number, &format!("agent:bot-{number}"), reason);
        serde_json::to_writer(&mut file, &Line::Order(order)).unwrap();
        file.write_all(b"\n").unwrap();
    }
    assert!(file.metadata().unwrap().len() > MAX_BYTES);
    let orders = stops(&directory).orders();
    assert_eq!(orders.len(), 70);
    assert!(orders.iter().all(|order| order.reason == "ä".repeat(MAX_REASON_BYTES / 2)));
    assert!(measured(&directory).0 < 100_000);
}

#[test]
fn one_scope_that_is_stopped_again_and_again_takes_no_more_than_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let first = stops(&directory);
    let orders: Vec<Order> =
        (0..200).map(|number| numbered(number, "agent:support-bot", "x".repeat(100_000))).collect();
    for order in &orders {
        first.order(order);
        first.journal_order(order).unwrap();
    }
    drop(first);
    let second = stops(&directory);
    let newest: Vec<EntryId> = second.orders().iter().map(|order| order.id).collect();
    let expected: Vec<EntryId> = orders.iter().map(|order| order.id).collect();
    assert_eq!(newest, expected[200 - MAX_SAME_SCOPE..]);
    assert!(measured(&directory).0 < 2 * (MAX_SAME_SCOPE * MAX_REASON_BYTES) as u64);
    // A resume that named all but the last order leaves that one in force.
    for order in &orders[..199] {
        second.journal_resume(order.id).unwrap();
    }
    drop(second);
    assert_eq!(stops(&directory).orders().len(), 1);
}

/// The file with so many orders in force that no further one has room.
#[test]
fn at_its_bound_a_journal_takes_no_order_but_the_stop_is_in_force_and_a_resume_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    let mut number = 0;
    while (text.len() as u64) < MAX_HELD_BYTES - 2_000 {
        let order =
            numbered(number, &format!("model:other-{number}"), "x".repeat(MAX_REASON_BYTES));
        serde_json::to_writer(&mut text, &Line::Order(order)).unwrap();
        text.push(b'\n');
        number += 1;
    }
    std::fs::write(directory.path().join("stops"), &text).unwrap();
    let stops = stops(&directory);
    let long = |at: u64, scope: &str| numbered(at, scope, "y".repeat(MAX_REASON_BYTES));
    stops.journal_order(&long(number, "system:desk")).unwrap();
    let further = long(number + 1, "agent:lookup");
    assert_eq!(stops.order(&further), 0);
    let full = stops.journal_order(&further).unwrap_err();
    assert!(full.to_string().contains("full of orders in force"), "{full}");
    assert_eq!(stops.halts(&touches()).map(|order| order.id), Some(further.id), "it is in force");
    let again = Stops::open(&directory.path().join("stops")).unwrap();
    assert_eq!(again.orders().len() as u64, number + 1, "and the next start is none the worse");
    drop(again);
    stops.journal_resume(EntryId::compose(Timestamp::from_millis(0), 1, 0)).unwrap();
    stops.journal_order(&further).unwrap();
    assert_eq!(
        Stops::open(&directory.path().join("stops")).unwrap().orders().len() as u64,
        number + 1
    );
}

#[test]
fn a_line_that_nobody_can_have_written_stops_the_start_and_is_left_for_people_to_see() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    std::fs::write(&path, line("all")).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(MAX_BYTES + 1).unwrap();
    assert!(matches!(Stops::open(&path), Err(JournalError::Damaged { line: 2 })));
    assert_eq!(file.metadata().unwrap().len(), MAX_BYTES + 1);
}

#[test]
fn a_journal_that_cannot_be_opened_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Stops::open(directory.path()), Err(JournalError::Io(_))));
    let nowhere = directory.path().join("missing").join("stops");
    assert!(matches!(Stops::open(&nowhere), Err(JournalError::Io(_))));
}

#[test]
fn an_order_that_was_written_behind_a_torn_line_is_not_lost_silently() {
    let directory = tempfile::tempdir().unwrap();
    let stops = stops(&directory);
    let path = directory.path().join("stops");
    stops.journal_order(&order("all")).unwrap();
    // As a disk leaves it that was full in the middle of a line.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&line("agent:lookup")[..20]).unwrap();
    stops.journal_order(&order("agent:support-bot")).unwrap();
    assert!(matches!(Stops::open(&path), Err(JournalError::Damaged { line: 2 })));
}
