//! What a witness answers, and heads with lines of witnesses below them.
#![no_main]

use ledger::{CheckpointKey, WitnessKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<WitnessKey>() {
        assert_eq!(key.to_string(), text);
    }
    let key = CheckpointKey::from_seed(&[7; 32]);
    let Ok(witness) = key.witness("witness.example") else { return };
    let now = fuzz::now();
    assert!(matches!(witness.cosigned(data, now), Err(_) | Ok(None)), "a forged line fits");
    // A true line below any note is found, and in any answer that is one.
    let Ok(line) = key.cosign(data, &witness, now) else { return };
    if witness.cosigned(data, now) == Ok(None) {
        let cosigned = format!("{text}{line}");
        assert_eq!(witness.cosigned(cosigned.as_bytes(), now), Ok(Some(now)));
    }
    assert_eq!(witness.line_for(data, &line, now), Ok(Some(line.clone())));
    if let Some((_, answer)) = text.split_once('\0') {
        assert!(matches!(witness.line_for(data, answer, now), Err(_) | Ok(None)));
    }
});
