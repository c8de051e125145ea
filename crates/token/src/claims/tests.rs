use model::{Verb, ijson};

use super::*;
use crate::{
    Algorithm,
    sample::{
        BOT, DESK, HELPER, ISSUER, OLIVIA, after, authority, before, bots, clause, forge, key,
        link, now, olivias,
    },
};

const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#;

fn expect() -> Expect<'static> {
    Expect { issuer: ISSUER, audiences: &[DESK], now: now(), leeway_seconds: 5 }
}

fn verify(token: &str, key: &SigningKey, expect: &Expect<'_>) -> Result<Claims, AccessError> {
    verify_access(token, |_| Some(key.public()), expect)
}

/// What the verifier says to claims that were changed as JSON text and signed truly.
fn verdict(change: impl Fn(String) -> String) -> String {
    let key = key();
    let text = String::from_utf8(ijson::Canonical::of(&bots()).unwrap().into_bytes()).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text, "the case changes nothing");
    match verify(&forge(&key, HEADER, &changed), &key, &expect()) {
        Ok(_) => "accepted".to_owned(),
        Err(AccessError::Claims(error)) => format!("unreadable: {error}"),
        Err(AccessError::Chain(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

fn replace(from: &str, to: &str) -> String {
    verdict(|text| text.replacen(from, to, 1))
}

#[test]
fn what_is_issued_is_what_is_read() {
    for algorithm in crate::sample::BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let token = bots().sign(&key).unwrap();
        let find = |kid: &str| (kid == key.public().kid()).then_some(key.public());
        let read = verify_access(&token, find, &expect()).unwrap();
        assert_eq!(read, bots());
        assert_eq!((read.acting(), read.actors().collect()), (BOT, vec![BOT]));
    }
    assert_eq!(olivias().acting(), OLIVIA);
}

#[test]
fn the_written_form_is_that_of_the_standards() {
    let text = String::from_utf8(ijson::Canonical::of(&bots()).unwrap().into_bytes()).unwrap();
    for part in [
        r#""act":{"sub":"spiffe://acme.example/prod/agent/support-bot"}"#,
        r#""aud":"https://gateway.example/desk""#,
        r#""authorization_details":[{"authority":{"clauses":["#,
        r#""type":"bailiwick"}]"#,
        r#""cnf":{"jkt":""#,
        r#""exp":1800000300,"iat":1800000000"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_token_for_another_issuer_audience_or_time_is_refused() {
    let key = key();
    let token = bots().sign(&key).unwrap();
    let says = |expect: Expect<'_>| verify(&token, &key, &expect).unwrap_err();
    assert!(matches!(
        says(Expect { issuer: "https://as.example/", ..expect() }),
        AccessError::Issuer(_)
    ));
    assert!(matches!(says(Expect { audiences: &[], ..expect() }), AccessError::Audience(_)));
    assert!(matches!(says(Expect { audiences: &[ISSUER], ..expect() }), AccessError::Audience(_)));
    assert_eq!(says(Expect { now: after(305), ..expect() }), AccessError::Expired);
    assert!(verify(&token, &key, &Expect { now: after(304), ..expect() }).is_ok());
    assert_eq!(says(Expect { now: before(6), ..expect() }), AccessError::Times);
    assert!(verify(&token, &key, &Expect { now: before(5), ..expect() }).is_ok());
    assert_eq!(
        replace(r#""iat":1800000000"#, r#""iat":1800000300"#),
        AccessError::Times.to_string()
    );
}

#[test]
fn a_token_by_another_key_or_of_another_type_is_refused() {
    let key = key();
    let token = bots().sign(&key).unwrap();
    assert_eq!(verify_access(&token, |_| None, &expect()), Err(AccessError::UnknownKey));
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let refused = verify(&token, &other, &expect());
    assert_eq!(refused, Err(AccessError::Token(JwsError::Signature)));
    let p256 = SigningKey::generate(Algorithm::ES256).unwrap();
    let refused = verify(&token, &p256, &expect());
    assert!(matches!(refused, Err(AccessError::Token(JwsError::KeyAlgorithm { .. }))));
    let text = String::from_utf8(ijson::Canonical::of(&bots()).unwrap().into_bytes()).unwrap();
    let jwt = forge(&key, &HEADER.replace("at+jwt", "JWT"), &text);
    let refused = verify(&jwt, &key, &expect());
    assert!(matches!(refused, Err(AccessError::Token(JwsError::Type { .. }))));
    let nameless = forge(&key, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, &text);
    assert_eq!(verify(&nameless, &key, &expect()), Err(AccessError::UnknownKey));
}

#[test]
fn a_missing_doubled_or_unknown_claim_is_refused() {
    for name in [
        "iss",
        "sub",
        "aud",
        "client_id",
        "iat",
        "exp",
        "jti",
        "cnf",
        "links",
        "entry",
        "authorization_details",
    ] {
        let refusal = replace(&format!(r#""{name}":"#), &format!(r#""x-{name}":"#));
        assert!(refusal.starts_with("unreadable: "), "{name}: {refusal}");
    }
    let aud = format!(r#""aud":"{DESK}""#);
    for (from, to, because) in [
        (r#"{"act""#, r#"{"admin":true,"act""#, "unknown field `admin`"),
        (&aud, &format!(r#"{aud},"aud":"x""#), "named twice"),
        (&aud, &format!(r#"{aud},"\u0061ud":"x""#), "named twice"),
        (&aud, &format!(r#""aud":["{DESK}"]"#), "invalid type"),
        (r#""exp":1800000300"#, r#""exp":18000003000000000"#, "2^53"),
        (r#""exp":1800000300"#, r#""exp":"1800000300""#, "invalid type"),
        (r#""cnf":{"#, r#""cnf":{"x5t":"","#, "unknown field `x5t`"),
        (r#""cnf":{"jkt":""#, r#""cnf":{"jkt":"A"#, "43 base64url letters"),
        (r#""cnf":{"jkt":""#, r#""cnf":null,"x":{"jkt":""#, "unreadable"),
        (r#""act":{"#, r#""act":{"iss":"x","#, "unknown field `iss`"),
        (r#""type":"bailiwick""#, r#""type":"other""#, "unknown variant"),
        (r#""type":"bailiwick""#, r#""type":"bailiwick","unless":1"#, "unknown field `unless`"),
        (r#""type":"bailiwick"}"#, r#""type":"bailiwick"},{}"#, "unreadable"),
        (r#"[{"authority""#, r#"[],"x":[{"authority""#, "unreadable"),
        (r#""depth":3"#, r#""depth":-1"#, "unreadable"),
    ] {
        let refusal = replace(from, to);
        assert!(refusal.contains(because), "{from} → {to}: {refusal}");
    }
}

#[test]
fn a_chain_that_contradicts_itself_is_neither_issued_nor_accepted() {
    let key = key();
    let actor = |sub: &str, act: Option<Act>| Act { sub: sub.to_owned(), act: act.map(Box::new) };
    let deep = (0..9).fold(None, |act, n| Some(actor(&format!("a{n}"), act)));
    let links = |subs: &[&str]| subs.iter().map(|sub| link(sub, 1, after(300))).collect();
    let cases = [
        (Claims { links: links(&[OLIVIA]), ..bots() }, ChainError::Count { actors: 1, links: 1 }),
        (Claims { links: links(&[]), ..olivias() }, ChainError::Count { actors: 0, links: 0 }),
        (Claims { act: None, ..bots() }, ChainError::Count { actors: 0, links: 2 }),
        (Claims { links: links(&[BOT, OLIVIA]), ..bots() }, ChainError::Order(1)),
        (Claims { links: links(&[HELPER, BOT]), ..bots() }, ChainError::Order(0)),
        (
            Claims {
                act: Some(actor(BOT, Some(actor(HELPER, None)))),
                links: links(&[OLIVIA, BOT, HELPER]),
                ..bots()
            },
            ChainError::Order(2),
        ),
        (
            Claims { links: vec![link(OLIVIA, 1, after(299)), link(BOT, 2, after(300))], ..bots() },
            ChainError::Outlives(0),
        ),
        (Claims { act: deep, ..bots() }, ChainError::Depth),
    ];
    for (claims, because) in cases {
        assert!(matches!(claims.sign(&key), Err(IssueError::Chain(error)) if error == because));
        let text = String::from_utf8(ijson::Canonical::of(&claims).unwrap().into_bytes()).unwrap();
        let refused = verify(
            &forge(&key, HEADER, &text),
            &key,
            &Expect { audiences: &[DESK, ISSUER], ..expect() },
        );
        assert_eq!(refused, Err(AccessError::Chain(because)));
    }
}

/// The bot's token without a key.
fn bearers() -> Claims {
    Claims { cnf: None, authority: authority(0), ..bots() }
}

#[test]
fn a_token_without_a_key_is_an_agents_own_and_short() {
    let key = key();
    let token = bearers().sign(&key).unwrap();
    let read = verify(&token, &key, &expect()).unwrap();
    assert!(!read.is_bound() && bots().is_bound());
    let longer = vec![link(OLIVIA, 1, after(600)), link(BOT, 2, after(600))];
    let cases = [
        Claims { exp: after(301), links: longer, ..bearers() },
        Claims { may_act: Some(MayAct { sub: HELPER.to_owned() }), ..bearers() },
        Claims { authority: authority(1), ..bearers() },
        Claims { aud: ISSUER.to_owned(), ..bearers() },
        Claims { cnf: None, may_act: None, authority: authority(0), ..olivias() },
    ];
    for claims in cases {
        assert!(matches!(claims.sign(&key), Err(IssueError::NoBearer(_))), "{claims:?}");
        let text = String::from_utf8(ijson::Canonical::of(&claims).unwrap().into_bytes()).unwrap();
        let anywhere = Expect { audiences: &[DESK, ISSUER], ..expect() };
        let refused = verify(&forge(&key, HEADER, &text), &key, &anywhere);
        assert_eq!(refused, Err(AccessError::NoBearer(NoBearer)));
    }
}

#[test]
fn a_chain_deeper_than_any_reader_follows_is_refused_as_unreadable() {
    let act = r#"{"sub":"a","act":"#.repeat(500) + r#"{"sub":"a"}"# + &"}".repeat(500);
    let refusal = verdict(|text| text.replacen(r#""act":{"#, &format!(r#""act":{act},"x":{{"#), 1));
    assert!(refusal.contains("nested too deeply"), "{refusal}");
}

#[test]
fn no_clause_of_a_token_outlives_it() {
    let key = key();
    let mut claims = bots();
    claims.authority.clauses[0].expires = Timestamp::NEVER;
    let read = verify(&claims.sign(&key).unwrap(), &key, &expect()).unwrap();
    assert_eq!(read.authority, authority(3));
}

#[test]
fn a_token_too_long_to_travel_is_not_issued() {
    let clauses = (0..250).map(|n| clause(&[Verb::Read], &format!("desk/Ticket/t{n}"), after(9)));
    let authority = Authority { clauses: clauses.collect(), depth: 1 };
    let refused = Claims { authority, ..bots() }.sign(&key());
    assert!(matches!(refused, Err(IssueError::TooLong(_))));
    let refused = verify(&"a".repeat(MAX_LENGTH + 1), &key(), &expect());
    assert!(matches!(refused, Err(AccessError::Token(JwsError::TooLong { .. }))));
}
