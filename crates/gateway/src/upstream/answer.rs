//! Sending one request, and what comes back for the client.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use model::Foreign;
use tokio::time::Instant;

use super::{
    Client, Events, Http, Sent, Server, UpstreamError, Wire, events::Source, link::Cut,
    message::ServerMessage, pipe::Pipe,
};
use crate::{
    envelope::{RequestId, is_event_stream, is_json},
    oauth::Challenge,
    outbound::{Credential, Request, Response, SendError},
    room::Taken,
};

/// By which error, with HTTP 400, servers on the official SDK's examples say that they do not know a session, where the protocol
/// has HTTP 404. It says no more, so the client gets it as it is.
const NO_SESSION: i64 = -32_000;

/// What a server answers to a call.
pub enum Answer {
    /// The response, whole, and the room that a long one takes.
    Whole(Reply, Option<Taken>),
    /// Notifications, then the response.
    Stream(Box<Events>),
}

/// A response for the client: the server's result or error with the client's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The JSON-RPC response.
    pub bytes: Bytes,
    /// How the call went.
    pub outcome: Outcome,
}

/// How a call went, as far as the server says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The tool did its work.
    Done,
    /// The server wants answers of the client first, and the call again with them.
    InputRequired,
    /// The tool says that it failed.
    ToolError,
    /// The server refused the call with this code.
    Error(i64),
}

/// Sends a request and reads its answer, or the beginning of its stream.
pub(super) async fn exchange(
    server: &Arc<Server>,
    sent: Sent,
    deadline: Instant,
) -> Result<(Answer, HeaderMap), UpstreamError> {
    match &server.wire {
        Wire::Http(http) => by_http(server, http, sent, deadline).await,
        Wire::Pipe(pipe) => Ok((by_pipe(server, pipe, sent, deadline).await?, HeaderMap::new())),
    }
}

async fn by_pipe(
    server: &Arc<Server>,
    pipe: &Pipe,
    sent: Sent,
    deadline: Instant,
) -> Result<Answer, UpstreamError> {
    let Sent { id, body, link, client, .. } = sent;
    let mut cut = Cut::armed(server.clone(), link, id.clone());
    let ((first, taken), answers) = match pipe.ask(&id, body, client.room.clone(), deadline).await {
        Ok(answered) => answered,
        Err(error) => {
            if !error.may_have_arrived() {
                cut.disarm();
            }
            return Err(error);
        }
    };
    if let Some(reply) = Reply::of(&ServerMessage::read(&first, &id)?, &client) {
        cut.disarm();
        return Ok(Answer::Whole(reply, taken));
    }
    let source = Source::Pipe { first: Some(first), answers, taken };
    let events = Events::new(source, id, client, cut);
    Ok(Answer::Stream(Box::new(events)))
}

