use ledger::{CheckpointKey, Draft, Keys, KeysInMemory, Log};
use model::{
    Realm, Timestamp,
    ijson::{Canonical, Limits, parse},
};
use serde_json::{Value, json};

use super::*;

const ORIGIN: &str = "acme/prod/1";
const ACTION: &str = "018bcfe5-6800-7001-8000-000000000001";
const TASK: &str = "018bcfe5-6800-7001-8000-000000000002";
const AT: i64 = 1_700_000_000_123;

/// Entries of a real log: kind, verdict, body.
fn entries(said: &[(&str, Option<&str>, Value)]) -> Vec<Entry> {
    let place = tempfile::tempdir().unwrap();
    let realm =
        Realm { org: "acme".parse().unwrap(), environment: "prod".parse().unwrap(), node: 1 };
    let config = ledger::Config {
        dir: place.path().join("log"),
        lock: place.path().join("lock"),
        realm,
        origin: ORIGIN.to_owned(),
        segment_bytes: 2 << 20,
        reserve_bytes: 0,
    };
    let subjects = std::sync::Arc::new(KeysInMemory::default());
    let keys = Keys { checkpoint: CheckpointKey::from_seed(&[7; 32]), subjects };
    let log = Log::open(config, keys).unwrap();
    let mut parent = None;
    for (number, (kind, verdict, body)) in said.iter().enumerate() {
        let at = Timestamp::from_millis(AT + number as i64);
        let mut draft = Draft::new(model::EntryId::compose(at, 1, number as u64), *kind, at);
        let body = parse(body.to_string().as_bytes(), Limits { bytes: 65_536, depth: 16 });
        draft.body = Canonical::of(&body.unwrap().to_value()).unwrap();
        draft.verdict = verdict.map(ToOwned::to_owned);
        if !matches!(*kind, "start" | "gap" | "sink_gap") {
            draft.action = Some(ACTION.parse().unwrap());
            draft.task = Some(TASK.parse().unwrap());
            draft.person = Some("person/p1f".parse().unwrap());
            draft.agent = Some(ledger::AgentMark {
                id: "agent/support-bot".parse().unwrap(),
                instance: Some("thumb".to_owned()),
                version: Some(decide::sha256(&[b"version"])),
            });
        }
        draft.parents = Option::into_iter(parent).collect();
        parent = Some(log.append(log.seal(draft).unwrap()).wait().unwrap().hash);
    }
    log.entries(0).map(Result::unwrap).collect()
}

fn permitted() -> (&'static str, Option<&'static str>, Value) {
    let body = json!({
        "effects": [{ "id": "0a1b", "kind": "Order", "verb": "read" }],
        "policies": [{ "digest": "cc".repeat(32), "id": "support" }],
        "system": "support-desk",
        "tool": "get_order",
    });
    ("decision", Some("permit"), body)
}

fn completed() -> (&'static str, Option<&'static str>, Value) {
    ("outcome", None, json!({ "status": "completed" }))
}

/// What an event says where, by path.
fn field<'v>(event: &'v Value, path: &str) -> &'v Value {
    event.pointer(&format!("/{path}")).unwrap_or(&Value::Null)
}

#[track_caller]
fn says(event: &Value, table: &[(&str, Value)]) {
    for (path, expected) in table {
        assert_eq!(field(event, path), expected, "{path} of {event:#}");
    }
}

