//! What was issued, and what was withdrawn.

use model::{Digest, LinkId, Sender, Timestamp};
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// A token was issued.
    TokenIssued "token" {
        /// Where it is accepted.
        audience: String,
        /// When it ends.
        expires: Timestamp,
        /// The thumbprint of the key it is bound to; none where it is bound to none.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The delegation it carries, where it adds one.
        #[serde(skip_serializing_if = "Option::is_none")]
        link: Option<LinkId>,
        /// What was used up to get it: the digest of an assertion's issuer and id.
        #[serde(skip_serializing_if = "Option::is_none")]
        mark: Option<Digest>,
        /// Until when that may not be used again.
        #[serde(skip_serializing_if = "Option::is_none")]
        mark_until: Option<Timestamp>,
        /// `bearer` where it is bound to no key.
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
        /// `session`, `task`, `on_behalf_of` or `hand_over`.
        use_as: String,
        /// The token's own id.
        token: String,
    }

    /// Delegations were withdrawn.
    Revoked "revoked" {
        /// Which.
        links: Vec<LinkId>,
        /// When the last of them would have ended by itself.
        until: Timestamp,
    }
}
