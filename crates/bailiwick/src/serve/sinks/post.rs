//! What all sinks share that take entries by a request.

use std::{io, time::Duration};

use bytes::Bytes;
use gateway::outbound::{
    BodyError, Credential, Limits, Outbound, Request, Scheme, SendError, Target,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::Foreign;
use token::Secret;
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::config::SecretRef;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of a refusal is told, in letters.
const TOLD: usize = 200;

/// A server that takes requests.
pub(super) struct Place {
    pub(super) outbound: Outbound,
    pub(super) target: Target,
    answer: Duration,
}

/// Why a sink did not take a batch. It gets the batch again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("it did not answer")]
    Silent(#[from] SendError),
    #[error("its answer did not come whole")]
    Cut(#[from] BodyError),
    #[error("it answered {status}: {said}")]
    Refused { status: StatusCode, said: String },
    #[error("its answer says nothing that counts: {0}")]
    Strange(String),
    #[error("it did not confirm within {} s that it has kept what it took", .0.as_secs())]
    Unconfirmed(Duration),
    #[error("it ended the connection before this side did, so it has not read all")]
    Early,
    #[error("{0}")]
    Secret(String),
    #[error("it could not be written to")]
    Io(#[from] io::Error),
    #[error("the connection did not end in order within {} s", .0.as_secs())]
    Slow(Duration),
}

impl NotTaken {
    /// Whether the same batch will be refused again: what is refused is it, not the moment or who sends it.
    pub(super) fn is_of_the_batch(&self) -> bool {
        let Self::Refused { status, .. } = self else { return false };
        let passing = matches!(
            *status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
        status.is_client_error() && !passing
    }
}

/// A client of a sink's own: calls of agents leave it its connections, and it leaves them theirs.
pub(super) fn client() -> Outbound {
    Outbound::new(Limits { connections: 2, parked: 1, ..Limits::default() })
}

impl Place {
    /// A server at a URL, or why it cannot be used. The operator's own file says where it is, inside or not; in the clear only
    /// this machine is spoken to.
    pub(super) fn of(outbound: Outbound, url: &str, answer: Duration) -> Result<Self, String> {
        let target = outbound.target(url, true).map_err(|error| error.to_string())?;
        let origin = target.origin();
        if origin.scheme() == Scheme::Http && !origin.is_loopback() {
            return Err("it would be spoken to in the clear; use `https`".to_owned());
        }
        Ok(Self { outbound, target, answer })
    }

    /// Reads the token that a sink is shown, anew for each batch, so that a changed one is used without a restart. Its file may lie
    /// on a disk that hangs: it is read aside, and within the time of an answer.
    pub(super) async fn token(&self, token: &SecretRef) -> Result<Secret, NotTaken> {
        let token = token.clone();
        let reading = timeout(self.answer, spawn_blocking(move || token.read_token())).await;
        let late = || format!("its token could not be read within {} s", self.answer.as_secs());
        let read = reading.map_err(|_| NotTaken::Secret(late()))?.map_err(io::Error::other)?;
        read.map_err(|why| NotTaken::Secret(why.line()))
    }

    /// Posts JSON to a path below the URL; the answer, where it is a success.
    pub(super) async fn post(
        &self,
        path: &str,
        mut headers: HeaderMap,
        body: Vec<u8>,
        credential: Option<&Credential>,
    ) -> Result<Bytes, NotTaken> {
        let path = format!("{}{path}", self.target.path().path().trim_end_matches('/'));
        let path = path.parse().map_err(|_| NotTaken::Strange(format!("`{path}` is no path")))?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::POST,
            path: Some(path),
            headers,
            body: Bytes::from(body),
            deadline: Some(Instant::now() + self.answer),
        };
        let response = self.outbound.send(&self.target, request, credential).await?;
        let status = response.status;
        let answer = response.collect(MAX_ANSWER).await?;
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&answer).chars().take(TOLD).collect();
            return Err(NotTaken::Refused { status, said: Foreign::new(said).to_string() });
        }
        Ok(answer)
    }
}
