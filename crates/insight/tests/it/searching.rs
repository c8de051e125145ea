use insight::{Field, Query, Words};
use model::Timestamp;
use serde_json::Value;

use crate::house::{House, Read, START};

/// How many entries a house has: several bundles, blocks and published tiles, and a tail that is not published.
const ENTRIES: u64 = 3_000;

fn text<'v>(value: &'v Value, way: &str) -> Option<&'v str> {
    way.split('.').try_fold(value, |value, member| value.get(member))?.as_str()
}

/// What each filter means, in the words of the leaf.
fn means(field: Field, entry: &Read, value: &str) -> bool {
    let Read { leaf, hash, .. } = entry;
    let is = |way: &str| text(leaf, way) == Some(value);
    let governs = is_kind(entry, "governance");
    let any = |list: &Value, way: Option<&str>| {
        list.as_array().into_iter().flatten().any(|one| match way {
            Some(way) => text(one, way) == Some(value),
            None => one == value,
        })
    };
    match field {
        Field::Kind => is("kind"),
        Field::Verdict => is("verdict"),
        Field::Agent => is("agent.id") || is("body.agent"),
        Field::Person => is("person"),
        Field::Task => is("task"),
        Field::Action => is("action"),
        Field::System => is("body.system"),
        Field::Tool => is("body.tool"),
        Field::Resource => any(&leaf["body"]["effects"], Some("id")),
        Field::Credential => {
            (is_kind(entry, "token") && hash == value) || any(&leaf["parents"], None)
        }
        Field::Token => is_kind(entry, "token") && is("id"),
        Field::Object => governs && is("body.object"),
        Field::Key => governs && is("body.key"),
    }
}

fn is_kind(entry: &Read, kind: &str) -> bool {
    text(&entry.leaf, "kind") == Some(kind)
}

/// Values to ask each field for: common ones, rare ones, and one that nothing has.
fn asked(house: &House) -> Vec<(Field, Vec<String>)> {
    let tokens: Vec<_> = house.all().into_iter().filter(|it| is_kind(it, "token")).collect();
    let id = |number: u128| model::EntryId::from_bits(number).to_string();
    let some = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let hashes = tokens.iter().step_by(40).map(|token| token.hash.clone()).collect();
    let named = tokens.iter().step_by(60);
    let named = named.map(|token| text(&token.leaf, "id").unwrap().to_owned()).collect();
    vec![
        (Field::Kind, some(&["decision", "governance", "start", "nothing"])),
        (Field::Verdict, some(&["permit", "hold", "step_up"])),
        (Field::Agent, some(&["agent/bot-0", "agent/bot-17", "agent/nobody"])),
        (Field::Person, some(&["person/p0", "person/p7"])),
        (Field::Task, vec![id(0), id(48), id(1 << 100)]),
        (Field::Action, vec![id(0), id(700), id(1 << 90)]),
        (Field::System, some(&["system-0", "system-2"])),
        (Field::Tool, some(&["tool-0", "tool-29"])),
        (Field::Resource, vec![format!("{:032x}", 0), format!("{:032x}", 37)]),
        (Field::Credential, hashes),
        (Field::Token, named),
        (Field::Object, some(&["agent", "grant", "thumbprint"])),
        (Field::Key, some(&["agent/bot-0", "agent/bot-19", "thumbprint"])),
    ]
}

#[test]
fn each_filter_finds_exactly_what_a_reader_of_all_leaves_finds() {
    let house = House::new();
    house.fill(0, ENTRIES);
    let mut found = 0;
    for (field, values) in asked(&house) {
        assert!(!values.is_empty(), "{field:?}");
        for value in values {
            let query = Query::default().with(field, &value);
            let expected = house.oracle(|entry| means(field, entry, &value));
            assert_eq!(house.find(&query, 37), expected, "{field:?} {value}");
            found += usize::from(!expected.is_empty());
        }
    }
    assert!(found > 25, "most of them occur: {found}");
}

#[test]
fn filters_hold_together_with_each_other_and_with_a_time() {
    let house = House::new();
    house.fill(0, ENTRIES);
    let (since, until) = (START + 4_000, START + 10 * ENTRIES as i64 - 3_000);
    let within = |entry: &Read| (since..until).contains(&entry.leaf["at"].as_i64().unwrap());
    let moments = (Some(Timestamp::from_millis(since)), Some(Timestamp::from_millis(until)));
    let all = asked(&house);
    for (at, (one, values)) in all.iter().enumerate() {
        for (other, others) in &all[at + 1..] {
            let (value, another) = (&values[0], &others[0]);
            let both = Query::default().with(*one, value).with(*other, another);
            let fits = |entry: &Read| means(*one, entry, value) && means(*other, entry, another);
            assert_eq!(house.find(&both, 50), house.oracle(fits), "{one:?} and {other:?}");
            let both = both.within(moments.0, moments.1);
            let expected = house.oracle(|entry| fits(entry) && within(entry));
            assert_eq!(house.find(&both, 50), expected, "{one:?} and {other:?} in time");
        }
    }
}

