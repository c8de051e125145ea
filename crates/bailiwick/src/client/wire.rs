//! Requests with proofs of possession, and their answers.

use std::time::Duration;

use bytes::Bytes;
use gateway::outbound::{Limits, Outbound, Request, Scheme, SendError, Target};
use http::Method;
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use serde_json::Value;
use token::dpop::{self, Prover};

use super::{now, problem};
use crate::{
    failure::{Exit, Failure, Result, TELL_US},
    random,
};

/// How long the server may take to begin its answer: it waits for the ledger, and a stop for its calls.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: a page of the ledger with payloads.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The way to one server, with the key that sessions are bound to and the nonce that it wants next.
pub(super) struct Wire {
    outbound: Outbound,
    target: Target,
    base: String,
    prover: Prover,
    nonce: Option<String>,
}

/// What a server answered.
pub(super) struct Reply {
    status: StatusCode,
    document: Value,
}

impl Wire {
    pub(super) fn new(server: &str, prover: Prover) -> Result<Self> {
        let base = server.trim_end_matches('/').to_owned();
        let outbound = Outbound::new(Limits { head: PATIENCE, ..Limits::default() });
        let refused = || Failure::new("server_refused", format!("`{base}` cannot be the server"));
        // The person configured this place: it may be anywhere. But only this machine is spoken to in the clear.
        let target = outbound.target(&base, true).map_err(|error| {
            refused()
                .because(&error)
                .next("correct the URL (`--server`, `BAILIWICK_SERVER` or the profile)")
        })?;
        if target.origin().scheme() == Scheme::Http && !target.origin().is_loopback() {
            return Err(refused()
                .why("it would be spoken to in the clear, and what you approve could be changed on its way")
                .next("use `https`, or a tunnel to a loopback address"));
        }
        Ok(Self { outbound, target, base, prover, nonce: None })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends one request; `token` makes it one of the session.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
        token: Option<&str>,
    ) -> Result<Reply> {
        let url = format!("{}{path}", self.base);
        let prefix = self.target.path().path().trim_end_matches('/');
        let place: PathAndQuery =
            format!("{prefix}{path}").parse().map_err(|error: http::uri::InvalidUri| {
                Failure::new("path_invalid", format!("`{path}` cannot be asked for"))
                    .because(&error)
                    .next("name things without blanks and special characters")
            })?;
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, application/problem+json"),
        );
        let proof = self.prove(method.as_str(), &url, token)?;
        headers.insert("dpop", text_header(&proof)?);
        if let Some(token) = token {
            let mut value = text_header(&format!("DPoP {token}"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let body = match body {
            None => Bytes::new(),
            Some((kind, text)) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                Bytes::from(text)
            }
        };
        let request = Request { method, path: Some(place), headers, body, deadline: None };
        let response = self
            .outbound
            .send(&self.target, request, None)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let nonce = response.headers.get("dpop-nonce").and_then(|nonce| nonce.to_str().ok());
        if let Some(nonce) = nonce {
            self.nonce = Some(nonce.to_owned());
        }
        let status = response.status;
        let bytes = response.collect(MAX_ANSWER).await.map_err(|error| {
            Failure::new("server_unreachable", format!("`{}` broke off its answer", self.base))
                .because(&error)
                .next("look at whether it was done before you try again")
                .exit(Exit::Unreachable)
        })?;
        let document = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        Ok(Reply { status, document })
    }

    fn prove(&self, method: &str, url: &str, token: Option<&str>) -> Result<String> {
        let request = dpop::Request { method, url, access_token: token };
        let proof = self.prover.prove(&request, self.nonce.as_deref(), now(), &random::name()?);
        proof.map_err(|error| {
            Failure::new("not_signed", "nothing could be signed").because(&error).next(TELL_US)
        })
    }

    fn unreachable(&self, error: &SendError) -> Failure {
        Failure::new("server_unreachable", format!("`{}` cannot be reached", self.base))
            .because(error)
            .next("check that `bailiwick serve` runs there, and the URL (`--server`, `BAILIWICK_SERVER` or the profile)")
            .exit(Exit::Unreachable)
    }
}

impl Reply {
    /// Whether the same request with the nonce that came along would be believed.
    pub(super) fn wants_nonce(&self) -> bool {
        let said = self.document["error"].as_str().or_else(|| self.document["code"].as_str());
        !self.status.is_success() && said == Some("use_dpop_nonce")
    }

    /// What the token endpoint gave to somebody whose `sources` are told where they are not believed.
    pub(super) fn accepted(self, what: &str, sources: &str) -> Result<Value> {
        if self.status.is_success() {
            return Ok(self.document);
        }
        Err(problem::of_oauth(self.status, &self.document, what, sources))
    }

    /// What the server says of itself.
    pub(super) fn metadata(self) -> Result<Value> {
        match self.status {
            status if status.is_success() => Ok(self.document),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(problem::of_oauth(self.status, &self.document, "its metadata", ""))
            }
            status => Err(problem::no_server(status)),
        }
    }

    /// What the admin API gave.
    pub(super) fn accepted_or_refused(self) -> Result<Value> {
        if self.status.is_success() {
            return Ok(self.document);
        }
        Err(problem::of_api(self.status, &self.document))
    }
}

fn text_header(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| {
        Failure::new("header_invalid", "the server gave a text that cannot be sent back")
            .because(&error)
            .next("check that `--server` is a Bailiwick, of this version")
    })
}
