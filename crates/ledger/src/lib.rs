//! The tamper-evident log: leaves, a durable write-ahead log, Merkle tiles, signed checkpoints, sealed payloads.
//!
//! It knows bytes and leaves. Never here: what an agent may do, policy, SQL, HTTP, the current time (a leaf brings its
//! own moment).
//!
//! On disk a log is what [C2SP tlog-tiles](https://c2sp.org/tlog-tiles) and
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint) describe, so that programs we did not write can check it; beside
//! that stand `wal/` (what is acknowledged and not yet published), `payload/` (sealed payloads, outside the tree, so that
//! they can be erased) and `gap` (how many refusals could not be written).

// The simulated disk of the tests is in both: it names this crate from outside.
#[cfg(test)]
extern crate self as ledger;

mod anchor;
mod erasure;
mod export;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod gap;
mod handover;
mod keys;
mod leaf;
mod log;
mod medium;
mod merkle;
mod note;
mod open;
mod payload;
mod proof;
mod publish;
mod queue;
mod quorum;
mod read;
mod receipt;
mod restore;
mod seal;
mod segments;
mod sequence;
#[cfg(test)]
mod simulated;
mod submission;
mod tile;
mod timestamp;
pub mod verify;
mod wal;

pub use anchor::{HeadFile, stamped_at, stamped_sizes};
pub use erasure::EraseError;
pub use export::{ExportError, export};
pub use handover::{HandOverError, hand_over};
pub use keys::{
    Ended, KeyStore, KeysError, KeysInMemory, ORGANIZATION, PERIOD_MILLIS, PastKey, PayloadClass,
    SealedFor, Slot, StoredKey, SubjectKeys,
};
pub use leaf::{AgentMark, Draft, Leaf, LeafError, MAX_LEAF, PayloadMark};
pub use log::{
    AppendError, Appending, CloseError, Config, Head, Health, Keys, Log, Media, RESERVE, Receipt,
};
pub use medium::{Extent, FileId, Files, Medium};
pub use merkle::leaf_hash;
pub use note::{Checkpoint, CheckpointKey, NoteError, VerifierKey, WitnessKey};
pub use open::OpenError;
pub use payload::{MAX_PAYLOAD, PayloadError, SubjectKey};
pub use proof::{ProofError, Tiles, extends, includes};
pub use quorum::{TlogPolicy, TlogPolicyError, Witness, Witnessed, WitnessedError};
pub use read::{Entries, Entry, ReadError, Reader};
pub use receipt::{MAX_TLOG_PROOF, TlogProof, TlogProofError};
pub use restore::{KnownHead, Loss, Restore, RestoreError, TRUNCATED};
pub use seal::{SealError, Sealed};
pub use submission::{MAX_SUBMISSION, Submission, SubmissionError};
pub use timestamp::{MAX_TIMESTAMP, TimestampError, TimestampRequest};

/// Takes a lock that another thread may have left by panicking: what it guards is changed in one step each, so it is whole.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
