//! The door: one path for each system and one for all, both revisions of MCP on each.
//!
//! Who calls comes first; then the message is read once; then the method. Only `tools/call` leads on, through a decision.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody as _, to_bytes},
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use decide::{Caller, Code, Engine, METHOD, NotAuthenticated, Presented};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::Name;
use tokio::time::timeout;

use crate::{
    broker,
    challenge::{challenge, metadata, with_nonce},
    envelope::{
        self, Accepts, Capabilities, Era, Fault, Incoming, Level, MAX_BYTES, Message, RequestId,
        ServerInfo, header_name,
    },
    place::Place,
    questions::{Questions, asker},
    refusal::{self, Form},
    room::{LONG, Rooms, Taken},
    sessions::{Session, Sessions},
    upstreams::Upstreams,
};

/// How long a client may keep a list of tools, in milliseconds: a stop or a new mapping shows soon after.
const LIST_TTL_MS: u32 = 5_000;

/// How long a long request waits for room: less than its client has for sending it.
const ROOM: Duration = Duration::from_secs(10);

/// How the gateway introduces itself.
pub(crate) const INFO: ServerInfo<'static> = ServerInfo {
    name: "bailiwick",
    version: env!("CARGO_PKG_VERSION"),
    instructions: Some(
        "Calls are decided one by one. A refusal says why and what to do next; a call that waits for approval is made again unchanged once it was approved.",
    ),
};

/// What the gateway stands on.
pub struct Gateway {
    pub(crate) engine: Arc<Engine>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) questions: Questions,
    sessions: Sessions,
    /// Room for long requests of clients, and for long answers to them.
    requests: Rooms,
    pub(crate) answers: Rooms,
    /// Room for calls on their way: so many connections there are to servers.
    pub(crate) calls: Rooms,
}

/// One request of somebody who was believed.
pub(crate) struct Asked {
    pub(crate) caller: Arc<Caller>,
    pub(crate) place: Place,
    pub(crate) headers: HeaderMap,
    pub(crate) accepts: Accepts,
    pub(crate) message: Message,
    pub(crate) era: Era,
    /// The session that it belongs to, which only revisions before 2026-07-28 have.
    pub(crate) session: Option<Arc<Session>>,
    /// The room that it takes, where it is long.
    pub(crate) taken: Option<Taken>,
}

impl Asked {
    /// How this client is answered.
    pub(crate) fn form(&self) -> Form {
        Form { era: self.era, is_tool: self.message.method() == "tools/call" }
    }
}

impl Gateway {
    /// A gateway that decides by `engine` and reaches servers through `upstreams`.
    pub fn new(engine: Arc<Engine>, upstreams: Arc<Upstreams>) -> Arc<Self> {
        let at_once = upstreams.at_once();
        Arc::new(Self {
            engine,
            upstreams,
            questions: Questions::default(),
            sessions: Sessions::default(),
            requests: Rooms::default(),
            answers: Rooms::default(),
            calls: Rooms::new(at_once),
        })
    }
}

impl Gateway {
    /// What this caller may ask for beside tools, with some arguments.
    fn offered(&self, asked: &Asked) -> Capabilities {
        let logging = asked.era == Era::Legacy;
        let Some(system) = asked.place.system() else {
            return Capabilities { logging, ..Capabilities::default() };
        };
        let listed = self.engine.listable(&asked.caller, system);
        let has = |family: &str| {
            let of_family =
                |name: &str| name.strip_prefix(METHOD).is_some_and(|it| it.starts_with(family));
            listed.iter().any(|tool| of_family(&tool.name))
        };
        Capabilities {
            completions: has("completion/"),
            logging,
            prompts: has("prompts/"),
            resources: has("resources/"),
            subscriptions: match asked.era {
                Era::Legacy => has("resources/subscribe"),
                Era::Modern => has("subscriptions/listen"),
            },
            changes: asked.era == Era::Modern && has("subscriptions/listen"),
        }
    }

