//! Proof of possession ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)): the sender of a request holds the key
//! that its token is bound to.
//!
//! A server checks in this order: [`Proof::check`] (the proof fits this request, now), that its thumbprint is the
//! token's `cnf`, [`Nonces::check`] where it wants nonces, and last [`Replays::check`], which is memory that only
//! genuine proofs may fill. That memory ends with the process: a proof that [`Proof::predates`] its start is
//! answered with a nonce challenge, since a fresh nonce of this start shows that it cannot have been used before.

mod nonces;
mod prover;
mod replays;
mod target;

use model::{
    Timestamp,
    ijson::{self, Json, JsonError},
};

pub use nonces::{Freshness, NonceError, Nonces};
pub use prover::Prover;
pub use replays::Replays;

use crate::{
    JwsError, Thumbprint, encoding,
    jws::{Compact, PAYLOAD, SeenHeader, Types},
    numeric_date,
};

/// The type of a proof.
pub const TYPE: &str = "dpop+jwt";
/// The longest proof, in bytes: a key, a URL, a nonce and hashes have some 800.
const MAX_LENGTH: usize = 4096;
/// The longest `jti` or nonce, in bytes: generous for a random id in any spelling.
const MAX_ID: usize = 256;

/// A proof that fits its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that was proved.
    pub thumbprint: Thumbprint,
    /// The proof's own name, unique for its key.
    pub jti: String,
    /// When it was made, by the sender's clock.
    pub iat: Timestamp,
    /// The server's nonce in it.
    pub nonce: Option<String>,
}

/// The request that a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, in the case that it was sent in.
    pub method: &'a str,
    /// The URL: the configured origin and the path, never what a `Host` header claims.
    pub url: &'a str,
    /// The access token sent along, which the proof must then name.
    pub access_token: Option<TokenHash>,
}

/// The SHA-256 of an access token, by which a proof names it (`ath`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not a sound proof, or its signature is not by the key inside it.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// Its claims are not I-JSON.
    #[error("the proof's claims cannot be read")]
    Json(#[from] JsonError),
    /// A claim is missing or has the wrong form.
    #[error("claim `{0}` of the proof is missing or malformed")]
    Claim(&'static str),
    /// For another method.
    #[error("the proof is for another method than the request's")]
    Method,
    /// For another URL.
    #[error("the proof is for another URL than `{0}`")]
    Url(String),
    /// Too old, or from the future.
    #[error(
        "the proof was not made within {0} seconds of now: make a fresh one for each request, and check the clock"
    )]
    Time(u32),
    /// For another access token, or none.
    #[error("the proof's `ath` does not name the access token sent with it")]
    AccessToken,
}

impl Proof {
    /// Checks one `DPoP` header against its request ([§4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3)).
    ///
    /// `iat` may lie up to `window_seconds` before or after `now`. More than one header is the caller's to refuse.
    ///
    /// # Errors
    /// [`ProofError`]
    pub fn check(
        header_value: &str,
        request: &Request<'_>,
        now: Timestamp,
        window_seconds: u32,
    ) -> Result<Self, ProofError> {
        Self::check_next(header_value, request, now, window_seconds, &SeenHeader::default())
    }

    /// Checks one more proof of a sender, whose header is read only when it is not the one `seen` before.
    ///
    /// # Errors
    /// [`ProofError`]
    pub fn check_next(
        header_value: &str,
        request: &Request<'_>,
        now: Timestamp,
        window_seconds: u32,
        seen: &SeenHeader,
    ) -> Result<Self, ProofError> {
        let compact = Compact::parse_with_key(header_value, MAX_LENGTH, seen)?;
        let key = compact.jwk().ok_or(JwsError::Parameter("jwk"))?.key();
        let claims = ijson::parse(compact.verify(key, Types::Exactly(TYPE))?, PAYLOAD)?;
        if text(&claims, "htm")? != request.method {
            return Err(ProofError::Method);
        }
        let url = text(&claims, "htu")?;
        if url != request.url {
            let url = target::normal(url).ok_or(ProofError::Claim("htu"))?;
            if target::normal(request.url) != Some(url) {
                return Err(ProofError::Url(request.url.to_owned()));
            }
        }
        let iat =
            claims.member("iat").and_then(numeric_date::of).ok_or(ProofError::Claim("iat"))?;
        let ahead = iat > now.plus_seconds(window_seconds);
        if ahead || now > iat.plus_seconds(window_seconds) {
            return Err(ProofError::Time(window_seconds));
        }
        if let Some(hash) = request.access_token
            && text(&claims, "ath").ok() != Some(&hash.text())
        {
            return Err(ProofError::AccessToken);
        }
        let jti = id(&claims, "jti")?.ok_or(ProofError::Claim("jti"))?;
        Ok(Self { thumbprint: key.thumbprint(), jti, iat, nonce: id(&claims, "nonce")? })
    }

    /// Whether the proof may have been used before a server that started at `start` could remember it.
    pub fn predates(&self, start: Timestamp) -> bool {
        self.iat.seconds() <= start.seconds()
    }
}

impl TokenHash {
    /// As it stands in a proof.
    fn text(self) -> String {
        encoding::encode(self.0)
    }
}

impl From<&str> for TokenHash {
    fn from(token: &str) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        Self(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

fn text<'c>(claims: &'c Json, name: &'static str) -> Result<&'c str, ProofError> {
    claims.member(name).and_then(Json::as_str).ok_or(ProofError::Claim(name))
}

/// A name chosen by the other side: bounded, because it is kept.
fn id(claims: &Json, name: &'static str) -> Result<Option<String>, ProofError> {
    match claims.member(name) {
        None => Ok(None),
        Some(Json::String(id)) if !id.is_empty() && id.len() <= MAX_ID => Ok(Some(id.clone())),
        Some(_) => Err(ProofError::Claim(name)),
    }
}

#[cfg(test)]
mod tests;
