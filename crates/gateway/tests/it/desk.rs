//! An MCP server on a bare socket: it keeps every byte that it was sent, and misbehaves as told.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gateway::envelope::Era;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use crate::soon;

/// Tools as this server defines them, in a spelling that no serializer would choose.
pub(crate) const TOOLS: [&str; 6] = [
    r#"{ "name":"get_order",  "x-vendor":{"b":1.50,"a":[ ]},"inputSchema":{"type":"object","properties":{"order":{"type":"string"}},"required":["order"]}}"#,
    r#"{"inputSchema":{"type":"object","properties":{"order":{"type":"string"},"amount":{"type":"integer"}},"required":["order"]},"name":"refund"}"#,
    r#"{"name":"find","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#,
    r#"{"name":"export","inputSchema":{"type":"object"}}"#,
    r#"{"name":"erase","inputSchema":{"type":"object","properties":{"order":{"type":"string"}}}}"#,
    r#"{"name":"draft","inputSchema":{"type":"object"}}"#,
];

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One thing that the server does in answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes these bytes.
    Send(String),
    /// Tells that this resource changed, where the session of the request has subscribed to it by now.
    Update(&'static str),
    /// Waits until the test lets it go on.
    Wait,
    /// Waits until the other side closes the connection, and tells.
    UntilClosed,
    /// Writes these bytes again and again until the other side takes no more, tells, and then waits for the close.
    Flood(String),
    /// Writes these bytes every 10 milliseconds until the other side closes the connection, and tells.
    Trickle(String),
    /// Closes the connection.
    Close,
}

type Answers = Arc<dyn Fn(&Asked) -> Vec<Step> + Send + Sync>;

/// The server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    url: String,
    era: Era,
    asked: Mutex<Vec<Asked>>,
    calls: watch::Sender<usize>,
    answers: Mutex<Answers>,
    tells: Mutex<Answers>,
    tools: Mutex<Vec<String>>,
    sessions: AtomicUsize,
    /// Which sessions have subscribed to what.
    subscribed: Mutex<HashSet<(String, String)>>,
    go_on: Semaphore,
    closed: Semaphore,
    full: Semaphore,
    poured: AtomicUsize,
    connections: AtomicUsize,
    deaf: AtomicBool,
    lives: CancellationToken,
}

