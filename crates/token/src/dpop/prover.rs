use model::{Timestamp, ijson::Json};
use serde::Serialize;

use super::{Request, TYPE, TokenHash};
use crate::{SignError, SigningKey, encoding, jws, numeric_date};

/// A client's side of proving: its key, and the header with the public half, written once.
pub struct Prover {
    key: SigningKey,
    header: String,
}

#[derive(Serialize)]
struct ProofClaims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    #[serde(with = "numeric_date")]
    iat: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl Prover {
    /// Proves possession of this key.
    pub fn new(key: SigningKey) -> Self {
        let header = Json::object([
            ("typ", Json::String(TYPE.to_owned())),
            ("alg", Json::String(key.public().algorithm().name().to_owned())),
            ("jwk", key.public().to_jwk()),
        ]);
        Self { header: encoding::encode(header.canonical()), key }
    }

    /// The key, for what else its holder signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A proof for one request, with the server's latest nonce and a `jti` that is used once.
    ///
    /// # Errors
    /// [`SignError`]
    pub fn prove(
        &self,
        request: &Request<'_>,
        nonce: Option<&str>,
        now: Timestamp,
        jti: &str,
    ) -> Result<String, SignError> {
        let claims = ProofClaims {
            jti,
            htm: request.method,
            htu: request.url.split(['?', '#']).next().unwrap_or_default(),
            iat: now,
            ath: request.access_token.map(TokenHash::text),
            nonce,
        };
        jws::assemble(&self.key, self.header.clone(), &claims)
    }
}
