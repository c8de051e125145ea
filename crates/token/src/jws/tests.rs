use super::*;
use crate::{
    pem,
    sample::{BOTH, forge, key},
};

const MAX: usize = 16 * 1024;
const ANY: Types<'_> = Types::AbsentOr(&[]);

/// What becomes of a truly signed token with this header: its payload, or the first reason against it.
fn verdict(key: &SigningKey, header: &str) -> String {
    let token = forge(key, header, "{}");
    let verified = Compact::parse(&token, MAX).and_then(|compact| {
        compact.verify(key.public(), Types::Exactly("at+jwt")).map(<[u8]>::to_vec)
    });
    match verified {
        Ok(payload) => String::from_utf8(payload).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_signature_of_rfc_7515_a_3_fits() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jwk = Jwk::parse(jwk.as_bytes()).unwrap();
    let compact = Compact::parse(token, MAX).unwrap();
    let payload = compact.verify(jwk.key(), ANY).unwrap();
    assert!(payload.starts_with(br#"{"iss":"joe","#));
}

#[test]
fn the_signature_of_rfc_8037_a_4_fits_and_no_payload_but_json_is_read() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let jwk = Jwk::parse(jwk.as_bytes()).unwrap();
    let compact = Compact::parse(token, MAX).unwrap();
    let payload = compact.verify(jwk.key(), ANY).unwrap();
    assert_eq!(payload, b"Example of Ed25519 signing");
    assert!(read::<Json>(payload).is_err());
}

#[test]
fn what_is_signed_verifies_and_carries_its_type_and_key_id() {
    for algorithm in BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let token = sign(&key, "at+jwt", &Json::object([("a", Json::Integer(1))])).unwrap();
        let compact = Compact::parse(&token, MAX).unwrap();
        assert_eq!(compact.kid(), Some(key.public().kid()));
        assert_eq!(
            compact.verify(key.public(), Types::Exactly("at+jwt")),
            Ok(br#"{"a":1}"#.as_slice())
        );
    }
}

#[test]
fn types_are_compared_without_case_and_prefix_and_with_nothing_else() {
    let key = key();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(verdict(&key, &format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#)), "{}");
    }
    for typ in ["JWT", "at+jwt ", "", "application/", "x/at+jwt", "application/application/at+jwt"]
    {
        assert_eq!(
            verdict(&key, &format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#)),
            format!("the token's type is `{typ}`, not `at+jwt`")
        );
    }
    assert_eq!(verdict(&key, r#"{"alg":"EdDSA"}"#), "the token's type is ``, not `at+jwt`");
    let token = forge(&key, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "{}");
    let compact = Compact::parse(&token, MAX).unwrap();
    assert!(compact.verify(key.public(), Types::AbsentOr(&["JWT"])).is_err());
}

#[test]
fn no_header_chooses_the_key_the_algorithm_or_an_extension() {
    let key = key();
    let cases = [
        (r#""alg":"none""#, "algorithm `none` is not accepted"),
        (r#""alg":"None""#, "algorithm `None` is not accepted"),
        (r#""alg":"HS256""#, "algorithm `HS256` is not accepted"),
        (r#""alg":"RS256""#, "algorithm `RS256` is not accepted"),
        (r#""alg":"ES256""#, "the header says ES256, but the key is for EdDSA"),
        (r#""alg":7"#, "header `alg` is missing or malformed"),
        (r#""kid":"k""#, "header `alg` is missing or malformed"),
        (r#""alg":"EdDSA","kid":1"#, "header `kid` is missing or malformed"),
        (r#""alg":"EdDSA","crit":["exp"],"exp":1"#, "header `crit` is not accepted"),
        (r#""alg":"EdDSA","crit":["b64"],"b64":false"#, "header `crit` is not accepted"),
        (r#""alg":"EdDSA","crit":[]"#, "header `crit` is not accepted"),
        (r#""alg":"EdDSA","b64":true"#, "header `b64` is not accepted"),
        (r#""alg":"EdDSA","jku":"https://evil.example""#, "header `jku` is not accepted"),
        (r#""alg":"EdDSA","x5u":"https://evil.example""#, "header `x5u` is not accepted"),
        (r#""alg":"EdDSA","x5c":["MII"]"#, "header `x5c` is not accepted"),
        (r#""alg":"EdDSA","jwk":{}"#, "header `jwk` is not accepted"),
        (r#""alg":"EdDSA","alg":"none""#, "the token's header cannot be read"),
        (r#""alg":"EdDSA","\u0061lg":"none""#, "the token's header cannot be read"),
    ];
    for (members, because) in cases {
        let verdict = verdict(&key, &format!(r#"{{"typ":"at+jwt",{members}}}"#));
        assert!(verdict.starts_with(because), "{members}: {verdict}");
    }
    let long = format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{}"}}"#, "k".repeat(257));
    assert_eq!(verdict(&key, &long), "header `kid` is missing or malformed");
    assert_eq!(verdict(&key, "[]"), "header `alg` is missing or malformed");
    assert_eq!(verdict(&key, r#"{"typ":"at+jwt","alg":"Ed25519","cty":"x"}"#), "{}");
}

#[test]
fn an_hmac_over_the_public_key_is_no_signature() {
    let key = key();
    let signed = format!(
        "{}.{}",
        encoding::encode(r#"{"alg":"HS256","typ":"at+jwt"}"#),
        encoding::encode("{}")
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, key.public().raw());
    let tag = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    let token = format!("{signed}.{}", encoding::encode(tag));
    assert!(matches!(Compact::parse(&token, MAX).err(), Some(JwsError::Algorithm(_))));
}

#[test]
fn what_has_another_shape_is_no_token() {
    let token = forge(&key(), r#"{"alg":"EdDSA"}"#, "{}");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for text in [
        "",
        "..",
        "a.b",
        signed,
        &format!("{signed}."),
        &format!("{signed}.{signature}="),
        &format!("{signed}.{signature}AA"),
        &format!("{signed}.e30.{signature}"),
        &format!(" {token}"),
        &format!("{token}\n"),
    ] {
        assert!(Compact::parse(text, MAX).is_err(), "{text}");
    }
    assert_eq!(
        Compact::parse(&token, token.len() - 1).err(),
        Some(JwsError::TooLong { length: token.len(), limit: token.len() - 1 })
    );
}

#[test]
fn no_changed_letter_of_a_token_goes_unnoticed() {
    for algorithm in BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let token = sign(&key, "at+jwt", &Json::object([("a", Json::Integer(1))])).unwrap();
        for at in 0..token.len() {
            let mut letters = token.clone().into_bytes();
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            let verified = Compact::parse(&changed, MAX)
                .and_then(|compact| compact.verify(key.public(), ANY).map(<[u8]>::to_vec));
            assert!(verified.is_err(), "letter {at}");
        }
    }
}

#[test]
fn a_key_in_the_header_is_read_only_where_the_protocol_wants_one() {
    let key = key();
    let jwk = String::from_utf8(key.public().to_jwk().canonical()).unwrap();
    let token = forge(&key, &format!(r#"{{"alg":"EdDSA","jwk":{jwk}}}"#), "{}");
    assert_eq!(Compact::parse(&token, MAX).err(), Some(JwsError::Refused("jwk")));
    let compact = Compact::parse_with_key(&token, MAX, &SeenHeader::default()).unwrap();
    assert_eq!(compact.jwk().unwrap().key(), key.public());
    let none = forge(&key, r#"{"alg":"EdDSA"}"#, "{}");
    assert_eq!(
        Compact::parse_with_key(&none, MAX, &SeenHeader::default()).err(),
        Some(JwsError::Parameter("jwk"))
    );
}

/// The crate jsonwebtoken as a second opinion, in both directions.
mod oracle {
    use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode, jwk};
    use serde_json::{Value, json};

    use super::*;

    fn theirs(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
        match algorithm {
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        }
    }

    #[test]
    fn reads_what_we_sign() {
        for algorithm in BOTH {
            let key = SigningKey::generate(algorithm).unwrap();
            let token = sign(&key, "at+jwt", &json!({"sub": "ä", "n": 7})).unwrap();
            let jwk: jwk::Jwk = serde_json::from_slice(&key.public().to_jwk().canonical()).unwrap();
            let mut validation = Validation::new(theirs(algorithm));
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            let read = decode::<Value>(&token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation)
                .unwrap();
            assert_eq!(read.claims, json!({"sub": "ä", "n": 7}));
            assert_eq!(read.header.typ.as_deref(), Some("at+jwt"));
            assert_eq!(read.header.kid.as_deref(), Some(key.public().kid()));
            assert_eq!(jwk.thumbprint(jwk::ThumbprintHash::SHA256).unwrap(), key.public().kid());
        }
    }

    #[test]
    fn signs_what_we_read() {
        for algorithm in BOTH {
            let key = SigningKey::generate(algorithm).unwrap();
            let der = pem::read(key.to_pem().unwrap().expose_text().unwrap()).unwrap();
            let secret = match algorithm {
                Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
                Algorithm::ES256 => EncodingKey::from_ec_der(&der),
            };
            let token = encode(&Header::new(theirs(algorithm)), &json!({"sub": "ä"}), &secret);
            let token = token.unwrap();
            let compact = Compact::parse(&token, MAX).unwrap();
            let payload = compact.verify(key.public(), Types::Exactly("JWT")).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(payload).unwrap(), json!({"sub": "ä"}));
        }
    }
}
