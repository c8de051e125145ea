//! What several fuzz targets share: readers of their input, an independent look at JSON, and a key that signs anything.
//!
//! Never here: a check that a target can make by itself.

use std::sync::OnceLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use model::{
    Timestamp,
    ijson::{self, Json, Limits},
};
use serde_json::Value;
use token::{Algorithm, PublicKey};

/// Deep enough for everything that is read anywhere.
pub const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 64 };

/// The moment of every check.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

/// The input cut into this many parts at the first line breaks; missing ones are empty.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == b'\n');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The same of a text; `None` where it is none.
pub fn lines<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(data).ok()?;
    let mut parts = text.splitn(N, '\n');
    Some(std::array::from_fn(|_| parts.next().unwrap_or_default()))
}

/// I-JSON, where it is some.
pub fn json(data: &[u8]) -> Option<Json> {
    ijson::parse(data, LIMITS).ok()
}

/// Whether an independent reader understood the same.
pub fn same(ours: &Json, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Integer(a), Value::Number(b)) => b.as_f64() == Some(*a as f64),
        (Json::Float(a), Value::Number(b)) => b.as_f64() == Some(*a),
        (Json::String(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Value::Object(b)) => {
            let found = |(name, a): &(String, Json)| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => false,
    }
}

/// A key of which everything is known, so that what it signs gets past the signature.
pub struct Key {
    pair: Ed25519KeyPair,
    /// Its public half.
    pub public: PublicKey,
}

/// The one key of all targets.
pub fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("every seed is a key");
        let raw = pair.public_key().as_ref();
        let public = PublicKey::from_raw(Algorithm::EdDSA, raw).expect("it is a public key");
        Key { pair, public }
    })
}

impl Key {
    /// A compact token with this header and payload, whatever they are, and a true signature.
    pub fn token(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(header.as_ref()), encode(payload.as_ref()));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    /// The header of a token of this type.
    pub fn header(&self, typ: &str) -> String {
        format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{typ}"}}"#, self.public.kid())
    }

    /// The bytes of a signed note's signature, behind the key's id.
    pub fn note(&self, id: [u8; 4], text: &str) -> String {
        STANDARD.encode([&id, self.pair.sign(text.as_bytes()).as_ref()].concat())
    }
}
