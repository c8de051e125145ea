//! Requests with proofs of possession ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)), to one server.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use gateway::outbound::{
    Limits, Outbound, Request, Response, Scheme, SendError, Target, TargetError,
};
use http::{HeaderMap, HeaderValue, Method, header, uri::PathAndQuery};
use token::dpop::{self, Prover};

use crate::{
    client::now,
    failure::{Failure, TELL_US},
    random,
};

/// Where requests go, and the nonce that is wanted there next.
pub(crate) struct Place {
    outbound: Outbound,
    target: Target,
    url: String,
    nonce: Mutex<Option<String>>,
}

/// Why nothing is sent to a URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// It is none, or one that may not be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Only this machine is spoken to in the clear.
    #[error(
        "it would be spoken to in the clear, and what is said could be read and changed on its way; use `https`, or a tunnel to a loopback address"
    )]
    Clear,
}

/// Why a request brought no response.
#[derive(Debug)]
pub(crate) enum AskError {
    /// It could not be made.
    Unmade(Failure),
    /// It was not answered.
    Unanswered(SendError),
}

/// What is sent.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// What follows the place's own URL.
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) token: Option<&'a str>,
}

impl Place {
    /// A server at a URL that a person named: it may be anywhere. An answer may begin, and pause, for as long as `patience`.
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Self, PlaceError> {
        let url = url.trim_end_matches('/').to_owned();
        let limits = Limits { head: patience, idle: patience, ..Limits::default() };
        let outbound = Outbound::new(limits);
        let target = outbound.target(&url, true)?;
        if target.origin().scheme() == Scheme::Http && !target.origin().is_loopback() {
            return Err(PlaceError::Clear);
        }
        Ok(Self { outbound, target, url, nonce: Mutex::default() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends one request with a proof of its own. A nonce that comes back goes into the next.
    pub(crate) async fn send(
        &self,
        prover: &Prover,
        mut ask: Ask<'_>,
    ) -> Result<Response, AskError> {
        let proof = self.proof(prover, &ask)?;
        ask.headers.insert("dpop", value(&proof)?);
        if let Some(token) = ask.token {
            let mut value = value(&format!("DPoP {token}"))?;
            value.set_sensitive(true);
            ask.headers.insert(header::AUTHORIZATION, value);
        }
        let response = self.send_plain(ask).await?;
        if let Some(nonce) =
            response.headers.get("dpop-nonce").and_then(|nonce| nonce.to_str().ok())
        {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        }
        Ok(response)
    }

    /// Sends one request that nobody has to prove anything for.
    pub(crate) async fn send_plain(&self, ask: Ask<'_>) -> Result<Response, AskError> {
        let Ask { method, path, headers, body, .. } = ask;
        let path = Some(self.path(path)?);
        let request = Request { method, path, headers, body, deadline: None };
        self.outbound.send(&self.target, request, None).await.map_err(AskError::Unanswered)
    }

    fn proof(&self, prover: &Prover, ask: &Ask<'_>) -> Result<String, AskError> {
        let url = format!("{}{}", self.url, ask.path);
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = dpop::Request {
            method: ask.method.as_str(),
            url: &url,
            access_token: ask.token.map(Into::into),
        };
        let jti = random::name().map_err(AskError::Unmade)?;
        prover.prove(&of, nonce.as_deref(), now(), &jti).map_err(|error| {
            let failure = Failure::new("not_signed", "nothing could be signed").because(&error);
            AskError::Unmade(failure.next(TELL_US))
        })
    }

    fn path(&self, path: &str) -> Result<PathAndQuery, AskError> {
        let own = self.target.path();
        if path.is_empty() {
            return Ok(own.clone());
        }
        let prefix = own.path().trim_end_matches('/');
        format!("{prefix}{path}").parse().map_err(|error: http::uri::InvalidUri| {
            let failure = Failure::new("path_invalid", format!("`{path}` cannot be asked for"));
            let next = "name things without blanks and special characters";
            AskError::Unmade(failure.because(&error).next(next))
        })
    }
}

/// Whether the same request, with the nonce that came along, would be believed by a resource (§9).
pub(crate) fn wants_nonce(headers: &HeaderMap) -> bool {
    let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    challenge.is_some_and(|challenge| challenge.contains("use_dpop_nonce"))
}

fn value(text: &str) -> Result<HeaderValue, AskError> {
    HeaderValue::from_str(text).map_err(|error| {
        let failure = Failure::new("header_invalid", "a text cannot be sent as a header");
        let next = "check that the server is a Bailiwick, of this version";
        AskError::Unmade(failure.because(&error).next(next))
    })
}
