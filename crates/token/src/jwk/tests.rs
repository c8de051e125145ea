use super::*;
use crate::{SigningKey, sample::BOTH};

const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

/// The thumbprint, or why there is none.
fn read(members: &str) -> String {
    match Jwk::parse(format!("{{{members}}}").as_bytes()) {
        Ok(jwk) => jwk.key().kid().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_thumbprints_of_the_rfcs_come_out() {
    assert_eq!(read(ED), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"); // RFC 8037 A.3
    let rfc9449 = r#""kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256""#;
    assert_eq!(read(rfc9449), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"); // RFC 9449 §6.1
}

#[test]
fn a_key_survives_its_jwk() {
    for algorithm in BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let jwk = Jwk::from_json(&key.public().to_jwk()).unwrap();
        assert_eq!(jwk.kid(), None);
        assert_eq!(jwk.into_key(), *key.public());
    }
}

#[test]
fn what_a_jwk_may_say_beside_its_key_is_read_or_ignored() {
    let all =
        r#","kid":"k-1","use":"sig","alg":"Ed25519","key_ops":["verify"],"x5t":"?","more":{}"#;
    assert_eq!(read(&format!("{ED}{all}")), read(ED));
    assert_eq!(Jwk::parse(format!("{{{ED}{all}}}").as_bytes()).unwrap().kid(), Some("k-1"));
}

#[test]
fn a_private_member_is_refused_before_anything_else() {
    for name in PRIVATE {
        let refusal = read(&format!(r#"{EC},"{name}":"AA""#));
        assert!(refusal.starts_with(&format!("`{name}` belongs to a private")), "{refusal}");
    }
    assert!(read(r#""kty":"oct","k":"c2VjcmV0""#).starts_with("`k` belongs"));
}

#[test]
fn keys_of_other_kinds_and_for_other_uses_are_refused() {
    for (members, because) in [
        (r#""kty":"RSA","n":"AQ","e":"AQAB""#, "keys of type `RSA`"),
        (&ED.replace("Ed25519", "X25519"), "keys of type `OKP` on curve `X25519`"),
        (&EC.replace("P-256", "P-384"), "keys of type `EC` on curve `P-384`"),
        (&EC.replace("P-256", "secp256k1"), "keys of type `EC` on curve `secp256k1`"),
        (&EC.replace("EC", "\\u001b[2J"), "keys of type `\\u{1b}[2J`"),
        (r#""crv":"Ed25519""#, "member `kty`"),
        (&ED.replace("\"x\"", "\"z\""), "member `x`"),
        (&ED.replace("HURo\"", "HURo=\""), "member `x`"),
        (&ED.replace("HURo\"", "HURp\""), "member `x`"), // a stray bit: a second spelling of one key
        (&EC.replace("\"y\"", "\"z\""), "member `y`"),
        (&EC.replace("5a0", "5a4"), "not a usable public key for ES256"),
        (&format!(r#"{ED},"use":"enc""#), "`use` says"),
        (&format!(r#"{ED},"alg":"ES256""#), "`alg` says"),
        (&format!(r#"{ED},"key_ops":["sign"]"#), "`key_ops` says"),
        (&format!(r#"{ED},"kid":7"#), "member `kid`"),
        (&format!(r#"{ED},"kid":"{}""#, "k".repeat(257)), "member `kid`"),
        (&format!(r#"{ED},"kty":"EC""#), "not I-JSON"),
        (&format!(r#"{ED},"more":"{}""#, "x".repeat(2048)), "at most 2048 are read"),
    ] {
        assert!(read(members).contains(because), "{members}: {}", read(members));
    }
}
