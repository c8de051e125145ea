//! Proofs of single entries, as a stranger gives them.
#![no_main]

use ledger::{CheckpointKey, TlogProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(proof) = TlogProof::parse(data) else { return };
    let again = proof.to_string();
    assert_eq!(TlogProof::parse(again.as_bytes()).as_ref(), Ok(&proof));
    // Nothing is left out but extra data, which nothing vouches for.
    assert!(data == again.as_bytes() || data.windows(7).any(|part| part == b"\nextra "));
    let name = proof.note().lines().next().unwrap_or_default();
    let Ok(key) = CheckpointKey::from_seed(&[7; 32]).verifier(name) else { return };
    assert!(proof.check(b"entry", &key).is_err(), "a forged signature fits");
});
