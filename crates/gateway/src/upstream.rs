//! One MCP server behind the gateway: which revision it speaks, its tools, and calls with their answers.
//!
//! A call goes out as the bytes that were decided on; a result comes back as the bytes that the server sent, with the
//! client's id in place of ours. Never here: which tool may be called, retries of a call that may have arrived.

mod agreed;
mod answer;
mod events;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod held;
mod link;
mod message;
mod methods;
mod name;
mod pipe;
#[cfg(test)]
mod tests;
mod tools;
mod updates;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use decide::METHOD;
use http::{HeaderMap, StatusCode};
use model::{
    Digest, Foreign,
    ijson::{self, Limits},
};
use tokio::time::Instant;

use crate::{
    envelope::{self, Able, Era, Logs, MAX_BYTES, MAX_DEPTH, Mirror, RequestId},
    oauth::Challenge,
    outbound::{BodyError, Credential, Outbound, SendError, Target},
    program::{Program, ProgramError},
    room::Room,
    secrets::OwnSecrets,
    sse::MAX_EVENT,
};

pub use answer::{Answer, Outcome, Reply};
pub use events::{Event, Events};
pub(crate) use events::{asked_as, not_passed_on};
pub use tools::{Listing, RefusedTool, ToolDefinition, ToolError};
pub use updates::Updates;
pub(crate) use updates::{LISTEN, MAX_URI, SUBSCRIBE, UNSUBSCRIBE};

use agreed::Agreed;
use held::Whose;
use link::Link;
use methods::Offers;
use pipe::Pipe;
use updates::is_subscription;

/// How long finding the revision may take, and how long opening a session.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long reading a whole list of tools may take.
const LIST: Duration = Duration::from_secs(30);

/// One MCP server. Clones are the same server with the same sessions, which end with the last of them and of what is on its way.
#[derive(Clone)]
pub struct Upstream(Arc<Server>);

struct Server {
    wire: Wire,
    protocol: Protocol,
    agreed: Mutex<Agreed>,
    /// What it offers beside tools.
    offers: Mutex<Offers>,
    /// Held by the one caller that finds out what the server speaks while others wait for it.
    agreeing: tokio::sync::Mutex<()>,
    /// Ids of our requests: unique in every session.
    next_id: AtomicI64,
}

/// How a server is spoken to.
enum Wire {
    /// Streamable HTTP.
    Http(Arc<Http>),
    /// The stdin and stdout of a program.
    Pipe(Pipe),
}

struct Http {
    outbound: Outbound,
    target: Target,
    credential: Mutex<Option<Arc<Credential>>>,
    /// Held while the server is told that a session is over.
    ending: tokio::sync::Mutex<()>,
}

impl Http {
    /// What opens the server now. Held for a moment only.
    fn credential(&self) -> MutexGuard<'_, Option<Arc<Credential>>> {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which revision is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Ask by `server/discover` and fall back to `initialize`.
    Probe,
    /// One of the two, because the server stumbles over the question.
    Only(Era),
}

/// Whose session with a server of the older revisions a call is made in. Asked only where there are such sessions: the answers
/// take their time.
pub trait Holder: Sync {
    /// What tells it from all other holders.
    fn id(&self) -> Digest;

    /// What the server may ask in the session, which it is told when that is opened. In a call it may ask no more than
    /// [`Call::able`].
    fn able(&self) -> Able;
}

