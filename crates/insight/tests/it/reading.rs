//! What governance was at a moment, and the course of a task.

use std::collections::BTreeMap;

use insight::Moment;
use model::{TaskId, Timestamp};
use serde_json::Value;

use crate::house::{House, Read, START};

/// The last version of each object by a moment, read off all leaves.
fn oracle(house: &House, at: i64, object: Option<&str>) -> BTreeMap<(String, String), u64> {
    let mut last = BTreeMap::new();
    for entry in house.all() {
        let body = &entry.leaf["body"];
        let said = |member: &str| body[member].as_str().map(str::to_owned);
        let counts = entry.leaf["kind"] == "governance" && entry.leaf["at"].as_i64() <= Some(at);
        if let (true, Some(kind), Some(key)) = (counts, said("object"), said("key"))
            && object.is_none_or(|object| object == kind)
        {
            last.insert((kind, key), entry.index);
        }
    }
    last
}

fn then(house: &House, at: i64, object: Option<&str>) -> BTreeMap<(String, String), u64> {
    let at = Timestamp::from_millis(at);
    let moment = Moment { at, object: object.map(str::to_owned), key: None };
    let (mut all, mut at_most) = (BTreeMap::new(), None);
    loop {
        let page = house.index.governance_at(&moment, at_most, 3).unwrap().found;
        for entry in page.entries {
            let body: Value = entry.leaf.body.to_value();
            let said = |member: &str| body[member].as_str().unwrap().to_owned();
            let before = all.insert((said("object"), said("key")), entry.index);
            assert_eq!(before, None, "each object is there once");
        }
        at_most = page.rest;
        if at_most.is_none() {
            return all;
        }
    }
}

#[test]
fn governance_at_a_moment_is_the_last_version_of_each_object_by_then() {
    let house = House::new();
    house.fill(0, 2_500);
    for at in [START - 1_000, START + 500, START + 7_777, START + 12_345, START + 1_000_000] {
        for object in [None, Some("agent"), Some("nothing")] {
            assert_eq!(then(&house, at, object), oracle(&house, at, object), "{at} {object:?}");
        }
    }
    assert!(oracle(&house, START + 1_000_000, None).len() > 10);
    let key = Some("agent/bot-0".to_owned());
    let at = Timestamp::from_millis(START + 9_000);
    let moment = Moment { at, object: Some("agent".to_owned()), key };
    let page = house.index.governance_at(&moment, None, 10).unwrap().found;
    let expected = oracle(&house, at.millis(), Some("agent"));
    let expected = expected[&("agent".to_owned(), "agent/bot-0".to_owned())];
    assert_eq!(page.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_chain_has_the_decision_that_opened_its_task_and_every_entry_of_it_in_order() {
    let house = House::new();
    house.fill(0, 1_000);
    let task = TaskId::from_bits(3);
    let is_of_it = |entry: &Read| entry.leaf["task"] == task.to_string();
    let is_opening = |entry: &Read| is_of_it(entry) && entry.leaf["kind"] == "task";
    let opened = *house.oracle(is_opening).last().unwrap();
    let action = house.all()[opened as usize].leaf["action"].clone();
    let opens = |entry: &Read| entry.leaf["kind"] == "decision" && entry.leaf["action"] == action;
    let mut expected = house.oracle(|entry| is_of_it(entry) || opens(entry));
    expected.reverse();
    let chain = house.index.chain(task).unwrap();
    assert_eq!(chain.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), expected);
    assert!(!chain.cut && expected.len() > 5);
    assert!(house.index.chain(TaskId::from_bits(1 << 99)).unwrap().entries.is_empty());
}
