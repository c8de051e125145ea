//! MCP over stdin and stdout: one message a line
//! ([MCP 2025-11-25, stdio](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio)).

use std::{
    collections::HashMap,
    io::IsTerminal as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use gateway::{
    envelope::{Code, Fault, MAX_BYTES, Message, Mirror, RequestId, header_name, request_headers},
    outbound::Response,
    sse::{MAX_EVENT, Parser},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::{Foreign, ijson::Json};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{Session, session::Request};
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Answer},
};

/// How many messages are under way at once; what comes then waits in the pipe.
const AT_ONCE: usize = 256;
/// How many messages wait for a client that does not read.
const AHEAD: usize = 64;

/// How long the end of the session may take.
const PARTING: Duration = Duration::from_secs(2);
/// How much of an answer that is no message is repeated, in characters.
const MAX_SAID: usize = 500;
/// How a client ends its handshake.
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
/// Asks for all tools, as MCP 2026-07-28 has it, whatever the client speaks.
const LIST: &str = r#"{"jsonrpc":"2.0","id":"tools","method":"tools/list","params":{"_meta":{
    "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// One client on the other end of the pipes.
struct Wire {
    session: Arc<Session>,
    out: mpsc::Sender<Bytes>,
    /// What can be cancelled, by the id of its request.
    live: Mutex<HashMap<RequestId, AbortHandle>>,
    /// What the handshake agreed on, before 2026-07-28.
    agreed: Mutex<Agreed>,
    /// Which arguments of which tool are repeated as headers.
    mirrors: Mutex<HashMap<String, Mirror>>,
}

/// The revision, and the session.
#[derive(Default, Clone)]
struct Agreed {
    version: Option<String>,
    session: Option<HeaderValue>,
    /// How the client opened it.
    hello: Bytes,
}

/// What the gateway answers.
enum Got {
    /// It has taken a notification.
    Nothing,
    /// The session is over, as with the task in which it was opened; nothing was done.
    NoSession,
    Whole(StatusCode, HeaderMap, Bytes),
    Stream(Box<Response>),
}

/// Passes messages on until stdin ends; what is under way then is cut.
pub(super) async fn serve(session: Arc<Session>) -> Result<Answer> {
    if std::io::stdin().is_terminal() {
        output::talk("MCP is spoken here, one JSON-RPC message a line; end it with Ctrl-D.");
    }
    let (out, messages) = mpsc::channel(AHEAD);
    let (live, agreed, mirrors) = Default::default();
    let wire = Arc::new(Wire { session, out, live, agreed, mirrors });
    tokio::select! {
        read = read(&wire) => read?,
        // Whoever closed the pipe does not listen any more.
        () = write(messages) => {}
    }
    // Where the gateway is not told in time, the session and its calls end there by themselves.
    let _ = timeout(PARTING, wire.end_session()).await;
    Ok(Answer::new(Value::Null, ""))
}

async fn read(wire: &Arc<Wire>) -> Result<()> {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let (turns, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    loop {
        let line = match next_line(&mut stdin).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(too_long))) => {
                wire.say(too_long.response(None)).await;
                continue;
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                return Err(Failure::new("input_unreadable", "stdin cannot be read")
                    .because(&error)
                    .next("start it again"));
            }
        };
        while tasks.try_join_next().is_some() {}
        let Ok(turn) = turns.clone().acquire_owned().await else { return Ok(()) };
        let message = Message::parse(&line).ok();
        if message.as_ref().is_some_and(|message| wire.cancels(message)) && !wire.has_session() {
            continue;
        }
        let (task_wire, id) = (wire.clone(), message.as_ref().and_then(Message::id).cloned());
        // Registered before it runs: a cancellation may be the next line.
        let mut live = wire.live();
        let task = tasks.spawn(async move {
            let _turn = turn;
            let id = message.as_ref().and_then(Message::id).cloned();
            task_wire.pass(line, message).await;
            if let Some(id) = id {
                task_wire.live().remove(&id);
            }
        });
        live.extend(id.map(|id| (id, task)));
    }
}

/// The next line that is not empty, without its end; an error response for one that is too long, `None` at the end.
async fn next_line(
    stdin: &mut BufReader<tokio::io::Stdin>,
) -> std::io::Result<Option<std::result::Result<Bytes, Fault>>> {
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut *stdin).take(MAX_BYTES as u64 + 1);
        if bounded.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if line.len() > MAX_BYTES && line.last() != Some(&b'\n') {
            skip_line(stdin).await?;
            let why = format!("a message has at most {MAX_BYTES} bytes");
            return Ok(Some(Err(Fault::new(Code::InvalidRequest, why))));
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            return Ok(Some(Ok(Bytes::copy_from_slice(text))));
        }
    }
}