async fn by_http(
    server: &Arc<Server>,
    http: &Http,
    sent: Sent,
    deadline: Instant,
) -> Result<(Answer, HeaderMap), UpstreamError> {
    let Sent { id, headers, body, link, client } = sent;
    let mut cut = Cut::armed(server.clone(), link, id.clone());
    let credential = http.credential().clone();
    let credential = credential.as_deref();
    let mut response = match http.post(headers, body, deadline, credential).await {
        Ok(response) => response,
        Err(error) => {
            if !error.may_have_arrived() {
                cut.disarm();
            }
            return Err(error.into());
        }
    };
    let headers = std::mem::take(&mut response.headers);
    check_coding(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default();
    if response.status.is_success() && is_event_stream(kind) {
        let source = Source::http(response.body, client.room.clone(), client.max);
        let events = Events::new(source, id, client, cut);
        return Ok((Answer::Stream(Box::new(events)), headers));
    }
    if !response.status.is_success() {
        // The server did not take the request: there is nothing to cancel.
        cut.disarm();
    }
    if let Some(challenged) = challenged(credential, response.status, &headers) {
        return Err(challenged);
    }
    // Servers say in different ways that they have forgotten a session; the status is what they share.
    if response.status == StatusCode::NOT_FOUND && cut.in_session() {
        return Err(UpstreamError::Status(response.status));
    }
    let status = response.status;
    let (reply, taken) = whole(response, is_json(kind), &id, &client).await?;
    cut.disarm();
    if let (StatusCode::BAD_REQUEST, Some(Outcome::Error(NO_SESSION))) =
        (status, reply.as_ref().map(|reply| reply.outcome))
    {
        cut.lose_session();
    }
    match reply {
        Some(reply) => Ok((Answer::Whole(reply, taken), headers)),
        None => Err(UpstreamError::ContentType(Foreign::new(kind))),
    }
}

/// Reads a response that is no stream; `None` where it is no JSON either. Of a failure only a proper error response
/// counts as an answer, everything else as the failure that HTTP names.
async fn whole(
    response: Response,
    is_json: bool,
    id: &RequestId,
    client: &Client,
) -> Result<(Option<Reply>, Option<Taken>), UpstreamError> {
    let status = response.status;
    if !is_json {
        let nothing = (None, None);
        return if status.is_success() { Ok(nothing) } else { Err(UpstreamError::Status(status)) };
    }
    let (bytes, taken) = response.body.collect_in(client.max, client.room.as_ref()).await?;
    let read = ServerMessage::read(&bytes, id).and_then(|message| match message {
        ServerMessage::Request { .. } | ServerMessage::Notification { .. } => {
            Err(UpstreamError::Malformed("it is not a response"))
        }
        response => Ok(Reply::of(&response, client)),
    });
    match read {
        Ok(Some(reply)) if status == StatusCode::OK || reply.is_error() => Ok((Some(reply), taken)),
        Err(error) if status.is_success() => Err(error),
        _ => Err(UpstreamError::Status(status)),
    }
}

impl Reply {
    /// The response for the client, where the message is one.
    pub(super) fn of(message: &ServerMessage<'_>, client: &Client) -> Option<Self> {
        let (member, raw, outcome) = match message {
            ServerMessage::Result { raw, is_error: false, .. } => ("result", raw, Outcome::Done),
            ServerMessage::Result { raw, is_error: true, .. } => {
                ("result", raw, Outcome::ToolError)
            }
            ServerMessage::InputRequired { raw } => ("result", raw, Outcome::InputRequired),
            ServerMessage::Error { raw, error } => ("error", raw, Outcome::Error(error.code)),
            ServerMessage::Notification { .. } | ServerMessage::Request { .. } => return None,
        };
        let mut bytes = Vec::with_capacity(64 + raw.get().len());
        bytes.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        bytes.extend_from_slice(&client.id.to_json().canonical());
        bytes.extend_from_slice(b",\"");
        bytes.extend_from_slice(member.as_bytes());
        bytes.extend_from_slice(b"\":");
        let mut rest = raw.get();
        if let (ServerMessage::Result { is_typed: false, .. }, false) =
            (message, client.lacks.is_empty())
        {
            rest = rest.strip_prefix('{')?.trim_start();
            bytes.push(b'{');
            bytes.extend_from_slice(client.lacks.as_bytes());
            if !rest.starts_with('}') {
                bytes.push(b',');
            }
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes.push(b'}');
        Some(Self { bytes: bytes.into(), outcome })
    }

    fn is_error(&self) -> bool {
        matches!(self.outcome, Outcome::Error(_))
    }
}

impl Http {
    /// Posts a body to the server with this credential.
    async fn post(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        deadline: Instant,
        credential: Option<&Credential>,
    ) -> Result<Response, SendError> {
        let body = Bytes::from(body);
        let request =
            Request { method: Method::POST, path: None, headers, body, deadline: Some(deadline) };
        self.outbound.send(&self.target, request, credential).await
    }
}

impl Server {
    /// Sends a message that has no answer.
    pub(super) async fn tell(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), UpstreamError> {
        match &self.wire {
            Wire::Pipe(pipe) => pipe.tell(body, deadline).await,
            Wire::Http(http) => {
                let credential = http.credential().clone();
                let told = http.post(headers, body, deadline, credential.as_deref()).await?;
                match challenged(credential.as_deref(), told.status, &told.headers) {
                    Some(challenged) => Err(challenged),
                    None if told.status.is_success() => Ok(()),
                    None => Err(UpstreamError::Status(told.status)),
                }
            }
        }
    }
}

/// The server's word that the credential that it was sent is not enough, where the response is one.
fn challenged(
    credential: Option<&Credential>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<UpstreamError> {
    let challenge = Challenge::of(status, headers)?.to(credential);
    Some(UpstreamError::Challenged(Box::new(challenge)))
}

fn check_coding(headers: &HeaderMap) -> Result<(), UpstreamError> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
            Err(UpstreamError::ContentCoding(Foreign::new(coding)))
        }
        _ => Ok(()),
    }
}