#[test]
fn a_permitted_call_is_an_ocsf_event_field_by_field() {
    let entries = entries(&[permitted()]);
    let event = Event { entry: &entries[0], origin: ORIGIN };
    let hash = json!(entries[0].hash.to_string());
    let both = [
        ("activity_id", json!(99)),
        ("activity_name", json!("Invoke")),
        ("category_uid", json!(6)),
        ("class_uid", json!(6003)),
        ("type_uid", json!(600_399)),
        ("severity_id", json!(1)),
        ("time", json!(AT)),
        ("metadata/uid", hash.clone()),
        ("metadata/sequence", json!(0)),
        ("metadata/log_name", json!(ORIGIN)),
        ("metadata/event_code", json!("decision")),
        ("metadata/correlation_uid", json!(ACTION)),
        ("metadata/tenant_uid", json!("acme")),
        ("actor/user/uid", json!("person/p1f")),
        ("actor/app_uid", json!("agent/support-bot")),
        ("actor/session/uid", json!(TASK)),
        ("api/operation", json!("tools/call")),
        ("api/service/name", json!("support-desk")),
        ("src_endpoint/instance_uid", json!("thumb")),
        ("resources/0/name", json!("get_order")),
        ("resources/1/uid", json!("0a1b")),
        ("resources/1/type", json!("Order")),
        ("resources/1/labels", json!(["read"])),
        ("action_id", json!(1)),
        ("disposition_id", json!(1)),
        ("status_id", json!(1)),
        ("authorizations/0/decision", json!("permit")),
        ("authorizations/0/policy/uid", json!("support")),
        ("raw_data", json!(String::from_utf8(entries[0].bytes.clone()).unwrap())),
        ("unmapped/task", json!(TASK)),
    ];
    let newest = event.shaped(Shape::Ocsf(OcsfVersion::V1_9));
    says(&newest, &both);
    says(
        &newest,
        &[
            ("metadata/version", json!("1.9.0")),
            ("metadata/profiles", json!(["security_control", "ai_operation", "record_integrity"])),
            ("ai_agent/uid", json!("agent/support-bot")),
            ("attestation_list/0/uid", hash.clone()),
            ("attestation_list/0/chain_uid", json!(ORIGIN)),
            ("attestation_list/0/fingerprint/algorithm_id", json!(3)),
            ("attestation_list/0/fingerprint/serialization_id", json!(2)),
            ("unmapped/attestation", Value::Null),
        ],
    );
    let older = event.shaped(Shape::Ocsf(OcsfVersion::V1_8));
    says(&older, &both);
    says(
        &older,
        &[
            ("metadata/version", json!("1.8.0")),
            ("metadata/profiles", json!(["security_control"])),
            ("ai_agent", Value::Null),
            ("attestation_list", Value::Null),
            ("unmapped/attestation/uid", hash),
            ("unmapped/attestation/chain_uid", json!(ORIGIN)),
            ("unmapped/ai_agent/uid", json!("agent/support-bot")),
        ],
    );
}

