use super::*;
use crate::{encoding, sample::BOTH};

/// PKCS#8 around the seed of RFC 8037 appendix A.1.
fn rfc8037() -> SigningKey {
    let seed = encoding::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    SigningKey::from_pkcs8(&[prefix.as_slice(), &seed].concat()).unwrap()
}

#[test]
fn the_key_of_rfc_8037_signs_and_is_named_as_written_there() {
    let key = rfc8037();
    assert_eq!(
        String::from_utf8(key.public().to_jwk().canonical()).unwrap(),
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    );
    assert_eq!(key.public().kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
    assert_eq!(
        encoding::encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn a_key_survives_its_pem() {
    for algorithm in BOTH {
        let key = SigningKey::generate(algorithm).unwrap();
        let pem = key.to_pem().unwrap();
        let pem = pem.expose_text().unwrap();
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
        let again = SigningKey::from_pem(&pem.replace('\n', "\r\n")).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(key.public().verifies(b"m", &again.sign(b"m").unwrap()));
    }
}

/// Drawn with `openssl genpkey` for this test and used nowhere else.
#[test]
fn keys_that_openssl_draws_are_read() {
    let ed25519 = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEVBVZLPaEslCu+z+D0VfyNLaNBFLWTgCyc+yeM9dKcB
-----END PRIVATE KEY-----
";
    let p256 = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgISqZV9QOMwU415wg
cDOIsdBT1sRpmwfNyy25ya86trahRANCAAQM04Q2FRgXC29kkEzKm7HvpJdI4n15
o9gQSMl063W6VSk6Htu9cIcYho7mNpwtlVuV7i0RpJZOPn2HBAGzZha+
-----END PRIVATE KEY-----
";
    for (pem, public) in [
        (ed25519, "npdMXWb4ohW73zJU4zn3-Al2knkHtGIGQVmwp2qDlB4"),
        (
            p256,
            "BAzThDYVGBcLb2SQTMqbse-kl0jifXmj2BBIyXTrdbpVKToe271whxiGjuY2nC2VW5XuLRGklk4-fYcEAbNmFr4",
        ),
    ] {
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!(encoding::encode(key.public().raw()), public);
    }
}

#[test]
fn what_is_no_private_key_is_refused() {
    let pem = rfc8037().to_pem().unwrap();
    let pem = pem.expose_text().unwrap();
    for text in [
        "",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        &pem.replace("PRIVATE", "PUBLIC"),
        &pem.replace("-----END PRIVATE KEY-----", ""),
        &pem.repeat(2),
        &pem.replace("MC", "MD"),
        &"-----BEGIN PRIVATE KEY-----".repeat(200),
    ] {
        assert!(SigningKey::from_pem(text).is_err(), "{text}");
    }
    assert_eq!(SigningKey::from_pkcs8(&[0x30; 48]).err(), Some(KeyError::Private));
}

#[test]
fn a_signature_fits_one_key_and_one_message() {
    for algorithm in BOTH {
        let (key, other) =
            (SigningKey::generate(algorithm).unwrap(), SigningKey::generate(algorithm).unwrap());
        let signature = key.sign(b"message").unwrap();
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"message", &[0; SIGNATURE_LENGTH]));
    }
}

#[test]
fn an_ed25519_point_of_low_order_is_no_key() {
    let p = |low: u8| {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        point
    };
    let one = |first: u8| {
        let mut point = [0; 32];
        point[0] = first;
        point
    };
    let order_eight = encoding::decode("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU").unwrap();
    let mut points = vec![one(0), one(1), p(0xec), p(0xed), p(0xee)];
    points.push(order_eight.try_into().unwrap());
    for mut point in points {
        for sign in [0, 0x80] {
            point[31] ^= sign;
            let refused = PublicKey::from_raw(Algorithm::EdDSA, &point);
            assert_eq!(refused.err(), Some(KeyError::Public(Algorithm::EdDSA)), "{point:x?}");
        }
    }
}

#[test]
fn only_the_raw_form_of_a_point_on_the_curve_is_a_key() {
    let key = SigningKey::generate(Algorithm::ES256).unwrap();
    let raw = key.public().raw();
    assert_eq!(PublicKey::from_raw(Algorithm::ES256, raw).as_ref(), Ok(key.public()));
    let mut off = raw.to_vec();
    off[64] ^= 1;
    let compressed = [&[2 + (raw[64] & 1)], &raw[1..33]].concat();
    for bytes in [&off[..], &compressed, &raw[1..], &[0], &[]] {
        assert!(PublicKey::from_raw(Algorithm::ES256, bytes).is_err(), "{bytes:x?}");
    }
    assert!(PublicKey::from_raw(Algorithm::EdDSA, raw).is_err());
}
