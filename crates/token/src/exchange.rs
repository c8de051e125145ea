//! One hop of a chain ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)): what an actor gets who presents a token
//! that was meant for it. A pure decision; everything in the result is at most what it was.
//!
//! **Who may.** The subject token's `may_act` decides, not the shape of the request: without it, or naming somebody
//! else, nothing is exchanged. So a token that is to be handed to a sub-agent must say so when it is issued: the
//! current actor asks for `may_act` in its own exchange, and gets it only for a child that [`Limits::children`]
//! names (what its blueprint allows), that is not in the chain yet, and while the authority may still be passed on.
//! `may_act` is never inherited: each hop asks anew.
//!
//! **What.** Authority is subject ∩ what the actor itself may do now, or the wish, which must lie within that whole.
//! The hop costs one of the subject's `depth`; the actor's own `depth` bounds what is left after it, so an actor that
//! may pass on nothing (depth 0) can still act.
//!
//! **Where.** `audience` and `resource` name the same place or nothing is given. A token addressed to its own issuer
//! is there to be exchanged and may become a token for any place that [`Limits::audiences`] names; any other token
//! stays with its audience, which must still be named there.
//!
//! **Until when.** The earliest of: the subject token's end, every link's end, the wish, the cap.
//!
//! Left to the caller: that the subject token is verified and bound to its presenter's proof where it must be, that
//! the actor is authenticated with `thumbprint`, and that every link, actor and version is in good standing now.

use model::{
    Authority, Digest, EntryId, Foreign, LinkId, MAX_DEPTH, Seconds, TaskId, Timestamp, Widened,
};

use crate::{
    Claims, Thumbprint,
    claims::{Act, Confirmation, Link, MayAct},
    jwk::short,
};

/// The one who acts next.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// Its URI.
    pub uri: &'a str,
    /// The version it runs; none for what has none.
    pub version: Option<Digest>,
    /// The key that it proved, which the new token is bound to; none where it may do without and proved none.
    pub thumbprint: Option<Thumbprint>,
    /// What it may do itself, at this moment.
    pub held: &'a Authority,
}

/// What the actor asks for; what it does not name is not narrowed further than it must be.
#[derive(Debug, Clone, Default)]
pub struct Wish<'a> {
    /// Where the token is to be used ([RFC 8693 §2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1)).
    pub audience: Option<&'a str>,
    /// The same, as a URI ([RFC 8707](https://www.rfc-editor.org/rfc/rfc8707)).
    pub resource: Option<&'a str>,
    /// What it is to allow.
    pub authority: Option<Authority>,
    /// How long it is to live.
    pub ttl_seconds: Option<Seconds>,
    /// The child that it is to be handed to.
    pub may_act: Option<&'a str>,
}

/// What the server allows at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The longest life of a token for this actor.
    pub ttl_cap_seconds: Seconds,
    /// Where this actor's tokens may be used.
    pub audiences: &'a [&'a str],
    /// The most actors in a chain; never more than [`MAX_DEPTH`].
    pub max_depth: u8,
    /// The URIs of those that the actor may hand its token to.
    pub children: &'a [&'a str],
}

/// What the actor gets: everything of the next token but who issues it, and its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// Still the same.
    pub sub: String,
    /// The new actor outermost, the old chain inside.
    pub act: Act,
    /// At most the subject's and at most the actor's own.
    pub authority: Authority,
    /// The one place.
    pub audience: String,
    /// No later than the subject token or any link of it; whole seconds.
    pub expires: Timestamp,
    /// The old links, and the new one last.
    pub links: Vec<Link>,
    /// The child that may go on.
    pub may_act: Option<MayAct>,
    /// The subject's task.
    pub task: Option<TaskId>,
    /// The subject's scope.
    pub scope: Option<String>,
    /// The actor's version.
    pub version: Option<Digest>,
    /// The actor's key, where it proved one.
    pub thumbprint: Option<Thumbprint>,
}

