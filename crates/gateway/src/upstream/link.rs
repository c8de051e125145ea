//! One agreement with a server: the revision, and before 2026-07-28 a session. How it comes about, and what is sent in it.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{Foreign, ijson::Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{runtime::Handle, time::Instant};

use super::{
    Answer, Client, HANDSHAKE, Sent, Server, UpstreamError, Wire, answer,
    held::Session,
    message::{RpcError, ServerMessage, response},
    methods::Offers,
    pipe::Pipe,
};
use crate::envelope::{
    Able, Code, Era, LEGACY_VERSIONS, Logs, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LEVEL,
    META_VERSION, MODERN_VERSION, RequestId, encode, header_name,
};

/// How long a program may take to say whether it speaks the newest revision.
const PROBE: Duration = Duration::from_secs(5);
/// The longest answer in a handshake, in bytes: each holder may be in one. What is in it are mostly instructions for a model.
const MAX_HANDSHAKE: usize = 256 * 1024;
/// The longest session id, in bytes.
const MAX_SESSION: usize = 1024;

/// What is agreed with a server.
pub(super) enum Link {
    /// Nothing but the revision.
    Modern,
    /// A revision with a handshake, and the session where the server wants one.
    Legacy { version: &'static str, session: Option<Session> },
    /// Nothing yet: the handshake itself.
    Opening,
}

impl Link {
    pub(super) fn era(&self) -> Era {
        match self {
            Self::Modern => Era::Modern,
            Self::Legacy { .. } | Self::Opening => Era::Legacy,
        }
    }

    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Self::Legacy { session, .. } => session.as_ref(),
            Self::Modern | Self::Opening => None,
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.session().is_some()
    }

    /// The headers of a request.
    pub(super) fn headers(&self, method: &str, name: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, both);
        match self {
            Self::Opening => {}
            Self::Modern => {
                let version = HeaderValue::from_static(MODERN_VERSION);
                headers.insert(header_name::PROTOCOL_VERSION, version);
                headers.insert(header_name::METHOD, encode(method));
                headers.extend(name.map(|name| (header_name::NAME, encode(name))));
            }
            Self::Legacy { version, session } => {
                let version = HeaderValue::from_static(version);
                headers.insert(header_name::PROTOCOL_VERSION, version);
                let session = session.as_ref().map(Session::id);
                headers.extend(session.map(|session| (header_name::SESSION, session)));
            }
        }
        headers
    }

    /// The `_meta` of a request: under what progress may be told, and what the revision demands of us. All of it is ours.
    pub(super) fn meta(
        &self,
        progress: Option<&RequestId>,
        able: &Able,
        logs: Logs,
    ) -> Option<Json> {
        let mut members: Vec<(&str, Json)> = Vec::new();
        members.extend(progress.map(|token| ("progressToken", token.to_json())));
        if let Self::Modern = self {
            members.push((META_VERSION, Json::String(MODERN_VERSION.to_owned())));
            members.push((META_CLIENT_INFO, client_info()));
            members.push((META_CLIENT_CAPABILITIES, able.to_json()));
            let level = logs.level().map(|level| Json::String(level.name().to_owned()));
            members.extend(level.map(|level| (META_LEVEL, level)));
        }
        (!members.is_empty()).then(|| Json::object(members))
    }

    /// The same as it is written. Most requests say no more than every other, and theirs is written once.
    pub(super) fn written_meta(
        &self,
        progress: Option<&RequestId>,
        able: &Able,
        logs: Logs,
    ) -> Option<Cow<'static, [u8]>> {
        static MODERN: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
            let meta = Link::Modern.meta(None, &Able::default(), Logs::Nothing);
            meta.map(|meta| meta.canonical())
        });
        match (self, progress, logs) {
            (Self::Modern, None, Logs::Nothing) if able.is_empty() => {
                MODERN.as_deref().map(Cow::Borrowed)
            }
            _ => self.meta(progress, able, logs).map(|meta| Cow::Owned(meta.canonical())),
        }
    }
}

#[derive(Deserialize)]
struct Discovered {
    #[serde(rename = "supportedVersions")]
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Offers,
}

#[derive(Deserialize)]
struct Initialized {
    #[serde(rename = "protocolVersion")]
    protocol_version: String,
    #[serde(default)]
    capabilities: Offers,
}

