//! The access token: `at+jwt` of [RFC 9068](https://www.rfc-editor.org/rfc/rfc9068), bound to a key, for one audience,
//! carrying its chain and its authority.
//!
//! **The binding.** `cnf` names the key. Without it the token counts for whoever has it, so it is an agent's own, says so by
//! its shape ([`Claims::is_bound`]), lives [`BEARER_SECONDS_MAX`] at the most and can be handed on to nobody. Nothing else
//! is ever signed or believed without `cnf`.
//!
//! **The chain.** `sub` is where it starts: the person, or the agent of a standing mandate. `act` nests the actors,
//! the current one outermost ([RFC 8693 §4.1](https://www.rfc-editor.org/rfc/rfc8693#section-4.1)). `links` names
//! every hop, the root's first: `links[0]` is the root's own standing (the person's consent or session, the mandate)
//! and has the token's `sub`; each further link is one delegation and has its delegate's `sub`, so the last link is
//! the current actor's. A token with n actors has n + 1 links, and ends no later than any of them.

use model::{
    Authority, Clause, Digest, EntryId, Foreign, LinkId, MAX_DEPTH, Seconds, TaskId, Timestamp,
    ijson::JsonError,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    JwsError, PublicKey, SignError, SigningKey, Thumbprint,
    jwk::short,
    jws::{self, Compact, Types},
    numeric_date,
};

/// The longest access token, in bytes: what common servers take as one header line.
pub const MAX_LENGTH: usize = 16 * 1024;
/// The type of an access token ([RFC 9068 §2.1](https://www.rfc-editor.org/rfc/rfc9068#section-2.1)).
pub const TYPE: &str = "at+jwt";
/// The longest life of a token that is bound to no key, in seconds.
pub const BEARER_SECONDS_MAX: Seconds = 300;

/// What an access token says. Moments are whole seconds in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The URI of the person, or of the agent under a standing mandate; no hop changes it.
    pub sub: String,
    /// The one place that may accept it.
    pub aud: String,
    /// The client that asked for it.
    pub client_id: String,
    /// When it was issued.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// The first moment at which it is over.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// Names this token: the id of its issuance entry.
    pub jti: EntryId,
    /// The key that must be proved with every use; none where the token counts for whoever has it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Who acts, and before it who acted; none when the subject acts itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// Who may exchange this token to act for its subject; none when nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_act: Option<MayAct>,
    /// What it allows; written as the one element of `authorization_details`.
    #[serde(rename = "authorization_details", with = "details")]
    pub authority: Authority,
    /// The piece of work that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Every hop of the chain, the root's first.
    pub links: Vec<Link>,
    /// The leaf hash of the issuance entry in the ledger.
    pub entry: Digest,
    /// The version of the acting agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Digest>,
    /// OAuth scopes, for clients and servers that know nothing finer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// The key that a token is bound to ([RFC 9449 §6.1](https://www.rfc-editor.org/rfc/rfc9449#section-6.1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Its thumbprint.
    pub jkt: Thumbprint,
}

/// An actor, and inside it the actor that it acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The actor's URI.
    pub sub: String,
    /// The actor before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

/// The one who may become the next actor ([RFC 8693 §4.4](https://www.rfc-editor.org/rfc/rfc8693#section-4.4)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// Its URI.
    pub sub: String,
}

/// One hop of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What a revocation names.
    pub id: LinkId,
    /// Who holds the link: the root, or the delegate.
    pub sub: String,
    /// The first moment at which the link is over.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
}

/// What a verifier expects of an access token.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Our issuer, byte for byte.
    pub issuer: &'a str,
    /// The token's audience must be one of these.
    pub audiences: &'a [&'a str],
    /// The moment.
    pub now: Timestamp,
    /// How far the clocks of issuer and verifier may differ.
    pub leeway_seconds: u32,
}

/// A chain that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// More actors than a chain may have.
    #[error("a chain has at most {MAX_DEPTH} actors")]
    Depth,
    /// Not one link for the root and one for every actor.
    #[error("a chain of {actors} actors has {} links, not {links}", actors + 1)]
    Count {
        /// How many actors there are.
        actors: usize,
        /// How many links there are.
        links: usize,
    },
    /// A link names somebody else than the subject or actor in its place.
    #[error("link {0} does not name the subject or actor in its place")]
    Order(usize),
    /// The token would be valid after one of its links.
    #[error("the token ends later than its link {0}")]
    Outlives(usize),
}

/// A token without a key that no such token may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token that is bound to no key is an agent's own, cannot be handed on, and lives {BEARER_SECONDS_MAX} s at the most"
)]
pub struct NoBearer;

