//! Arguments that are repeated as headers: a schema, a header's value and the arguments, a line each.
#![no_main]

use fuzz::{json, parts};
use gateway::envelope::Mirror;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [schema, sent, arguments] = parts(data);
    let (Some(schema), Some(arguments)) = (json(schema), json(arguments)) else { return };
    let Ok(mirror) = Mirror::of(&schema) else { return };
    let headers = mirror.headers(&arguments);
    assert!(headers.keys().all(|name| name.as_str().starts_with("mcp-param-")));
    // What is written of a call passes its own check, and nothing less or more does.
    assert_eq!(mirror.check(&headers, &arguments), Ok(()));
    assert_eq!(mirror.check(&HeaderMap::new(), &arguments).is_ok(), headers.is_empty());
    for (name, right) in &headers {
        let mut twice = headers.clone();
        twice.append(name, right.clone());
        assert!(mirror.check(&twice, &arguments).is_err());
        let Ok(value) = HeaderValue::from_bytes(sent) else { continue };
        let mut other = headers.clone();
        other.insert(name, value.clone());
        if mirror.check(&other, &arguments).is_ok() && value != *right {
            check_spelling(right, &value);
        }
    }
});

/// Another value is taken only where it spells the same number or the same text.
fn check_spelling(right: &HeaderValue, other: &HeaderValue) {
    let (right, other) = (right.to_str().unwrap(), other.to_str().unwrap());
    let base64 = |text: &str| text.starts_with("=?base64?");
    let number = |text: &str| text.parse::<f64>().ok();
    assert!(base64(other) || number(right) == number(other), "`{right}` and `{other}`");
}
