//! An index is made from its ledger alone, and knows when it is of another one.

use insight::{Field, Index, Query, SearchError};

use crate::house::House;

fn queries() -> [Query; 4] {
    [
        Query::default().with(Field::Agent, "agent/bot-0"),
        Query::default().with(Field::Tool, "tool-0").with(Field::Verdict, "deny"),
        Query::default().with(Field::Key, "agent/bot-1"),
        Query::default(),
    ]
}

fn answers(house: &House) -> [Vec<u64>; 4] {
    queries().map(|query| house.find(&query, 100))
}

#[test]
fn an_index_that_was_dropped_is_made_anew_with_the_same_answers() {
    let house = House::new();
    house.fill(0, 700);
    let before = answers(&house);
    assert!(house.file().exists());
    let folder = house.close();
    std::fs::remove_file(folder.path().join("search.sqlite")).unwrap();
    let house = House::of("acme/audit", folder);
    assert_eq!(house.index.indexed(), 0);
    assert_eq!(answers(&house), before);
}

/// One search takes in a part of a large ledger, and the next one more.
#[test]
fn a_page_that_the_new_index_does_not_reach_yet_is_refused_and_not_passed_over() {
    let house = House::new();
    house.fill(0, 20_000);
    while house.index.advance().unwrap() {}
    let query = Query::default().with(Field::Person, "person/p0");
    let first = house.index.search(&query, None, 10).unwrap().found;
    let folder = house.close();
    std::fs::remove_file(folder.path().join("search.sqlite")).unwrap();
    let house = House::of("acme/audit", folder);
    let refused = house.index.search(&query, first.rest, 10).unwrap_err();
    assert!(matches!(refused, SearchError::Behind { size: 20_000, .. }), "{refused:?}");
    let again = house.index.search(&query, first.rest, 10).unwrap().found;
    let expected = house.oracle(|entry| entry.leaf["person"] == "person/p0");
    let found: Vec<u64> = again.entries.iter().map(|entry| entry.index).collect();
    assert_eq!(found, expected[10..20]);
}

#[test]
fn an_index_goes_on_where_it_ended() {
    let house = House::new();
    house.fill(0, 300);
    answers(&house);
    let house = House::of("acme/audit", house.close());
    house.fill(300, 400);
    assert!(!house.index.advance().unwrap());
    assert_eq!(house.index.indexed(), 400);
    let expected = house.oracle(|entry| entry.leaf["person"] == "person/p0");
    assert_eq!(house.find(&Query::default().with(Field::Person, "person/p0"), 64), expected);
}

#[test]
fn an_index_of_another_ledger_is_made_anew() {
    // Another name; another history under the same one, longer, as long and shorter.
    for (origin, entries) in
        [("acme/other", 300), ("acme/audit", 500), ("acme/audit", 300), ("acme/audit", 100)]
    {
        let (house, other) = (House::new(), tempfile::TempDir::new().unwrap());
        house.fill(0, 300);
        let other = House::of(origin, other);
        other.fill(1_000, 1_000 + entries);
        let right = answers(&house);
        answers(&other);
        let (folder, other) = (house.close(), other.close());
        let file = folder.path().join("search.sqlite");
        std::fs::copy(other.path().join("search.sqlite"), &file).unwrap();
        let house = House::of("acme/audit", folder);
        assert_eq!(answers(&house), right, "{origin} {entries}");
    }
}

#[test]
fn an_index_that_is_ahead_of_a_ledger_that_was_set_back_is_made_anew() {
    let house = House::new();
    house.fill(0, 300);
    let folder = house.close();
    let old = tempfile::TempDir::new().unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.unwrap().success());
    };
    for name in ["ledger", "head"] {
        copy(&folder.path().join(name), old.path());
    }
    let house = House::of("acme/audit", folder);
    house.fill(300, 600);
    answers(&house);
    let folder = house.close();
    copy(&folder.path().join("search.sqlite"), old.path());
    let house = House::of("acme/audit", old);
    let expected = house.oracle(|entry| entry.leaf["person"] == "person/p0");
    assert_eq!(house.find(&Query::default().with(Field::Person, "person/p0"), 64), expected);
    assert_eq!(house.index.indexed(), 300);
    // It goes on otherwise than before, and no entry of the lost history is found.
    house.fill(2_000, 2_400);
    let expected = house.oracle(|entry| entry.leaf["person"] == "person/p0");
    assert_eq!(house.find(&Query::default().with(Field::Person, "person/p0"), 64), expected);
}

#[test]
fn a_damaged_index_is_made_anew() {
    for damage in [&b"this is no database"[..], b""] {
        let house = House::new();
        house.fill(0, 300);
        let right = answers(&house);
        let folder = house.close();
        std::fs::write(folder.path().join("search.sqlite"), damage).unwrap();
        let house = House::of("acme/audit", folder);
        assert_eq!(answers(&house), right);
    }
    // A database of somebody else's.
    let house = House::new();
    house.fill(0, 300);
    let right = answers(&house);
    let folder = house.close();
    let file = folder.path().join("search.sqlite");
    std::fs::remove_file(&file).unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE mark (anything TEXT); CREATE TABLE posting (id TEXT)")
        .unwrap();
    drop(other);
    let house = House::of("acme/audit", folder);
    assert_eq!(answers(&house), right);
}

#[test]
fn postings_that_are_lies_make_nothing_up() {
    let house = House::new();
    house.fill(0, 300);
    let query = Query::default().with(Field::Tool, "tool-0");
    let right = house.find(&query, 100);
    let folder = house.close();
    let index = rusqlite::Connection::open(folder.path().join("search.sqlite")).unwrap();
    // Every entry is said to have every term that there is.
    for place in 0..300 {
        let lies = format!(
            "INSERT INTO posting SELECT DISTINCT ((id >> 20) << 20) | {place} FROM posting WHERE true \
             ON CONFLICT DO NOTHING"
        );
        index.execute_batch(&lies).unwrap();
    }
    drop(index);
    let house = House::of("acme/audit", folder);
    assert_eq!(house.find(&query, 100), right);
}

#[test]
fn an_index_that_cannot_be_written_says_so_and_does_not_keep_from_reading_in_order() {
    let house = House::new();
    house.fill(0, 10);
    let nowhere = house.file().join("search.sqlite");
    std::fs::write(house.file(), "a file, no folder").unwrap();
    let dir = house.file().with_file_name("ledger");
    let index = Index::new(house.log, &dir, &nowhere);
    assert!(index.search(&queries()[0], None, 10).is_err());
    assert_eq!(index.indexed(), 0);
}
