//! Heads that are given to a witness.
#![no_main]

use ledger::Submission;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(read) = Submission::parse(data) else { return };
    assert_eq!(read.to_string().as_bytes(), data);
});
