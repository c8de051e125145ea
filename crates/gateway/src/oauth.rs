//! The client side of MCP authorization: who issues tokens for a server, who we are there, and how a token is bought.
//!
//! Both revisions, 2025-11-25 and 2026-07-28: protected resource metadata, metadata of the authorization server, a client
//! identity (configured, by a metadata document, or registered), authorization code with PKCE, client credentials, refresh,
//! revocation. Everything goes through the one outbound client: no redirects, no special-use addresses, bounded.
//!
//! Never here: for whom a token is, where it is kept, who may link what. Nothing that a server says is believed beyond its
//! own origin: metadata of another resource, another issuer or another state ends the flow.

mod authorize;
mod challenge;
mod discovery;
mod endpoint;
mod grant;
mod identity;
mod scopes;
#[cfg(test)]
mod tests;

mod wire;

use decide::Context;
use model::Foreign;

use crate::outbound::{BodyError, CredentialError, Outbound, SendError, TargetError};

pub use authorize::{Callback, Pending};
pub use challenge::Challenge;
pub use discovery::{AuthorizationServer, Found, Place, Protected};
pub use endpoint::Tokens;
pub use grant::Grant;
pub use identity::{Authentication, Own, Prepared, Proof, Registration};
pub use scopes::Scopes;

/// Speaks OAuth with the authorization servers of upstream servers.
#[derive(Clone)]
pub struct Client {
    outbound: Outbound,
    context: Context,
}

/// Why no token was bought.
#[derive(Debug, thiserror::Error)]
pub enum OauthError {
    /// An address that may not be asked.
    #[error("`{url}`, which the server names, may not be asked: {why}")]
    Target {
        /// The address.
        url: Foreign,
        /// Why not.
        why: TargetError,
    },
    /// No response came.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The response broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A secret that cannot be sent.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// HTTP failed and said no more.
    #[error("`{url}` answered HTTP {status}")]
    Status {
        /// Who answered.
        url: Foreign,
        /// The status.
        status: http::StatusCode,
    },
    /// An answer that is not what the protocol says.
    #[error("the answer of `{url}` cannot be used: {what}")]
    Malformed {
        /// Who answered.
        url: Foreign,
        /// What is wrong.
        what: &'static str,
    },
    /// Nobody says who issues tokens for the server.
    #[error(
        "the server publishes no protected resource metadata (RFC 9728), so nobody knows who issues its tokens"
    )]
    NoMetadata,
    /// Metadata of another origin.
    #[error("the server points to metadata at `{0}`, which is another origin than its own")]
    ForeignMetadata(Foreign),
    /// Metadata of another resource: a token for it would be somebody else's.
    #[error("the server's metadata is about `{0}`, not about this server")]
    Resource(Foreign),
    /// The configured issuer is not the server's.
    #[error("the server does not name `{0}` among those who issue its tokens")]
    NotTheIssuer(Foreign),
    /// The authorization server's metadata is not where the specification puts it.
    #[error(
        "`{0}` publishes no authorization server metadata (RFC 8414, OpenID Connect Discovery)"
    )]
    NoServer(Foreign),
    /// The metadata is another issuer's.
    #[error("the metadata of `{expected}` says that its issuer is `{found}`")]
    Issuer {
        /// Who was asked.
        expected: Foreign,
        /// Who answered.
        found: Foreign,
    },
    /// No proof that the code is redeemed by whoever asked for it.
    #[error("`{0}` does not say that it supports PKCE with S256, so no code is asked for there")]
    NoPkce(Foreign),
    /// Nothing to be known by.
    #[error(
        "`{0}` knows this gateway by nothing: it takes no registration, and no client metadata document with answers that say \
         who gives them (RFC 9207); register a client there by hand and name it with `--client`"
    )]
    NoIdentity(Foreign),
    /// No common way to prove who we are.
    #[error("`{0}` takes none of the ways in which this client can prove who it is")]
    NoMethod(Foreign),
    /// The authorization server said no.
    #[error("the authorization server refused: {error}{description}")]
    Refused {
        /// Its code (RFC 6749 §5.2).
        error: Foreign,
        /// Its words, after a colon, where it has some.
        description: Foreign,
    },
    /// A token that cannot be presented.
    #[error("the authorization server issued a token of type `{0}`; only `Bearer` is presented")]
    TokenType(Foreign),
    /// The answer does not belong to the question, or not to this authorization server (RFC 9207).
    #[error("the answer of the authorization server is not believed: {0}")]
    Callback(&'static str),
    /// There is nothing to renew it with.
    #[error("the access token is over, and there is no refresh token")]
    NoRefresh,
    /// Another client is configured than the one that the token was given to.
    #[error("it was given to the client `{0}`, which is not the one that is configured")]
    OtherClient(Foreign),
    /// The library would not sign.
    #[error("the client's own assertion could not be signed")]
    Sign(#[from] token::SignError),
}

impl OauthError {
    /// Whether the authorization server says that what we hold is worth nothing any more. That it does not know the client
    /// says nothing of it: a secret may just have been changed.
    pub fn ends_grant(&self) -> bool {
        self.says(&["invalid_grant"])
    }

    /// Whether the authorization server does not know this client, or not any more.
    pub fn forgets_client(&self) -> bool {
        self.says(&["invalid_client", "unauthorized_client"])
    }

    /// Whether the authorization server does not give what was asked for.
    pub fn denies_scope(&self) -> bool {
        self.says(&["invalid_scope"])
    }

    /// Whether the authorization server refused by one of these codes
    /// ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)).
    fn says(&self, codes: &[&str]) -> bool {
        matches!(self, Self::Refused { error, .. } if codes.contains(&error.raw()))
    }
}

impl Client {
    /// A client that reaches authorization servers through `outbound`.
    pub fn new(outbound: Outbound, context: Context) -> Self {
        Self { outbound, context }
    }

    /// 256 unpredictable bits as text.
    fn unpredictable(&self) -> String {
        let bits: [[u8; 8]; 4] = std::array::from_fn(|_| self.context.random().to_le_bytes());
        wire::base64url(bits.as_flattened())
    }
}

/// Foreign text, cut to a length that a message can carry.
fn short(text: &str) -> Foreign {
    Foreign::new(text.chars().take(200).collect::<String>())
}
