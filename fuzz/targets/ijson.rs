//! I-JSON: what is read has one form, and an independent reader reads the same.
#![no_main]

use fuzz::{LIMITS, json, same};
use libfuzzer_sys::fuzz_target;
use model::ijson::{Canonical, Json};

/// Members are sorted, so that none stands twice, and numbers are such as every reader keeps.
fn check(value: &Json, depth: u8) {
    match value {
        Json::Array(values) => {
            assert!(depth < LIMITS.depth);
            values.iter().for_each(|value| check(value, depth + 1));
        }
        Json::Object(members) => {
            assert!(depth < LIMITS.depth);
            for pair in members.windows(2) {
                assert!(pair[0].0.encode_utf16().lt(pair[1].0.encode_utf16()));
            }
            members.iter().for_each(|(_, value)| check(value, depth + 1));
        }
        Json::Integer(number) => assert!(number.unsigned_abs() <= 1 << 53),
        Json::Float(number) => assert!(number.is_finite() && number.fract() != 0.0),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(value) = json(data) else { return };
    check(&value, 0);
    let canonical = value.canonical();
    assert_eq!(json(&canonical).as_ref(), Some(&value));
    let written = Canonical::of(&value).expect("what is read can be written");
    assert_eq!(written.as_bytes(), canonical);
    assert!(same(&value, &serde_json::from_slice(data).expect("it is JSON")));
    assert!(same(&value, &value.to_value()));
});