#[test]
fn each_kind_of_entry_is_its_class_and_activity_with_how_much_it_matters() {
    let table = [
        ("decision", Some("permit"), json!({ "system": "s", "tool": "t" }), 600_399, 1),
        ("decision", Some("deny"), json!({ "code": "not_permitted" }), 600_399, 2),
        ("decision", Some("hold"), json!({}), 600_399, 2),
        ("outcome", None, json!({ "status": "completed" }), 600_399, 1),
        ("outcome", None, json!({ "status": "failed" }), 600_399, 2),
        ("lapsed", None, json!({ "code": "late" }), 600_399, 2),
        ("input", None, json!({ "method": "elicitation/create" }), 600_399, 1),
        ("searched", None, json!({ "found": 1, "gone": 0, "opened": 2 }), 600_302, 1),
        ("token", None, json!({ "use_as": "session", "token": "t" }), 300_201, 1),
        ("token", None, json!({ "use_as": "on_behalf_of", "token": "t" }), 300_204, 1),
        ("revoked", None, json!({ "links": [] }), 300_411, 2),
        ("governance", None, json!({ "key": "k", "object": "o", "version": 1 }), 300_401, 1),
        ("governance", None, json!({ "key": "k", "object": "o", "version": 2 }), 300_403, 1),
        ("task", None, json!({ "purpose": "p" }), 300_401, 1),
        ("task_end", None, json!({ "calls": 1 }), 300_411, 1),
        ("parked", None, json!({ "code": "c" }), 300_412, 3),
        ("unparked", None, json!({ "parkings": [] }), 300_413, 1),
        ("stop", None, json!({ "scope": null }), 300_412, 4),
        ("stop_final", None, json!({ "points": [] }), 300_499, 3),
        ("resume", None, json!({ "order": null }), 300_413, 1),
        ("start", None, json!({ "program": "0.1.0" }), 600_203, 1),
        ("erasure", None, json!({ "keys": [], "subject": null }), 200_401, 3),
        ("expiry", None, json!({ "class": "calls", "days": 400 }), 200_401, 1),
        ("truncated", None, json!({ "kept": 1, "name": "acme/prod/1/r1" }), 200_401, 4),
        ("checkpoint_key", None, json!({ "key": "k", "former": "f" }), 300_403, 3),
        ("agent_end", None, json!({ "agent": "agent/bot", "entries": 1 }), 300_411, 1),
        ("gap", None, json!({ "n": 1 }), 200_401, 4),
        ("sink_gap", None, json!({ "first": 0, "n": 1, "sink": "siem" }), 200_401, 4),
        ("some_day", None, json!({}), 99, 1),
    ];
    let said: Vec<_> =
        table.iter().map(|(kind, verdict, body, ..)| (*kind, *verdict, body.clone())).collect();
    for (entry, (kind, _, _, type_uid, severity)) in entries(&said).iter().zip(&table) {
        for version in [OcsfVersion::V1_8, OcsfVersion::V1_9] {
            let event = Event { entry, origin: ORIGIN }.shaped(Shape::Ocsf(version));
            assert_eq!(event["type_uid"], *type_uid, "{kind}");
            assert_eq!(event["severity_id"], *severity, "{kind}");
            assert_eq!(event["metadata"]["uid"], entry.hash.to_string(), "{kind}");
            assert_eq!(event["metadata"]["sequence"], entry.index, "{kind}");
        }
    }
}

#[test]
fn how_a_decision_and_a_call_ended_is_told_in_numbers_of_the_schema() {
    for (verdict, action, disposition, status) in
        [("permit", 1, 1, 1), ("deny", 2, 2, 2), ("hold", 2, 14, 2), ("step_up", 2, 23, 2)]
    {
        let entries = entries(&[("decision", Some(verdict), json!({ "code": "why" }))]);
        let event = Event { entry: &entries[0], origin: ORIGIN };
        let table = [
            ("action_id", json!(action)),
            ("disposition_id", json!(disposition)),
            ("status_id", json!(status)),
            ("status_code", json!("why")),
        ];
        says(&event.shaped(Shape::Ocsf(OcsfVersion::V1_8)), &table);
    }
    for (ended, status) in
        [("completed", 1), ("failed", 2), ("cut", 2), ("not_sent", 2), ("unknown", 0)]
    {
        let entries = entries(&[("outcome", None, json!({ "status": ended }))]);
        let event = Event { entry: &entries[0], origin: ORIGIN };
        let event = event.shaped(Shape::Ocsf(OcsfVersion::V1_9));
        says(&event, &[("status_id", json!(status)), ("status_detail", json!(ended))]);
    }
}

#[test]
fn a_leaf_as_it_is_comes_with_its_hash_position_and_log() {
    let entries = entries(&[permitted()]);
    let line = Event { entry: &entries[0], origin: ORIGIN }.line(Shape::Leaf);
    let (end, line) = line.split_last().unwrap();
    assert_eq!((*end, line.contains(&b'\n')), (b'\n', false));
    let line: Value = serde_json::from_slice(line).unwrap();
    says(
        &line,
        &[
            ("hash", json!(entries[0].hash.to_string())),
            ("index", json!(0)),
            ("origin", json!(ORIGIN)),
            ("leaf/kind", json!("decision")),
        ],
    );
    let leaf = parse(line["leaf"].to_string().as_bytes(), Limits { bytes: 65_536, depth: 16 });
    assert_eq!(ledger::leaf_hash(&leaf.unwrap().canonical()), entries[0].hash);
}