impl Server {
    /// What the server said last that it offers.
    pub(super) fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program and agrees with it. One from before 2026-07-28 may fall silent at a question that comes before its
    /// handshake, or end: then it is started once more, and not asked
    /// ([MCP 2026-07-28, stdio](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio)).
    pub(super) async fn agree_by(
        self: &Arc<Self>,
        pipe: &Pipe,
        deadline: Instant,
    ) -> Result<Link, UpstreamError> {
        pipe.start(deadline).await?;
        match self.probe(deadline.min(Instant::now() + PROBE)).await {
            Ok(Era::Modern) => return Ok(Link::Modern),
            Ok(Era::Legacy) => {}
            Err(_) => pipe.start_again(deadline).await?,
        }
        self.initialize(&Able::default(), deadline).await
    }

    /// Finds out which revision the server speaks
    /// ([MCP 2026-07-28, backward compatibility](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#backward-compatibility)).
    pub(super) async fn probe(self: &Arc<Self>, deadline: Instant) -> Result<Era, UpstreamError> {
        let link = Arc::new(Link::Modern);
        let nothing = Json::object::<&str>([]);
        let asked = self.ask(&link, "server/discover", nothing, MAX_HANDSHAKE, deadline);
        let versions = match asked.await {
            Ok((Ok(result), _)) => {
                let discovered: Discovered = serde_json::from_str(result.get()).map_err(|_| {
                    UpstreamError::Malformed("its discovery names no `supportedVersions`")
                })?;
                *self.offers() = discovered.capabilities;
                discovered.supported_versions
            }
            Ok((Err(error), _)) if error.code == Code::UnsupportedVersion.number() => {
                error.supported().to_vec()
            }
            Ok((Err(error), _))
                if error.code == Code::HeaderMismatch.number()
                    || error.code == Code::MissingCapability.number() =>
            {
                return Err(error.refused("server/discover"));
            }
            // A server from before 2026-07-28 says in its own way that it does not understand.
            Ok((Err(_), _)) => return Ok(Era::Legacy),
            Err(UpstreamError::Status(status)) if is_not_understood(status) => {
                return Ok(Era::Legacy);
            }
            Err(error) => return Err(error),
        };
        if versions.iter().any(|version| version == MODERN_VERSION) {
            Ok(Era::Modern)
        } else if versions.iter().any(|version| LEGACY_VERSIONS.contains(&version.as_str())) {
            Ok(Era::Legacy)
        } else {
            Err(unsupported(&versions.join(", ")))
        }
    }

    /// Opens a session ([MCP 2025-11-25, lifecycle](https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle)).
    pub(super) async fn initialize(
        self: &Arc<Self>,
        able: &Able,
        deadline: Instant,
    ) -> Result<Link, UpstreamError> {
        let params = Json::object([
            ("protocolVersion", Json::String(LEGACY_VERSIONS[0].to_owned())),
            ("capabilities", able.to_json()),
            ("clientInfo", client_info()),
        ]);
        let opening = Arc::new(Link::Opening);
        let asked = self.ask(&opening, "initialize", params, MAX_HANDSHAKE, deadline);
        let (result, headers) = asked.await?;
        let result = result.map_err(|error| error.refused("initialize"))?;
        let initialized: Initialized = serde_json::from_str(result.get()).map_err(|_| {
            UpstreamError::Malformed("its answer to `initialize` names no `protocolVersion`")
        })?;
        // In a session where it may ask, a server may offer more than it does to others; and beside the newer revision it has what
        // counts there.
        if able.is_empty() && !self.agreed().is_modern() {
            *self.offers() = initialized.capabilities.before_listening();
        }
        let spoken = initialized.protocol_version;
        let version = LEGACY_VERSIONS.into_iter().find(|version| *version == spoken);
        let version = version.ok_or_else(|| unsupported(&spoken))?;
        let session = match (&self.wire, headers.get(header_name::SESSION)) {
            (_, Some(id)) if id.len() > MAX_SESSION => {
                return Err(UpstreamError::Malformed("its session id is too long"));
            }
            (Wire::Http(http), Some(id)) => Some(Session::new(id.clone(), version, http.clone())),
            _ => None,
        };
        let link = Link::Legacy { version, session };
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let headers = link.headers("notifications/initialized", None);
        self.tell(headers, initialized.into(), deadline).await?;
        Ok(link)
    }

