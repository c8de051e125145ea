use aws_lc_rs::digest::{SHA256, digest};
use model::{
    Foreign,
    ijson::{self, Json, JsonError, Limits},
};

use crate::{Algorithm, PublicKey, Thumbprint, encoding};

/// A P-256 key with key id, use and algorithm has some 300 bytes; certificates inside are not ours to read.
const LIMITS: Limits = Limits { bytes: 2048, depth: 4 };
/// The longest key id, in bytes.
const MAX_KID: usize = 256;
/// What only private or shared keys have ([RFC 7518 §6](https://www.rfc-editor.org/rfc/rfc7518#section-6)).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Somebody's public key as JSON ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), with the name they gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    key: PublicKey,
    kid: Option<String>,
}

/// Why a JWK is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not I-JSON within 2 KiB.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It carries a private or shared key, which must stay with its holder.
    #[error(
        "`{0}` belongs to a private or shared key: send the public key only, and replace this key"
    )]
    Private(&'static str),
    /// A member is missing or not what the key type wants.
    #[error("member `{0}` of the key is missing or malformed")]
    Member(&'static str),
    /// Neither Ed25519 nor P-256.
    #[error(
        "keys of type `{kty}` on curve `{crv}` are not accepted: use `OKP`/`Ed25519` or `EC`/`P-256`"
    )]
    Kind {
        /// The key type.
        kty: Foreign,
        /// The curve, empty where none is named.
        crv: Foreign,
    },
    /// The key says that it is for something else than signatures of its algorithm.
    #[error("`{0}` says that the key does not check signatures of its type")]
    Purpose(&'static str),
    /// The coordinates name no usable point.
    #[error(transparent)]
    Key(#[from] crate::KeyError),
}

impl Jwk {
    /// Reads one key.
    ///
    /// # Errors
    /// [`JwkError`]; members that RFC 7517 does not know are ignored, as it wants.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwkError> {
        Self::from_json(&ijson::parse(bytes, LIMITS)?)
    }

    /// Reads one key that is part of a larger document.
    ///
    /// # Errors
    /// [`JwkError`]
    pub fn from_json(json: &Json) -> Result<Self, JwkError> {
        if let Some(private) = PRIVATE.iter().find(|name| json.member(name).is_some()) {
            return Err(JwkError::Private(private));
        }
        let text = |name| json.member(name).and_then(Json::as_str);
        let kty = text("kty").ok_or(JwkError::Member("kty"))?;
        let (algorithm, raw) = match (kty, text("crv")) {
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, coordinate(json, "x")?.to_vec()),
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(json, "x")?, coordinate(json, "y")?);
                (Algorithm::ES256, [&[4], &x[..], &y[..]].concat())
            }
            (kty, crv) => {
                return Err(JwkError::Kind {
                    kty: short(kty),
                    crv: short(crv.unwrap_or_default()),
                });
            }
        };
        check_purpose(json, algorithm)?;
        let kid = match json.member("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
            Some(_) => return Err(JwkError::Member("kid")),
        };
        Ok(Self { key: PublicKey::from_raw(algorithm, &raw)?, kid })
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key, taken out.
    pub fn into_key(self) -> PublicKey {
        self.key
    }

    /// What its owner calls it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

/// The members that RFC 7638 counts, and no others.
pub(crate) fn required(algorithm: Algorithm, raw: &[u8]) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let coordinate = |bytes: &[u8]| Json::String(encoding::encode(bytes));
    match algorithm {
        Algorithm::EdDSA => {
            Json::object([("kty", text("OKP")), ("crv", text("Ed25519")), ("x", coordinate(raw))])
        }
        Algorithm::ES256 => Json::object([
            ("kty", text("EC")),
            ("crv", text("P-256")),
            ("x", coordinate(&raw[1..33])),
            ("y", coordinate(&raw[33..])),
        ]),
    }
}

/// [RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3): the hash of the required members, sorted.
pub(crate) fn thumbprint(algorithm: Algorithm, raw: &[u8]) -> Thumbprint {
    let hash = digest(&SHA256, &required(algorithm, raw).canonical());
    Thumbprint(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Foreign text for a message: no more of it than helps.
pub(crate) fn short(text: &str) -> Foreign {
    Foreign::new(text.chars().take(80).collect::<String>())
}

fn coordinate(json: &Json, name: &'static str) -> Result<[u8; 32], JwkError> {
    let text = json.member(name).and_then(Json::as_str);
    text.and_then(encoding::decode_array).ok_or(JwkError::Member(name))
}

/// [RFC 7517 §4.2–4.4](https://www.rfc-editor.org/rfc/rfc7517#section-4.2): what the key says that it is for.
fn check_purpose(json: &Json, algorithm: Algorithm) -> Result<(), JwkError> {
    let fits = |name, fits: &dyn Fn(&Json) -> bool| match json.member(name) {
        Some(value) if !fits(value) => Err(JwkError::Purpose(name)),
        _ => Ok(()),
    };
    fits("use", &|value| value.as_str() == Some("sig"))?;
    fits("alg", &|value| value.as_str().and_then(Algorithm::from_name) == Some(algorithm))?;
    fits(
        "key_ops",
        &|value| matches!(value, Json::Array(list) if list.iter().any(|op| op.as_str() == Some("verify"))),
    )
}

#[cfg(test)]
mod tests;