async fn skip_line(stdin: &mut BufReader<tokio::io::Stdin>) -> std::io::Result<()> {
    loop {
        let held = stdin.fill_buf().await?;
        let end = held.iter().position(|byte| *byte == b'\n');
        let (skipped, over) = (end.map_or(held.len(), |end| end + 1), end.is_some());
        let over = over || held.is_empty();
        stdin.consume(skipped);
        if over {
            return Ok(());
        }
    }
}

async fn write(mut messages: mpsc::Receiver<Bytes>) {
    let mut stdout = tokio::io::stdout();
    while let Some(message) = messages.recv().await {
        // Line breaks stand only between the parts of a message, never inside its texts.
        let mut line: Vec<u8> = message
            .iter()
            .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
            .collect();
        line.push(b'\n');
        if stdout.write_all(&line).await.is_err() || stdout.flush().await.is_err() {
            return;
        }
    }
}

impl Wire {
    /// Cuts a call that its client does not want any more: its request is dropped, and the gateway cuts what is behind it. In a
    /// session it has to be told, since a stream that is dropped there may be taken up again.
    fn cancels(&self, message: &Message) -> bool {
        if message.method() != "notifications/cancelled" {
            return false;
        }
        let id = message.param("requestId").cloned().map(RequestId::try_from);
        if let Some(Ok(id)) = id
            && let Some(task) = self.live().remove(&id)
        {
            task.abort();
        }
        true
    }

    /// Sends one message on and says what comes back.
    async fn pass(&self, line: Bytes, message: Option<Message>) {
        let passed = match &message {
            Some(message) => self.exchange(&line, message).await,
            // The gateway says what is wrong with it, and records it.
            None => self.relay(&line).await,
        };
        let Err(failure) = passed else { return };
        output::talk(&failure.text());
        match &message {
            // Nobody waits for an answer to a notification.
            Some(message) if message.id().is_none() => {}
            message => {
                let id = message.as_ref().and_then(Message::id);
                self.say(fault(&failure).response(id)).await;
            }
        }
    }

    async fn exchange(&self, line: &Bytes, message: &Message) -> Result<()> {
        let mut got = self.fetch(line, &self.headers(message)).await?;
        if got.is_mismatch() && message.method() == "tools/call" {
            // Refused before anything was decided: this tool wants some of its arguments repeated as headers.
            self.learn().await?;
            got = self.fetch(line, &self.headers(message)).await?;
        }
        if let Got::NoSession = got {
            self.open_again().await?;
            got = self.fetch(line, &self.headers(message)).await?;
        }
        if message.method() == "initialize" {
            self.agree(line, &got);
        }
        self.tell(got).await
    }

    /// Keeps what a handshake agreed on.
    fn agree(&self, hello: &Bytes, got: &Got) {
        let Got::Whole(_, headers, body) = got else { return };
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let version = answer["result"]["protocolVersion"].as_str().map(str::to_owned);
        let session = headers.get(header_name::SESSION).cloned();
        *self.agreed() = Agreed { version, session, hello: hello.clone() };
    }

    /// Shakes hands once more as the client did, which does not hear of it.
    async fn open_again(&self) -> Result<()> {
        let hello = self.agreed().hello.clone();
        let Ok(message) = Message::parse(&hello) else { return Ok(()) };
        let got = self.fetch(&hello, &self.headers(&message)).await?;
        self.agree(&hello, &got);
        let done = Bytes::from_static(INITIALIZED.as_bytes());
        let message = Message::parse(&done).expect("it is a notification");
        self.fetch(&done, &self.headers(&message)).await.map(drop)
    }

