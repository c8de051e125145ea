//! What was erased.

use model::IdentityId;
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// What was sealed for a subject was erased with its keys. The ledger reads `keys` itself.
    Erased "erasure" {
        /// The names of the keys that are destroyed.
        keys: Vec<String>,
        /// Whose they were.
        subject: Option<IdentityId>,
    }
}
