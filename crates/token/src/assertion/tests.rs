use super::*;
use crate::sample::{BOT, BOTH, ISSUER, OLIVIA, after, before, forge, key, now};

const LIFE: u32 = 120;

fn expect() -> Expect<'static> {
    Expect { issuer_audiences: &[ISSUER], now: now(), max_life_seconds: LIFE }
}

fn draft() -> Draft<'static> {
    let version = Some(Digest([5; 32]));
    Draft { client: BOT, audience: ISSUER, now: now(), life_seconds: 60, jti: "j-1", version }
}

/// What the server says to claims written by hand and signed truly.
fn verdict(claims: &str) -> String {
    let key = key();
    let assertion = forge(&key, r#"{"alg":"EdDSA"}"#, claims);
    match check(&assertion, &expect(), |_, _| Some(key.public().clone())) {
        Ok(assertion) => {
            format!("{} until +{}", assertion.client, assertion.expires.seconds() - now().seconds())
        }
        Err(error) => error.to_string(),
    }
}

fn claims() -> String {
    let now = now().seconds();
    format!(r#"{{"iss":"c","sub":"c","aud":"{ISSUER}","exp":{},"iat":{now},"jti":"j"}}"#, now + 60)
}

#[test]
fn what_a_client_creates_the_server_takes() {
    for algorithm in BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let assertion = create(&key, &draft()).unwrap();
        let known = |client: &str, kid: Option<&str>| {
            (client == BOT && kid == Some(key.public().kid())).then(|| key.public().clone())
        };
        let assertion = check(&assertion, &expect(), known).unwrap();
        assert_eq!(
            assertion,
            Assertion {
                client: BOT.to_owned(),
                jti: "j-1".to_owned(),
                expires: after(90),
                version: Some(Digest([5; 32])),
            }
        );
    }
}

#[test]
fn a_person_and_a_client_without_a_version_speak_alike() {
    let key = key();
    let draft = Draft { client: OLIVIA, version: None, ..draft() };
    let assertion = create(&key, &draft).unwrap();
    let assertion = check(&assertion, &expect(), |_, _| Some(key.public().clone())).unwrap();
    assert_eq!((assertion.client.as_str(), assertion.version), (OLIVIA, None));
}

#[test]
fn the_one_key_that_is_looked_up_decides() {
    let signer = key();
    let assertion = create(&signer, &draft()).unwrap();
    let unknown = check(&assertion, &expect(), |_, _| None);
    assert!(matches!(unknown, Err(AssertionError::UnknownKey(_))));
    let other = check(&assertion, &expect(), |_, _| Some(key().public().clone()));
    assert_eq!(other, Err(AssertionError::Token(JwsError::Signature)));
}

#[test]
fn a_claim_that_is_missing_malformed_or_too_long_is_refused() {
    assert_eq!(verdict(&claims()), "c until +90");
    for name in ["iss", "sub", "exp", "jti"] {
        let refusal = verdict(&claims().replace(&format!(r#""{name}""#), r#""x""#));
        assert!(refusal.starts_with(&format!("claim `{name}`")), "{refusal}");
    }
    let (long_id, long_jti) = ("c".repeat(513), "j".repeat(129));
    for (from, to, because) in [
        (r#""sub":"c""#, r#""sub":"d""#.to_owned(), "`iss` and `sub`"),
        (r#""sub":"c""#, r#""sub":7"#.to_owned(), "claim `sub`"),
        (r#""iss":"c""#, format!(r#""iss":"{long_id}""#), "claim `iss`"),
        (r#""jti":"j""#, r#""jti":"""#.to_owned(), "claim `jti`"),
        (r#""jti":"j""#, format!(r#""jti":"{long_jti}""#), "claim `jti`"),
        (r#""jti":"j""#, r#""jti":"j","version":"latest""#.to_owned(), "claim `version`"),
        (r#""jti":"j""#, r#""jti":"j","version":null"#.to_owned(), "claim `version`"),
        (r#""jti":"j""#, r#""jti":"j","nbf":"soon""#.to_owned(), "claim `nbf`"),
        (r#""jti":"j""#, r#""jti":"j","jti":"k""#.to_owned(), "cannot be read"),
    ] {
        let refusal = verdict(&claims().replacen(from, &to, 1));
        assert!(refusal.contains(because), "{from} → {to}: {refusal}");
    }
    let more = claims().replacen('{', r#"{"nonce":"n","more":{"a":[1]},"#, 1);
    assert_eq!(verdict(&more), "c until +90");
}

#[test]
fn the_audience_is_this_server_and_nobody_else() {
    let aud = format!(r#""aud":"{ISSUER}""#);
    let with = |to: &str| verdict(&claims().replace(&aud, to));
    assert_eq!(with(&format!(r#""aud":["{ISSUER}"]"#)), "c until +90");
    for to in [
        r#""x":1"#.to_owned(),
        r#""aud":[]"#.to_owned(),
        format!(r#""aud":"{ISSUER}/""#),
        format!(r#""aud":"{ISSUER}/token""#),
        format!(r#""aud":["{ISSUER}","https://other.example"]"#),
        format!(r#""aud":["{ISSUER}","{ISSUER}"]"#),
        format!(r#""aud":[["{ISSUER}"]]"#),
        r#""aud":"https://other.example""#.to_owned(),
    ] {
        assert!(with(&to).contains("`aud`"), "{to}: {}", with(&to));
    }
}

#[test]
fn an_assertion_lives_briefly_and_now() {
    let says = |exp: i64, iat: &str| {
        let exp = now().seconds() + exp;
        verdict(&format!(r#"{{"iss":"c","sub":"c","aud":"{ISSUER}","exp":{exp},{iat}"jti":"j"}}"#))
    };
    let iat = |name: &str, ago: i64| format!(r#""{name}":{},"#, now().seconds() - ago);
    assert_eq!(says(-29, ""), "c until +1");
    assert_eq!(says(-30, ""), AssertionError::Expired.to_string());
    assert_eq!(says(150, ""), "c until +180");
    assert_eq!(says(151, ""), AssertionError::TooLong(LIFE).to_string());
    for name in ["iat", "nbf"] {
        assert_eq!(says(60, &iat(name, -30)), "c until +90");
        assert_eq!(says(60, &iat(name, -31)), AssertionError::Times.to_string());
        assert_eq!(says(20, &iat(name, -20)), AssertionError::Times.to_string());
    }
    let key = key();
    let assertion = create(&key, &draft()).unwrap();
    let at =
        |now| check(&assertion, &Expect { now, ..expect() }, |_, _| Some(key.public().clone()));
    assert_eq!(at(after(90)), Err(AssertionError::Expired));
    assert_eq!(at(before(31)), Err(AssertionError::Times));
}

#[test]
fn an_assertion_may_lack_a_type_but_not_have_a_foreign_one() {
    let key = key();
    let typed = |header: &str| {
        let assertion = forge(&key, header, &claims());
        check(&assertion, &expect(), |_, _| Some(key.public().clone()))
    };
    for typ in ["JWT", "jwt", "client-authentication+jwt", "application/client-authentication+jwt"]
    {
        assert!(typed(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#)).is_ok(), "{typ}");
    }
    for typ in ["at+jwt", "dpop+jwt", "bailiwick-approval+jwt", ""] {
        let refused = typed(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#));
        assert!(matches!(refused, Err(AssertionError::Token(JwsError::Type { .. }))), "{typ}");
    }
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","jku":"https://evil.example"}"#,
    ] {
        assert!(matches!(typed(header), Err(AssertionError::Token(_))), "{header}");
    }
}