    async fn relay(&self, line: &Bytes) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let got = self.fetch(line, &headers).await?;
        self.tell(got).await
    }

    fn headers(&self, message: &Message) -> HeaderMap {
        let tool = message.param("name").and_then(Json::as_str).unwrap_or_default();
        let mirrors = self.mirrors();
        let none = Mirror::default();
        let mirror = mirrors.get(tool).unwrap_or(&none);
        let agreed = self.agreed().clone();
        let mut headers = request_headers(message, agreed.version.as_deref(), mirror);
        let is_modern = headers.contains_key(header_name::METHOD);
        if !is_modern && message.method() != "initialize" {
            headers.extend(agreed.session.map(|session| (header_name::SESSION, session)));
        }
        headers
    }

    async fn fetch(&self, line: &Bytes, headers: &HeaderMap) -> Result<Got> {
        let request = Request { method: Method::POST, headers, body: line };
        let response = self.session.send(&request).await?;
        let status = response.status;
        if status == StatusCode::ACCEPTED {
            return Ok(Got::Nothing);
        }
        if status == StatusCode::NOT_FOUND && headers.contains_key(header_name::SESSION) {
            return Ok(Got::NoSession);
        }
        let kind = response.headers.get(header::CONTENT_TYPE).cloned();
        let kind = kind.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        if status.is_success() && kind.starts_with(b"text/event-stream") {
            return Ok(Got::Stream(Box::new(response)));
        }
        let answered = response.headers.clone();
        let body = response.collect(MAX_EVENT).await.map_err(|error| broken(&error))?;
        if kind.starts_with(b"application/json") {
            return Ok(Got::Whole(status, answered, body));
        }
        let said = String::from_utf8_lossy(&body).chars().take(MAX_SAID).collect::<String>();
        Err(Failure::new("no_answer", format!("the gateway answered {status}"))
            .why(Foreign::new(said).to_string())
            .next("correct the message, or try again later"))
    }

    async fn tell(&self, got: Got) -> Result<()> {
        match got {
            Got::Nothing => {}
            Got::NoSession => {
                return Err(Failure::new("no_session", "the session with the gateway is over")
                    .why("it ends with its task, or after an hour without a request")
                    .next("start it again"));
            }
            Got::Whole(_, _, body) => self.say(body).await,
            Got::Stream(response) => self.stream(*response).await?,
        }
        Ok(())
    }

    /// Says what comes, as it comes.
    async fn stream(&self, mut response: Response) -> Result<()> {
        let mut parser = Parser::default();
        while let Some(input) = response.body.next().await {
            let mut input = input.map_err(|error| broken(&error))?;
            while let Some(event) = parser.next(&mut input).map_err(|error| broken(&error))? {
                self.say(event).await;
            }
        }
        Ok(())
    }

    /// Learns from the list of tools which arguments are repeated as headers.
    async fn learn(&self) -> Result<()> {
        let list = Bytes::from_static(LIST.as_bytes());
        let message = Message::parse(&list).expect("it is a request");
        let Got::Whole(_, _, body) = self.fetch(&list, &self.headers(&message)).await? else {
            return Ok(());
        };
        let listed: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        let tools = listed.member("result").and_then(|result| result.member("tools"));
        let Some(Json::Array(tools)) = tools else { return Ok(()) };
        let mirrors = tools.iter().filter_map(|tool| {
            let name = tool.member("name")?.as_str()?;
            Some((name.to_owned(), Mirror::of(tool.member("inputSchema")?).ok()?))
        });
        *self.mirrors() = mirrors.collect();
        Ok(())
    }

    async fn say(&self, message: impl Into<Bytes>) {
        // Where the client has gone there is nobody to tell.
        let _ = self.out.send(message.into()).await;
    }

    fn live(&self) -> MutexGuard<'_, HashMap<RequestId, AbortHandle>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session and what is on its way in it.
    async fn end_session(&self) {
        let Some(session) = self.agreed().session.clone() else { return };
        let mut headers = HeaderMap::new();
        headers.insert(header_name::SESSION, session);
        let request = Request { method: Method::DELETE, headers: &headers, body: &Bytes::new() };
        let _ = self.session.send(&request).await;
    }

    fn has_session(&self) -> bool {
        self.agreed().session.is_some()
    }

    fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirrors(&self) -> MutexGuard<'_, HashMap<String, Mirror>> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Got {
    /// Whether headers were missing that a tool wants.
    fn is_mismatch(&self) -> bool {
        let Self::Whole(StatusCode::BAD_REQUEST, _, body) = self else { return false };
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        answer["error"]["code"] == Code::HeaderMismatch.number()
    }
}

/// A failure of this side, as an answer.
fn fault(failure: &Failure) -> Fault {
    Fault::new(Code::Internal, failure.line()).with_data(failure.data())
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::new("no_answer", "the answer broke off")
        .because(error)
        .next("look at whether the call was stopped, and into the ledger for what became of it")
        .exit(Exit::Unreachable)
}
