//! An answer that comes as an event stream.

use std::time::Duration;

use bytes::Bytes;
use decide::InputMethod;
use model::{Foreign, ijson::Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    Client, Reply, UpstreamError,
    link::Cut,
    message::{ServerMessage, is, response},
    pipe::Answers,
};
use crate::{
    envelope::{Code, Era, RequestId, spliced},
    outbound::Body,
    room::{Room, Taken},
    sse::Parser,
};

/// How many requests a server may send to the client in one call.
const MAX_REQUESTS: usize = 16;
/// How long a stream may take to end after its last message, so that its connection can be used again.
const ENDING: Duration = Duration::from_secs(1);

/// The messages of one call, up to its response. Dropping it before cuts the call.
pub struct Events {
    source: Option<Source>,
    id: RequestId,
    client: Client,
    cut: Cut,
    requests: usize,
    /// The room that its response takes, where that is long.
    taken: Option<Taken>,
}

/// Where the messages come from.
pub(super) enum Source {
    /// An event stream.
    Http(Box<Stream>),
    /// A program, what it said first, and the room that its response takes.
    Pipe { first: Option<Bytes>, answers: Answers, taken: Option<Taken> },
}

/// An event stream, what of it was read ahead, and room for an event that is long.
pub(super) struct Stream {
    body: Body,
    input: Bytes,
    parser: Parser,
    room: Option<Room>,
    taken: Option<Taken>,
}

/// One message of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A notification, as the server sent it but for our progress token or our id, in whose place is the client's.
    Notification(Bytes),
    /// The server asks the client something that it may ask; [`Events::answer`] answers it.
    Request {
        /// The server's id of the question, in JSON.
        id: String,
        /// What it asks for.
        kind: InputMethod,
        /// The request as the server sent it.
        message: Bytes,
    },
    /// The server sent another request to the client and got an error: it is not passed on.
    Refused {
        /// The method that it asked for.
        method: Foreign,
    },
    /// The response; nothing follows.
    Reply(Reply),
}

impl Events {
    pub(super) fn new(source: Source, id: RequestId, client: Client, cut: Cut) -> Self {
        Self { source: Some(source), id, client, cut, requests: 0, taken: None }
    }

    /// Sends the client's result or error for what the server asked. Dropped before it is done, it may not have left.
    pub fn answer(
        &self,
        id: &str,
        outcome: &Result<Json, Json>,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.cut.post(response(id, outcome))
    }

    /// The room that the response takes, once it was read.
    pub(crate) fn take_room(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    /// Tells the server that its question is not passed on.
    pub fn refuse(&self, id: &str) {
        self.cut.answer(id, &Err(not_passed_on()));
    }

    /// The next message; `None` after the response. May be dropped and asked again without losing one.
    ///
    /// # Errors
    /// The stream breaks, ends without the response, or carries what may not be passed on. The call is then cut.
    pub async fn next(&mut self) -> Result<Option<Event>, UpstreamError> {
        let event = self.read().await;
        match &event {
            Ok(Some(Event::Reply(_))) => {
                self.cut.disarm();
                match self.source.take() {
                    Some(Source::Http(stream)) => {
                        self.taken = stream.taken;
                        let_end(stream.body);
                    }
                    Some(Source::Pipe { taken, .. }) => self.taken = taken,
                    None => {}
                }
            }
            Err(_) => {
                self.source = None;
                self.cut.fire();
            }
            Ok(_) => {}
        }
        event
    }

    /// The response, whatever comes before it.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub async fn reply(mut self) -> Result<Reply, UpstreamError> {
        while let Some(event) = self.next().await? {
            if let Event::Reply(reply) = event {
                return Ok(reply);
            }
        }
        Err(UpstreamError::NoAnswer)
    }

