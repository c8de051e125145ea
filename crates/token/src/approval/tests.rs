use super::*;
use crate::{
    assertion,
    sample::{ISSUER, OLIVIA, after, before, key, now},
};

fn approval() -> Approval {
    Approval {
        reason: None,
        iss: OLIVIA.to_owned(),
        aud: ISSUER.to_owned(),
        approval: ApprovalId::compose(now(), 1, 5),
        digest: Digest([8; 32]),
        nonce: "n-1".to_owned(),
        verdict: Verdict::Approve,
        iat: now(),
        exp: after(120),
    }
}

fn expect() -> Expect<'static> {
    let Approval { approval, digest, .. } = approval();
    Expect { issuer: ISSUER, approval, digest, nonce: "n-1", now: now(), max_life_seconds: 120 }
}

fn verdict(approval: &Approval, expect: &Expect<'_>) -> Result<Verdict, ApprovalError> {
    let key = key();
    let signed = create(&key, approval).unwrap();
    let known = |person: &str, kid: Option<&str>| {
        (person == OLIVIA && kid == Some(key.public().kid())).then(|| key.public().clone())
    };
    check(&signed, expect, known).map(|approval| approval.verdict)
}

#[test]
fn a_person_says_yes_or_no_to_one_thing() {
    for said in [Verdict::Approve, Verdict::Deny] {
        assert_eq!(verdict(&Approval { verdict: said, ..approval() }, &expect()), Ok(said));
    }
}

#[test]
fn a_signature_for_anything_else_is_refused() {
    let other = ApprovalId::compose(now(), 1, 6);
    for (expect, because) in [
        (Expect { issuer: "https://other.example", ..expect() }, ApprovalError::Audience),
        (Expect { approval: other, ..expect() }, ApprovalError::Request),
        (Expect { digest: Digest([9; 32]), ..expect() }, ApprovalError::Digest),
        (Expect { nonce: "n-2", ..expect() }, ApprovalError::Nonce),
    ] {
        assert_eq!(verdict(&approval(), &expect), Err(because));
    }
    let stranger =
        Approval { iss: "spiffe://acme.example/prod/person/p2".to_owned(), ..approval() };
    assert!(matches!(verdict(&stranger, &expect()), Err(ApprovalError::UnknownKey(_))));
}

#[test]
fn a_signature_counts_briefly() {
    let late = ApprovalError::Time(120);
    assert_eq!(verdict(&approval(), &Expect { now: after(149), ..expect() }), Ok(Verdict::Approve));
    assert_eq!(verdict(&approval(), &Expect { now: after(150), ..expect() }), Err(late.clone()));
    assert_eq!(verdict(&approval(), &Expect { now: before(31), ..expect() }), Err(late.clone()));
    for (iat, exp) in [(now(), after(151)), (now(), now()), (after(31), after(60))] {
        assert_eq!(verdict(&Approval { iat, exp, ..approval() }, &expect()), Err(late.clone()));
    }
}

#[test]
fn another_signature_of_the_same_key_is_no_approval() {
    let key = key();
    let draft = assertion::Draft {
        client: OLIVIA,
        audience: ISSUER,
        now: now(),
        life_seconds: 60,
        jti: "j",
        version: None,
    };
    let found = |_: &str, _: Option<&str>| Some(key.public().clone());
    let assertion = assertion::create(&key, &draft).unwrap();
    assert!(matches!(check(&assertion, &expect(), found), Err(ApprovalError::Claims(_))));
    let retyped = jws::sign(&key, "JWT", &approval()).unwrap();
    let refused = check(&retyped, &expect(), found);
    assert!(matches!(refused, Err(ApprovalError::Token(JwsError::Type { .. }))));
    let signed = create(&key, &approval()).unwrap();
    let expect =
        assertion::Expect { issuer_audiences: &[ISSUER], now: now(), max_life_seconds: 600 };
    assert!(assertion::check(&signed, &expect, found).is_err());
}

#[test]
fn an_approval_with_more_or_less_in_it_is_refused() {
    let key = key();
    let found = |_: &str, _: Option<&str>| Some(key.public().clone());
    let text =
        String::from_utf8(model::ijson::Canonical::of(&approval()).unwrap().into_bytes()).unwrap();
    let header = r#"{"alg":"EdDSA","typ":"bailiwick-approval+jwt"}"#;
    let sign = |text: &str| check(&crate::sample::forge(&key, header, text), &expect(), found);
    assert!(sign(&text).is_ok());
    for (from, to) in [
        ("{", r#"{"also":"everything","#),
        ("{", r#"{"digest":"x","#),
        (r#""approve""#, r#""perhaps""#),
        (r#""nonce""#, r#""x""#),
        (r#""digest""#, r#""x""#),
    ] {
        let refused = sign(&text.replacen(from, to, 1));
        assert!(matches!(refused, Err(ApprovalError::Claims(_))), "{from} → {to}");
    }
}
