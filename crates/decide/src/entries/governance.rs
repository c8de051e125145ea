//! What people changed.

use model::Digest;
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// A governance object changed.
    Governed "governance" {
        /// Whether rights widen by it.
        widens: bool,
        /// What kind of object.
        object: String,
        /// Its key.
        key: String,
        /// Its new version.
        version: u64,
        /// SHA-256 over its new content.
        digest: Digest,
    }
}