    /// Reads the message once. What cannot be read is recorded, since its sender is known, and goes no further.
    async fn read(
        &self,
        caller: &Arc<Caller>,
        place: &Place,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Read, Box<Response>> {
        let engine = &self.engine;
        let refuse = |reason: &dyn std::fmt::Display, response: Response| {
            engine.refuse(
                caller,
                place.system(),
                Code::ArgumentsInvalid,
                format!("malformed message: {reason}"),
            );
            Box::new(response)
        };
        let accepts = envelope::accepts(&headers)
            .map_err(|why| refuse(&why, (why.status(), why.to_string()).into_response()))?;
        let most = body.size_hint().upper();
        let taken = self.room_for(caller, most).await.ok_or_else(|| {
            let why = "there is no room for another long message at the moment; send it again";
            engine.refuse(caller, place.system(), Code::Busy, why);
            Box::new((StatusCode::SERVICE_UNAVAILABLE, why).into_response())
        })?;
        let bytes = to_bytes(body, MAX_BYTES).await.map_err(|why| {
            let response =
                (StatusCode::PAYLOAD_TOO_LARGE, "the message is longer than 1 MiB, or broke off");
            refuse(&why, response.into_response())
        })?;
        let taken = taken.filter(|_| bytes.len() > LONG);
        let message = Incoming::parse(&bytes)
            .map_err(|why| refuse(&why, fault(&why.fault(), Era::Legacy, None)))?;
        let message = match message {
            Incoming::Message(message) => message,
            Incoming::Response(response) => return Ok(Read::Response(response)),
        };
        let era = Era::of(&headers, &message)
            .map_err(|why| refuse(&why, fault(&why.fault(), Era::Modern, message.id())))?;
        let session = match era {
            Era::Legacy if message.method() != "initialize" => {
                self.session(caller, place, &headers)?
            }
            _ => None,
        };
        let (caller, place) = (caller.clone(), place.clone());
        let asked = Asked { caller, place, headers, accepts, message, era, session, taken };
        Ok(Read::Asked(Box::new(asked)))
    }

    /// Room for a request of at most so many bytes, as far as it says how long it is; `None` where there is none in time.
    async fn room_for(&self, caller: &Caller, most: Option<u64>) -> Option<Option<Taken>> {
        if most.is_some_and(|most| most <= LONG as u64) {
            return Some(None);
        }
        let room = self.requests.of(caller.current());
        timeout(ROOM, room.take()).await.ok().map(Some)
    }

    /// The session that a request names; it must be its sender's, and the refusal of another is recorded. A request without
    /// one stands for itself.
    fn session(
        &self,
        caller: &Caller,
        place: &Place,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, Box<Response>> {
        let (of, now) = (asker(caller), self.engine.context().now());
        match only(headers, &header_name::SESSION) {
            Some(None) => Ok(None),
            Some(Some(id)) if let Some(session) = self.sessions.get(id, of, now) => {
                Ok(Some(session))
            }
            _ => {
                let why = "there is no such session";
                self.engine.refuse(caller, place.system(), Code::ArgumentsInvalid, why);
                Err(Box::new((StatusCode::NOT_FOUND, why).into_response()))
            }
        }
    }

    /// Takes a lost stream up again behind the event that its client saw last, or tells of changes. Nothing else is fetched
    /// here: every answer belongs to its own request.
    fn fetch(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        place: &Place,
        headers: &HeaderMap,
    ) -> Response {
        let session = match self.session(caller, place, headers) {
            Ok(Some(session)) => session,
            Ok(None) => return not_allowed(),
            Err(refused) => return *refused,
        };
        let watch = |system: Option<&Name>| {
            let watched = self.engine.watch(caller, system);
            watched.map_err(|why| (StatusCode::FORBIDDEN, why.to_string()).into_response())
        };
        let Some(event) = headers.get(LAST_EVENT_ID) else {
            return match place {
                Place::System(system) => match watch(Some(system)) {
                    Ok(watch) => self.tell_changes(caller, system, session, watch),
                    Err(refused) => refused,
                },
                Place::All => not_allowed(),
            };
        };
        let seen = event.to_str().ok().and_then(|event| session.seen(event));
        let system = seen.as_ref().map(|(_, system, _)| system).or(place.system());
        let watch = match watch(system) {
            Ok(watch) => watch,
            Err(refused) => return refused,
        };
        let taken_up = seen.and_then(|(feed, _, number)| feed.resume(number, watch));
        taken_up.unwrap_or_else(|| {
            (StatusCode::BAD_REQUEST, "what follows this event is not kept").into_response()
        })
    }

    fn end_session(&self, caller: &Caller, place: &Place, headers: &HeaderMap) -> Response {
        match self.session(caller, place, headers) {
            Ok(Some(session)) => {
                self.sessions.end(&session);
                self.upstreams.end_sessions(&self.sessions.ended());
                StatusCode::NO_CONTENT.into_response()
            }
            Ok(None) => not_allowed(),
            Err(refused) => *refused,
        }
    }

    /// Answers the handshake of the older revisions, with a session where there is room for one.
    fn initialize(&self, asked: &Asked, id: &RequestId) -> Response {
        let version = asked.message.param("protocolVersion").and_then(model::ijson::Json::as_str);
        let mut response = json(envelope::initialize(id, version, &INFO, self.offered(asked)));
        let session = self.engine.unguessable();
        let caller = &asked.caller;
        let (of, now) = (asker(caller), self.engine.context().now());
        let opened = self.sessions.open(session.clone(), of, caller.current(), now);
        // Others may have made room for it, or be over.
        self.upstreams.end_sessions(&self.sessions.ended());
        if opened.is_ok()
            && let Ok(session) = session.parse()
        {
            response.headers_mut().insert(header_name::SESSION, session);
        }
        response
    }

    /// Answers `tools/list`. Who may have nothing at all is told why, as with a call; an empty list says that nothing is permitted.
    fn list(&self, asked: &Asked, id: &RequestId) -> Response {
        let (place, caller) = (&asked.place, &asked.caller);
        if let Err(refusal) = self.engine.watch(caller, place.system()) {
            return json(refusal::response(id, asked.form(), &INFO, &refusal));
        }
        let tools = place.listed(&self.engine, caller);
        let tools = tools.iter().map(Vec::as_slice);
        json(envelope::tools_list(id, asked.era, &INFO, tools, LIST_TTL_MS))
    }

    /// Notes from which level on the client of a session reads servers' logs.
    fn set_level(&self, asked: &Asked, session: &Session, id: &RequestId) -> Response {
        match Level::wanted(&asked.message) {
            Ok(level) => {
                session.set_level(level);
                json(envelope::reply(id, b"{}"))
            }
            Err(why) => {
                let said = why.to_string();
                self.engine.refuse(
                    &asked.caller,
                    asked.place.system(),
                    Code::ArgumentsInvalid,
                    said,
                );
                fault(&why.fault(), asked.era, Some(id))
            }
        }
    }

    /// Refuses a method that nobody has said the meaning of.
    pub(crate) fn unmapped(&self, asked: &Asked, id: &RequestId) -> Response {
        let method = asked.message.method();
        let shown = model::Foreign::new(method.chars().take(64).collect::<String>());
        let reason = format!("the method `{shown}` is not mapped");
        let system = asked.place.system();
        self.engine.refuse(&asked.caller, system, Code::MethodNotMapped, reason.clone());
        fault(&Fault::new(envelope::Code::MethodNotFound, reason), asked.era, Some(id))
    }
}

/// The gateway's routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/mcp", any(enter_all))
        .route("/mcp/{system}", any(enter_system))
        .route("/.well-known/oauth-protected-resource/mcp", get(describe_all))
        .route("/.well-known/oauth-protected-resource/mcp/{system}", get(describe_system))
        .route(broker::CALLBACK, get(broker::callback))
        .route(broker::DOCUMENT, get(broker::document))
        .with_state(gateway)
}

async fn describe_all(State(gateway): State<Arc<Gateway>>) -> Response {
    metadata(&gateway.engine, &Place::All)
}

async fn describe_system(
    State(gateway): State<Arc<Gateway>>,
    Path(system): Path<String>,
) -> Response {
    match system.parse() {
        Ok(system) => metadata(&gateway.engine, &Place::System(system)),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn enter_all(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    enter(&gateway, &Place::All, request).await
}

async fn enter_system(
    State(gateway): State<Arc<Gateway>>,
    Path(system): Path<String>,
    request: Request,
) -> Response {
    match system.parse() {
        Ok(system) => enter(&gateway, &Place::System(system), request).await,
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn enter(gateway: &Arc<Gateway>, place: &Place, request: Request) -> Response {
    let engine = gateway.engine.clone();
    let (parts, body) = request.into_parts();
    if !same_origin(&engine, &parts.headers) {
        return (StatusCode::FORBIDDEN, "requests from other origins are refused").into_response();
    }
    let caller = match authenticate(&engine, place, &parts.method, &parts.headers) {
        Ok(caller) => caller,
        Err(why) => return challenge(&engine, place, &why),
    };
    let response = match parts.method {
        Method::POST => match gateway.read(&caller, place, parts.headers, body).await {
            Ok(Read::Asked(asked)) => serve(gateway, *asked).await,
            Ok(Read::Response(response)) => gateway.answered(&caller, place, response).await,
            Err(response) => *response,
        },
        Method::GET => gateway.fetch(&caller, place, &parts.headers),
        Method::DELETE => gateway.end_session(&caller, place, &parts.headers),
        _ => not_allowed(),
    };
    with_nonce(&engine, response)
}

/// A browser sends `Origin`; a page of somebody else must not use a local gateway (DNS rebinding).
fn same_origin(engine: &Engine, headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| *origin == *engine.issuer().gateway_url)
}

fn authenticate(
    engine: &Engine,
    place: &Place,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Arc<Caller>, NotAuthenticated> {
    let audience = place.audience(engine.issuer());
    let presented = Presented {
        authorization: only(headers, &header::AUTHORIZATION).ok_or(NotAuthenticated::Missing)?,
        proof: only(headers, &http::HeaderName::from_static("dpop"))
            .ok_or_else(|| NotAuthenticated::Proof("there are several".to_owned()))?,
        method: method.as_str(),
        url: &audience,
        audience: &audience,
        may_be_unbound: true,
    };
    engine.authenticate(presented)
}

/// The one value of a header, or its absence; `None` when it stands there twice or is not text.
fn only<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return None;
    }
    match first.map(HeaderValue::to_str) {
        None => Some(None),
        Some(Ok(text)) => Some(Some(text)),
        Some(Err(_)) => None,
    }
}

/// What a client sent.
enum Read {
    Asked(Box<Asked>),
    /// An answer to what a server asked.
    Response(envelope::Response),
}

async fn serve(gateway: &Arc<Gateway>, asked: Asked) -> Response {
    let era = asked.era;
    let Some(id) = asked.message.id().cloned() else {
        // A notification has no answer. Only one changes something, in a session: elsewhere a call is cut by closing its stream.
        let cancelled = asked.message.param("requestId").cloned().map(RequestId::try_from);
        if let ("notifications/cancelled", Some(session), Some(Ok(id))) =
            (asked.message.method(), &asked.session, cancelled)
        {
            session.cancel(&id);
        }
        return StatusCode::ACCEPTED.into_response();
    };
    match (asked.message.method(), era) {
        ("initialize", Era::Legacy) => gateway.initialize(&asked, &id),
        ("logging/setLevel", Era::Legacy) => match &asked.session {
            Some(session) => gateway.set_level(&asked, session, &id),
            None => gateway.unmapped(&asked, &id),
        },
        ("ping", Era::Legacy) => json(envelope::pong(&id)),
        ("server/discover", _) => json(envelope::discover(&id, &INFO, gateway.offered(&asked))),
        ("tools/list", _) => gateway.list(&asked, &id),
        ("tools/call", _) => gateway.call(asked, id).await,
        _ => gateway.request(asked, id).await,
    }
}

const LAST_EVENT_ID: &str = "last-event-id";

fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response()
}

pub(crate) fn fault(fault: &Fault, era: Era, id: Option<&envelope::RequestId>) -> Response {
    let mut response = json(fault.response(id));
    *response.status_mut() = fault.status(era);
    response
}

pub(crate) fn json(body: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
