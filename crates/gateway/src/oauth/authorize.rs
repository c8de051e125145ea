//! Authorization code with PKCE: what a person is sent to, and what is believed of how they come back.

use decide::sha256;
use token::Secret;

use super::{
    Challenge, Client, Found, Grant, OauthError, Registration, Scopes,
    endpoint::GRANT_CODE,
    short,
    wire::{base64url, encoded},
};

/// The longest answer of an authorization server in a redirect, in bytes.
const MAX_CALLBACK: usize = 8 * 1024;
/// What makes some authorization servers hand out refresh tokens
/// ([OpenID Connect Core §11](https://openid.net/specs/openid-connect-core-1_0.html#OfflineAccess)).
const OFFLINE: &str = "offline_access";

/// A person on their way to consent. It is used up by their coming back, whatever they bring.
pub struct Pending {
    found: Found,
    registration: Registration,
    redirect: String,
    scopes: Scopes,
    state: Secret,
    verifier: Secret,
    url: String,
}

/// What came back in the redirect, unread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callback {
    /// The code, where there is consent.
    pub code: Option<String>,
    /// The state, which must be ours.
    pub state: Option<String>,
    /// Who answers ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)).
    pub issuer: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
    /// The same in words.
    pub description: Option<String>,
}

impl Found {
    /// What to ask for: what the challenge names, else what the server knows, else nothing; with what was `granted` before.
    /// `offline_access` is asked for beside it where the authorization server knows that
    /// ([MCP 2026-07-28](https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization#scope-selection-strategy)).
    pub fn scopes(&self, challenge: Option<&Challenge>, granted: Option<&Scopes>) -> Scopes {
        let challenged = challenge.and_then(|challenge| challenge.scopes.as_ref());
        let wanted = challenged.unwrap_or(&self.protected.scopes);
        let wanted = granted.map_or_else(|| wanted.clone(), |granted| granted.with(wanted));
        let offline = Scopes::of(OFFLINE);
        if !wanted.is_empty() && self.server.scopes.covers(&offline) {
            wanted.with(&offline)
        } else {
            wanted
        }
    }
}

impl Client {
    /// Prepares the consent of a person: [`Pending::url`] is where they go.
    ///
    /// # Errors
    /// The authorization server has no place for that, or does not support PKCE.
    pub fn begin(
        &self,
        found: Found,
        registration: Registration,
        redirect: &str,
        scopes: Scopes,
    ) -> Result<Pending, OauthError> {
        let server = &found.server;
        if !server.s256 {
            return Err(OauthError::NoPkce(short(&server.issuer)));
        }
        let endpoint = server.authorization.clone().ok_or_else(|| OauthError::Malformed {
            url: short(&server.issuer),
            what: "it names no `authorization_endpoint`",
        })?;
        // Checked like every address, although a browser goes there: `javascript:` is none.
        self.target(&endpoint, found.internal)?;
        let (state, verifier) = (self.unpredictable(), self.unpredictable());
        let challenge = base64url(&sha256(&[verifier.as_bytes()]).0);
        let asked = scopes.to_string();
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", registration.id.as_str()),
            ("redirect_uri", redirect),
            ("state", state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        query.extend(found.protected.resource.as_deref().map(|it| ("resource", it)));
        query.extend((!scopes.is_empty()).then_some(("scope", asked.as_str())));
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{endpoint}{joint}{}", encoded(&query));
        let redirect = redirect.to_owned();
        let (state, verifier) = (Secret::new(state), Secret::new(verifier));
        Ok(Pending { found, registration, redirect, scopes, state, verifier, url })
    }

    /// Buys tokens for what a person came back with to the address `at`.
    ///
    /// # Errors
    /// The answer is not to this question or not from this authorization server, the person did not consent, or no token
    /// was given for the code.
    pub async fn finish(
        &self,
        pending: Pending,
        at: &str,
        callback: &Callback,
    ) -> Result<Grant, OauthError> {
        let code = pending.code(at, callback)?;
        let Pending { found, registration, redirect, scopes, verifier, .. } = pending;
        let verifier = verifier.expose_text().unwrap_or_default();
        let mut form = vec![
            ("grant_type", GRANT_CODE),
            ("code", code),
            ("redirect_uri", redirect.as_str()),
            ("code_verifier", verifier),
        ];
        form.extend(found.protected.resource.as_deref().map(|it| ("resource", it)));
        let endpoint = (found.server.token.as_str(), found.internal);
        let tokens = self.buy(endpoint, &registration, form).await?;
        Ok(Grant::new(&found, registration, tokens.over(&scopes)))
    }
}

impl Pending {
    /// Where the person goes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who will ask for their consent.
    pub fn issuer(&self) -> &str {
        &self.found.server.issuer
    }

    /// As which client this gateway sends them.
    pub fn client(&self) -> &str {
        &self.registration.id
    }

    /// What they will be asked for.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Whether an answer carries this state.
    pub fn is_answered_by(&self, state: &str) -> bool {
        self.state.matches(state.as_bytes())
    }

    /// The code of an answer that is believed: who answers is looked at before what they say, errors included.
    fn code<'c>(&self, at: &str, callback: &'c Callback) -> Result<&'c str, OauthError> {
        let refused = |why| Err(OauthError::Callback(why));
        if !callback.state.as_deref().is_some_and(|state| self.is_answered_by(state)) {
            return refused("its `state` is not the one that was sent");
        }
        if at != self.redirect {
            return refused("it came to the place of another authorization server");
        }
        let server = &self.found.server;
        match &callback.issuer {
            Some(issuer) if *issuer != server.issuer => {
                return refused("its `iss` names another authorization server");
            }
            None if server.names_itself => {
                return refused(
                    "it has no `iss`, although the authorization server says it sends one",
                );
            }
            _ => {}
        }
        if let Some(error) = &callback.error {
            let words = callback.description.as_ref().map(|text| format!(": {text}"));
            let description = short(&words.unwrap_or_default());
            return Err(OauthError::Refused { error: short(error), description });
        }
        match &callback.code {
            Some(code) if !code.is_empty() => Ok(code),
            _ => refused("it has neither a `code` nor an `error`"),
        }
    }
}

impl Callback {
    /// Reads the query of a redirect. A parameter that stands twice is read by nobody, and neither is a long query.
    pub fn read(query: &str) -> Option<Self> {
        let mut callback = Self::default();
        if query.len() > MAX_CALLBACK {
            return None;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "code" => &mut callback.code,
                "state" => &mut callback.state,
                "iss" => &mut callback.issuer,
                "error" => &mut callback.error,
                "error_description" => &mut callback.description,
                _ => continue,
            };
            if place.replace(decoded(value)?).is_some() {
                return None;
            }
        }
        Some(callback)
    }
}

/// A percent-decoded value, where it is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
