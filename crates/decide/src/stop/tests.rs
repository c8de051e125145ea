use super::*;

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

#[test]
fn a_journal_that_is_too_long_stops_the_start_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stops");
    std::fs::write(&path, line("all")).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(MAX_JOURNAL_BYTES + 1).unwrap();
    let refused = Stops::open(&path).err().unwrap();
    assert!(matches!(refused, JournalError::TooLong));
    assert_eq!(
        refused.to_string(),
        "the stop journal is longer than 64 MiB; move its old lines away by hand"
    );
    assert_eq!(file.metadata().unwrap().len(), MAX_JOURNAL_BYTES + 1);
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
