//! MCP over HTTP on a loopback address, for clients that start no program. Whoever knows the password there acts as the agent,
//! so it belongs to the user whose file it is.

use std::{future::pending, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use futures_util::stream;
use gateway::envelope::{Code, Fault, MAX_BYTES, Message, header_name};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use server::Bounds;
use token::Secret;
use tokio::net::TcpListener;

use super::{Session, session::Request as Asked};
use crate::{
    failure::{Failure, Result},
    files,
    output::{self, Answer},
    random,
};

/// What of a client's headers goes on: what MCP reads.
const ON: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::ACCEPT, HeaderName::from_static("last-event-id")];
/// What of an answer's headers comes back.
const BACK: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ALLOW,
    HeaderName::from_static("bailiwick-action"),
    header_name::SESSION,
];

struct Door {
    session: Arc<Session>,
    password: Secret,
    /// What `Host` may say: a page of somebody else, under another name for this address, is refused (DNS rebinding).
    address: String,
}

/// Serves until the process ends.
pub(super) async fn serve(
    session: Arc<Session>,
    address: SocketAddr,
    password: &Path,
) -> Result<Answer> {
    if !address.ip().is_loopback() {
        return Err(Failure::new("not_loopback", format!("`{address}` is no loopback address"))
            .why("whoever reaches it with the password acts as the agent, and speaks in the clear")
            .next("say `--listen 127.0.0.1:PORT`, or `[::1]:PORT`"));
    }
    let secret = kept(password)?;
    let unlistened = |error: &std::io::Error| {
        Failure::new("not_listening", format!("nobody can listen on `{address}`"))
            .because(error)
            .next("choose another port")
    };
    let listener = TcpListener::bind(address).await.map_err(|error| unlistened(&error))?;
    let bound = listener.local_addr().map_err(|error| unlistened(&error))?.to_string();
    let url = format!("http://{bound}/mcp");
    output::data(&json!({ "url": url, "password": password }).to_string())?;
    output::talk(&format!(
        "MCP is spoken at {url}, with `Authorization: Bearer` and what is in `{}`",
        password.display()
    ));
    let door = Arc::new(Door { session, password: secret, address: bound });
    let methods = MethodFilter::POST.or(MethodFilter::GET).or(MethodFilter::DELETE);
    let router = Router::new().route("/mcp", on(methods, enter)).with_state(door);
    server::serve(listener, router, Bounds::default(), pending()).await;
    Ok(Answer::new(Value::Null, ""))
}

/// The password in a file, made where there is none.
fn kept(path: &Path) -> Result<Secret> {
    if !path.exists() {
        files::write_new_secret(path, random::name()?.as_bytes())?;
    }
    let secret = files::read_secret(path)?;
    let text = secret.expose_text().unwrap_or_default().trim().to_owned();
    match text.len() {
        0..16 => Err(Failure::new("password_short", format!("`{}` is too short", path.display()))
            .why("a password of less than 16 characters can be guessed")
            .next("remove the file: a good one is made in its place")),
        _ => Ok(Secret::new(text.into_bytes())),
    }
}

async fn enter(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !door.is_asked(&parts.headers) {
        return (StatusCode::FORBIDDEN, "this address is for programs on this machine alone")
            .into_response();
    }
    if !door.believes(&parts.headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "the password is missing or wrong")
            .into_response();
    }
    let Ok(body) = to_bytes(body, MAX_BYTES).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or broke off")
            .into_response();
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        if ON.contains(name) || name.as_str().starts_with("mcp-") {
            headers.append(name.clone(), value.clone());
        }
    }
    let request = Asked { method: parts.method, headers: &headers, body: &body };
    match door.session.send(&request).await {
        Ok(response) => back(response),
        Err(failure) => {
            output::talk(&failure.text());
            let message = Message::parse(&body).ok();
            let id = message.as_ref().and_then(Message::id);
            let fault = Fault::new(Code::Internal, failure.line()).with_data(failure.data());
            let json = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::BAD_GATEWAY, json, fault.response(id)).into_response()
        }
    }
}

impl Door {
    /// Whether the client meant this address, and is no page of somebody else's.
    fn is_asked(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
        let is_here = |origin: &HeaderValue| {
            origin.as_bytes().strip_prefix(b"http://") == Some(self.address.as_bytes())
        };
        host == Some(self.address.as_bytes()) && headers.get_all(header::ORIGIN).iter().all(is_here)
    }

    fn believes(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (first, more) = (values.next(), values.next());
        let said = first.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        more.is_none() && said.is_some_and(|said| self.password.matches(said.as_bytes()))
    }
}

/// The gateway's answer, as it comes.
fn back(response: gateway::outbound::Response) -> Response {
    let (status, headers) = (response.status, response.headers);
    let body = stream::unfold(Some(response.body), |body| async move {
        let mut body = body?;
        match body.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(body))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut back = (status, Body::from_stream(body)).into_response();
    back.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in &headers {
        if BACK.contains(name) {
            back.headers_mut().append(name.clone(), value.clone());
        }
    }
    back
}