impl Desk {
    /// A server that speaks one revision and answers every call by `done`.
    pub(crate) async fn start(era: Era) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let desk = Self(Arc::new(Inner {
            url: format!("http://{}/mcp", listener.local_addr().unwrap()),
            era,
            asked: Mutex::default(),
            calls: watch::Sender::new(0),
            tools: Mutex::new(TOOLS.map(str::to_owned).to_vec()),
            answers: Mutex::new(Arc::new(|asked| vec![Step::Send(asked.result(DONE))])),
            tells: Mutex::new(Arc::new(|_| vec![Step::Send(response(405, "text/plain", ""))])),
            sessions: AtomicUsize::new(0),
            subscribed: Mutex::default(),
            go_on: Semaphore::new(0),
            closed: Semaphore::new(0),
            full: Semaphore::new(0),
            poured: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            deaf: AtomicBool::new(false),
            lives: CancellationToken::new(),
        }));
        let (server, lives) = (desk.clone(), desk.0.lives.clone());
        tokio::spawn(lives.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                server.0.connections.fetch_add(1, Ordering::SeqCst);
                let (server, lives) = (server.clone(), server.0.lives.clone());
                tokio::spawn(lives.run_until_cancelled_owned(async move {
                    server.serve(stream).await;
                }));
            }
        }));
        desk
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Answers calls in this way from now on.
    pub(crate) fn answers(&self, how: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) {
        *self.0.answers.lock().unwrap() = Arc::new(how);
    }

    /// Tells whoever listens, beside all calls, in this way from now on.
    pub(crate) fn tells(&self, how: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) {
        *self.0.tells.lock().unwrap() = Arc::new(how);
    }

    /// Shows these tools from now on.
    pub(crate) fn shows(&self, tools: impl IntoIterator<Item = String>) {
        *self.0.tools.lock().unwrap() = tools.into_iter().collect();
    }

    /// Everything that came since it was last forgotten.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    /// The calls among it.
    pub(crate) fn calls(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method() == "tools/call").collect()
    }

    /// The sessions that it was told are over, since that was last forgotten.
    pub(crate) fn ended(&self) -> Vec<String> {
        let asked = self.asked();
        let ended = asked.iter().filter(|asked| asked.head.starts_with("DELETE "));
        ended.map(Asked::session).collect()
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    /// From now on takes requests and answers none, whatever they are.
    pub(crate) fn falls_silent(&self) {
        self.0.deaf.store(true, Ordering::SeqCst);
    }

    /// Closes every connection and listens no more.
    pub(crate) fn dies(&self) {
        self.0.lives.cancel();
    }

    pub(crate) fn forget(&self) {
        self.0.asked.lock().unwrap().clear();
        self.0.calls.send_replace(0);
    }

    /// Waits until so many calls have come.
    pub(crate) async fn called(&self, calls: usize) {
        soon(self.0.calls.subscribe().wait_for(|seen| *seen >= calls)).await.unwrap();
    }

    /// Lets one [`Step::Wait`] go on.
    pub(crate) fn go_on(&self) {
        self.0.go_on.add_permits(1);
    }

    /// How many bytes were taken of every [`Step::Flood`] so far.
    pub(crate) fn poured(&self) -> usize {
        self.0.poured.load(Ordering::SeqCst)
    }

    /// Waits until a [`Step::UntilClosed`], [`Step::Flood`] or [`Step::Trickle`] has seen its connection closed.
    pub(crate) async fn closed(&self) {
        soon(self.0.closed.acquire()).await.unwrap().forget();
    }

    /// Waits until a [`Step::Flood`] finds that nobody takes more.
    pub(crate) async fn full(&self) {
        soon(self.0.full.acquire()).await.unwrap().forget();
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some(asked) = read(&mut stream).await {
            self.0.asked.lock().unwrap().push(asked.clone());
            for step in self.steps(&asked) {
                let going = match step {
                    Step::Send(text) => stream.write_all(text.as_bytes()).await.is_ok(),
                    Step::Update(uri) => {
                        let wanted = (asked.session(), uri.to_owned());
                        let is_wanted = self.0.subscribed.lock().unwrap().contains(&wanted);
                        let told = if is_wanted { sent(&updated(uri)) } else { String::new() };
                        stream.write_all(told.as_bytes()).await.is_ok()
                    }
                    Step::Wait => {
                        self.0.go_on.acquire().await.unwrap().forget();
                        true
                    }
                    Step::UntilClosed => self.until_closed(&mut stream).await,
                    Step::Flood(text) => self.flood(&mut stream, text.as_bytes()).await,
                    Step::Trickle(text) => self.trickle(&mut stream, text.as_bytes()).await,
                    Step::Close => false,
                };
                if !going {
                    return;
                }
            }
        }
    }

    fn steps(&self, asked: &Asked) -> Vec<Step> {
        let legacy = self.0.era == Era::Legacy;
        match &*asked.method() {
            _ if self.0.deaf.load(Ordering::SeqCst) => vec![Step::UntilClosed],
            "" if asked.head.starts_with("GET ") => {
                let tells = self.0.tells.lock().unwrap().clone();
                tells(asked)
            }
            method @ ("resources/subscribe" | "resources/unsubscribe") => {
                let uri = asked.json()["params"]["uri"].as_str().unwrap().to_owned();
                let mut subscribed = self.0.subscribed.lock().unwrap();
                match method {
                    "resources/subscribe" => subscribed.insert((asked.session(), uri)),
                    _ => subscribed.remove(&(asked.session(), uri)),
                };
                vec![Step::Send(asked.result("{}"))]
            }
            "tools/call" => {
                let answers = self.0.answers.lock().unwrap().clone();
                self.0.calls.send_modify(|calls| *calls += 1);
                answers(asked)
            }
            "tools/list" => {
                let tools = self.0.tools.lock().unwrap().join(",");
                vec![Step::Send(asked.result(&format!(r#"{{"tools":[{tools}]}}"#)))]
            }
            "server/discover" if !legacy => {
                vec![Step::Send(asked.result(r#"{"supportedVersions":["2026-07-28"]}"#))]
            }
            "initialize" if legacy => {
                let result = asked.result(r#"{"protocolVersion":"2025-11-25","capabilities":{"resources":{"subscribe":true}}}"#);
                let number = self.0.sessions.fetch_add(1, Ordering::SeqCst) + 1;
                let session = format!("\r\nmcp-session-id: desk-{number}\r\n");
                vec![Step::Send(result.replacen("\r\n", &session, 1))]
            }
            "server/discover" => vec![Step::Send(response(400, "text/plain", ""))],
            _ => vec![Step::Send(response(202, "text/plain", ""))],
        }
    }

    async fn until_closed(&self, stream: &mut TcpStream) -> bool {
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        self.0.closed.add_permits(1);
        false
    }

    /// The other side takes no more when the socket stays full for so long that it cannot be an accident.
    async fn flood(&self, stream: &mut TcpStream, bytes: &[u8]) -> bool {
        let patience = Duration::from_millis(300);
        while let Ok(written) = tokio::time::timeout(patience, stream.write_all(bytes)).await {
            if written.is_err() {
                break;
            }
            self.0.poured.fetch_add(bytes.len(), Ordering::SeqCst);
        }
        self.0.full.add_permits(1);
        self.until_closed(stream).await
    }

    async fn trickle(&self, stream: &mut TcpStream, bytes: &[u8]) -> bool {
        let (mut read, mut write) = stream.split();
        let trickling = async {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            while write.write_all(bytes).await.is_ok() {
                pace.tick().await;
            }
        };
        let mut nothing = [0; 1024];
        tokio::select! {
            () = trickling => {}
            () = async { while read.read(&mut nothing).await.is_ok_and(|read| read > 0) {} } => {}
        }
        self.0.closed.add_permits(1);
        false
    }
}

const DONE: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].to_string()
    }

    /// The session that it names; empty where it names none.
    pub(crate) fn session(&self) -> String {
        let session = self.headers().into_iter().find(|(name, _)| name == "mcp-session-id");
        session.map(|(_, session)| session).unwrap_or_default()
    }

    /// Its headers, in lower case, sorted.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut headers: Vec<_> =
            lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        headers.sort();
        headers
    }

    /// A JSON response with this result.
    pub(crate) fn result(&self, result: &str) -> String {
        response(200, "application/json", &self.message(result))
    }

    /// A JSON-RPC response with this result.
    pub(crate) fn message(&self, result: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id())
    }

    /// The last event of a stream, with this result.
    pub(crate) fn last(&self, result: &str) -> Vec<Step> {
        vec![event(&self.message(result)), Step::Send("0\r\n\r\n".to_owned())]
    }
}

/// A whole response.
pub(crate) fn response(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The beginning of an event stream.
pub(crate) fn stream() -> Step {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    Step::Send(format!("{head}\r\n\r\n"))
}

/// One event of a stream.
pub(crate) fn event(data: &str) -> Step {
    Step::Send(sent(data))
}

fn sent(data: &str) -> String {
    chunk(&format!("event: message\ndata: {data}\n\n"))
}

/// What a server says of a resource that changed.
pub(crate) fn updated(uri: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
    )
}

/// One chunk of a stream.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Reads one request; `None` when the other side is gone.
async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let body = &bytes[end + 4..];
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(Asked { head, body: String::from_utf8(body.to_vec()).unwrap() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
