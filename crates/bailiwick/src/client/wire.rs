//! Requests with proofs of possession, and their answers.

use std::time::Duration;

use bytes::Bytes;
use gateway::outbound::SendError;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use token::dpop::Prover;

use super::problem;
use crate::{
    failure::{Exit, Failure, Result},
    proving::{Ask, AskError, Place},
};

/// How long the server may take to begin its answer: it waits for the ledger, and a stop for its calls.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: a page of the ledger with payloads.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The way to one server, with the key that sessions are bound to.
pub(super) struct Wire {
    place: Place,
    prover: Prover,
}

/// What a server answered.
pub(super) struct Reply {
    status: StatusCode,
    bytes: Bytes,
    document: Value,
}

impl Wire {
    pub(super) fn new(server: &str, prover: Prover) -> Result<Self> {
        let place = Place::new(server, PATIENCE).map_err(|error| {
            Failure::new("server_refused", format!("`{server}` cannot be the server"))
                .because(&error)
                .next("correct the URL (`--server`, `BAILIWICK_SERVER` or the profile)")
        })?;
        Ok(Self { place, prover })
    }

    pub(super) fn base(&self) -> &str {
        self.place.url()
    }

    /// Sends one request; `token` makes it one of the session.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
        token: Option<&str>,
    ) -> Result<Reply> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, application/problem+json, text/plain"),
        );
        let body = match body {
            None => Bytes::new(),
            Some((kind, text)) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                Bytes::from(text)
            }
        };
        let ask = Ask { method, path, headers, body, token };
        let response = self.place.send(&self.prover, ask).await.map_err(|error| match error {
            AskError::Unmade(failure) => failure,
            AskError::Unanswered(error) => self.unreachable(&error),
        })?;
        let status = response.status;
        let bytes = response.collect(MAX_ANSWER).await.map_err(|error| {
            Failure::new("server_unreachable", format!("`{}` broke off its answer", self.base()))
                .because(&error)
                .next("look at whether it was done before you try again")
                .exit(Exit::Unreachable)
        })?;
        let document = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        Ok(Reply { status, bytes, document })
    }

    fn unreachable(&self, error: &SendError) -> Failure {
        Failure::new("server_unreachable", format!("`{}` cannot be reached", self.base()))
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

    /// The answer as it came.
    pub(super) fn bytes(self) -> Bytes {
        self.bytes
    }

    /// The answer as JSON; null where it is none.
    pub(super) fn document(self) -> Value {
        self.document
    }

    /// Only what the admin API gave, not what it refused.
    pub(super) fn accepted_or_refused(self) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(problem::of_api(self.status, &self.document))
    }
}