/// One tool call, as it was decided on.
#[derive(Clone, Copy)]
pub struct Call<'c> {
    /// Whose session it is made in, where the server has sessions; `None` is the gateway's own.
    pub holder: Option<&'c dyn Holder>,
    /// Where a long answer finds room; with `None` it is read at once.
    pub room: Option<&'c Room>,
    /// The client's id of the call, which the answer will carry.
    pub id: &'c RequestId,
    /// The tool, or a method of the protocol as the catalog names it (`mcp:resources/read`).
    pub tool: &'c str,
    /// The canonical bytes of its arguments, an object; a method's are its parameters.
    pub arguments: &'c [u8],
    /// The canonical bytes of the answers to what the server asked before, an object.
    pub inputs: Option<&'c [u8]>,
    /// The revision that the client speaks, in which a server asks it.
    pub era: Era,
    /// What the server may ask of the client: what the client can be asked and a person has accepted.
    pub able: &'c Able,
    /// Which of the server's log messages the client reads.
    pub logs: Logs,
    /// The client's progress token. The server gets one of ours, and progress that it reports under that is passed on
    /// under the client's. Nothing of the client's `_meta` goes on: it was not decided on, and nobody records it.
    pub progress: Option<&'c RequestId>,
    /// Which arguments the tool wants repeated as headers.
    pub mirror: &'c Mirror,
    /// When the whole answer must be there.
    pub deadline: Instant,
}

/// Why a server gave no answer that can be passed on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No response came.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The response broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The program that it is does not run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A secret that the program gets cannot be read.
    #[error("{0}")]
    Secret(String),
    /// It came to no call, because nothing could be agreed with the server before.
    #[error("no MCP revision or session could be agreed with the server")]
    Handshake(#[source] Box<Self>),
    /// HTTP failed and said no more.
    #[error("the server answered HTTP {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    /// The server wants a token, another one, or a wider one, and did nothing.
    #[error("the server did not take the credential: {}", what(.0))]
    Challenged(Box<Challenge>),
    /// The server refused a request that was our own.
    #[error("the server refused `{method}` with error {code}: {message}")]
    Refused {
        /// The request.
        method: &'static str,
        /// Its code.
        code: i64,
        /// Its words.
        message: Foreign,
    },
    /// Neither JSON nor an event stream.
    #[error(
        "the server answered with content type `{0}`, which is neither JSON nor an event stream"
    )]
    ContentType(Foreign),
    /// Compressed, although nobody asked for it.
    #[error("the server answered with content coding `{0}`, which nobody asked for")]
    ContentCoding(Foreign),
    /// Not JSON-RPC as MCP has it.
    #[error("the server's answer is not an MCP message: {0}")]
    Malformed(&'static str),
    /// An answer to another request.
    #[error("the server's answer carries the id of another request")]
    ForeignId,
    /// The stream ended too early.
    #[error("the event stream ended without the answer")]
    NoAnswer,
    /// One event is too long.
    #[error(transparent)]
    EventTooLong(#[from] crate::sse::EventTooLong),
    /// Answers to what was asked before, for a server that does not take them so.
    #[error("the server speaks a revision in which a call carries no answers")]
    NoInputs,
    /// The server sent a request where there may be none, or too many of them.
    #[error("the server sent the request `{0}` to the client, which is not passed on")]
    ServerRequest(Foreign),
    /// No common revision.
    #[error("the server speaks no MCP revision that is spoken here, only {0}")]
    Unsupported(Foreign),
    /// A list of tools without end.
    #[error("the server lists more tools than {0}")]
    TooManyTools(usize),
    /// A program's response was long, and there was no room for another one of the agent.
    #[error("the program's response is long, and as many as may be are waiting to be read")]
    NoRoom,
    /// The server has ended the session, and did not take the call by its own word (MCP 2025-11-25, session management).
    #[error("the server has ended the session")]
    SessionLost,
}

impl Upstream {
    /// A server at a target, reached with a credential of the gateway's own. Nothing is sent yet.
    pub fn new(
        outbound: Outbound,
        target: Target,
        credential: Option<Credential>,
        protocol: Protocol,
    ) -> Self {
        let credential = Mutex::new(credential.map(Arc::new));
        let http = Http { outbound, target, credential, ending: tokio::sync::Mutex::default() };
        Self::over(Wire::Http(Arc::new(http)), protocol)
    }

    /// Opens the server with another credential of the same account from now on: its sessions go on.
    pub(crate) fn renew(&self, credential: Option<Credential>) {
        if let Wire::Http(http) = &self.0.wire {
            *http.credential() = credential.map(Arc::new);
        }
    }

    /// Whether it is the same server in the same sessions.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A server that is a program; `own` says which secrets it must not get. Nothing is started yet.
    pub fn program(program: Arc<Program>, own: Arc<OwnSecrets>) -> Self {
        Self::over(Wire::Pipe(Pipe::new(program, own)), Protocol::Probe)
    }

    fn over(wire: Wire, protocol: Protocol) -> Self {
        Self(Arc::new(Server {
            wire,
            protocol,
            agreed: Mutex::default(),
            offers: Mutex::default(),
            agreeing: tokio::sync::Mutex::default(),
            next_id: AtomicI64::new(1),
        }))
    }

    /// Which revision the server speaks; asks it unless that is known.
    ///
    /// # Errors
    /// The server cannot be reached, or nothing can be agreed with it.
    pub async fn era(&self) -> Result<Era, UpstreamError> {
        Ok(self.0.link(None, false, Instant::now() + HANDSHAKE).await?.era())
    }

    /// The server's tools as it defines them now.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or the list has no end.
    pub async fn list_tools(&self) -> Result<Listing, UpstreamError> {
        let deadline = Instant::now() + LIST;
        let link = self.0.link(None, false, deadline).await?;
        match tools::list(&self.0, &link, deadline).await {
            Err(error) if self.0.forgot_session(&link, &error) => {
                let link = self.0.link(None, false, deadline).await?;
                tools::list(&self.0, &link, deadline).await
            }
            listed => listed,
        }
    }

    /// Calls a tool. Dropping the future or the answer cuts the call: a modern server sees its stream closed, a legacy
    /// one is also told by `notifications/cancelled`. It is sent once: a call that the server did not take because it has
    /// forgotten the session is the client's to make again, with a decision of its own.
    ///
    /// # Errors
    /// See [`UpstreamError`]; [`UpstreamError::may_have_arrived`] tells whether the server may have acted.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, UpstreamError> {
        let in_session =
            call.era == Era::Legacy && (!call.able.is_empty() || is_subscription(call.tool));
        let link = self.0.link(call.holder, in_session, call.deadline).await?;
        match self.0.call(&link, call).await {
            Err(error) if self.0.forgot_session(&link, &error) => Err(UpstreamError::SessionLost),
            answered => answered,
        }
    }

    /// Ends the sessions of these holders, in the background. Those of a program go on: everybody shares its one session.
    pub fn end_sessions(&self, holders: &[Digest]) {
        let mut agreed = self.0.agreed();
        holders.iter().for_each(|holder| agreed.held.end(Whose::Client(*holder)));
    }

    /// Ends a program.
    pub fn close(&self) {
        if let Wire::Pipe(pipe) = &self.0.wire {
            pipe.stop();
        }
    }
}

