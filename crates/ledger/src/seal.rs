//! From a draft to a sealed record: hashed, encrypted and framed on the caller's thread, before it is appended.

use std::sync::Arc;

use model::{Digest, EntryId, Realm, Timestamp};

use crate::{
    keys::{KeysError, SubjectKeys},
    leaf::{Draft, LeafError},
    payload::{MAX_PAYLOAD, SubjectKey},
    wal,
};

/// The kinds that the log can find again by id start like this: what an outbox moves must be moved once.
const MOVED_ONCE: &str = "governance";

/// A record ready to append. Its hash is known already, so parents and tokens can name it.
pub struct Sealed {
    pub(crate) frame: Vec<u8>,
    pub(crate) hash: Digest,
    pub(crate) id: EntryId,
    pub(crate) at: Timestamp,
    pub(crate) found_again: bool,
    /// The key of its payload is in use until it has its place in the log.
    _key: Option<Arc<SubjectKey>>,
}

/// Why a draft was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The leaf says something that the form does not allow.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The payload is longer than a record can carry.
    #[error("a payload of {0} bytes; at most 1 MiB is sealed, so keep a digest of the rest")]
    PayloadTooLong(usize),
    /// Its subject's key is out of reach.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The cryptographic library refused.
    #[error("the payload could not be encrypted")]
    Crypto,
}

impl Sealed {
    /// The leaf hash by which other entries and tokens name this one.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The entry's id.
    pub fn id(&self) -> EntryId {
        self.id
    }
}

/// Whether entries of this kind are found again by id. What says that something is missing is, so that it is said once after a
/// crash.
pub(crate) fn is_found_again(kind: &str) -> bool {
    kind.starts_with(MOVED_ONCE) || kind == crate::gap::KIND || kind == crate::restore::TRUNCATED
}

pub(crate) fn seal(
    mut draft: Draft,
    realm: &Realm,
    keys: &SubjectKeys,
) -> Result<Sealed, SealError> {
    let mut key = None;
    let (payload, mark) = match draft.payload.take() {
        None => (Vec::new(), None),
        Some(payload) if payload.len() > MAX_PAYLOAD => {
            return Err(SealError::PayloadTooLong(payload.len()));
        }
        Some(payload) => {
            let key = key.insert(keys.of(&draft.whose())?);
            let (sealed, mark) = key.seal(draft.id, &payload).ok_or(SealError::Crypto)?;
            (sealed, Some(mark))
        }
    };
    let (frame, hash) = wal::frame(&payload, |out| draft.write(realm, mark.as_ref(), out))?;
    let Draft { id, at, kind, .. } = draft;
    Ok(Sealed { frame, hash, id, at, found_again: is_found_again(&kind), _key: key })
}
