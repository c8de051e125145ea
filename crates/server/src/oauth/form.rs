use axum::{
    Form as Decoded,
    extract::{FromRequest, Request, rejection::FormRejection},
};

use super::error::OauthError;
use crate::route::Shared;

/// Which parameters the token endpoint knows; others are ignored, as
/// [RFC 6749 §3.2](https://www.rfc-editor.org/rfc/rfc6749#section-3.2) wants.
const KNOWN: [&str; 15] = [
    "grant_type",
    "assertion",
    "client_id",
    "client_assertion",
    "client_assertion_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "audience",
    "resource",
    "scope",
    "authorization_details",
    "requested_actor",
    "requested_token_type",
];

/// A form in which every known parameter stands at most once.
pub(crate) struct Form(Vec<(String, String)>);

impl FromRequest<Shared> for Form {
    type Rejection = OauthError;

    async fn from_request(request: Request, server: &Shared) -> Result<Self, OauthError> {
        let decoded = Decoded::<Vec<(String, String)>>::from_request(request, server).await;
        let Decoded(pairs) = decoded.map_err(|why| match why {
            FormRejection::InvalidFormContentType(_) => OauthError::media_type(),
            other => OauthError::new("invalid_request", &other.body_text()),
        })?;
        // An empty value counts as left out (RFC 6749 §3.2).
        let pairs = pairs
            .into_iter()
            .filter(|(name, value)| KNOWN.contains(&name.as_str()) && !value.is_empty());
        let pairs: Vec<_> = pairs.collect();
        match pairs
            .iter()
            .enumerate()
            .find(|(at, (name, _))| pairs[..*at].iter().any(|(other, _)| other == name))
        {
            None => Ok(Self(pairs)),
            Some((_, (name, _))) => Err(OauthError::new(
                "invalid_request",
                &format!("`{name}` is given more than once"),
            )),
        }
    }
}

impl Form {
    /// The parameter, where it is given.
    pub(crate) fn optional(&self, name: &str) -> Option<&str> {
        debug_assert!(KNOWN.contains(&name), "`{name}` is not read from the form");
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The parameter, which has to be given.
    pub(crate) fn required(&self, name: &str) -> Result<&str, OauthError> {
        self.optional(name)
            .ok_or_else(|| OauthError::new("invalid_request", &format!("`{name}` is missing")))
    }

    /// Refuses a parameter that is given and is not this.
    pub(crate) fn nothing_but(
        &self,
        name: &str,
        only: &str,
        error: &'static str,
    ) -> Result<(), OauthError> {
        match self.optional(name) {
            Some(other) if other != only => {
                Err(OauthError::new(error, &format!("`{name}` can only be `{only}` here")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a parameter that is given, and says what to do instead.
    pub(crate) fn without(
        &self,
        name: &str,
        error: &'static str,
        instead: &str,
    ) -> Result<(), OauthError> {
        match self.optional(name) {
            Some(_) => {
                Err(OauthError::new(error, &format!("`{name}` is not taken here: {instead}")))
            }
            None => Ok(()),
        }
    }
}
