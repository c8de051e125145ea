//! Requests with proofs of possession ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use gateway::outbound::{Limits, Outbound, Request, Target};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use token::dpop::{self, Prover};

use super::PATIENCE;
use crate::{
    client,
    demo::{ODD, RERUN},
    failure::{Failure, Result},
    random,
};

/// The longest answer that is read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where requests go, and the nonce that is wanted there next.
pub(super) struct Place {
    outbound: Outbound,
    target: Target,
    url: String,
    nonce: Mutex<Option<String>>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Place {
    pub(super) fn new(url: &str) -> Result<Self> {
        let outbound = Outbound::new(Limits { head: PATIENCE, ..Limits::default() });
        let target = outbound.target(url, true).map_err(|error| {
            Failure::new("url_refused", format!("`{url}` cannot be called"))
                .because(&error)
                .next(RERUN)
        })?;
        Ok(Self { outbound, target, url: url.to_owned(), nonce: Mutex::default() })
    }

    /// Posts with a proof, and again with the server's nonce where it wants one.
    pub(super) async fn post(
        &self,
        prover: &Prover,
        headers: &HeaderMap,
        body: impl Fn() -> Result<Bytes>,
        token: Option<&str>,
    ) -> Result<Reply> {
        let first = self.send(prover, headers, body()?, token).await?;
        match first.wants_nonce() {
            true => self.send(prover, headers, body()?, token).await,
            false => Ok(first),
        }
    }

    async fn send(
        &self,
        prover: &Prover,
        headers: &HeaderMap,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<Reply> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = dpop::Request { method: "POST", url: &self.url, access_token: token };
        let proof = prover.prove(&request, nonce.as_deref(), client::now(), &random::name()?);
        let proof = proof.map_err(|error| {
            Failure::new("not_signed", "nothing could be signed").because(&error).next(RERUN)
        })?;
        let mut headers = headers.clone();
        headers.insert("dpop", text(&proof)?);
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, text(&format!("DPoP {token}"))?);
        }
        let reply = self.ask(Method::POST, headers, body).await?;
        if let Some(nonce) = reply.headers.get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()) {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        }
        Ok(reply)
    }

    async fn ask(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Reply> {
        let failed = || Failure::new("no_answer", format!("`{}` gave no answer", self.url));
        let request = Request { method, path: None, headers, body, deadline: None };
        let response = self.outbound.send(&self.target, request, None).await;
        let response = response.map_err(|error| failed().because(&error).next(RERUN))?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response
            .collect(MAX_ANSWER)
            .await
            .map_err(|error| failed().because(&error).next(RERUN))?;
        Ok(Reply { status, headers, body })
    }
}

impl Reply {
    pub(super) fn document(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether the same request with the nonce that came along would be believed.
    fn wants_nonce(&self) -> bool {
        let challenge =
            self.headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenged = challenge.is_some_and(|challenge| challenge.contains("use_dpop_nonce"));
        !self.status.is_success() && (challenged || self.document()["error"] == "use_dpop_nonce")
    }
}

/// Where an issuer gives tokens ([RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3)).
pub(super) async fn token_endpoint(issuer: &str) -> Result<String> {
    let place = Place::new(&format!("{issuer}/.well-known/oauth-authorization-server"))?;
    let metadata = place.ask(Method::GET, HeaderMap::new(), Bytes::new()).await?.document();
    if metadata["issuer"] != issuer {
        return Err(Failure::new("issuer_differs", format!("`{issuer}` does not name itself so"))
            .why(ODD)
            .next(RERUN));
    }
    metadata["token_endpoint"].as_str().map(str::to_owned).ok_or_else(|| {
        Failure::new("no_token_endpoint", format!("`{issuer}` names no token endpoint"))
            .why(ODD)
            .next(RERUN)
    })
}

pub(super) fn text(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| {
        Failure::new("header_invalid", "a text cannot be sent as a header").why(ODD).next(RERUN)
    })
}
