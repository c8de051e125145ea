//! Signed tree heads: a note as it came, and the same text under a true signature.
#![no_main]

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuzz::key;
use ledger::{Checkpoint, VerifierKey, fuzzing};
use libfuzzer_sys::fuzz_target;

/// The key under a name, as C2SP writes it.
fn verifier(name: &str) -> Option<(VerifierKey, [u8; 4])> {
    let public = [&[1], key().public.raw()].concat();
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &public].concat());
    let id: [u8; 4] = hash.as_ref()[..4].try_into().unwrap();
    let text = format!("{name}+{:08x}+{}", u32::from_be_bytes(id), STANDARD.encode(public));
    let key: VerifierKey = text.parse().ok()?;
    assert_eq!((key.to_string(), key.name()), (text, name));
    Some((key, id))
}

fn text(checkpoint: &Checkpoint) -> String {
    let root = STANDARD.encode(checkpoint.root.0);
    format!("{}\n{}\n{root}\n", checkpoint.origin, checkpoint.size)
}

fuzz_target!(|data: &[u8]| {
    if let Some(read) = fuzzing::checkpoint(data) {
        assert!(data.starts_with(text(&read).as_bytes()));
    }
    let Ok(note) = std::str::from_utf8(data) else { return };
    if let Ok(key) = note.parse::<VerifierKey>() {
        assert_eq!(
            key.to_string().parse::<VerifierKey>().map(|key| key.to_string()),
            Ok(key.to_string())
        );
    }
    let Some((verifier, id)) = verifier(note.lines().next().unwrap_or_default()) else { return };
    assert!(verifier.open(data).is_err(), "a forged signature fits");
    let name = verifier.name();
    let signed = format!("{note}\n\u{2014} {name} {}\n", key().note(id, note));
    if let Ok(read) = verifier.open(signed.as_bytes()) {
        assert_eq!((text(&read).as_str(), read.origin.as_str()), (note, name));
        let other = signed.replacen(name, &format!("{name}x"), 1);
        assert!(verifier.open(other.as_bytes()).is_err());
    }
});
