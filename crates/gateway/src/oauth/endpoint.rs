//! The token endpoint: codes, refresh tokens and this client's own word turned into access tokens.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{Timestamp, ijson::Json};
use token::{Secret, assertion};

use super::{
    Authentication, Client, Found, Grant, OauthError, Prepared, Registration, Scopes,
    identity::successful,
    short,
    wire::{percent, text},
};

/// [RFC 6749 §4.1.3](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3)
pub(super) const GRANT_CODE: &str = "authorization_code";
/// [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion of ours may be used, in seconds.
const ASSERTION_SECONDS: u32 = 60;
/// The longest token, in bytes: it goes into a header.
const MAX_TOKEN: usize = 16 * 1024;
/// The longest life that is believed, in seconds: a year.
const MAX_LIFE: u32 = 366 * 86_400;

/// What was bought.
pub struct Tokens {
    pub(super) access: Secret,
    pub(super) expires: Option<Timestamp>,
    pub(super) refresh: Option<Secret>,
    pub(super) scopes: Scopes,
}

impl Tokens {
    /// With the scopes that were asked for, where the server did not say which it gave
    /// ([RFC 6749 §5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1)).
    pub(super) fn over(self, asked: &Scopes) -> Self {
        let scopes = if self.scopes.is_empty() { asked.clone() } else { self.scopes };
        Self { scopes, ..self }
    }
}

impl Client {
    /// Buys a token for this client itself ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).
    ///
    /// # Errors
    /// [`OauthError`]
    pub async fn by_itself(
        &self,
        found: &Found,
        registration: Registration,
        scopes: &Scopes,
    ) -> Result<Grant, OauthError> {
        let asked = scopes.to_string();
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(found.protected.resource.as_deref().map(|it| ("resource", it)));
        form.extend((!scopes.is_empty()).then_some(("scope", asked.as_str())));
        let endpoint = (found.server.token.as_str(), found.internal);
        let tokens = self.buy(endpoint, &registration, form).await?.over(scopes);
        // It never comes with one (RFC 6749 §4.4.3); what is not needed is not kept.
        Ok(Grant::new(found, registration, Tokens { refresh: None, ..tokens }))
    }

    /// Renews a grant, as `prepared` where that is the client it was given to. The refresh token may be another one
    /// afterwards; the old one is then worth nothing.
    ///
    /// # Errors
    /// [`OauthError`]; [`OauthError::ends_grant`] tells whether it can ever be renewed.
    pub async fn refresh(
        &self,
        grant: Grant,
        prepared: Option<&Prepared>,
    ) -> Result<Grant, (Grant, OauthError)> {
        match self.renewed(&grant, prepared).await {
            Ok(tokens) => Ok(grant.renewed(tokens)),
            Err(why) => Err((grant, why)),
        }
    }

    async fn renewed(
        &self,
        grant: &Grant,
        prepared: Option<&Prepared>,
    ) -> Result<Tokens, OauthError> {
        let refresh = grant.tokens.refresh.as_ref().ok_or(OauthError::NoRefresh)?;
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose_text().unwrap_or_default()),
        ];
        form.extend(grant.resource.as_deref().map(|it| ("resource", it)));
        let endpoint = (grant.token_endpoint.as_str(), grant.internal);
        self.buy(endpoint, &grant.registration(prepared)?, form).await
    }

    /// Gives a grant back, where the authorization server takes that
    /// ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)), as `prepared` where that is the client it was given to.
    ///
    /// # Errors
    /// [`OauthError`]: it may still be good there.
    pub async fn revoke(
        &self,
        grant: &Grant,
        prepared: Option<&Prepared>,
    ) -> Result<bool, OauthError> {
        let Some(url) = &grant.revocation_endpoint else { return Ok(false) };
        let (token, hint) = match &grant.tokens.refresh {
            Some(refresh) => (refresh, "refresh_token"),
            None => (&grant.tokens.access, "access_token"),
        };
        let form =
            vec![("token", token.expose_text().unwrap_or_default()), ("token_type_hint", hint)];
        let registration = grant.registration(prepared)?;
        let answer = self.authenticated((url, grant.internal), &registration, form).await?;
        if answer.status.is_success() {
            return Ok(true);
        }
        successful(url, answer).map(|_| true)
    }

    /// Asks the token endpoint for what a form describes.
    pub(super) async fn buy(
        &self,
        endpoint: (&str, bool),
        registration: &Registration,
        form: Vec<(&str, &str)>,
    ) -> Result<Tokens, OauthError> {
        let sent = self.context.now();
        let answer = self.authenticated(endpoint, registration, form).await?;
        let document = successful(endpoint.0, answer)?;
        read(endpoint.0, &document, sent)
    }

    /// Posts a form together with what proves which client this is.
    async fn authenticated(
        &self,
        (url, internal): (&str, bool),
        registration: &Registration,
        mut form: Vec<(&str, &str)>,
    ) -> Result<super::wire::Fetched, OauthError> {
        let id = registration.id.as_str();
        match &registration.authentication {
            Authentication::Nothing => {
                form.push(("client_id", id));
                self.post_form(url, internal, &form, None).await
            }
            Authentication::Basic(secret) => {
                self.post_form(url, internal, &form, Some(&basic(id, secret))).await
            }
            Authentication::Post(secret) => {
                form.push(("client_id", id));
                form.push(("client_secret", secret.expose_text().unwrap_or_default()));
                self.post_form(url, internal, &form, None).await
            }
            Authentication::Key(key) => {
                let jti = self.unpredictable();
                let draft = assertion::Draft {
                    client: id,
                    audience: &registration.issuer,
                    now: self.context.now(),
                    life_seconds: ASSERTION_SECONDS,
                    jti: &jti,
                    version: None,
                };
                let assertion = assertion::create(key, &draft)?;
                form.push(("client_id", id));
                form.push(("client_assertion_type", ASSERTION));
                form.push(("client_assertion", &assertion));
                self.post_form(url, internal, &form, None).await
            }
        }
    }
}

/// Id and secret, each form-encoded before they are put together
/// ([RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
fn basic(id: &str, secret: &Secret) -> Secret {
    let secret = percent(secret.expose_text().unwrap_or_default());
    let pair = Secret::new(format!("{}:{secret}", percent(id)));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

fn read(url: &str, document: &Json, sent: Timestamp) -> Result<Tokens, OauthError> {
    let wrong = |what| OauthError::Malformed { url: short(url), what };
    let kind = text(document, "token_type").ok_or_else(|| wrong("it names no `token_type`"))?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(OauthError::TokenType(short(&kind)));
    }
    let bounded = |name: &str| match text(document, name) {
        Some(token) if token.len() > MAX_TOKEN => Err(wrong("a token is longer than 16 KiB")),
        token => Ok(token.map(Secret::new)),
    };
    let access = bounded("access_token")?.ok_or_else(|| wrong("it gives no `access_token`"))?;
    let seconds = document.member("expires_in").and_then(Json::as_integer);
    let life = seconds.map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(MAX_LIFE));
    Ok(Tokens {
        access,
        expires: life.map(|life| sent.plus_seconds(life.min(MAX_LIFE))),
        refresh: bounded("refresh_token")?,
        scopes: text(document, "scope").map(|text| Scopes::of(&text)).unwrap_or_default(),
    })
}