/// What issuing adds.
#[derive(Debug, Clone, Copy)]
pub struct Issuance<'a> {
    /// Who issues.
    pub issuer: &'a str,
    /// The client that asked.
    pub client_id: &'a str,
    /// When.
    pub at: Timestamp,
    /// The id of the issuance entry.
    pub jti: EntryId,
    /// Its leaf hash.
    pub entry: Digest,
}

/// Why a token is not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Whoever has the subject token could have it exchanged.
    #[error("the subject token is bound to no key, and such a token is not exchanged")]
    Unbound,
    /// Nobody may act with the subject token.
    #[error("the subject token carries no `may_act`: ask its holder for one that names you")]
    NotExchangeable,
    /// Somebody else may.
    #[error("the subject token may be exchanged by `{0}` alone")]
    OtherActor(Foreign),
    /// The actor would stand in the chain twice.
    #[error("`{0}` is in the chain already")]
    Cycle(Foreign),
    /// Too many actors.
    #[error("the chain may have at most {0} actors")]
    TooDeep(u8),
    /// The authority was given without the right to pass it on, or that right is used up.
    #[error("this authority may not be passed on any further")]
    Exhausted,
    /// The wish goes beyond what subject and actor have in common.
    #[error(transparent)]
    Widened(#[from] Widened),
    /// Subject and actor have nothing in common that is not over.
    #[error("subject and actor have no authority in common: the actor may do nothing here")]
    Nothing,
    /// `audience` and `resource` differ.
    #[error("`audience` and `resource` must name the same place")]
    Disagree,
    /// The token may not be used there.
    #[error("this token cannot be exchanged for one for `{0}`")]
    Audience(Foreign),
    /// There are several places, or none, and none was named.
    #[error("name the `audience` that the token is for")]
    NoAudience,
    /// Nothing is left of the subject token's or a link's life.
    #[error("the subject token or a link of its chain is over")]
    Ended,
    /// The actor may not hand its token to that one.
    #[error("the token cannot be made for `{0}` to act with: it is no child of the actor")]
    NotAChild(Foreign),
}

/// Decides one hop. `link` is the fresh id of the new link.
///
/// # Errors
/// [`ExchangeError`]; nothing is ever cut down silently but lifetimes.
pub fn narrow(
    subject: &Claims,
    actor: &Actor<'_>,
    wish: Wish<'_>,
    link: LinkId,
    limits: &Limits<'_>,
) -> Result<Narrowed, ExchangeError> {
    check_actor(subject, actor, limits)?;
    let audience = audience(subject, &wish, limits)?;
    let expires = expiry(subject, &wish, limits)?;
    let authority = authority(subject, actor, wish.authority, expires, limits.now)?;
    let may_act = match wish.may_act {
        None => None,
        Some(child) => Some(may_act(subject, actor, child, &authority, limits)?),
    };
    let mut links = subject.links.clone();
    links.push(Link { id: link, sub: actor.uri.to_owned(), exp: expires });
    Ok(Narrowed {
        sub: subject.sub.clone(),
        act: Act { sub: actor.uri.to_owned(), act: subject.act.clone().map(Box::new) },
        authority,
        audience: audience.to_owned(),
        expires,
        links,
        may_act,
        task: subject.task,
        scope: subject.scope.clone(),
        version: actor.version,
        thumbprint: actor.thumbprint,
    })
}

impl Narrowed {
    /// The claims of the token, once its issuance is recorded.
    pub fn into_claims(self, issuance: &Issuance<'_>) -> Claims {
        Claims {
            iss: issuance.issuer.to_owned(),
            sub: self.sub,
            aud: self.audience,
            client_id: issuance.client_id.to_owned(),
            iat: issuance.at,
            exp: self.expires,
            jti: issuance.jti,
            cnf: self.thumbprint.map(|jkt| Confirmation { jkt }),
            act: Some(self.act),
            may_act: self.may_act,
            authority: self.authority,
            task: self.task,
            links: self.links,
            entry: issuance.entry,
            version: self.version,
            scope: self.scope,
        }
    }
}

