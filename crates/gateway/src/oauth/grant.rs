//! What an authorization server gave, with all that renewing and giving it back takes. It is kept sealed.
//!
//! Never here: what a client that was registered by hand proves itself by. That is configured, and may change while people's
//! tokens stay good.

use std::borrow::Cow;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use token::Secret;

use super::{
    Authentication, Found, OauthError, Prepared, Registration, Scopes, Tokens, identity::Proof,
    short,
};

/// How long before its end an access token is renewed, in seconds: longer than a call takes to leave.
const MARGIN_SECONDS: u32 = 30;

/// Tokens, and from whom.
pub struct Grant {
    pub(super) resource: Option<String>,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) internal: bool,
    holder: Holder,
    pub(super) tokens: Tokens,
}

/// The client that tokens were given to.
struct Holder {
    issuer: String,
    id: String,
    method: Method,
    /// What the issuer gave a client that registered itself; nobody else has it.
    secret: Option<Secret>,
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

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Nothing,
    Basic,
    Post,
    Key,
}

impl Grant {
    pub(super) fn new(found: &Found, registration: Registration, tokens: Tokens) -> Self {
        let Registration { issuer, id, authentication, prepared, .. } = registration;
        let (method, secret) = match authentication {
            Authentication::Nothing => (Method::Nothing, None),
            Authentication::Basic(secret) => (Method::Basic, Some(secret)),
            Authentication::Post(secret) => (Method::Post, Some(secret)),
            Authentication::Key(_) => (Method::Key, None),
        };
        let secret = secret.filter(|_| !prepared);
        Self {
            resource: found.protected.resource.clone(),
            token_endpoint: found.server.token.clone(),
            revocation_endpoint: found.server.revocation.clone(),
            internal: found.internal,
            holder: Holder { issuer, id, method, secret },
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
        &self.holder.issuer
    }

    /// The client that it was given to.
    pub fn client(&self) -> &str {
        &self.holder.id
    }

    /// Who this gateway is there, with what it proves itself by now. A client that was registered by hand (`prepared`) does
    /// so by what is configured for it today, in the way that its issuer took before.
    ///
    /// # Errors
    /// [`OauthError::OtherClient`]: another client is configured than the one that the tokens were given to.
    pub(super) fn registration(
        &self,
        prepared: Option<&Prepared>,
    ) -> Result<Registration, OauthError> {
        let Holder { issuer, id, method, secret } = &self.holder;
        let prepared = prepared.filter(|it| it.issuer == *issuer && it.id == *id);
        let authentication = match (prepared.map(|it| &it.proof), method, secret) {
            (Some(Proof::Nothing), ..) | (None, Method::Nothing, _) => Authentication::Nothing,
            (Some(Proof::Key(key)), ..) => Authentication::Key(key.clone()),
            (Some(Proof::Secret(secret)), Method::Post, _) | (None, Method::Post, Some(secret)) => {
                Authentication::Post(secret.clone())
            }
            (Some(Proof::Secret(secret)), ..) | (None, Method::Basic, Some(secret)) => {
                Authentication::Basic(secret.clone())
            }
            (None, ..) => return Err(OauthError::OtherClient(short(id))),
        };
        let (issuer, id) = (issuer.clone(), id.clone());
        let prepared = prepared.is_some();
        Ok(Registration { issuer, id, authentication, prepared, expires: None })
    }

    /// Whether it can be presented now; a token that does not say when it ends is tried.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_none_or(|expires| now.plus_seconds(MARGIN_SECONDS) < expires)
    }

    /// Whether it says that it has ended.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it can be renewed without a person.
    pub fn is_renewable(&self) -> bool {
        self.tokens.refresh.is_some()
    }

    /// The grant as text to be sealed.
    pub fn to_secret(&self) -> Secret {
        let sealed = Sealed {
            resource: self.resource.as_deref().map(Cow::from),
            token_endpoint: self.token_endpoint.as_str().into(),
            revocation_endpoint: self.revocation_endpoint.as_deref().map(Cow::from),
            internal: self.internal,
            issuer: self.holder.issuer.as_str().into(),
            client: self.holder.id.as_str().into(),
            method: self.holder.method,
            client_secret: self.holder.secret.as_ref().map(text),
            access: text(&self.tokens.access),
            expires: self.tokens.expires,
            refresh: self.tokens.refresh.as_ref().map(text),
            scopes: self.tokens.scopes.to_string(),
        };
        Secret::new(serde_json::to_vec(&sealed).expect("texts and moments are JSON"))
    }

    /// Reads what [`Grant::to_secret`] wrote.
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let sealed: Sealed<'_> = serde_json::from_slice(secret.expose()).ok()?;
        let secret = |text: Cow<'_, str>| Secret::new(text.into_owned());
        let holder = Holder {
            issuer: sealed.issuer.into_owned(),
            id: sealed.client.into_owned(),
            method: sealed.method,
            secret: sealed.client_secret.map(secret),
        };
        Some(Self {
            resource: sealed.resource.map(Cow::into_owned),
            token_endpoint: sealed.token_endpoint.into_owned(),
            revocation_endpoint: sealed.revocation_endpoint.map(Cow::into_owned),
            internal: sealed.internal,
            holder,
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