    async fn read(&mut self) -> Result<Option<Event>, UpstreamError> {
        loop {
            let Some(source) = &mut self.source else { return Ok(None) };
            let data = source.next().await?;
            let message = ServerMessage::read(&data, &self.id)?;
            if let Some(reply) = Reply::of(&message, &self.client) {
                return Ok(Some(Event::Reply(reply)));
            }
            let (id, method) = match message {
                ServerMessage::Request { id, method } => (id, method),
                ServerMessage::Notification { progress, subscription } => {
                    let progress = progress.filter(|it| is(it, &self.id));
                    let subscription = subscription.filter(|it| is(it, &self.id));
                    let told = match (progress, &self.client.progress, subscription) {
                        (Some(ours), Some(theirs), _) => replaced(&data, ours.get(), theirs),
                        (_, _, Some(ours)) => replaced(&data, ours.get(), &self.client.id),
                        _ => data,
                    };
                    return Ok(Some(Event::Notification(told)));
                }
                _ => return Err(UpstreamError::NoAnswer),
            };
            // Only legacy servers may ask, and then a bounded number of times.
            self.requests += 1;
            if self.cut.era() == Era::Modern || self.requests > MAX_REQUESTS {
                return Err(UpstreamError::ServerRequest(shown(&method)));
            }
            if method == "ping" {
                self.cut.answer(id.get(), &Ok(Json::object::<&str>([])));
                continue;
            }
            if let Some(kind) = InputMethod::of(&method).filter(|kind| self.client.able.has(*kind))
            {
                let id = id.get().to_owned();
                return Ok(Some(Event::Request { id, kind, message: data }));
            }
            self.refuse(id.get());
            return Ok(Some(Event::Refused { method: shown(&method) }));
        }
    }
}

impl Source {
    /// A stream of events of at most `max` bytes.
    pub(super) fn http(body: Body, room: Option<Room>, max: usize) -> Self {
        let (input, taken) = Default::default();
        let parser = Parser::within(max);
        Self::Http(Box::new(Stream { body, input, parser, room, taken }))
    }

    /// The next message. May be dropped and asked again without losing one.
    pub(super) async fn next(&mut self) -> Result<Bytes, UpstreamError> {
        match self {
            Self::Pipe { first, answers, taken } => {
                if let Some(first) = first.take() {
                    return Ok(first);
                }
                let (message, room) = answers.next().await?;
                *taken = room;
                Ok(message)
            }
            Self::Http(stream) => stream.next().await,
        }
    }
}

impl Stream {
    async fn next(&mut self) -> Result<Bytes, UpstreamError> {
        let Self { body, input, parser, room, taken } = self;
        if parser.held() == 0 {
            // Whatever took it was handed on.
            *taken = None;
        }
        loop {
            if let Some(data) = parser.next(input)? {
                return Ok(data.into());
            }
            if taken.is_none() {
                *taken = body.make_room(parser.held(), room.as_ref()).await?;
            }
            match body.next().await {
                Some(more) => *input = more?,
                None => return Err(UpstreamError::NoAnswer),
            }
        }
    }
}

/// The message with a client's token in place of ours, which is a part of it.
fn replaced(message: &[u8], ours: &str, theirs: &RequestId) -> Bytes {
    spliced(message, ours, &theirs.to_json().canonical()).into()
}

/// The request with an id of the gateway's own in place of the server's.
pub(crate) fn asked_as(id: &str, request: &[u8], ours: &str) -> Option<Bytes> {
    let message: Asked<'_> = serde_json::from_slice(request).ok()?;
    let same = message.id.get() == id;
    same.then(|| replaced(request, message.id.get(), &RequestId::Text(ours.to_owned())))
}

#[derive(Deserialize)]
struct Asked<'b> {
    #[serde(borrow)]
    id: &'b RawValue,
}

fn shown(method: &str) -> Foreign {
    Foreign::new(method.chars().take(64).collect::<String>())
}

/// What a server hears that asks the client for something else.
pub(crate) fn not_passed_on() -> Json {
    Json::object([
        ("code", Json::Integer(Code::MethodNotFound.number())),
        ("message", Json::String("this request to the client is not passed on".to_owned())),
    ])
}

/// Lets a stream come to its end in the background.
fn let_end(mut body: Body) {
    tokio::spawn(async move {
        let end = async { while let Some(Ok(_)) = body.next().await {} };
        let _ = timeout(ENDING, end).await;
    });
}