/// Why a token was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Verifiers would refuse it without a key.
    #[error(transparent)]
    NoBearer(#[from] NoBearer),
    /// Verifiers would refuse its chain.
    #[error("the token's chain contradicts itself")]
    Chain(#[from] ChainError),
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Its authority has too many clauses to travel.
    #[error("the token would have {0} bytes, more than {MAX_LENGTH}: ask for fewer clauses")]
    TooLong(usize),
}

/// Why an access token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It is not a sound token of the right type, or its signature does not fit.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// No key of ours has its key id.
    #[error("the token names no key of this issuer")]
    UnknownKey,
    /// Its claims are not those of an access token of ours.
    #[error("the token's claims cannot be read")]
    Claims(#[from] JsonError),
    /// Another issuer.
    #[error("the token was issued by `{0}`, not by this issuer")]
    Issuer(Foreign),
    /// It is for somebody else.
    #[error("the token is for `{0}`: ask for one for this audience")]
    Audience(Foreign),
    /// It is over.
    #[error("the token is over: ask for a new one")]
    Expired,
    /// It claims to be issued in the future, or to end before it begins.
    #[error("the token's times are impossible: check the issuer's clock")]
    Times,
    /// It needs a key and has none.
    #[error(transparent)]
    NoBearer(#[from] NoBearer),
    /// Its chain contradicts itself.
    #[error("the token's chain contradicts itself")]
    Chain(#[from] ChainError),
}

/// Checks an access token of ours: type, signature, issuer, audience, times, binding and chain.
///
/// Left to the caller: the proof of possession for `cnf`, whether a token without one may count here, the live state of every link, and whether the ledger
/// knows `entry`.
///
/// # Errors
/// [`AccessError`]
pub fn verify_access<'k>(
    token: &str,
    keys: impl FnOnce(&str) -> Option<&'k PublicKey>,
    expect: &Expect<'_>,
) -> Result<Claims, AccessError> {
    let compact = Compact::parse(token, MAX_LENGTH)?;
    let key = compact.kid().and_then(keys).ok_or(AccessError::UnknownKey)?;
    let claims: Claims = jws::read(compact.verify(key, Types::Exactly(TYPE))?)?;
    if claims.iss != expect.issuer {
        return Err(AccessError::Issuer(short(&claims.iss)));
    }
    if !expect.audiences.contains(&claims.aud.as_str()) {
        return Err(AccessError::Audience(short(&claims.aud)));
    }
    if expect.now >= claims.exp.plus_seconds(expect.leeway_seconds) {
        return Err(AccessError::Expired);
    }
    if claims.iat > expect.now.plus_seconds(expect.leeway_seconds) || claims.exp <= claims.iat {
        return Err(AccessError::Times);
    }
    claims.check_binding()?;
    claims.check_chain()?;
    Ok(claims)
}

impl Claims {
    /// Signs the token. Its clauses end with it at the latest: what they would allow later, the token does not.
    ///
    /// # Errors
    /// [`IssueError`]; a token that [`verify_access`] would refuse for its chain or length is never issued.
    pub fn sign(&self, key: &SigningKey) -> Result<String, IssueError> {
        self.check_binding()?;
        self.check_chain()?;
        let end = Timestamp::from_seconds(self.exp.seconds());
        let token = if self.authority.clauses.iter().any(|clause| clause.expires > end) {
            let authority = ending(&self.authority, end);
            jws::sign(key, TYPE, &Self { authority, ..self.clone() })
        } else {
            jws::sign(key, TYPE, self)
        }?;
        if token.len() > MAX_LENGTH { Err(IssueError::TooLong(token.len())) } else { Ok(token) }
    }

    /// The URIs of the actors, the current one first.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        let acts = std::iter::successors(self.act.as_ref(), |act| act.act.as_deref());
        acts.map(|act| act.sub.as_str())
    }

    /// The URI of the one who acts now: the outermost actor, or the subject itself.
    pub fn acting(&self) -> &str {
        self.act.as_ref().map_or(&self.sub, |act| &act.sub)
    }

    /// Whether it counts only together with a key.
    pub fn is_bound(&self) -> bool {
        self.cnf.is_some()
    }

    /// What a token without a key must be. Its life is what it says itself, so a verifier needs no clock for this.
    fn check_binding(&self) -> Result<(), NoBearer> {
        let own = self.act.is_some()
            && self.may_act.is_none()
            && self.authority.depth == 0
            && self.aud != self.iss;
        let short = self.exp <= self.iat.plus_seconds(BEARER_SECONDS_MAX);
        if self.is_bound() || (own && short) { Ok(()) } else { Err(NoBearer) }
    }

    fn check_chain(&self) -> Result<(), ChainError> {
        let actors = self.actors().count();
        if actors > usize::from(MAX_DEPTH) {
            return Err(ChainError::Depth);
        }
        if self.links.len() != actors + 1 {
            return Err(ChainError::Count { actors, links: self.links.len() });
        }
        // From the current actor inwards to the root, as the links are from the last to the first.
        let holders = self.actors().chain([self.sub.as_str()]);
        for ((at, link), holder) in self.links.iter().enumerate().rev().zip(holders) {
            if link.sub != holder {
                return Err(ChainError::Order(at));
            }
            if link.exp < self.exp {
                return Err(ChainError::Outlives(at));
            }
        }
        Ok(())
    }
}

/// A member that may be missing and is never `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Confirmation>, D::Error> {
    Confirmation::deserialize(deserializer).map(Some)
}

fn ending(authority: &Authority, until: Timestamp) -> Authority {
    let cut = |clause: &Clause| Clause { expires: clause.expires.min(until), ..clause.clone() };
    Authority { clauses: authority.clauses.iter().map(cut).collect(), depth: authority.depth }
}

/// `authorization_details` ([RFC 9396](https://www.rfc-editor.org/rfc/rfc9396)) with exactly one element of our type.
mod details {
    use std::borrow::Cow;

    use model::Authority;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Type {
        #[serde(rename = "bailiwick")]
        Bailiwick,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Detail<'a> {
        r#type: Type,
        authority: Cow<'a, Authority>,
    }

    pub(super) fn serialize<S: Serializer>(
        authority: &Authority,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        [Detail { r#type: Type::Bailiwick, authority: Cow::Borrowed(authority) }]
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Authority, D::Error> {
        let [detail] = <[Detail<'static>; 1]>::deserialize(deserializer)?;
        Ok(detail.authority.into_owned())
    }
}

#[cfg(test)]
mod tests;
