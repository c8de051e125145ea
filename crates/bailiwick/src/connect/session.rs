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

use super::Credentials;
use crate::{
    again::{Again, passes},
    agent::{Agent, Granted, Key, Refused, Resource, Who, place, unanswered},
    client::read_key,
    failure::{Exit, Failure, Result},
    files,
    proving::{Ask, Place, wants_nonce},
};

/// How long an answer may begin or pause: the gateway ends every call after two minutes.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(10);

/// An agent before one gateway endpoint, with the token of its task.
pub(super) struct Door {
    agent: Agent,
    endpoint: Place,
    audience: String,
    task_token: PathBuf,
}

/// An agent at one gateway endpoint.
pub(super) struct Session {
    door: Door,
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

impl Door {
    /// Finds the way from the endpoint to its tokens.
    pub(super) async fn find(url: &str, credentials: Credentials) -> Result<Self> {
        let Credentials { agent, agent_key, token: task_token } = credentials;
        let prover = Prover::new(read_key(&agent_key)?);
        let who = who(&agent)?;
        let endpoint = place(url, PATIENCE)?;
        let resource = Resource::at(endpoint.url()).await?;
        let agent = Agent::new(prover, who, &resource.issuer).await?;
        Ok(Self { agent, endpoint, audience: resource.audience, task_token })
    }

    /// Whom its tokens are for.
    pub(super) fn audience(&self) -> &str {
        &self.audience
    }

    /// Exchanges the task's token for one to call with.
    pub(super) async fn exchange(&self, bound: Key) -> Result<Granted> {
        let subject = files::read_secret(&self.task_token)?;
        let subject = subject.expose_text().unwrap_or_default().trim();
        let wishes = [("audience", self.audience.as_str())];
        let mut again = Again::new();
        loop {
            let exchanged = self.agent.exchange(subject, &wishes, bound).await?;
            let ended = exchanged.map_err(|refused| self.no_token(refused, bound));
            if !again.once_more(passes(&ended)).await {
                return ended;
            }
        }
    }

    fn no_token(&self, refused: Refused, bound: Key) -> Failure {
        let next = self.next_of(&refused, bound);
        let exit = if refused.retryable { Exit::Unreachable } else { Exit::SignIn };
        let reason = refused.reason.unwrap_or_else(|| "no reason was given".to_owned());
        Failure::new(
            refused.code.unwrap_or_else(|| "no_token".to_owned()),
            "the agent gets no token",
        )
        .why(Foreign::new(reason).to_string())
        .next(next)
        .exit(exit)
    }

    /// What whoever started this does next. The server knows it best, but for what only this side knows: its command line.
    fn next_of(&self, refused: &Refused, bound: Key) -> String {
        match (refused.code.as_deref(), bound) {
            (Some("invalid_grant" | "task_over"), _) => format!(
                "open another task for this agent, and put its token into `{}`",
                self.task_token.display()
            ),
            (Some("invalid_client"), _) => {
                "see that `--agent` and `--agent-key` are those of one agent, that it is registered (`bailiwick agent list`), and that this machine's clock is right".to_owned()
            }
            (Some("invalid_target"), _) => {
                "correct the URL: `bailiwick server list` has the servers".to_owned()
            }
            (Some("invalid_dpop_proof"), Key::None) => {
                "let the blueprint say `sender = \"bearer\"`, or use `bailiwick connect`".to_owned()
            }
            (Some("invalid_dpop_proof"), Key::Agents) => {
                "see that this machine's clock is right, then start it again".to_owned()
            }
            _ => match &refused.next {
                Some(next) => Foreign::new(next).to_string(),
                None if refused.retryable => "try again in a moment".to_owned(),
                None => "look into the log of the node, or ask its operator".to_owned(),
            },
        }
    }
}

impl Session {
    /// Finds the way to the tokens, and gets the first one: what is wrong shows at once.
    pub(super) async fn open(url: &str, credentials: Credentials) -> Result<Arc<Self>> {
        let door = Door::find(url, credentials).await?;
        let session = Self { door, held: Mutex::default() };
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
        let endpoint = &self.door.endpoint;
        let sent = endpoint.send(&self.door.agent.prover, ask).await;
        sent.map_err(|error| unanswered(endpoint.url(), error))
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
        let file = std::fs::metadata(&self.door.task_token).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    }

    async fn exchange(&self) -> Result<Held> {
        // What lies there later is another task's, and this token is then not of it.
        let (of, asked) = (self.stamp(), Instant::now());
        let granted = self.door.exchange(Key::Agents).await?;
        let until = asked + Duration::from_secs(granted.seconds);
        Ok(Held { token: granted.token.into(), until, of })
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
