use model::ijson;
use proptest::prelude::*;

use super::*;

const LIMITS: ijson::Limits = ijson::Limits { bytes: MAX_LEAF, depth: 16 };

fn realm() -> Realm {
    Realm { org: "acme.example".parse().unwrap(), environment: "prod".parse().unwrap(), node: 7 }
}

fn full() -> Leaf {
    let (draft, mark) = full_draft();
    leaf(draft, Some(mark))
}

/// The leaf that a draft becomes, member by member.
fn leaf(draft: Draft, payload: Option<PayloadMark>) -> Leaf {
    let realm = realm();
    Leaf {
        action: draft.action,
        agent: draft.agent,
        approval: draft.approval,
        at: draft.at,
        body: ijson::parse(draft.body.as_bytes(), LIMITS).unwrap(),
        chain: draft.chain,
        environment: realm.environment,
        id: draft.id,
        kind: draft.kind,
        node: realm.node,
        org: realm.org,
        parents: draft.parents,
        payload,
        person: draft.person,
        task: draft.task,
        v: 1,
        verdict: draft.verdict,
    }
}

fn full_draft() -> (Draft, PayloadMark) {
    let digest = |byte| Digest([byte; 32]);
    let mut draft = Draft::new(EntryId::from_bits(3), "decision", Timestamp::from_millis(1234));
    draft.action = Some(ActionId::from_bits(1));
    draft.agent = Some(AgentMark {
        id: "agent/support-bot".parse().unwrap(),
        instance: Some("thumb\"print\u{1}ä".to_owned()),
        version: Some(digest(0xab)),
    });
    draft.approval = Some(ApprovalId::from_bits(u128::MAX));
    let body = Json::object([
        ("score", Json::Float(0.1)),
        ("cost", Json::Integer(-5)),
        ("why", Json::Array(vec![Json::Null, Json::Bool(true), Json::String("é\n".to_owned())])),
    ]);
    draft.body = Canonical::of(&body).unwrap();
    draft.chain = vec![LinkId::from_bits(8), LinkId::from_bits(9)];
    draft.parents = vec![digest(1), digest(2)];
    draft.person = Some("person/p-77".parse().unwrap());
    draft.task = Some(TaskId::from_bits(5));
    draft.verdict = Some("step_up".to_owned());
    let mark =
        PayloadMark { ciphertext: digest(3), commit: digest(4), key: "k1".to_owned(), size: 9 };
    (draft, mark)
}

#[test]
fn the_bytes_are_the_canonical_form_that_any_rfc_8785_writer_gives() {
    let empty = Draft::new(EntryId::from_bits(3), "decision", Timestamp::default());
    for leaf in [full(), leaf(empty, None)] {
        let bytes = leaf.to_bytes().unwrap();
        assert_eq!(bytes, ijson::Canonical::of(&leaf).unwrap().into_bytes());
        assert_eq!(Leaf::parse(&bytes), Ok(leaf));
    }
}

#[test]
fn a_draft_writes_what_its_leaf_writes_behind_what_is_there() {
    let (draft, mark) = full_draft();
    let mut out = b"before".to_vec();
    draft.write(&realm(), Some(&mark), &mut out).unwrap();
    assert_eq!(out, [b"before", full().to_bytes().unwrap().as_slice()].concat());
}

#[test]
fn a_leaf_without_optional_members_has_this_form() {
    let draft = Draft::new(EntryId::from_bits(3), "token", Timestamp::from_millis(-1));
    let bytes = leaf(draft, None).to_bytes().unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"at":-1,"body":{},"chain":[],"environment":"prod","id":"00000000-0000-0000-0000-000000000003","kind":"token","node":7,"org":"acme.example","parents":[],"v":1}"#
    );
}

