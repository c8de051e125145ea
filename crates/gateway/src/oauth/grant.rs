//! What an authorization server gave, with all that renewing and giving it back takes. It is kept sealed.

use std::{borrow::Cow, sync::Arc};

use model::Timestamp;
use serde::{Deserialize, Serialize};
use token::{Secret, SigningKey};

use super::{Authentication, Found, Registration, Scopes, Tokens};

/// How long before its end an access token is renewed, in seconds: longer than a call takes to leave.
const MARGIN_SECONDS: u32 = 30;

/// Tokens, and from whom.
pub struct Grant {
    pub(super) resource: Option<String>,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) internal: bool,
    pub(super) registration: Registration,
    pub(super) tokens: Tokens,
}

/// A grant as it is sealed. A member that this program does not know was written by another version: refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'g> {
    resource: Option<Cow<'g, str>>,
    token_endpoint: Cow<'g, str>,
    revocation_endpoint: Option<Cow<'g, str>>,
    internal: bool,
    issuer: Cow<'g, str>,
    client: Cow<'g, str>,
    method: Method,
    client_secret: Option<Cow<'g, str>>,
    access: Cow<'g, str>,
    expires: Option<Timestamp>,
    refresh: Option<Cow<'g, str>>,
    scopes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Nothing,
    Basic,
    Post,
    Key,
}

impl Grant {
    pub(super) fn new(found: &Found, registration: Registration, tokens: Tokens) -> Self {
        Self {
            resource: found.protected.resource.clone(),
            token_endpoint: found.server.token.clone(),
            revocation_endpoint: found.server.revocation.clone(),
            internal: found.internal,
            registration,
            tokens,
        }
    }

    /// With renewed tokens: what the answer leaves out stays as it was
    /// ([RFC 6749 §6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).
    pub(super) fn renewed(self, tokens: Tokens) -> Self {
        let refresh = tokens.refresh.or(self.tokens.refresh);
        let scopes = if tokens.scopes.is_empty() { self.tokens.scopes } else { tokens.scopes };
        Self { tokens: Tokens { refresh, scopes, ..tokens }, ..self }
    }

    /// The access token.
    pub fn access(&self) -> &Secret {
        &self.tokens.access
    }

    /// The scopes that it has, as far as anybody said.
    pub fn scopes(&self) -> &Scopes {
        &self.tokens.scopes
    }

    /// Who gave it.
    pub fn issuer(&self) -> &str {
        &self.registration.issuer
    }

    /// Who this gateway is there.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Whether it can be presented now; a token that does not say when it ends is tried.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_none_or(|expires| now.plus_seconds(MARGIN_SECONDS) < expires)
    }

    /// Whether it can be renewed without a person.
    pub fn is_renewable(&self) -> bool {
        self.tokens.refresh.is_some()
    }

    /// The grant as text to be sealed. A client's own key is not part of it: that is configured.
    pub fn to_secret(&self) -> Secret {
        let (method, client_secret) = match &self.registration.authentication {
            Authentication::Nothing => (Method::Nothing, None),
            Authentication::Basic(secret) => (Method::Basic, Some(text(secret))),
            Authentication::Post(secret) => (Method::Post, Some(text(secret))),
            Authentication::Key(_) => (Method::Key, None),
        };
        let sealed = Sealed {
            resource: self.resource.as_deref().map(Cow::from),
            token_endpoint: self.token_endpoint.as_str().into(),
            revocation_endpoint: self.revocation_endpoint.as_deref().map(Cow::from),
            internal: self.internal,
            issuer: self.registration.issuer.as_str().into(),
            client: self.registration.id.as_str().into(),
            method,
            client_secret,
            access: text(&self.tokens.access),
            expires: self.tokens.expires,
            refresh: self.tokens.refresh.as_ref().map(text),
            scopes: self.tokens.scopes.to_string(),
        };
        Secret::new(serde_json::to_vec(&sealed).expect("texts and moments are JSON"))
    }

    /// Reads what [`Grant::to_secret`] wrote; `key` is the client's own, where it proves itself by one.
    pub fn from_secret(secret: &Secret, key: Option<Arc<SigningKey>>) -> Option<Self> {
        let sealed: Sealed<'_> = serde_json::from_slice(secret.expose()).ok()?;
        let secret = |text: Cow<'_, str>| Secret::new(text.into_owned());
        let authentication = match (sealed.method, sealed.client_secret) {
            (Method::Nothing, _) => Authentication::Nothing,
            (Method::Basic, given) => Authentication::Basic(secret(given?)),
            (Method::Post, given) => Authentication::Post(secret(given?)),
            (Method::Key, _) => Authentication::Key(key?),
        };
        let (issuer, id) = (sealed.issuer.into_owned(), sealed.client.into_owned());
        Some(Self {
            resource: sealed.resource.map(Cow::into_owned),
            token_endpoint: sealed.token_endpoint.into_owned(),
            revocation_endpoint: sealed.revocation_endpoint.map(Cow::into_owned),
            internal: sealed.internal,
            registration: Registration { issuer, id, authentication },
            tokens: Tokens {
                access: secret(sealed.access),
                expires: sealed.expires,
                refresh: sealed.refresh.map(secret),
                scopes: Scopes::of(&sealed.scopes),
            },
        })
    }
}

fn text(secret: &Secret) -> Cow<'_, str> {
    String::from_utf8_lossy(secret.expose())
}
