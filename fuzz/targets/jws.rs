//! Compact tokens before their claims are read: a token, a header under a true signature, a key.
#![no_main]

use fuzz::{json, key};
use libfuzzer_sys::fuzz_target;
use token::{
    Jwk, SeenHeader,
    jws::{Compact, Types},
};

fuzz_target!(|data: &[u8]| {
    let any = Types::AbsentOr(&["at+jwt"]);
    if let Ok(token) = std::str::from_utf8(data) {
        let (mine, seen) = (&key().public, SeenHeader::default());
        if let Ok(compact) = Compact::parse(token, 8192) {
            assert!(compact.jwk().is_none());
            // Nothing that this key has signed is in the corpus.
            assert!(compact.verify(mine, any).is_err(), "a forged signature fits");
        }
        if let Ok(compact) = Compact::parse_with_key(token, 8192, &seen) {
            let again = Compact::parse_with_key(token, 8192, &seen).map_err(|_| ()).unwrap();
            let jwk = compact.jwk().expect("it has a key");
            assert_eq!(again.jwk(), Some(jwk));
        }
    }
    let token = key().token(data, "{}");
    if let Ok(compact) = Compact::parse(&token, 8192) {
        let header = json(data).expect("a header is I-JSON");
        for refused in ["crit", "b64", "jku", "x5u", "x5c", "jwk"] {
            assert!(header.member(refused).is_none());
        }
        assert!(compact.kid().is_none_or(|kid| kid.len() <= 256));
        if compact.verify(&key().public, any).is_ok() {
            let algorithm = header.member("alg").and_then(|alg| alg.as_str());
            assert!(matches!(algorithm, Some("EdDSA" | "Ed25519")), "{algorithm:?}");
        }
    }
    if let Ok(jwk) = Jwk::parse(data) {
        let again = Jwk::parse(&jwk.key().to_jwk().canonical()).expect("a key can be read again");
        assert_eq!(again.key(), jwk.key());
        assert_eq!(again.key().thumbprint(), jwk.key().thumbprint());
    }
});
