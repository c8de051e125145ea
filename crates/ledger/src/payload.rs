//! Payloads: sealed beside the leaf under a key of their subject, committed to inside it.

use std::cell::RefCell;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use model::{Digest, EntryId};

use crate::{
    keys::{KeysError, StoredKey},
    leaf::PayloadMark,
    merkle::{sha256, sha256_of},
};

/// The longest payload, in bytes: with its leaf it fits one batch of the write-ahead log.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// What the commitment and the derived keys are for; both name the form's version.
const LABEL: &[u8] = b"payload/v1";
const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// How many random bytes a payload takes.
const FRESH: usize = NONCE_LEN + SALT_LEN;
/// How many bytes sealing adds: the nonce before, the salt inside, the tag behind.
pub(crate) const OVERHEAD: usize = NONCE_LEN + SALT_LEN + TAG_LEN;

/// What blinded values are for; no information of a payload's key starts like it.
const BLIND: &[u8] = b"blind/v1\0";

/// The key of a subject: payload keys are derived from it, one for each entry, and what blinds what the subject said. It
/// cannot be printed.
pub struct SubjectKey {
    id: String,
    /// The pseudorandom key of HKDF, ready to expand.
    root: hmac::Key,
}

/// Why a payload could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It was erased with its subject's key.
    #[error("the payload was erased by entry {0}")]
    Erased(u64),
    /// It was past its time.
    #[error("the payload was past its time, and expired by entry {0}")]
    Expired(u64),
    /// There is no such key, and no entry erased it.
    #[error(
        "the payload is sealed under the key `{0}`, which is not there, and no entry erased it"
    )]
    NoKey(String),
    /// It is not where it was put, and no entry erased it.
    #[error("the payload of entry {0} is gone, and no entry erased it")]
    Gone(u64),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The sealed bytes, or what they hold, are not what the leaf commits to.
    #[error("the payload is not the one that the leaf commits to: its {0} differs")]
    Differs(&'static str),
    /// The file that holds it could not be read.
    #[error("the payload could not be read")]
    Io(#[source] std::io::Error),
}

impl SubjectKey {
    /// The key of that name; leaves say the name.
    pub fn new(id: &str, secret: &[u8; 32]) -> Self {
        let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, LABEL), secret);
        Self { id: id.to_owned(), root: hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()) }
    }

    pub(crate) fn of(stored: &StoredKey) -> Self {
        Self::new(&stored.id, &stored.secret)
    }

    /// The name that leaves say.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Stands for something that the subject said, for one purpose: equal things of one subject look equal, and without the
    /// key nobody can find out by trying which it was (HMAC-SHA-256).
    pub fn blind(&self, purpose: &str, said: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.root);
        for part in [BLIND, purpose.as_bytes(), b"\0", said] {
            context.update(part);
        }
        let mut blinded = Digest::default();
        blinded.0.copy_from_slice(context.sign().as_ref());
        blinded
    }

    /// Seals a payload: a random nonce, then AES-256-GCM over a random salt and the payload.
    ///
    /// The salt inside makes the commitment hiding once the key is destroyed: a short payload cannot be guessed from it.
    pub(crate) fn seal(&self, id: EntryId, payload: &[u8]) -> Option<(Vec<u8>, PayloadMark)> {
        let mut sealed = Vec::with_capacity(payload.len() + OVERHEAD);
        sealed.extend_from_slice(&fresh()?);
        sealed.extend_from_slice(payload);
        let (nonce, plain) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let commit = commitment(plain);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.key(id)?.seal_in_place_separate_tag(nonce, Aad::from(LABEL), plain).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        let mark = PayloadMark {
            ciphertext: sha256_of(&sealed),
            commit,
            key: self.id.clone(),
            size: u32::try_from(payload.len()).ok()?,
        };
        Some((sealed, mark))
    }

    /// Opens a payload and checks it against everything that the leaf says of it.
    pub(crate) fn open(
        &self,
        id: EntryId,
        mark: &PayloadMark,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, PayloadError> {
        if mark.key != self.id {
            return Err(PayloadError::NoKey(mark.key.clone()));
        }
        if !is_sealed_form(mark, &sealed) {
            return Err(PayloadError::Differs("digest or size"));
        }
        let damaged = || PayloadError::Differs("key or seal");
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.key(id).ok_or_else(damaged)?;
        let plain = key.open_in_place(nonce, Aad::from(LABEL), rest).map_err(|_| damaged())?;
        if commitment(plain) != mark.commit {
            return Err(PayloadError::Differs("commitment"));
        }
        Ok(plain[SALT_LEN..].to_vec())
    }

    /// The key of one entry: the first block of HKDF-Expand with label and id, which is all that a key of 32 bytes needs
    /// ([RFC 5869 §2.3](https://www.rfc-editor.org/rfc/rfc5869#section-2.3)).
    fn key(&self, id: EntryId) -> Option<LessSafeKey> {
        let mut info = [1; LABEL.len() + 17];
        info[..LABEL.len()].copy_from_slice(LABEL);
        info[LABEL.len()..LABEL.len() + 16].copy_from_slice(&id.bits().to_be_bytes());
        let derived = hmac::sign(&self.root, &info);
        UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// Random bytes for one payload's nonce and salt. A draw from the system's generator costs as much as sealing a payload, so
/// each thread draws for several at a time and forgets what it has given out.
fn fresh() -> Option<[u8; FRESH]> {
    thread_local! {
        static DRAWN: RefCell<([u8; FRESH * 32], usize)> = const { RefCell::new(([0; FRESH * 32], 0)) };
    }
    DRAWN.with_borrow_mut(|(bytes, left)| {
        if *left == 0 {
            rand::fill(bytes).ok()?;
            *left = bytes.len();
        }
        *left -= FRESH;
        let mut given = [0; FRESH];
        given.swap_with_slice(&mut bytes[*left..*left + FRESH]);
        Some(given)
    })
}

/// Whether sealed bytes are the ones that the leaf names.
pub(crate) fn is_sealed_form(mark: &PayloadMark, sealed: &[u8]) -> bool {
    sealed.len() == mark.size as usize + OVERHEAD && sha256_of(sealed) == mark.ciphertext
}

/// The commitment to salt and payload, which lie one after the other.
fn commitment(salt_and_payload: &[u8]) -> Digest {
    sha256(&[LABEL, salt_and_payload])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: u8) -> SubjectKey {
        SubjectKey::new(id, &[secret; 32])
    }

    #[test]
    fn a_payload_opens_only_with_its_key_for_its_entry() {
        let id = EntryId::from_bits(1);
        let (sealed, mark) = key("k1", 1).seal(id, b"pay 5 EUR to Olivia").unwrap();
        let open = |key: SubjectKey, id| key.open(id, &mark, sealed.clone());
        assert_eq!(open(key("k1", 1), id).unwrap(), b"pay 5 EUR to Olivia");
        assert!(matches!(open(key("k2", 1), id), Err(PayloadError::NoKey(_))));
        assert!(matches!(open(key("k1", 2), id), Err(PayloadError::Differs(_))));
        assert!(matches!(open(key("k1", 1), EntryId::from_bits(2)), Err(PayloadError::Differs(_))));
    }

    #[test]
    fn the_key_of_an_entry_is_the_one_that_hkdf_gives() {
        use aws_lc_rs::hkdf;
        let id = EntryId::from_bits(77);
        let (sealed, mark) = key("k1", 1).seal(id, b"payload").unwrap();
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(&[1; 32]);
        let info = [LABEL, &id.bits().to_be_bytes()];
        let theirs = LessSafeKey::new(root.expand(&info, &AES_256_GCM).unwrap().into());
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().unwrap();
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = theirs.open_in_place(nonce, Aad::from(LABEL), &mut rest).unwrap();
        assert_eq!(&plain[SALT_LEN..], b"payload");
        assert_eq!(commitment(plain), mark.commit);
    }

    #[test]
    fn what_a_subject_said_twice_looks_equal_and_nothing_else_does() {
        let blind = |secret, purpose, said: &[u8]| key("k1", secret).blind(purpose, said);
        assert_eq!(blind(1, "call", b"yes"), blind(1, "call", b"yes"));
        let others = [
            blind(2, "call", b"yes"),
            blind(1, "result", b"yes"),
            blind(1, "call", b"no"),
            blind(1, "cal", b"l\0yes"),
            sha256_of(b"yes"),
        ];
        assert!(!others.contains(&blind(1, "call", b"yes")));
    }

    #[test]
    fn no_random_bytes_are_given_out_twice() {
        let drawn: std::collections::HashSet<_> = (0..200).map(|_| fresh().unwrap()).collect();
        assert_eq!(drawn.len(), 200);
    }

    #[test]
    fn a_changed_byte_or_commitment_is_noticed() {
        let (key, id) = (key("k1", 1), EntryId::from_bits(1));
        let (sealed, mark) = key.seal(id, b"").unwrap();
        assert_eq!(sealed.len(), OVERHEAD);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let forged = PayloadMark { ciphertext: sha256_of(&changed), ..mark.clone() };
            assert!(key.open(id, &mark, changed.clone()).is_err());
            assert!(key.open(id, &forged, changed).is_err());
        }
        let forged = PayloadMark { commit: Digest([0; 32]), ..mark };
        assert!(matches!(key.open(id, &forged, sealed), Err(PayloadError::Differs("commitment"))));
    }

    #[test]
    fn the_same_payload_twice_leaves_nothing_to_compare() {
        let key = key("k1", 1);
        let (_, one) = key.seal(EntryId::from_bits(1), b"yes").unwrap();
        let (_, two) = key.seal(EntryId::from_bits(2), b"yes").unwrap();
        assert_ne!(one.commit, two.commit);
        assert_ne!(one.ciphertext, two.ciphertext);
    }
}
