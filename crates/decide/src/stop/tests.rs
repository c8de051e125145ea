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
    let agent = |name: &str| AgentTouch {
        name: name.parse().unwrap(),
        blueprint: "support".parse().unwrap(),
        owner: Some("p1".parse().unwrap()),
        model: "m-1".to_owned(),
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
