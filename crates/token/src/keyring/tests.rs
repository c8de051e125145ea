use super::*;
use crate::{
    Jwk,
    sample::{after, key, now},
};

fn kid(keyring: &Keyring) -> String {
    keyring.current().public().kid().to_owned()
}

/// The key ids that the published set names.
fn published(keyring: &Keyring, now: Timestamp) -> Vec<String> {
    let jwks = keyring.jwks(now);
    let Some(Json::Array(keys)) = jwks.member("keys") else { panic!("no list of keys") };
    keys.iter().map(|key| Jwk::from_json(key).unwrap().kid().unwrap().to_owned()).collect()
}

#[test]
fn a_rotated_key_verifies_until_its_end_and_signs_no_more() {
    let mut keyring = Keyring::new(key());
    let old = kid(&keyring);
    keyring.rotate(key(), now(), 600).unwrap();
    let new = kid(&keyring);
    assert_ne!(old, new);
    assert_eq!(keyring.key(&old, after(599)).unwrap().kid(), old);
    assert!(keyring.key(&old, after(600)).is_none());
    assert!(keyring.key(&new, after(600)).is_some());
    assert!(keyring.key("unknown", now()).is_none());
    assert_eq!(published(&keyring, after(599)), [new.clone(), old]);
    assert_eq!(published(&keyring, after(600)), [new]);
}

#[test]
fn the_published_set_holds_public_members_alone() {
    let keyring = Keyring::new(key());
    let text = String::from_utf8(keyring.jwks(now()).canonical()).unwrap();
    let x = crate::encoding::encode(keyring.current().public().raw());
    assert_eq!(
        text,
        format!(
            r#"{{"keys":[{{"alg":"EdDSA","crv":"Ed25519","kid":"{}","kty":"OKP","use":"sig","x":"{x}"}}]}}"#,
            kid(&keyring)
        )
    );
}

#[test]
fn rotating_too_often_changes_nothing() {
    let mut keyring = Keyring::new(key());
    for _ in 0..MAX_PREVIOUS {
        keyring.rotate(key(), now(), 600).unwrap();
    }
    let current = kid(&keyring);
    assert_eq!(keyring.rotate(key(), now(), 600), Err(KeyringFull));
    assert_eq!(kid(&keyring), current);
    assert_eq!(keyring.keep(key().public().clone(), after(1)), Err(KeyringFull));
    keyring.rotate(key(), after(600), 600).unwrap();
    assert_eq!(published(&keyring, after(600)).len(), 2);
}

#[test]
fn a_withdrawn_key_verifies_nothing_from_then_on() {
    let mut keyring = Keyring::new(key());
    let old = key();
    keyring.keep(old.public().clone(), after(600)).unwrap();
    assert!(keyring.key(old.public().kid(), now()).is_some());
    assert!(keyring.withdraw(old.public().kid()));
    assert!(keyring.key(old.public().kid(), now()).is_none());
    let current = kid(&keyring);
    assert!(!keyring.withdraw(&current), "the signing key is rotated, not withdrawn");
}