#[test]
fn bytes_in_another_form_are_no_leaf() {
    let text = String::from_utf8(full().to_bytes().unwrap()).unwrap();
    for (from, to) in [
        ("{\"action\"", "{ \"action\""),
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1", "\"v\":1,\"w\":1"),
        ("\"v\":1", "\"v\":1,\"v\":1"),
        ("\"size\":9", "\"size\":9,\"unknown\":0"),
        ("\"size\":9", "\"size\":9.0"),
        ("\"cost\":-5,", ""),
        ("{\"cost\":-5,\"score\":0.1", "{\"score\":0.1,\"cost\":-5"),
        ("\"score\":0.1", "\"score\":0.10"),
        ("\"kind\":\"decision\"", "\"kind\":\"Decision\""),
        ("\"verdict\":\"step_up\"", "\"verdict\":null"),
        ("é", "\\u00e9"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let read = Leaf::parse(changed.as_bytes());
        if from == "\"cost\":-5," {
            assert!(read.is_ok(), "leaving a member out gives another leaf, not a wrong one");
        } else {
            assert!(read.is_err(), "{changed} was read");
        }
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let with = |change: &dyn Fn(&mut Leaf)| {
        let mut leaf = full();
        change(&mut leaf);
        leaf.to_bytes().unwrap_err()
    };
    let member = |name: &str, value| (name.to_owned(), value);
    for body in [
        Json::Null,
        Json::Array(Vec::new()),
        Json::Object(vec![member("b", Json::Null), member("a", Json::Null)]),
        Json::Object(vec![member("a", Json::Null), member("a", Json::Null)]),
        Json::object([("a", Json::Integer(MAX_EXACT + 1))]),
        Json::object([("a", Json::Float(f64::NAN))]),
        Json::object([("a", Json::Float(1e300))]),
        (0..16).fold(Json::Object(Vec::new()), |deeper, _| Json::object([("a", deeper)])),
    ] {
        assert_eq!(with(&|leaf| leaf.body = body.clone()), LeafError::Body, "{body:?}");
    }
    let draft = |body: &Json| {
        let mut draft = full_draft().0;
        draft.body = Canonical::of(body).unwrap();
        draft.write(&realm(), None, &mut Vec::new())
    };
    let nested = |depth| {
        (1..depth).fold(Json::object::<&str>([]), |deeper, _| Json::object([("a", deeper)]))
    };
    assert_eq!(draft(&nested(16)), Ok(()));
    for body in [Json::Null, Json::Array(Vec::new()), nested(17)] {
        assert_eq!(draft(&body), Err(LeafError::Body), "{body:?}");
    }
    assert!(matches!(with(&|leaf| leaf.at = Timestamp::NEVER), LeafError::Moment(_)));
    assert!(matches!(with(&|leaf| leaf.kind = String::new()), LeafError::Word(_)));
    assert!(matches!(with(&|leaf| leaf.kind = "x".repeat(65)), LeafError::Word(_)));
    assert!(matches!(with(&|leaf| leaf.verdict = Some("A b".to_owned())), LeafError::Word(_)));
    assert_eq!(with(&|leaf| leaf.v = 2), LeafError::Version(2));
}

#[test]
fn a_leaf_fills_a_length_field_of_two_bytes_and_not_a_byte_more() {
    let mut leaf = full();
    let pad = |bytes| Json::object([("pad", Json::String("x".repeat(bytes)))]);
    leaf.body = pad(0);
    let rest = leaf.to_bytes().unwrap().len();
    leaf.body = pad(MAX_LEAF - rest);
    assert_eq!(leaf.to_bytes().map(|bytes| bytes.len()), Ok(MAX_LEAF));
    leaf.body = pad(MAX_LEAF - rest + 1);
    assert_eq!(leaf.to_bytes(), Err(LeafError::TooLong(MAX_LEAF + 1)));
}

proptest! {
    #[test]
    fn any_fraction_in_a_body_reads_back_exactly(number in any::<f64>()) {
        let mut leaf = full();
        leaf.body = Json::object([("n", Json::Float(number))]);
        if let Ok(bytes) = leaf.to_bytes() {
            prop_assert!(Leaf::parse(&bytes).is_ok(), "{number:e}");
        }
    }

    #[test]
    fn any_text_in_a_body_reads_back_exactly(key in any::<String>(), text in any::<String>()) {
        let mut leaf = full();
        leaf.body = Json::object([(key, Json::String(text.clone())), (text, Json::Null)]);
        let bytes = leaf.to_bytes().unwrap();
        prop_assert_eq!(Leaf::parse(&bytes), Ok(leaf));
    }
}
