//! Who is calling: an access token that we issued, and proof that the caller holds its key, where it has one.

use std::sync::{Arc, atomic::Ordering};

use model::{Digest, IdentityId};
use token::{
    Claims, SeenHeader, Thumbprint,
    dpop::{self, Freshness, Proof, TokenHash},
};

use crate::engine::Engine;

/// How old a proof of possession may be, in seconds.
pub const PROOF_WINDOW_SECONDS: u32 = 60;
/// The most verified tokens that are remembered; beyond it the memory starts anew.
const MAX_CACHED: usize = 100_000;

/// Somebody whose token and proof were verified.
#[derive(Debug)]
pub struct Caller {
    /// What the token says.
    pub claims: Claims,
    /// The person whom everything is done for.
    pub person: IdentityId,
    /// The agents of the chain, nearest the person first; the last one is calling. Empty for a person's own session.
    pub agents: Vec<IdentityId>,
    /// How their proofs start.
    pub(crate) proof_header: SeenHeader,
}

/// What a request presents.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `DPoP` header.
    pub proof: Option<&'a str>,
    /// The request's method.
    pub method: &'a str,
    /// The request's URL as configured, without query.
    pub url: &'a str,
    /// Whom the token must be meant for.
    pub audience: &'a str,
    /// Whether a token that is bound to no key counts here.
    pub may_be_unbound: bool,
}

/// Why a caller is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthenticated {
    /// There is no token.
    #[error("no access token was presented")]
    Missing,
    /// A bound token needs the scheme `DPoP`.
    #[error("tokens are bound to a key; present them with the scheme `DPoP` and a proof")]
    Scheme,
    /// A token without a key, where it may not count or is said to have one.
    #[error(
        "this token is bound to no key: it counts as `Bearer` alone, at the gateway, while the blueprints of all its agents say `sender = \"bearer\"`"
    )]
    Unbound,
    /// The token is not ours, not for here, or over.
    #[error("the access token is not valid: {0}")]
    Token(String),
    /// The ledger does not hold the token's issuance.
    #[error("the ledger did not issue this token")]
    NotIssued,
    /// The proof does not fit.
    #[error("the proof of possession is not valid: {0}")]
    Proof(String),
    /// The proof needs a nonce of this node.
    #[error("the proof needs a nonce from this server")]
    UseNonce,
    /// The clock went back.
    #[error("the clock of this node cannot be trusted")]
    Clock,
}

impl Caller {
    /// Who is calling.
    pub fn current(&self) -> &IdentityId {
        self.agents.last().unwrap_or(&self.person)
    }

    /// Whether this is a person's own session, without an agent and without a task.
    pub fn is_own_session(&self) -> bool {
        self.agents.is_empty() && self.claims.scope.as_deref() == Some("session")
    }

    /// Everyone of the chain, the person first.
    pub fn chain(&self) -> Vec<IdentityId> {
        std::iter::once(self.person.clone()).chain(self.agents.iter().cloned()).collect()
    }
}

impl Engine {
    /// Believes a caller who presents a token of ours with a fresh proof of its key, or one that needs none here.
    ///
    /// # Errors
    /// [`NotAuthenticated`] says what to present instead.
    pub fn authenticate(&self, presented: Presented<'_>) -> Result<Arc<Caller>, NotAuthenticated> {
        let header = presented.authorization.ok_or(NotAuthenticated::Missing)?;
        let (scheme, token) = header.split_once(' ').ok_or(NotAuthenticated::Missing)?;
        let proved = scheme.eq_ignore_ascii_case("DPoP");
        let unproved = presented.may_be_unbound && scheme.eq_ignore_ascii_case("Bearer");
        let hash = token.into();
        let caller = match self.verified_as(token, hash, presented.audience) {
            Ok(caller) => caller,
            Err(why) if proved || unproved => return Err(why),
            Err(_) => return Err(NotAuthenticated::Scheme),
        };
        let counts = match (caller.claims.cnf, proved) {
            (Some(bound), true) => self.check_possession(&caller, bound.jkt, hash, &presented),
            (Some(_), false) => Err(NotAuthenticated::Scheme),
            (None, _) if unproved => self.check_unbound(&caller),
            (None, _) => Err(NotAuthenticated::Unbound),
        };
        match counts {
            Ok(()) => Ok(caller),
            Err(NotAuthenticated::UseNonce) => Err(NotAuthenticated::UseNonce),
            // Whoever has the token without its key may have stolen it: its owner wants to know.
            Err(why) => {
                self.note_unproven(&caller, &why);
                Err(why)
            }
        }
    }

