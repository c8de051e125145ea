//! What was erased, or has expired.

use model::{IdentityId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// What was sealed for a subject was erased with its keys. The ledger reads `keys` itself.
    Erased "erasure" {
        /// The names of the keys that are destroyed.
        keys: Vec<String>,
        /// Whose they were.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<IdentityId>,
    }

    /// What was past its time is erased with its keys. The ledger reads `keys` and `until` itself.
    Expired "expiry" {
        /// Which class of payloads it was.
        class: String,
        /// For how many days they are kept.
        days: u32,
        /// The names of the keys that are destroyed.
        keys: Vec<String>,
        /// Before which moment all of them were sealed.
        until: Timestamp,
    }
}
