//! Files of the ledger: tiles, entry bundles and segments of the write-ahead log.
#![no_main]

use fuzz::parts;
use ledger::fuzzing::{batch, bundle, hashes, segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((entries, again)) = bundle(data) {
        assert_eq!(again, data);
        assert_eq!(entries.iter().map(|entry| entry.len() + 2).sum::<usize>(), data.len());
    }
    if let Some(again) = hashes(data) {
        assert_eq!(again, data);
    }
    for (at, _) in segment(data, 1) {
        assert_eq!(at % 4096, 0);
    }
    let [one, other, payload] = parts(data);
    let written = batch(1, 5, &[(one, payload), (other, b"")]);
    assert_eq!(segment(&written, 1), [(0, Some(vec![one, other]))]);
    assert_eq!(segment(&written, 2), []);
    // Whichever bit is flipped, nothing is read that was not written.
    if let Some((bit, _)) = data.split_first() {
        let mut torn = written.clone();
        let at = usize::from(*bit) * written.len() / 256;
        torn[at] ^= 1 << (bit % 8);
        for (_, leaves) in segment(&torn, 1) {
            assert_eq!(leaves, None);
        }
    }
});
