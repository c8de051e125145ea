//! Policies that say which witnesses make a quorum.
#![no_main]

use ledger::TlogPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(policy) = TlogPolicy::parse(data) else { return };
    // What else is blank or a comment changes nothing.
    let spaced = [b"# comment\n \t\n".as_slice(), data, b"\n#"].concat();
    let again = TlogPolicy::parse(&spaced);
    assert_eq!(format!("{:?}", again.ok()), format!("{:?}", Some(policy)));
    // A second quorum is one too many, whoever it is.
    assert!(TlogPolicy::parse(&[data, b"\nquorum none"].concat()).is_err());
});