    /// Sends a request of our own and waits for its result or error, of at most `max` bytes.
    pub(super) async fn ask(
        self: &Arc<Self>,
        link: &Arc<Link>,
        method: &'static str,
        params: Json,
        max: usize,
        deadline: Instant,
    ) -> Result<(Result<Box<RawValue>, RpcError>, HeaderMap), UpstreamError> {
        let id = self.next_id();
        let params = match (params, link.meta(None, &Able::default(), Logs::Nothing)) {
            (Json::Object(members), Some(meta)) => {
                Json::object(members.into_iter().chain([("_meta".to_owned(), meta)]))
            }
            (params, _) => params,
        };
        let body = Json::object([
            ("jsonrpc", Json::String("2.0".to_owned())),
            ("id", id.to_json()),
            ("method", Json::String(method.to_owned())),
            ("params", params),
        ]);
        let headers = link.headers(method, None);
        let (progress, able, room) = Default::default();
        let client = Client { id: id.clone(), progress, able, lacks: "", room, max };
        let (body, link) = (body.canonical(), link.clone());
        let sent = Sent { id: id.clone(), headers, body, link, client };
        let (answer, headers) = answer::exchange(self, sent, deadline).await?;
        let reply = match answer {
            Answer::Whole(reply, _) => reply,
            Answer::Stream(events) => events.reply().await?,
        };
        match ServerMessage::read(&reply.bytes, &id)? {
            ServerMessage::Result { raw, .. } => Ok((Ok(raw.into_owned()), headers)),
            ServerMessage::Error { error, .. } => Ok((Err(error), headers)),
            _ => Err(UpstreamError::NoAnswer),
        }
    }
}

/// One request that the server may be working on. Dropped before its answer, it tells a legacy server or a program to stop:
/// there is no stream to close, or closing it does not cancel
/// ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server)).
pub(super) struct Cut {
    server: Arc<Server>,
    link: Arc<Link>,
    id: RequestId,
    armed: bool,
}

impl Cut {
    pub(super) fn armed(server: Arc<Server>, link: Arc<Link>, id: RequestId) -> Self {
        let is_pipe = matches!(server.wire, Wire::Pipe(_));
        let armed = is_pipe || matches!(*link, Link::Legacy { .. });
        Self { server, link, id, armed }
    }

    pub(super) fn era(&self) -> Era {
        self.link.era()
    }

    pub(super) fn in_session(&self) -> bool {
        self.link.has_session()
    }

    /// The server does not know the session, where it is in one: whatever comes next opens another.
    pub(super) fn lose_session(&self) {
        if self.link.has_session() {
            self.server.agreed().let_go(&self.link, true);
        }
    }

    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Cancels now, at most once.
    pub(super) fn fire(&mut self) {
        if std::mem::take(&mut self.armed) {
            let message = Json::object([
                ("jsonrpc", Json::String("2.0".to_owned())),
                ("method", Json::String("notifications/cancelled".to_owned())),
                ("params", Json::object([("requestId", self.id.to_json())])),
            ]);
            self.send(message.canonical());
        }
    }

    /// Answers a server's own request, whose id is `id` in JSON, with what nobody needs to decide on.
    pub(super) fn answer(&self, id: &str, outcome: &Result<Json, Json>) {
        self.send(response(id, outcome));
    }

    /// Posts a message that has no answer.
    pub(super) fn post(&self, body: Vec<u8>) -> impl Future<Output = ()> + Send + use<> {
        let (server, headers) = (self.server.clone(), self.link.headers("", None));
        async move {
            // The server may be gone; then so is its work.
            let _ = server.tell(headers, body, Instant::now() + HANDSHAKE).await;
        }
    }

    /// Posts in the background: neither a stop nor the reading of a stream waits for a slow server.
    fn send(&self, body: Vec<u8>) {
        // Outside of a runtime, as at the very end of a process, there is nobody left to send it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.post(body));
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.fire();
    }
}

/// Whether a server answered the handshake, and has no such session to give.
pub(super) fn says_no(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status(status) => is_not_understood(*status),
        UpstreamError::Refused { .. }
        | UpstreamError::Unsupported(_)
        | UpstreamError::ContentType(_)
        | UpstreamError::Malformed(_) => true,
        _ => false,
    }
}

/// Whether a server says of the handshake that there is no such thing, so that nobody gets a session; what else it refuses may
/// be this one alone.
pub(super) fn has_no_sessions(error: &UpstreamError) -> bool {
    // The last two are errors of the newer revision.
    let codes = [Code::MethodNotFound, Code::UnsupportedVersion, Code::HeaderMismatch];
    match error {
        UpstreamError::Refused { code, .. } => codes.iter().any(|it| it.number() == *code),
        UpstreamError::Status(status) => {
            [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(status)
        }
        UpstreamError::Unsupported(_) => true,
        _ => false,
    }
}

/// Statuses by which a server says that it does not understand the question, rather than that it does not want to.
fn is_not_understood(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        )
}

fn unsupported(versions: &str) -> UpstreamError {
    UpstreamError::Unsupported(Foreign::new(versions.chars().take(200).collect::<String>()))
}

fn client_info() -> Json {
    Json::object([
        ("name", Json::String("bailiwick".to_owned())),
        ("version", Json::String(env!("CARGO_PKG_VERSION").to_owned())),
    ])
}
