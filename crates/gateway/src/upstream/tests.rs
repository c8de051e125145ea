use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use model::Digest;
use serde_json::{Value, json};
use token::Secret;
use tokio::sync::mpsc;

use super::*;
use crate::outbound::{self, tests::server::Server};

mod calls;
mod holders;
mod streams;
mod tools;

/// One request as a server sees it.
#[derive(Debug, Clone)]
struct Asked {
    head: String,
    body: Value,
}

impl Asked {
    fn of(request: &str) -> Self {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        Self { head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default() }
    }

    fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    fn id(&self) -> &Value {
        &self.body["id"]
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The response with this result.
    fn result(&self, result: &str) -> String {
        answer(200, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id()))
    }

    /// What a modern server says to `server/discover`.
    fn discovered(&self) -> String {
        self.result(
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}"#,
        )
    }
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn stream(events: &str) -> String {
    let length = events.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{events}\r\n0\r\n\r\n"
    )
}

async fn serve(reply: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Server {
    Server::replying(move |request| reply(&Asked::of(request))).await
}

/// A modern server that answers calls in this way.
async fn modern(reply: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Upstream {
    let server = serve(move |asked| match asked.method() {
        "server/discover" => asked.discovered(),
        _ => reply(asked),
    });
    upstream(&server.await, Protocol::Probe)
}

/// A legacy server with a session that answers calls in this way, and what it was sent.
async fn legacy(
    reply: impl Fn(&Asked) -> String + Send + Sync + 'static,
) -> (Upstream, mpsc::UnboundedReceiver<Asked>) {
    let (sent, seen) = mpsc::unbounded_channel();
    let server = serve(move |asked| {
        sent.send(asked.clone()).unwrap();
        match asked.method() {
            "initialize" => initialized(asked, "s-1"),
            "" | "notifications/initialized" | "notifications/cancelled" => accepted(),
            _ => reply(asked),
        }
    });
    (upstream(&server.await, Protocol::Only(Era::Legacy)), seen)
}

fn initialized(asked: &Asked, session: &str) -> String {
    let result = asked.result(r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#);
    result.replacen("\r\n", &format!("\r\nmcp-session-id: {session}\r\n"), 1)
}

fn accepted() -> String {
    "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
}

fn upstream(server: &Server, protocol: Protocol) -> Upstream {
    let outbound = Outbound::new(outbound::Limits::default());
    let target = server.target(&outbound);
    let credential = Credential::bearer(target.origin().clone(), &Secret::new("s3cret")).unwrap();
    Upstream::new(outbound, target, Some(credential), protocol)
}

static NOTHING: std::sync::LazyLock<Able> = std::sync::LazyLock::new(Able::default);
static NO_MIRROR: std::sync::LazyLock<Mirror> = std::sync::LazyLock::new(Mirror::default);

fn call<'c>(id: &'c RequestId, arguments: &'c [u8]) -> Call<'c> {
    Call {
        holder: None,
        room: None,
        id,
        tool: "refund_order",
        arguments,
        inputs: None,
        era: Era::Modern,
        able: &NOTHING,
        logs: Logs::Nothing,
        progress: None,
        mirror: &NO_MIRROR,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

/// Calls with client id `"c-1"` and no arguments, and reads the whole answer.
async fn reply(upstream: &Upstream) -> Result<Reply, UpstreamError> {
    match upstream.call(call(&RequestId::Text("c-1".into()), b"{}")).await? {
        Answer::Whole(reply, _) => Ok(reply),
        Answer::Stream(events) => events.reply().await,
    }
}

#[tokio::test]
async fn a_modern_server_is_found_by_asking_it() {
    let upstream = modern(|asked| asked.result("{}")).await;
    assert_eq!(upstream.era().await.unwrap(), Era::Modern);
}

#[tokio::test]
async fn a_server_that_does_not_understand_the_question_is_legacy() {
    let error = |code: i64, more: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":ID,"error":{{"code":{code},"message":"m"{more}}}}}"#)
    };
    let only_legacy = r#"{"jsonrpc":"2.0","id":ID,"result":{"supportedVersions":["2025-06-18"]}}"#;
    for (status, body) in [
        (400, String::new()),
        (404, "not json".into()),
        (405, String::new()),
        (415, String::new()),
        (
            400,
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"m"}}"#.into(),
        ),
        (400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"m"}}"#.into()),
        (200, error(-32601, "")),
        (404, error(-32601, "")),
        (200, error(-32602, r#","data":[1]"#)),
        (200, only_legacy.into()),
        (400, error(-32022, r#","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}"#)),
    ] {
        let said = body.clone();
        let server = serve(move |asked| match asked.method() {
            "server/discover" => answer(status, &said.replace("ID", &asked.id().to_string())),
            "initialize" => initialized(asked, "s-1"),
            _ => accepted(),
        });
        let era = upstream(&server.await, Protocol::Probe).era().await;
        assert_eq!(era.map_err(|error| format!("{error:?}")), Ok(Era::Legacy), "{status} {body}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_or_speaks_nothing_known_is_no_upstream() {
    for (status, body, expected) in [
        (401, "", "Challenged"),
        (403, "", "Status(403)"),
        (429, "", "Status(429)"),
        (500, "", "Status(500)"),
        (200, r#"{"supportedVersions":["2024-11-05","3000-01-01"]}"#, "Unsupported"),
        (200, r#"{"versions":[]}"#, "Malformed"),
    ] {
        let server = serve(move |asked| {
            answer(status, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{body}}}"#, asked.id()))
        });
        let error = upstream(&server.await, Protocol::Probe).era().await.unwrap_err();
        let UpstreamError::Handshake(error) = error else { panic!("{error:?}") };
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
    for (code, data, expected) in [
        (-32020, "1", "Refused { method: \"server/discover\", code: -32020"),
        (-32021, "1", "Refused"),
        (-32022, r#"{"supported":["2024-11-05"]}"#, "Unsupported"),
        (-32022, "1", "Unsupported"),
    ] {
        let server = serve(move |asked| {
            let error = format!(r#"{{"code":{code},"message":"m","data":{data}}}"#);
            answer(400, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, asked.id()))
        });
        let error = reply(&upstream(&server.await, Protocol::Probe)).await.unwrap_err();
        assert!(!error.may_have_arrived());
        let UpstreamError::Handshake(error) = error else { panic!("{error:?}") };
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
}

#[tokio::test]
async fn a_legacy_session_is_kept_and_named_in_every_request() {
    let (upstream, mut seen) = legacy(|asked| asked.result("{}")).await;
    for _ in 0..2 {
        reply(&upstream).await.unwrap();
    }
    drop(upstream);
    let mut log = Vec::new();
    while log.len() < 5 {
        let asked = seen.recv().await.unwrap();
        let verb = asked.head.split(' ').next().unwrap().to_owned();
        assert_eq!(asked.header("authorization"), Some("Bearer s3cret"));
        log.push((
            verb,
            asked.method().to_owned(),
            asked.header("mcp-session-id").map(str::to_owned),
            asked.header("mcp-protocol-version").map(str::to_owned),
        ));
    }
    let text = |text: &str| text.to_owned();
    let (session, version) = (Some(text("s-1")), Some(text("2025-11-25")));
    let told =
        |verb: &str, method: &str| (text(verb), text(method), session.clone(), version.clone());
    assert_eq!(
        log,
        [
            (text("POST"), text("initialize"), None, None),
            told("POST", "notifications/initialized"),
            told("POST", "tools/call"),
            told("POST", "tools/call"),
            told("DELETE", ""),
        ]
    );
}

/// One permit is one call: whether a server that has forgotten its session has acted before is not ours to bet on.
#[tokio::test]
async fn a_call_that_finds_the_session_forgotten_is_not_sent_again_and_the_next_opens_another() {
    let (sessions, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, called) = (sessions.clone(), calls.clone());
    let lost =
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
    let server = serve(move |asked| match asked.method() {
        "initialize" => initialized(asked, &format!("s-{}", opened.fetch_add(1, Ordering::SeqCst))),
        "notifications/initialized" => accepted(),
        _ if called.fetch_add(1, Ordering::SeqCst) == 0 => answer(404, lost),
        _ => {
            assert_eq!(asked.header("mcp-session-id"), Some("s-1"));
            asked.result("{}")
        }
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    let count = || (sessions.load(Ordering::SeqCst), calls.load(Ordering::SeqCst));
    assert!(matches!(reply(&upstream).await, Err(UpstreamError::SessionLost)));
    assert_eq!(count(), (1, 1));
    reply(&upstream).await.unwrap();
    assert_eq!(count(), (2, 2));
}

#[tokio::test]
async fn a_list_of_tools_that_finds_the_session_forgotten_is_asked_for_again_once() {
    for (forgets, listed) in [(1, true), (usize::MAX, false)] {
        let sessions = Arc::new(AtomicUsize::new(0));
        let count = sessions.clone();
        let server = serve(move |asked| match asked.method() {
            "initialize" => {
                initialized(asked, &format!("s-{}", count.fetch_add(1, Ordering::SeqCst)))
            }
            "notifications/initialized" => accepted(),
            _ if count.load(Ordering::SeqCst) <= forgets => answer(404, "{}"),
            _ => asked.result(r#"{"tools":[]}"#),
        });
        let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
        assert_eq!(upstream.list_tools().await.is_ok(), listed);
        assert_eq!(sessions.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn callers_that_come_together_open_one_session() {
    let (upstream, mut seen) = legacy(|asked| asked.result("{}")).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let upstream = upstream.clone();
            tokio::spawn(async move { reply(&upstream).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    seen.close();
    let mut opened = 0;
    while let Some(asked) = seen.recv().await {
        opened += usize::from(asked.method() == "initialize");
    }
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn nobody_waits_beyond_their_own_deadline_for_a_handshake_of_somebody_else() {
    let server = serve(|_| String::new()).await;
    let upstream = upstream(&server, Protocol::Probe);
    let first = upstream.era();
    let second = async {
        // The first has the turn now: it was polled before, and the server never answers it.
        let id = RequestId::Number(1);
        let soon = Instant::now() + Duration::from_millis(20);
        upstream.call(Call { deadline: soon, ..call(&id, b"{}") }).await.map(drop)
    };
    tokio::select! {
        biased;
        era = first => panic!("the other one waited for this: {era:?}"),
        called = second => {
            let error = called.unwrap_err();
            assert!(!error.may_have_arrived());
            let UpstreamError::Handshake(error) = error else { panic!("{error:?}") };
            assert!(matches!(*error, UpstreamError::Send(outbound::SendError::Late(_))), "{error:?}");
        }
    }
}