impl UpstreamError {
    /// Whether the server may have acted on the call.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Send(error) => error.may_have_arrived(),
            Self::Handshake(_) | Self::Secret(_) | Self::NoInputs | Self::Challenged(_) => false,
            Self::Program(error) => matches!(error, ProgramError::Ended),
            _ => true,
        }
    }

    /// The server's word that the credential is not enough, wherever in the exchange it came.
    pub fn challenge(&self) -> Option<&Challenge> {
        match self {
            Self::Challenged(challenge) => Some(challenge),
            Self::Handshake(inner) => inner.challenge(),
            _ => None,
        }
    }
}

/// One request on its way.
struct Sent {
    id: RequestId,
    headers: HeaderMap,
    body: Vec<u8>,
    link: Arc<Link>,
    client: Client,
}

/// Whom the answer is for.
struct Client {
    /// The client's own id of the request.
    id: RequestId,
    /// What it wants progress to be told under; the server tells it under ours.
    progress: Option<RequestId>,
    /// What the server may ask of it while it works.
    able: Able,
    /// The members that a result must have in the client's revision and has not in the server's.
    lacks: &'static str,
    /// Where a long answer finds room.
    room: Option<Room>,
    /// How long the answer may be, or an event of it, in bytes.
    max: usize,
}

impl Call<'_> {
    /// The headers that repeat arguments, made of the very bytes that are sent.
    fn mirrored(&self) -> Result<HeaderMap, UpstreamError> {
        if self.mirror.is_empty() {
            return Ok(HeaderMap::new());
        }
        let limits = Limits { bytes: MAX_BYTES, depth: MAX_DEPTH };
        let arguments = ijson::parse(self.arguments, limits)
            .map_err(|_| UpstreamError::Malformed("the call's own arguments are not I-JSON"))?;
        Ok(self.mirror.headers(&arguments))
    }
}

