use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use zeroize::Zeroizing;

use crate::Secret;

/// The only form of wrapped bytes so far: this byte, a nonce of 12, the ciphertext, a tag of 16.
const VERSION: u8 = 1;
const IV: usize = 12;
const TAG: usize = 16;
/// What the master key itself is for: it wraps nothing directly.
const WRAP: &str = "wrap/v1";

/// The key that wraps all others; it lives outside the data directory and is worth everything.
///
/// It does not print and is wiped when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Why a text is no master key, or none could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// Not 32 bytes in base64.
    #[error(
        "a master key is 32 random bytes in base64: 44 letters, for example from `openssl rand -base64 32`"
    )]
    Form,
    /// All bytes alike: a placeholder that nobody replaced.
    #[error(
        "this master key is a placeholder: draw one, for example with `openssl rand -base64 32`"
    )]
    Placeholder,
    /// The system gave no randomness.
    #[error("the system gave no randomness for a master key")]
    Randomness,
}

/// The library would not wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library could not wrap a secret")]
pub struct WrapError;

/// Why wrapped bytes stay closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Too short, or written by a later version.
    #[error("these are not wrapped bytes that this version can read")]
    Form,
    /// Another master key, another purpose, or changed bytes.
    #[error(
        "the secret does not open: it was wrapped with another master key or for another purpose, or it is damaged"
    )]
    Closed,
}

impl MasterKey {
    /// A fresh master key.
    ///
    /// # Errors
    /// [`MasterKeyError::Randomness`]
    pub fn generate() -> Result<Self, MasterKeyError> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| MasterKeyError::Randomness)?;
        Ok(Self(key))
    }

    /// Reads 32 bytes in base64, with or without padding; space around it is ignored.
    ///
    /// # Errors
    /// [`MasterKeyError::Form`], [`MasterKeyError::Placeholder`]
    pub fn from_base64(text: &str) -> Result<Self, MasterKeyError> {
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient)
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|_| MasterKeyError::Form)?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| MasterKeyError::Form)?;
        let key = Zeroizing::new(key);
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(MasterKeyError::Placeholder);
        }
        Ok(Self(key))
    }

    /// The key that a key derivation function gave.
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// The form that [`MasterKey::from_base64`] reads.
    pub fn to_base64(&self) -> Secret {
        Secret::new(STANDARD.encode(*self.0))
    }

    /// A key of 32 bytes for one purpose and no other (HKDF-SHA256,
    /// [RFC 5869](https://www.rfc-editor.org/rfc/rfc5869)).
    pub fn derive(&self, purpose: &str) -> Secret {
        let mut key = vec![0; 32];
        let info = [purpose.as_bytes()];
        Salt::new(HKDF_SHA256, b"bailiwick/master/v1")
            .extract(&*self.0)
            .expand(&info, HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key))
            .expect("HKDF-SHA256 gives one block of 32 bytes for any purpose");
        Secret::new(key)
    }

    /// Wraps a secret for storage. The purpose says what it is (`key/token`); it opens for that purpose only.
    ///
    /// # Errors
    /// [`WrapError`]
    pub fn wrap(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, WrapError> {
        // Reserved in one piece, so that growing leaves no copy of the secret behind.
        let mut sealed = Vec::with_capacity(secret.len() + TAG);
        sealed.extend_from_slice(secret);
        let aad = Aad::from(purpose.as_bytes());
        let iv = self
            .wrapping()
            .and_then(|key| key.seal_in_place_append_tag(aad, &mut sealed).ok())
            .ok_or(WrapError)?;
        Ok([&[VERSION], iv.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what [`MasterKey::wrap`] closed for the same purpose.
    ///
    /// # Errors
    /// [`UnwrapError`]
    pub fn unwrap(&self, purpose: &str, wrapped: &[u8]) -> Result<Secret, UnwrapError> {
        let (iv, sealed) = match wrapped.split_first() {
            Some((&VERSION, rest)) if rest.len() >= IV + TAG => rest.split_at(IV),
            _ => return Err(UnwrapError::Form),
        };
        let iv = Nonce::try_assume_unique_for_key(iv).map_err(|_| UnwrapError::Form)?;
        let key = self.wrapping().ok_or(UnwrapError::Closed)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        key.open_in_place(iv, Aad::from(purpose.as_bytes()), &mut opened)
            .map(|plain| Secret::new(&*plain))
            .map_err(|_| UnwrapError::Closed)
    }

    fn wrapping(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.derive(WRAP).expose()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::generate().unwrap()
    }

    #[test]
    fn a_secret_opens_with_its_key_for_its_purpose_alone() {
        let master = key();
        let wrapped = master.wrap("key/token", b"secret").unwrap();
        assert!(master.unwrap("key/token", &wrapped).unwrap().matches(b"secret"));
        assert_eq!(master.unwrap("key/payload", &wrapped).err(), Some(UnwrapError::Closed));
        assert_eq!(key().unwrap("key/token", &wrapped).err(), Some(UnwrapError::Closed));
        assert_ne!(wrapped, master.wrap("key/token", b"secret").unwrap());
        assert!(!wrapped.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn changed_or_cut_bytes_stay_closed() {
        let master = key();
        let wrapped = master.wrap("p", b"").unwrap();
        assert!(master.unwrap("p", &wrapped).unwrap().matches(b""));
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(master.unwrap("p", &changed).is_err(), "byte {at}");
            assert!(master.unwrap("p", &wrapped[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_master_key_survives_its_text_and_nothing_else_is_one() {
        let master = key();
        let text = master.to_base64();
        let text = text.expose_text().unwrap();
        let again = MasterKey::from_base64(&format!(" {}\n", text.trim_end_matches('='))).unwrap();
        assert!(again.to_base64().matches(text.as_bytes()));
        for text in ["", "c2hvcnQ=", "not base64!", &"A".repeat(100)] {
            assert_eq!(MasterKey::from_base64(text).err(), Some(MasterKeyError::Form), "{text}");
        }
        let zero = format!("{}=", "A".repeat(43));
        assert_eq!(MasterKey::from_base64(&zero).err(), Some(MasterKeyError::Placeholder));
    }

    #[test]
    fn keys_for_two_purposes_differ_and_never_show_the_master_key() {
        let master = key();
        assert!(master.derive("a") == master.derive("a"));
        assert!(master.derive("a") != master.derive("b"));
        assert!(master.derive("a") != key().derive("a"));
        assert!(!master.derive("a").matches(&*master.0));
    }
}
