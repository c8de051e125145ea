//! Proofs of possession under a true signature: the URL of the request, then the proof's claims.
#![no_main]

use fuzz::{json, key, now, parts};
use libfuzzer_sys::fuzz_target;
use model::ijson::Json;
use token::dpop::{Proof, Request, TYPE};

fuzz_target!(|data: &[u8]| {
    let [url, payload] = parts(data);
    let Ok(url) = std::str::from_utf8(url) else { return };
    let jwk = String::from_utf8(key().public.to_jwk().canonical()).unwrap();
    let proof = key().token(format!(r#"{{"alg":"EdDSA","jwk":{jwk},"typ":"{TYPE}"}}"#), payload);
    let check = |url, access_token| {
        Proof::check(&proof, &Request { method: "POST", url, access_token }, now(), 60)
    };
    // It names no token that it does not know.
    assert!(check(url, Some("a-token-that-nobody-has".into())).is_err());
    let Ok(read) = check(url, None) else { return };
    assert_eq!(read.thumbprint, key().public.thumbprint());
    assert!((1..=256).contains(&read.jti.len()));
    assert!(read.nonce.as_ref().is_none_or(|nonce| (1..=256).contains(&nonce.len())));
    assert!(read.iat.seconds().abs_diff(now().seconds()) <= 60);
    let claims = json(payload).expect("claims are I-JSON");
    let text = |name| claims.member(name).and_then(Json::as_str);
    assert_eq!(text("htm"), Some("POST"));
    // Who asks for what the proof names by its own spelling is the same one.
    let htu = text("htu").expect("it names a URL");
    assert_eq!(check(htu, None), Ok(read));
});
