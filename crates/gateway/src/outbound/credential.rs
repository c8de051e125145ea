//! Upstream secrets, each tied to the one server that it is meant for.

use decide::sha256;
use http::{HeaderName, HeaderValue, header};
use model::Digest;
use token::Secret;

use super::Origin;

/// A secret header for one origin. It cannot be printed, and the client sends it nowhere else.
pub struct Credential {
    origin: Origin,
    header: HeaderName,
    value: Secret,
}

/// Why a secret cannot be sent as a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Empty, or with bytes that a header cannot carry.
    #[error("the secret is empty, or has control characters that a header cannot carry")]
    Value,
    /// The header is one that HTTP itself uses.
    #[error("header `{0}` belongs to HTTP itself and cannot carry a secret")]
    Header(HeaderName),
}

/// Headers that frame a message or name its receiver: only the client itself writes them.
pub(super) const FRAMING: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Credential {
    /// Ties `header: secret` to an origin.
    ///
    /// # Errors
    /// The secret is empty or no header value, or the header belongs to HTTP itself.
    pub fn new(
        origin: Origin,
        header: HeaderName,
        secret: &Secret,
    ) -> Result<Self, CredentialError> {
        if FRAMING.contains(&header) {
            return Err(CredentialError::Header(header));
        }
        if secret.expose().is_empty() || HeaderValue::from_bytes(secret.expose()).is_err() {
            return Err(CredentialError::Value);
        }
        Ok(Self { origin, header, value: secret.clone() })
    }

    /// Ties `Authorization: Bearer secret` to an origin
    /// ([RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
    ///
    /// # Errors
    /// The secret is empty or no header value.
    pub fn bearer(origin: Origin, secret: &Secret) -> Result<Self, CredentialError> {
        if secret.expose().is_empty() {
            return Err(CredentialError::Value);
        }
        let value = Secret::new([b"Bearer ", secret.expose()].concat());
        Self::new(origin, header::AUTHORIZATION, &value)
    }

    /// What tells it from another one and says nothing else.
    pub fn fingerprint(&self) -> Digest {
        sha256(&[self.value.expose()])
    }

    /// The one server that it is sent to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    pub(super) fn value(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(self.value.expose())
            .expect("checked when the credential was made");
        value.set_sensitive(true);
        value
    }
}
