use futures_util::FutureExt as _;

use super::*;
use crate::room::{LONG, Rooms};

fn event(data: &str) -> String {
    format!("event: message\ndata: {data}\n\n")
}

fn done(asked: &Asked) -> String {
    event(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, asked.id()))
}

const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}"#;

async fn events(upstream: &Upstream) -> Events {
    let id = RequestId::Text("c-1".into());
    match upstream.call(call(&id, b"{}")).await.unwrap() {
        Answer::Stream(events) => *events,
        Answer::Whole(reply, _) => panic!("{reply:?}"),
    }
}

#[tokio::test]
async fn notifications_are_passed_on_before_the_response_and_nothing_after() {
    let upstream = modern(|asked| {
        stream(&[": hello\n\n", &event(PROGRESS), &done(asked), &event(PROGRESS)].concat())
    })
    .await;
    let mut events = events(&upstream).await;
    assert_eq!(events.next().await.unwrap(), Some(Event::Notification(PROGRESS.into())));
    let Some(Event::Reply(reply)) = events.next().await.unwrap() else { panic!() };
    assert_eq!(reply.bytes, r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[]}}"#);
    assert_eq!(events.next().await.unwrap(), None);
}

#[tokio::test]
async fn room_for_a_long_event_is_free_again_once_that_was_handed_on() {
    let long = PROGRESS.replacen("1.0", &format!("1{}", " ".repeat(2 * LONG)), 1);
    let sent = stream(&[&event(&long)[..], &event(PROGRESS), &event(PROGRESS)].concat());
    let upstream = modern(move |_| sent.clone()).await;
    let rooms = Rooms::default();
    let room = rooms.of(&"agent/bot".parse().unwrap());
    let free = || std::iter::from_fn(|| room.take().now_or_never()).collect::<Vec<_>>().len();
    let all = free();
    let (id, able) = (RequestId::Text("c-1".into()), Able::default());
    let call = Call { room: Some(&room), able: &able, ..call(&id, b"{}") };
    let Answer::Stream(mut events) = upstream.call(call).await.unwrap() else { panic!() };
    events.next().await.unwrap();
    assert_eq!(free(), all - 1);
    events.next().await.unwrap();
    assert_eq!(free(), all);
}

#[tokio::test]
async fn a_stream_that_ended_leaves_its_connection_for_the_next_call() {
    let server = serve(|asked| match asked.method() {
        "server/discover" => asked.discovered(),
        _ => stream(&done(asked)),
    })
    .await;
    let upstream = upstream(&server, Protocol::Probe);
    for _ in 0..3 {
        reply(&upstream).await.unwrap();
        // The end of the stream is read in the background.
        tokio::task::yield_now().await;
    }
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_without_the_answer_or_with_another_is_refused() {
    for (events, expected) in [
        (": nothing\n\n".into(), "NoAnswer"),
        (event(PROGRESS), "NoAnswer"),
        (format!("data: {PROGRESS}\n"), "NoAnswer"),
        (event(r#"{"jsonrpc":"2.0","id":99,"result":{}}"#), "ForeignId"),
        (event("nonsense"), "Malformed"),
        (event(r#"{"jsonrpc":"2.0","method":"a","extra":1}"#), "Malformed"),
        (event(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#), "ServerRequest"),
        (event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), "ServerRequest"),
    ] {
        let sent = stream(&events);
        let upstream = modern(move |_| sent.clone()).await;
        let error = reply(&upstream).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?} for {events}");
    }
}

#[tokio::test]
async fn a_legacy_servers_own_requests_are_refused_and_its_pings_answered() {
    let (upstream, mut seen) = legacy(|asked| {
        let ping = event(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
        let ask = event(
            r#"{"jsonrpc":"2.0","id":{"odd":1},"method":"sampling/createMessage","params":{}}"#,
        );
        stream(&[ping, ask, done(asked)].concat())
    })
    .await;
    let mut events = events(&upstream).await;
    let method = Foreign::new("sampling/createMessage");
    assert_eq!(events.next().await.unwrap(), Some(Event::Refused { method }));
    assert!(matches!(events.next().await.unwrap(), Some(Event::Reply(_))));
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let asked = seen.recv().await.unwrap();
        if asked.body.get("method").is_none() {
            assert_eq!(asked.header("mcp-session-id"), Some("s-1"));
            answered.push(asked.body);
        }
    }
    let to = |id: Value| answered.iter().find(|answer| answer["id"] == id).unwrap();
    assert_eq!(to(json!("p"))["result"], json!({}));
    assert_eq!(to(json!({ "odd": 1 }))["error"]["code"], -32601);
}

#[tokio::test]
async fn a_legacy_server_that_asks_without_end_is_cut_and_told() {
    let (upstream, mut seen) = legacy(|asked| {
        let ask = event(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
        stream(&[ask.repeat(17), done(asked)].concat())
    })
    .await;
    let error = reply(&upstream).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ServerRequest(_)), "{error:?}");
    while seen.recv().await.unwrap().method() != "notifications/cancelled" {}
}

#[tokio::test]
async fn dropping_a_stream_closes_it_at_a_modern_server() {
    let (closed, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let request = crate::outbound::tests::server::read_request(&mut stream).await.unwrap();
            assert_eq!(Asked::of(&request).method(), "tools/call");
            let event = event(PROGRESS);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let begun = format!("{head}{:x}\r\n{event}\r\n", event.len());
            stream.write_all(begun.as_bytes()).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            closed.send(()).unwrap();
        }
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Modern));
    let mut events = events(&upstream).await;
    assert!(matches!(events.next().await.unwrap(), Some(Event::Notification(_))));
    drop(events);
    assert_eq!(seen.recv().await, Some(()));
}
