use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, ParsedPublicKey,
    },
};
use model::ijson::Json;

use crate::{Secret, SignError, Thumbprint, encoding, jwk, pem};

/// Both algorithms sign with 64 bytes.
pub(crate) const SIGNATURE_LENGTH: usize = 64;

/// How a key signs. The set is closed: no RSA, no shared secrets, no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 ([RFC 8037](https://www.rfc-editor.org/rfc/rfc8037)).
    EdDSA,
    /// ECDSA on P-256 with SHA-256 ([RFC 7518 §3.4](https://www.rfc-editor.org/rfc/rfc7518#section-3.4)).
    ES256,
}

/// Why a key is refused or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not an Ed25519 or P-256 private key in PKCS#8.
    #[error("not a PKCS#8 private key for Ed25519 or P-256")]
    Private,
    /// Not a `PRIVATE KEY` in PEM.
    #[error("not a PEM text with exactly one `PRIVATE KEY`")]
    Pem,
    /// Not a point that can be a public key of the algorithm.
    #[error("not a usable public key for {0}")]
    Public(Algorithm),
    /// The system gave no randomness, or the library refused to write the key.
    #[error("the cryptographic library could not make or write a key")]
    Library,
}

/// A public key that checks signatures of one algorithm. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    thumbprint: Thumbprint,
    kid: String,
}

/// A private key with its public half. It does not print.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    /// The protected header up to the value of `typ`, its last member, so that signing only adds that.
    header: String,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Algorithm {
    /// The name that we write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
        }
    }

    /// The algorithm that a header or JWK names; `Ed25519` is the name of RFC 9864 for the same.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Self::EdDSA),
            "ES256" => Some(Self::ES256),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PublicKey {
    /// From the raw bytes: 32 for Ed25519, the 65 of an uncompressed point for P-256.
    ///
    /// # Errors
    /// [`KeyError::Public`] for another length, a point off the curve, or an Ed25519 point of low order, for which
    /// one signature fits many messages.
    pub fn from_raw(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let refused = KeyError::Public(algorithm);
        // The parser would also take a whole SubjectPublicKeyInfo or a compressed point: lengths are checked here.
        let parsed = match algorithm {
            Algorithm::EdDSA if bytes.len() == 32 && !is_low_order(bytes) => {
                ParsedPublicKey::new(&ED25519, bytes)
            }
            Algorithm::ES256 if bytes.len() == 65 && bytes[0] == 4 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes)
            }
            _ => return Err(refused),
        }
        .map_err(|_| refused)?;
        let thumbprint = jwk::thumbprint(algorithm, bytes);
        Ok(Self(Arc::new(Inner { algorithm, parsed, thumbprint, kid: thumbprint.to_string() })))
    }

    /// The one algorithm that this key checks.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// What names the key ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)).
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// The thumbprint as text, which is the `kid` of our own keys.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    /// The key as JWK with its required members alone.
    pub fn to_jwk(&self) -> Json {
        jwk::required(self.0.algorithm, self.raw())
    }

    /// The bytes that [`PublicKey::from_raw`] takes.
    pub fn raw(&self) -> &[u8] {
        self.0.parsed.as_ref()
    }

    /// Whether the signature is this key's over the message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> bool {
        self.0.parsed.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.thumbprint == other.0.thumbprint
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.0.algorithm, self.0.kid)
    }
}

impl SigningKey {
    /// A fresh key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Library`] when there is none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::EdDSA => Ed25519KeyPair::generate().map(Pair::Ed25519),
            Algorithm::ES256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::P256)
            }
        };
        Self::of(pair.map_err(|_| KeyError::Library)?)
    }

    /// Reads PKCS#8 in DER; the key inside says which algorithm it has.
    ///
    /// # Errors
    /// [`KeyError::Private`] for anything but an Ed25519 or P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map(Pair::Ed25519).or_else(|_| {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256)
        });
        Self::of(pair.map_err(|_| KeyError::Private)?)
    }

    /// Reads PKCS#8 in PEM, as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// [`KeyError::Pem`] or [`KeyError::Private`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8(&pem::read(text).ok_or(KeyError::Pem)?)
    }

    /// The key as PKCS#8 (version 1) in PEM, which other programs read.
    ///
    /// # Errors
    /// [`KeyError::Library`] when the library refuses to write it.
    pub fn to_pem(&self) -> Result<Secret, KeyError> {
        let der = match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::P256(pair) => pair.to_pkcs8v1(),
        };
        Ok(pem::write(der.map_err(|_| KeyError::Library)?.as_ref()))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The protected header of what this key signs, encoded. The type is one of our own constants: plain letters.
    pub(crate) fn header(&self, typ: &'static str) -> String {
        encoding::encode([self.header.as_str(), typ, "\"}"].concat())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError> {
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message),
        };
        signature
            .ok()
            .and_then(|signature| signature.as_ref().try_into().ok())
            .ok_or(SignError::Library)
    }

    fn of(pair: Pair) -> Result<Self, KeyError> {
        let public = match &pair {
            Pair::Ed25519(pair) => {
                PublicKey::from_raw(Algorithm::EdDSA, pair.public_key().as_ref())
            }
            Pair::P256(pair) => PublicKey::from_raw(Algorithm::ES256, pair.public_key().as_ref()),
        }?;
        let header =
            format!(r#"{{"alg":"{}","kid":"{}","typ":""#, public.algorithm(), public.kid());
        Ok(Self { pair, public, header })
    }
}

/// Whether an encoded Ed25519 point lies in the subgroup of order eight: `y` is 0, ±1 or one of the two values of
/// order eight, also when written without reduction.
fn is_low_order(point: &[u8]) -> bool {
    const P_LOW: [u8; 3] = [0xec, 0xed, 0xee]; // p - 1, p, p + 1
    const ORDER_EIGHT: [&[u8; 32]; 2] = [
        b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
          \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\
          \x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ];
    let Ok(mut y) = <[u8; 32]>::try_from(point) else { return false };
    y[31] &= 0x7f; // the top bit is the sign of x
    let small = y[0] <= 1 && y[1..].iter().all(|byte| *byte == 0);
    let near_p =
        P_LOW.contains(&y[0]) && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f;
    small || near_p || ORDER_EIGHT.contains(&&y)
}

#[cfg(test)]
mod tests;
