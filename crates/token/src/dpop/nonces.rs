use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use model::Timestamp;

use crate::{MasterKey, encoding};

/// Node, start and moment.
const PLAIN: usize = 2 + 8 + 8;
const IV: usize = 12;
const TAG: usize = 16;
/// What the key is derived for, so that no other seal can be taken for a nonce.
const PURPOSE: &str = "dpop-nonce/v1";

/// The nonces of one server process ([RFC 9449 §8](https://www.rfc-editor.org/rfc/rfc9449#section-8)): node, start
/// and moment under AES-256-GCM, so that nothing needs to be remembered and nothing can be guessed.
pub struct Nonces {
    key: RandomizedNonceKey,
    node: u16,
    start: u64,
    life_seconds: u32,
    /// The nonce of this second: it need not be unique, only ours and young.
    current: Mutex<(i64, String)>,
}

/// What a nonce is worth. Only `Fresh` is accepted; the others are answered with a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Ours, of this start, and young enough.
    Fresh,
    /// Sealed by us, but too old, or by another node, or before the last start.
    Stale,
    /// Not sealed by us.
    Forged,
}

/// The library would not seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library could not seal a nonce")]
pub struct NonceError;

impl Nonces {
    /// Nonces of this node and this start (a number drawn anew each time the process starts), good for
    /// `life_seconds`. Nodes under one master key recognize each other's as stale.
    ///
    /// # Errors
    /// [`NonceError`]
    pub fn new(
        master: &MasterKey,
        node: u16,
        start: u64,
        life_seconds: u32,
    ) -> Result<Self, NonceError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, master.derive(PURPOSE).expose())
            .map_err(|_| NonceError)?;
        let current = Mutex::new((i64::MIN, String::new()));
        Ok(Self { key, node, start, life_seconds, current })
    }

    /// A nonce for clients to put in their next proofs, of 62 letters; the same one for a second.
    ///
    /// # Errors
    /// [`NonceError`]
    pub fn issue(&self, now: Timestamp) -> Result<String, NonceError> {
        // Whoever panicked here left a second and its nonce: both are written at once.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != now.seconds() {
            *current = (now.seconds(), self.seal(now)?);
        }
        Ok(current.1.clone())
    }

    fn seal(&self, now: Timestamp) -> Result<String, NonceError> {
        let mut sealed = Vec::with_capacity(PLAIN + TAG);
        sealed.extend_from_slice(&self.node.to_be_bytes());
        sealed.extend_from_slice(&self.start.to_be_bytes());
        sealed.extend_from_slice(&now.millis().to_be_bytes());
        let iv =
            self.key.seal_in_place_append_tag(Aad::empty(), &mut sealed).map_err(|_| NonceError)?;
        Ok(encoding::encode([iv.as_ref().as_slice(), &sealed].concat()))
    }

    /// What a client's nonce is worth at `now`.
    pub fn check(&self, nonce: &str, now: Timestamp) -> Freshness {
        let Some((node, start, at)) = self.open(nonce) else { return Freshness::Forged };
        let ours = node == self.node && start == self.start;
        // A nonce from ahead of the clock is as old as it is early: the clock was set back since.
        let distance = now.millis_since(at).max(at.millis_since(now));
        if ours && distance < u64::from(self.life_seconds) * 1000 {
            Freshness::Fresh
        } else {
            Freshness::Stale
        }
    }

    fn open(&self, nonce: &str) -> Option<(u16, u64, Timestamp)> {
        let mut bytes: [u8; IV + PLAIN + TAG] = encoding::decode_array(nonce)?;
        let (iv, sealed) = bytes.split_at_mut(IV);
        let iv = Nonce::try_assume_unique_for_key(iv).ok()?;
        let plain = self.key.open_in_place(iv, Aad::empty(), sealed).ok()?;
        let (node, rest) = plain.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (at, _) = rest.split_first_chunk()?;
        let at = Timestamp::from_millis(i64::from_be_bytes(*at));
        Some((u16::from_be_bytes(*node), u64::from_be_bytes(*start), at))
    }
}
