//! The agent's session with the gateway: a token that is renewed before it ends, and a proof for every message.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gateway::outbound::Response;
use http::{HeaderMap, Method, StatusCode};
use model::Foreign;
use serde::Deserialize;
use token::dpop::Prover;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    agent::{Agent, Resource, Who, place, unanswered},
    client::read_key,
    failure::{Exit, Failure, Result},
    files,
    proving::{Ask, Place, wants_nonce},
};

/// How long an answer may begin or pause: the gateway ends every call after two minutes.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(10);
/// How often something is asked again that is refused for a moment only.
const TRIES: usize = 3;

/// An agent at one gateway endpoint.
pub(super) struct Session {
    agent: Agent,
    endpoint: Place,
    audience: String,
    task_token: PathBuf,
    held: Mutex<Option<Held>>,
}

/// What goes to the gateway.
pub(super) struct Request<'r> {
    pub(super) method: Method,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r Bytes,
}

#[derive(Clone)]
struct Held {
    token: Arc<str>,
    until: Instant,
    /// Which task's token it was exchanged for.
    of: Option<Stamp>,
}

/// What tells one content of a file from the next: its place on the disk, its length, and when it was written.
type Stamp = (u64, u64, i64, i64);

/// What `agent show -o json` prints, as far as it is needed here.
#[derive(Deserialize)]
struct Shown {
    uri: String,
    version: Option<ShownVersion>,
}

#[derive(Deserialize)]
struct ShownVersion {
    digest: model::Digest,
}

impl Session {
    /// Finds the way from the endpoint to its tokens, and gets the first one: what is wrong shows at once.
    pub(super) async fn open(
        url: &str,
        agent: &Path,
        key: &Path,
        task_token: PathBuf,
    ) -> Result<Arc<Self>> {
        let prover = Prover::new(read_key(key)?);
        let who = who(agent)?;
        let endpoint = place(url, PATIENCE)?;
        let resource = Resource::at(endpoint.url()).await?;
        let agent = Agent::new(prover, who, &resource.issuer).await?;
        let audience = resource.audience;
        let session = Self { agent, endpoint, audience, task_token, held: Mutex::default() };
        session.token().await?;
        Ok(Arc::new(session))
    }

    /// Sends one request. The answer is the gateway's, whatever it says; only a token that is not believed any more is
    /// renewed, since nothing was decided then.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response> {
        let token = self.token().await?;
        let response = self.try_send(request, &token).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.forget(&token).await;
        let token = self.token().await?;
        let response = self.try_send(request, &token).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.forget(&token).await;
        let why = response.collect(1024).await.unwrap_or_default();
        Err(Failure::new("not_believed", "the gateway does not believe this agent")
            .why(Foreign::new(String::from_utf8_lossy(&why)).to_string())
            .next("look at the agent (`bailiwick agent show`) and the stops in force (`bailiwick stops`)")
            .exit(Exit::SignIn))
    }

    async fn try_send(&self, request: &Request<'_>, token: &str) -> Result<Response> {
        let first = self.send_once(request, token).await?;
        match first.status == StatusCode::UNAUTHORIZED && wants_nonce(&first.headers) {
            true => self.send_once(request, token).await,
            false => Ok(first),
        }
    }

    async fn send_once(&self, request: &Request<'_>, token: &str) -> Result<Response> {
        let Request { method, headers, body } = request;
        let (method, headers, body) = (method.clone(), (*headers).clone(), (*body).clone());
        let ask = Ask { method, path: "", headers, body, token: Some(token) };
        let sent = self.endpoint.send(&self.agent.prover, ask).await;
        sent.map_err(|error| unanswered(self.endpoint.url(), error))
    }

    /// The token to call with. Of many messages at once, one gets it and the others wait.
    async fn token(&self) -> Result<Arc<str>> {
        let mut held = self.held.lock().await;
        let of = self.stamp();
        // Where the next task's token lies there already, this one's is not used any more.
        let serves =
            |held: &&Held| Instant::now() + EARLY < held.until && (of.is_none() || of == held.of);
        if let Some(held) = held.as_ref().filter(serves) {
            return Ok(held.token.clone());
        }
        let fresh = self.exchange().await?;
        Ok(held.insert(fresh).token.clone())
    }

    async fn forget(&self, token: &str) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| *held.token == *token) {
            *held = None;
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let file = std::fs::metadata(&self.task_token).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    }

    async fn exchange(&self) -> Result<Held> {
        let of = self.stamp();
        let subject = files::read_secret(&self.task_token)?;
        let subject = subject.expose_text().unwrap_or_default().trim();
        let mut tries = 1;
        loop {
            let asked = Instant::now();
            match self.agent.exchange(subject, &[("audience", &self.audience)]).await? {
                Ok(granted) => {
                    let until = asked + Duration::from_secs(granted.seconds);
                    return Ok(Held { token: granted.token.into(), until, of });
                }
                Err(refused) if refused.retryable && tries < TRIES => tries += 1,
                Err(refused) => {
                    let code = refused.code.unwrap_or_else(|| "no_token".to_owned());
                    let reason = refused.reason.unwrap_or_else(|| "no reason was given".to_owned());
                    return Err(Failure::new(code, "the agent gets no token")
                        .why(Foreign::new(reason).to_string())
                        .next(format!(
                            "open another task for this agent, and put its token into `{}`",
                            self.task_token.display()
                        ))
                        .exit(Exit::SignIn));
                }
            }
        }
    }
}

fn who(path: &Path) -> Result<Who> {
    let shown: Shown = serde_json::from_slice(&files::read(path)?).map_err(|error| {
        Failure::new("agent_unknown", format!("`{}` does not say who the agent is", path.display()))
            .because(&error)
            .next("make it with `bailiwick agent show NAME -o json`")
    })?;
    Ok(Who { uri: shown.uri, version: shown.version.map(|version| version.digest) })
}