#[test]
fn a_time_is_from_its_first_moment_on_and_before_its_last() {
    let house = House::new();
    house.fill(0, ENTRIES);
    let moments: Vec<i64> =
        house.all().iter().map(|entry| entry.leaf["at"].as_i64().unwrap()).collect();
    let (low, high) = (moments[100], moments[2_500]);
    for (since, until) in [
        (None, None),
        (Some(low), None),
        (None, Some(high)),
        (Some(low), Some(high)),
        (Some(low), Some(low + 1)),
        (Some(low), Some(low)),
        (Some(high), Some(low)),
        (Some(i64::MAX), None),
        (None, Some(i64::MIN)),
        (Some(i64::MIN), Some(i64::MAX)),
    ] {
        let expected = house.oracle(|entry| {
            let at = entry.leaf["at"].as_i64().unwrap();
            since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
        });
        let query = Query::default()
            .within(since.map(Timestamp::from_millis), until.map(Timestamp::from_millis));
        assert_eq!(house.find(&query, 400), expected, "{since:?} {until:?}");
    }
}

#[test]
fn pages_neither_skip_nor_repeat_while_entries_come() {
    let house = House::new();
    house.fill(0, 600);
    let query = Query::default().with(Field::Person, "person/p0");
    let expected = house.oracle(|entry| means(Field::Person, entry, "person/p0"));
    let (mut found, mut at_most, mut next) = (Vec::new(), None, 600);
    loop {
        let page = house.index.search(&query, at_most, 7).unwrap().found;
        found.extend(page.entries.iter().map(|entry| entry.index));
        house.fill(next, next + 20);
        next += 20;
        at_most = page.rest;
        if at_most.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
    assert!(house.find(&query, 1000).len() > expected.len(), "who begins anew finds the others");
}

#[test]
fn a_search_that_takes_too_long_says_where_it_stopped_and_goes_on_there() {
    let house = House::new();
    // Two things that each second entry has, and that never meet.
    house.append((0..50_000_u64).map(|number| {
        let id = model::EntryId::from_bits(u128::from(number) + 1);
        let kind = ["one", "two"][number as usize % 2];
        let mut draft = ledger::Draft::new(id, kind, Timestamp::from_millis(START));
        draft.verdict = Some(["permit", "deny"][number as usize % 2].to_owned());
        draft
    }));
    while house.index.advance().unwrap() {}
    let query = Query::default().with(Field::Kind, "one").with(Field::Verdict, "deny");
    let (mut at_most, mut pages) = (None, 0);
    loop {
        let page = house.index.search(&query, at_most, 10).unwrap().found;
        assert!(page.entries.is_empty());
        pages += 1;
        match page.rest {
            Some(rest) => {
                assert!(at_most.is_none_or(|before| rest < before), "it gets on");
                at_most = Some(rest);
            }
            None => break,
        }
    }
    assert!((2..=5).contains(&pages), "{pages}");
}

#[test]
fn words_are_found_in_payloads_of_what_else_fits_alone() {
    let house = House::new();
    house.fill(0, 200);
    let search = |query: &Query, text: &str| {
        let words = Words::parse(text).unwrap();
        house.index.search_text(query, &words, None, 1000).unwrap()
    };
    let all = search(&Query::default(), "mara ORDER");
    let places: Vec<_> = all.page.found.entries.iter().map(|entry| entry.index).collect();
    assert_eq!(places, house.oracle(|entry| entry.leaf["payload"].is_object()));
    assert_eq!((all.opened, all.gone), (40, 0));
    assert_eq!(
        search(&Query::default(), "mara 15").page.found.entries.len(),
        4,
        "15, 115, 150, 155"
    );
    let person = Query::default().with(Field::Person, "person/p0");
    let of_person = search(&person, "mara");
    assert_eq!(
        of_person.page.found.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(),
        house.oracle(|entry| {
            entry.leaf["payload"].is_object() && means(Field::Person, entry, "person/p0")
        })
    );
    assert_eq!(of_person.opened, of_person.page.found.entries.len() as u64, "no other was opened");
    let none = search(&Query::default(), "nobody");
    assert!(none.page.found.entries.is_empty() && none.opened == 40);
}
