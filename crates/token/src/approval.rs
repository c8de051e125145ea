//! A person's signature over exactly one thing: yes or no to one request for approval, for one issuer, for minutes.
//!
//! The digest binds everything that may move (arguments, policies, tool, grants, chain); what it is computed from is
//! the caller's. Whether the person may decide, and that an approval counts once, is the caller's as well.

use model::{ApprovalId, Digest, Foreign, Timestamp, ijson::JsonError};
use serde::{Deserialize, Serialize};

use crate::{
    JwsError, PublicKey, SignError, SigningKey,
    jwk::short,
    jws::{self, Compact, Types},
    numeric_date,
};

/// The type of a signed approval.
pub const TYPE: &str = "bailiwick-approval+jwt";
/// Eight short claims need some 600 bytes, a reason at most 2,000 more.
const MAX_LENGTH: usize = 4096;
/// How far the clocks of two machines may differ.
const LEEWAY_SECONDS: u32 = 30;

/// What the person decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Approve,
    /// It may not.
    Deny,
}

/// What a person signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The person's URI.
    pub iss: String,
    /// The issuer whose request it is.
    pub aud: String,
    /// Which request.
    pub approval: ApprovalId,
    /// What the request is about, with everything that may move.
    pub digest: Digest,
    /// The request's nonce, so that no signature can be prepared ahead.
    pub nonce: String,
    /// Yes or no.
    pub verdict: Verdict,
    /// Why, in the person's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was signed.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// The first moment at which it is over.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
}

/// The request that the signature must be for.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Our issuer.
    pub issuer: &'a str,
    /// The request's id.
    pub approval: ApprovalId,
    /// What it is about now.
    pub digest: Digest,
    /// Its nonce.
    pub nonce: &'a str,
    /// The moment.
    pub now: Timestamp,
    /// How far ahead the signature may end.
    pub max_life_seconds: u32,
}

/// Why a signed approval is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Not a sound token of the right type, or its signature does not fit.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// Its claims are not those of an approval.
    #[error("the approval's claims cannot be read")]
    Claims(#[from] JsonError),
    /// Nobody of that name has a key of that id.
    #[error("no key is registered for `{0}` under the key id of the approval")]
    UnknownKey(Foreign),
    /// For another issuer.
    #[error("the approval was signed for another issuer")]
    Audience,
    /// For another request.
    #[error("the approval was signed for another request")]
    Request,
    /// What was asked has changed since.
    #[error("what was approved is not what is asked now: look at the request again and sign anew")]
    Digest,
    /// Not for this showing of the request.
    #[error(
        "the approval does not carry the request's nonce: load the request again and sign anew"
    )]
    Nonce,
    /// It is over, from the future, or valid for too long.
    #[error(
        "the approval must be signed now and end within {0} seconds: sign anew, and check the clock"
    )]
    Time(u32),
}

/// Signs an approval with the person's own key; its `kid` is the key's thumbprint.
///
/// # Errors
/// [`SignError`]
pub fn create(key: &SigningKey, approval: &Approval) -> Result<String, SignError> {
    jws::sign(key, TYPE, approval)
}

/// Checks a signed approval against the request it must be for, with the one key that `key_of` finds for the
/// person and key id.
///
/// # Errors
/// [`ApprovalError`]
pub fn check(
    jwt: &str,
    expect: &Expect<'_>,
    key_of: impl FnOnce(&str, Option<&str>) -> Option<PublicKey>,
) -> Result<Approval, ApprovalError> {
    let compact = Compact::parse(jwt, MAX_LENGTH)?;
    let approval: Approval = jws::read(compact.unverified())?;
    let key = key_of(&approval.iss, compact.kid())
        .ok_or_else(|| ApprovalError::UnknownKey(short(&approval.iss)))?;
    compact.verify(&key, Types::Exactly(TYPE))?;
    if approval.aud != expect.issuer {
        return Err(ApprovalError::Audience);
    }
    if approval.approval != expect.approval {
        return Err(ApprovalError::Request);
    }
    if approval.digest != expect.digest {
        return Err(ApprovalError::Digest);
    }
    if approval.nonce != expect.nonce {
        return Err(ApprovalError::Nonce);
    }
    let ahead = expect.now.plus_seconds(LEEWAY_SECONDS);
    let over = expect.now >= approval.exp.plus_seconds(LEEWAY_SECONDS);
    let early = approval.iat > ahead || approval.exp <= approval.iat;
    if over || early || approval.exp > ahead.plus_seconds(expect.max_life_seconds) {
        return Err(ApprovalError::Time(expect.max_life_seconds));
    }
    Ok(approval)
}

#[cfg(test)]
mod tests;
