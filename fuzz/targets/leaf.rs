//! Entries of the ledger: whatever is read as one is written the same, byte for byte.
#![no_main]

use fuzz::{json, same};
use ledger::{Leaf, MAX_LEAF};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(leaf) = Leaf::parse(data) else { return };
    assert!(data.len() <= MAX_LEAF);
    assert_eq!(leaf.to_bytes().expect("a leaf can be written"), data);
    let value = json(data).expect("a leaf is I-JSON");
    assert_eq!(value.canonical(), data);
    assert!(same(&value, &serde_json::from_slice(data).expect("it is JSON")));
});