#[test]
fn a_syslog_message_is_counted_and_holds_nothing_that_moves_a_terminal() {
    let body = json!({ "agent": null, "purpose": "a\u{1b}[2J\u{202e}\u{7f}ü🦀\n<13>1 forged" });
    let entries = entries(&[("task", None, body.clone()), ("stop", None, json!({}))]);
    let frame = Event { entry: &entries[0], origin: ORIGIN }.syslog(Shape::Leaf);
    let frame = String::from_utf8(frame).unwrap();
    let (length, message) = frame.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    assert!(message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{message}");
    let (head, said) = message.split_once(" - {").unwrap();
    assert_eq!(head, "<110>1 2023-11-14T22:13:20.123Z 1.prod.acme bailiwick - task");
    let said: Value = serde_json::from_str(&format!("{{{said}")).unwrap();
    assert_eq!(said["leaf"]["body"], body);
    let stop = Event { entry: &entries[1], origin: ORIGIN }.syslog(Shape::Leaf);
    assert!(String::from_utf8(stop).unwrap().contains(" <105>1 "), "13 * 8 + 1: act at once");
}

#[test]
fn a_collector_is_told_time_source_and_what_tells_copies_apart() {
    let entries = entries(&[permitted()]);
    let event = Event { entry: &entries[0], origin: ORIGIN }.hec(Shape::Ocsf(OcsfVersion::V1_9));
    let event: Value = serde_json::from_slice(&event).unwrap();
    says(
        &event,
        &[
            ("time", json!("1700000000.123")),
            ("host", json!(ORIGIN)),
            ("source", json!("bailiwick")),
            ("sourcetype", json!("bailiwick:ocsf")),
            ("fields/hash", json!(entries[0].hash.to_string())),
            ("fields/index", json!(0)),
            ("event/class_uid", json!(6003)),
        ],
    );
}

#[test]
fn a_call_is_a_span_from_its_decision_to_its_outcome_and_its_records_are_in_it() {
    let entries = entries(&[permitted(), completed()]);
    let events: Vec<_> = entries.iter().map(|entry| Event { entry, origin: ORIGIN }).collect();
    let (trace, span) = (ACTION.replace('-', ""), entries[0].hash.to_string()[..16].to_owned());
    let logs = logs(&events, "0.1.0");
    let records = "resourceLogs/0/scopeLogs/0/logRecords";
    for record in [0, 1] {
        says(
            &logs,
            &[
                (&format!("{records}/{record}/traceId"), json!(trace)),
                (&format!("{records}/{record}/spanId"), json!(span)),
                (&format!("{records}/{record}/severityNumber"), json!(9)),
            ],
        );
    }
    assert_eq!(field(&logs, records)[0]["eventName"], "bailiwick.decision");
    assert_eq!(field(&logs, records)[1]["timeUnixNano"], "1700000000124000000");
    let calls = [OtlpCall { permit: &entries[0], outcome: events[1] }];
    let spans = spans(&calls, "0.1.0");
    let span_of = &field(&spans, "resourceSpans/0/scopeSpans/0/spans")[0];
    says(
        span_of,
        &[
            ("traceId", json!(trace)),
            ("spanId", json!(span)),
            ("name", json!("tools/call get_order")),
            ("kind", json!(3)),
            ("startTimeUnixNano", json!("1700000000123000000")),
            ("endTimeUnixNano", json!("1700000000124000000")),
            ("status/code", json!(1)),
        ],
    );
    let said = |key: &str| {
        let all = span_of["attributes"].as_array().unwrap();
        let one = all.iter().find(|one| one["key"] == key);
        one.map(|one| one["value"]["stringValue"].as_str().unwrap().to_owned())
    };
    for (key, value) in [
        ("gen_ai.agent.id", "agent/support-bot"),
        ("gen_ai.conversation.id", TASK),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "get_order"),
        ("mcp.method.name", "tools/call"),
        ("user.id", "person/p1f"),
        ("bailiwick.outcome", "completed"),
    ] {
        assert_eq!(said(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(said("error.type"), None);
}