impl Server {
    fn next_id(&self) -> RequestId {
        RequestId::Number(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    async fn call(
        self: &Arc<Self>,
        link: &Arc<Link>,
        call: Call<'_>,
    ) -> Result<Answer, UpstreamError> {
        let id = self.next_id();
        let client_progress = call.progress.cloned();
        if call.inputs.is_some() && link.era() == Era::Legacy {
            return Err(UpstreamError::NoInputs);
        }
        // In the other revision the server asks in a way that this client does not understand.
        let able = if link.era() == call.era { call.able.clone() } else { Able::default() };
        let meta = link.written_meta(client_progress.as_ref().map(|_| &id), &able, call.logs);
        let (body, headers) = match call.tool.strip_prefix(METHOD) {
            None => {
                let (tool, arguments, inputs) = (call.tool, call.arguments, call.inputs);
                let meta = meta.as_deref();
                let body = envelope::tool_call_request(&id, tool, arguments, inputs, meta);
                let mut headers = link.headers("tools/call", Some(tool));
                if link.era() == Era::Modern {
                    headers.extend(call.mirrored()?);
                }
                (body, headers)
            }
            Some(method) => {
                let (params, inputs, meta) = (call.arguments, call.inputs, meta.as_deref());
                let body = envelope::method_request(&id, method, params, inputs, meta);
                let name = envelope::name_of(method, call.arguments);
                (body, link.headers(method, name.as_deref()))
            }
        };
        let client = Client {
            id: call.id.clone(),
            progress: client_progress,
            able,
            lacks: lacks(call.tool, call.era, link.era()),
            room: call.room.cloned(),
            max: MAX_EVENT,
        };
        let sent = Sent { id, headers, body, link: link.clone(), client };
        answer::exchange(self, sent, call.deadline).await.map(|(answer, _)| answer)
    }

    /// Whether the server has forgotten the session: it refused the request unseen, as it says. That session is let go then, and
    /// what is agreed with all where the server seems to speak another revision now.
    fn forgot_session(&self, link: &Arc<Link>, error: &UpstreamError) -> bool {
        let UpstreamError::Status(status) = error else { return false };
        let lost = link.session().filter(|_| *status == StatusCode::NOT_FOUND);
        lost.inspect(|session| session.gone());
        let disagrees =
            [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        if disagrees.contains(status) {
            self.agreed().let_go(link, lost.is_some());
        }
        lost.is_some()
    }
}

/// What a result of a server's revision lacks in the client's
/// ([MCP 2026-07-28](https://modelcontextprotocol.io/specification/2026-07-28/basic#responses)).
fn lacks(tool: &str, client: Era, server: Era) -> &'static str {
    /// Those of which a client may keep the results.
    const CACHEABLE: [&str; 4] =
        ["prompts/list", "resources/list", "resources/read", "resources/templates/list"];
    match (client, server) {
        (Era::Modern, Era::Legacy) => match tool.strip_prefix(METHOD) {
            Some(method) if CACHEABLE.contains(&method) => {
                r#""cacheScope":"private","resultType":"complete","ttlMs":0"#
            }
            _ => r#""resultType":"complete""#,
        },
        _ => "",
    }
}

fn what(challenge: &Challenge) -> String {
    match &challenge.scopes {
        Some(scopes) if challenge.insufficient => format!("it wants the scope `{scopes}`"),
        _ if challenge.insufficient => "it is not wide enough".to_owned(),
        _ => "it answered HTTP 401; check the credential for this server".to_owned(),
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "; check the credential for this server",
        _ => "",
    }
}
