use super::*;
use crate::{
    Jwk, MasterKey, SigningKey,
    sample::{BOTH, after, before, forge, key, now},
};

const URL: &str = "https://gateway.example/desk/mcp";
const WINDOW: u32 = 60;

fn request() -> Request<'static> {
    Request { method: "POST", url: URL, access_token: Some("token-1".into()) }
}

fn prove(prover: &Prover, nonce: Option<&str>, jti: &str) -> String {
    prover.prove(&request(), nonce, now(), jti).unwrap()
}

/// A proof with these members in its claims, checked against the usual request.
fn verdict(members: &str) -> String {
    let key = key();
    let jwk = String::from_utf8(key.public().to_jwk().canonical()).unwrap();
    let header = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{jwk}}}"#);
    let proof = forge(&key, &header, &format!("{{{members}}}"));
    let request = Request { access_token: None, ..request() };
    match Proof::check(&proof, &request, now(), WINDOW) {
        Ok(proof) => format!("jti {}", proof.jti),
        Err(error) => error.to_string(),
    }
}

/// The key and the two proofs of RFC 9449, §4.1 and §7.1.
mod rfc9449 {
    use super::*;

    const TO_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    const TO_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

    #[test]
    fn the_proof_for_a_token_request_fits() {
        let request =
            Request { method: "POST", url: "https://server.example.com/token", access_token: None };
        let at = Timestamp::from_seconds(1_562_262_616);
        let proof = Proof::check(TO_TOKEN, &request, at, WINDOW).unwrap();
        assert_eq!(proof.thumbprint.to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!((proof.jti.as_str(), proof.iat, proof.nonce), ("-BwC3ESc6acc2lTc", at, None));
    }

    #[test]
    fn the_proof_for_a_resource_fits_with_its_access_token_alone() {
        let url = "https://resource.example.org/protectedresource";
        let at = Timestamp::from_seconds(1_562_262_618);
        let with = |access_token: Option<&str>| {
            let access_token = access_token.map(Into::into);
            let request = Request { method: "GET", url, access_token };
            Proof::check(TO_RESOURCE, &request, at, WINDOW)
        };
        assert_eq!(with(Some(TOKEN)).unwrap().jti, "e1j3V_bKic8-LAEB");
        assert_eq!(with(Some("another")), Err(ProofError::AccessToken));
    }
}

#[test]
fn what_a_prover_makes_the_checker_takes() {
    for algorithm in BOTH {
        let prover = Prover::new(SigningKey::generate(algorithm).unwrap());
        let proof = prove(&prover, Some("n-1"), "j-1");
        let proof = Proof::check(&proof, &request(), now(), WINDOW).unwrap();
        assert_eq!(proof.thumbprint, prover.key().public().thumbprint());
        assert_eq!((proof.jti.as_str(), proof.nonce.as_deref()), ("j-1", Some("n-1")));
    }
    let prover = Prover::new(key());
    let asked = Request { url: "https://gateway.example/desk/mcp?page=2#top", ..request() };
    let proof = prover.prove(&asked, None, now(), "j").unwrap();
    assert!(Proof::check(&proof, &request(), now(), WINDOW).is_ok());
    assert!(Proof::check(&proof, &asked, now(), WINDOW).is_ok());
}

#[test]
fn a_proof_is_for_one_method_url_and_access_token() {
    let proof = prove(&Prover::new(key()), None, "j");
    let against = |request: Request<'_>| Proof::check(&proof, &request, now(), WINDOW);
    assert!(against(request()).is_ok());
    for method in ["GET", "post", ""] {
        assert_eq!(against(Request { method, ..request() }), Err(ProofError::Method));
    }
    for url in [
        "https://gateway.example/desk",
        "http://gateway.example/desk/mcp",
        "https://gateway.example.evil/desk/mcp",
        "https://gateway.example:8443/desk/mcp",
        "/desk/mcp",
    ] {
        let refused = against(Request { url, ..request() });
        assert_eq!(refused, Err(ProofError::Url(url.to_owned())));
    }
    for access_token in ["token-2", ""] {
        let refused = against(Request { access_token: Some(access_token.into()), ..request() });
        assert_eq!(refused, Err(ProofError::AccessToken));
    }
    assert!(against(Request { access_token: None, ..request() }).is_ok());
    let bare = Prover::new(key())
        .prove(&Request { access_token: None, ..request() }, None, now(), "j")
        .unwrap();
    let refused = Proof::check(&bare, &request(), now(), WINDOW);
    assert_eq!(refused, Err(ProofError::AccessToken));
}

#[test]
fn a_proof_is_for_about_now() {
    let proof = prove(&Prover::new(key()), None, "j");
    let at = |now| Proof::check(&proof, &request(), now, WINDOW);
    assert!(at(after(60)).is_ok() && at(before(60)).is_ok());
    assert_eq!(at(after(61)), Err(ProofError::Time(WINDOW)));
    assert_eq!(at(before(61)), Err(ProofError::Time(WINDOW)));
    let proof = at(now()).unwrap();
    assert!(proof.predates(now()) && proof.predates(after(1)) && !proof.predates(before(1)));
}

#[test]
fn a_claim_that_is_missing_or_malformed_is_named() {
    let iat = now().seconds();
    let whole = format!(r#""htm":"POST","htu":"{URL}","iat":{iat},"jti":"j""#);
    assert_eq!(verdict(&whole), "jti j");
    assert_eq!(verdict(&format!(r#"{whole},"ath":7,"more":[]"#)), "jti j");
    assert_eq!(verdict(&whole.replace(&iat.to_string(), &format!("{iat}.5"))), "jti j");
    for (from, to, name) in [
        ("htm", "HTM", "htm"),
        ("htu", "x", "htu"),
        (URL, "desk/mcp", "htu"),
        ("\"iat\"", "\"x\"", "iat"),
        (&iat.to_string(), "\"now\"", "iat"),
        ("jti", "x", "jti"),
        ("\"j\"", "\"\"", "jti"),
        ("\"j\"", "7", "jti"),
        ("\"j\"", &format!("\"{}\"", "j".repeat(257)), "jti"),
        ("\"j\"", "\"j\",\"nonce\":7", "nonce"),
        ("\"j\"", "\"j\",\"nonce\":\"\"", "nonce"),
    ] {
        let refusal = format!("claim `{name}` of the proof is missing or malformed");
        assert_eq!(verdict(&whole.replacen(from, to, 1)), refusal, "{from} → {to}");
    }
    let doubled = format!(r#"{whole},"htm":"GET""#);
    assert_eq!(verdict(&doubled), "the proof's claims cannot be read");
}

#[test]
fn a_header_that_is_no_proof_is_refused() {
    let signer = key();
    let jwk = String::from_utf8(signer.public().to_jwk().canonical()).unwrap();
    let claims = format!(r#"{{"htm":"POST","htu":"{URL}","iat":{},"jti":"j"}}"#, now().seconds());
    let request = Request { access_token: None, ..request() };
    let check =
        |header: &str| Proof::check(&forge(&signer, header, &claims), &request, now(), WINDOW);
    let header = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{jwk}}}"#);
    assert!(check(&header).is_ok());
    let other = String::from_utf8(key().public().to_jwk().canonical()).unwrap();
    let cases = [
        header.replace("dpop+jwt", "JWT"),
        header.replace(r#""typ":"dpop+jwt","#, ""),
        header.replace("EdDSA", "ES256"),
        header.replace("EdDSA", "none"),
        header.replace("EdDSA", "HS256"),
        header.replace(&jwk, &other),
        header.replace(&jwk, r#"{"kty":"oct","k":"c2VjcmV0"}"#),
        header.replace(r#""x":"#, r#""d":"AA","x":"#),
        header.replace(r#""jwk""#, r#""jku":"https://evil.example","jwk""#),
        r#"{"typ":"dpop+jwt","alg":"EdDSA"}"#.to_owned(),
    ];
    for header in cases {
        assert!(matches!(check(&header), Err(ProofError::Token(_))), "{header}");
    }
    let key = Jwk::parse(jwk.as_bytes()).unwrap();
    assert_eq!(key.key(), signer.public());
    let long = Proof::check(&"a".repeat(MAX_LENGTH + 1), &request, now(), WINDOW);
    assert!(matches!(long, Err(ProofError::Token(JwsError::TooLong { .. }))));
}

#[test]
fn a_nonce_is_fresh_on_its_node_in_its_start_for_its_life() {
    let master = MasterKey::generate().unwrap();
    let nonces = Nonces::new(&master, 1, 42, 60).unwrap();
    let nonce = nonces.issue(now()).unwrap();
    assert_eq!(nonce.len(), 62);
    assert_eq!(nonce, nonces.issue(now()).unwrap(), "one a second is enough");
    assert_ne!(nonce, nonces.issue(after(1)).unwrap());
    for (at, freshness) in [
        (now(), Freshness::Fresh),
        (after(59), Freshness::Fresh),
        (before(59), Freshness::Fresh),
        (after(60), Freshness::Stale),
        (before(60), Freshness::Stale),
    ] {
        assert_eq!(nonces.check(&nonce, at), freshness);
    }
    for (node, start) in [(2, 42), (1, 43)] {
        let other = Nonces::new(&master, node, start, 60).unwrap();
        assert_eq!(other.check(&nonce, now()), Freshness::Stale);
    }
}

#[test]
fn a_nonce_that_we_did_not_seal_is_forged() {
    let nonces = Nonces::new(&MasterKey::generate().unwrap(), 1, 42, 60).unwrap();
    let other = Nonces::new(&MasterKey::generate().unwrap(), 1, 42, 60).unwrap();
    let nonce = nonces.issue(now()).unwrap();
    assert_eq!(other.check(&nonce, now()), Freshness::Forged);
    let mut changed = nonce.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    for text in [&String::from_utf8(changed).unwrap(), "", &nonce[1..], &nonce.repeat(2)] {
        assert_eq!(nonces.check(text, now()), Freshness::Forged, "{text}");
    }
}

fn seen(jti: &str) -> Proof {
    Proof { thumbprint: Thumbprint([1; 32]), jti: jti.to_owned(), iat: now(), nonce: None }
}

#[test]
fn a_proof_counts_once_for_its_key_while_it_could_be_accepted() {
    let replays = Replays::new(1000, WINDOW);
    assert!(replays.check(&seen("a"), now()));
    assert!(replays.check(&seen("b"), now()));
    assert!(replays.check(&Proof { thumbprint: Thumbprint([2; 32]), ..seen("a") }, now()));
    for seconds in [0, 1, 60, 120] {
        assert!(!replays.check(&seen("a"), after(seconds)), "{seconds}");
    }
}

#[test]
fn a_proof_seen_at_the_end_of_a_generation_is_remembered_through_the_next() {
    let replays = Replays::new(1000, WINDOW);
    assert!(replays.check(&seen("first"), now()));
    let late = now().plus_seconds(120);
    assert!(replays.check(&seen("late"), late));
    assert!(!replays.check(&seen("late"), late.plus_seconds(1)));
    assert!(!replays.check(&seen("late"), late.plus_seconds(120)));
    assert!(!replays.check(&seen("late"), before(5)), "a clock set back forgets nothing");
}

#[test]
fn a_full_memory_refuses_every_proof_and_empties_itself() {
    let replays = Replays::new(64, WINDOW);
    let taken = (0..1000).filter(|n| replays.check(&seen(&n.to_string()), now())).count();
    assert!(taken <= 64, "{taken} were taken");
    assert!(!replays.check(&seen("one more"), now()));
    assert!(replays.check(&seen("one more"), after(300)));
    assert!(!Replays::new(0, WINDOW).check(&seen("a"), now()));
}