fn check_actor(
    subject: &Claims,
    actor: &Actor<'_>,
    limits: &Limits<'_>,
) -> Result<(), ExchangeError> {
    if !subject.is_bound() {
        return Err(ExchangeError::Unbound);
    }
    let may_act = subject.may_act.as_ref().ok_or(ExchangeError::NotExchangeable)?;
    if may_act.sub != actor.uri {
        return Err(ExchangeError::OtherActor(short(&may_act.sub)));
    }
    if in_chain(subject, actor.uri) {
        return Err(ExchangeError::Cycle(short(actor.uri)));
    }
    let deepest = limits.max_depth.min(MAX_DEPTH);
    if subject.actors().count() >= usize::from(deepest) {
        return Err(ExchangeError::TooDeep(deepest));
    }
    Ok(())
}

fn in_chain(subject: &Claims, uri: &str) -> bool {
    subject.sub == uri || subject.actors().any(|actor| actor == uri)
}

fn audience<'a>(
    subject: &'a Claims,
    wish: &Wish<'a>,
    limits: &Limits<'a>,
) -> Result<&'a str, ExchangeError> {
    let wished = match (wish.audience, wish.resource) {
        (Some(audience), Some(resource)) if audience != resource => {
            return Err(ExchangeError::Disagree);
        }
        (audience, resource) => audience.or(resource),
    };
    let to_be_exchanged = subject.aud == subject.iss;
    let audience = match (wished, limits.audiences) {
        (Some(wished), _) => wished,
        (None, _) if !to_be_exchanged => &subject.aud,
        (None, [only]) => only,
        (None, _) => return Err(ExchangeError::NoAudience),
    };
    let within = to_be_exchanged || audience == subject.aud;
    if within && limits.audiences.contains(&audience) {
        Ok(audience)
    } else {
        Err(ExchangeError::Audience(short(audience)))
    }
}

fn expiry(
    subject: &Claims,
    wish: &Wish<'_>,
    limits: &Limits<'_>,
) -> Result<Timestamp, ExchangeError> {
    let life =
        wish.ttl_seconds.map_or(limits.ttl_cap_seconds, |ttl| ttl.min(limits.ttl_cap_seconds));
    let ends = subject.links.iter().map(|link| link.exp).chain([subject.exp]);
    let expires = ends.fold(limits.now.plus_seconds(life), Timestamp::min);
    // Whole seconds, as the token will say it: what is decided is what is signed.
    let expires = Timestamp::from_seconds(expires.seconds());
    if expires > limits.now { Ok(expires) } else { Err(ExchangeError::Ended) }
}

fn authority(
    subject: &Claims,
    actor: &Actor<'_>,
    wish: Option<Authority>,
    expires: Timestamp,
    now: Timestamp,
) -> Result<Authority, ExchangeError> {
    // The hop is paid from the subject's depth; the actor's own bounds what remains after it.
    let remaining = subject.authority.depth.checked_sub(1).ok_or(ExchangeError::Exhausted)?;
    let remaining = remaining.min(actor.held.depth);
    let common = subject.authority.intersect(actor.held)?;
    let common = Authority { depth: remaining + 1, ..common };
    let wish = wish.unwrap_or_else(|| Authority { depth: remaining, ..common.clone() });
    let authority = common.attenuate(&wish, expires)?;
    if authority.is_over(now) { Err(ExchangeError::Nothing) } else { Ok(authority) }
}

fn may_act(
    subject: &Claims,
    actor: &Actor<'_>,
    child: &str,
    authority: &Authority,
    limits: &Limits<'_>,
) -> Result<MayAct, ExchangeError> {
    if !limits.children.contains(&child) {
        return Err(ExchangeError::NotAChild(short(child)));
    }
    if child == actor.uri || in_chain(subject, child) {
        return Err(ExchangeError::Cycle(short(child)));
    }
    if authority.depth == 0 {
        return Err(ExchangeError::Exhausted);
    }
    Ok(MayAct { sub: child.to_owned() })
}

#[cfg(test)]
mod tests;