    /// Checks that the caller holds the key that their token is bound to.
    fn check_possession(
        &self,
        caller: &Caller,
        bound: Thumbprint,
        token: TokenHash,
        presented: &Presented<'_>,
    ) -> Result<(), NotAuthenticated> {
        let request = dpop::Request {
            method: presented.method,
            url: presented.url,
            access_token: Some(token),
        };
        let missing = || NotAuthenticated::Proof("it is missing".to_owned());
        let proof = presented.proof.ok_or_else(missing)?;
        self.check_proof(proof, &request, Some(bound), &caller.proof_header).map(drop)
    }

    /// Checks a proof of possession: signature, window, the key where one is `bound`, nonce, and that it was never seen.
    pub(crate) fn check_proof(
        &self,
        proof: &str,
        request: &dpop::Request<'_>,
        bound: Option<Thumbprint>,
        seen: &SeenHeader,
    ) -> Result<Proof, NotAuthenticated> {
        let wrong = |why: &str| NotAuthenticated::Proof(why.to_owned());
        let now = self.context.sure_now().map_err(|_| NotAuthenticated::Clock)?;
        let proof = Proof::check_next(proof, request, now, PROOF_WINDOW_SECONDS, seen)
            .map_err(|why| wrong(&why.to_string()))?;
        if bound.is_some_and(|bound| bound != proof.thumbprint) {
            return Err(wrong("it was made with another key than the token's"));
        }
        match proof.nonce.as_deref().map(|nonce| self.nonces.check(nonce, now)) {
            Some(Freshness::Fresh) => {}
            None | Some(_) => return Err(NotAuthenticated::UseNonce),
        }
        if self.replays.check(&proof, now) { Ok(proof) } else { Err(wrong("it was used before")) }
    }

    /// A nonce for the next proof; `None` when the operating system gives no randomness, and then no proof will pass.
    pub fn nonce(&self) -> Option<String> {
        self.nonces.issue(self.context.now()).ok()
    }

    /// Verifies a token's signature and claims, or remembers that it did. A stop or a revocation empties the memory.
    pub(crate) fn verified(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<Arc<Caller>, NotAuthenticated> {
        self.verified_as(token, token.into(), audience)
    }

    /// The same of a token whose hash is known already.
    fn verified_as(
        &self,
        token: &str,
        hash: TokenHash,
        audience: &str,
    ) -> Result<Arc<Caller>, NotAuthenticated> {
        let now = self.context.sure_now().map_err(|_| NotAuthenticated::Clock)?;
        let digest = Digest(hash.0);
        let known = self.verified.get(&digest).map(|caller| caller.clone());
        let caller = match known {
            Some(caller) => caller,
            None => {
                let caller = Arc::new(self.verify_anew(token, audience)?);
                if self.verified.len() >= MAX_CACHED {
                    self.verified.clear();
                }
                self.verified.insert(digest, caller.clone());
                self.counters.tokens_verified.fetch_add(1, Ordering::Relaxed);
                caller
            }
        };
        if caller.claims.aud != audience {
            return Err(NotAuthenticated::Token("it is meant for somebody else".to_owned()));
        }
        if caller.claims.exp <= now {
            return Err(NotAuthenticated::Token("it has expired".to_owned()));
        }
        if !self.tasks.is_issued(caller.claims.entry) {
            tracing::error!(code = "BW-1101", token = %caller.claims.jti, "a used token was never issued by this ledger");
            self.note_unproven(&caller, &NotAuthenticated::NotIssued);
            return Err(NotAuthenticated::NotIssued);
        }
        Ok(caller)
    }

    fn verify_anew(&self, token: &str, audience: &str) -> Result<Caller, NotAuthenticated> {
        let wrong = |why: String| NotAuthenticated::Token(why);
        let claims = self
            .issuer
            .verify(token, audience, self.context.now())
            .map_err(|why| wrong(why.to_string()))?;
        let identity = |uri: &str| {
            self.context
                .realm
                .identity(uri)
                .ok_or_else(|| wrong(format!("`{uri}` is not of this realm")))
        };
        let person = identity(&claims.sub)?;
        let mut agents = Vec::new();
        let mut actor = claims.act.as_ref();
        while let Some(current) = actor {
            agents.push(identity(&current.sub)?);
            actor = current.act.as_deref();
        }
        agents.reverse();
        if !person.is_person() || agents.iter().any(IdentityId::is_person) {
            return Err(wrong("a chain starts with a person and goes on with agents".to_owned()));
        }
        Ok(Caller { claims, person, agents, proof_header: SeenHeader::default() })
    }
}
