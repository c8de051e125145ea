//! Clients that are slow, on purpose or not, by bare connections.

use std::time::Duration;

use axum::{Router, body::Bytes, routing::post};
use server::{Patience, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    time::interval,
};

const HASTY: Patience =
    Patience { head: Duration::from_millis(300), body: Duration::from_millis(300) };
/// Much more patience than a test takes.
const PATIENT: Patience =
    Patience { head: Duration::from_secs(600), body: Duration::from_secs(600) };

/// Serves a router that answers with how many bytes it was sent, and connects to it.
async fn connect(patience: Patience) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let router = Router::new()
        .route("/", post(async |body: Bytes| body.len().to_string()))
        .route("/unread", post(async || "done"));
    tokio::spawn(serve(listener, router, patience, std::future::pending()));
    TcpStream::connect(address).await.expect("somebody listens")
}

/// Says this, then a byte every 20 milliseconds until the connection ends, and gives all that was answered.
async fn dribble(stream: &mut TcpStream, first: &str, byte: &str) -> String {
    stream.write_all(first.as_bytes()).await.expect("the connection is open");
    let (mut answers, mut says) = stream.split();
    let mut answer = Vec::new();
    let mut pace = interval(Duration::from_millis(20));
    let dribbling = async {
        loop {
            pace.tick().await;
            if says.write_all(byte.as_bytes()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        // A connection that was reset has ended, too.
        _ = answers.read_to_end(&mut answer) => {}
        () = dribbling => {}
    }
    String::from_utf8(answer).expect("the answers are text")
}

#[tokio::test]
async fn a_head_that_dribbles_in_ends_its_connection() {
    let mut stream = connect(HASTY).await;
    let answer = dribble(&mut stream, "POST / HTTP/1.1\r\nhost: x\r\nx-long: ", "a").await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_said_ends() {
    let mut stream = connect(HASTY).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_answered_with_408_and_ends_its_connection() {
    for (framing, byte) in
        [("content-length: 100000", "a"), ("transfer-encoding: chunked", "1\r\na\r\n")]
    {
        let mut stream = connect(HASTY).await;
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        let answer = dribble(&mut stream, &head, byte).await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.contains(r#""code":"too_slow""#), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_keeps_no_connection_either() {
    let mut stream = connect(HASTY).await;
    let head = "POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    let answer = dribble(&mut stream, head, "a").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn requests_in_time_are_answered_one_after_the_other() {
    let mut stream = connect(PATIENT).await;
    for body in ["", "four", "and a longer one"] {
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with(&format!("\r\n\r\n{length}")) {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_listener_that_stops_ends_live_requests_in_order_and_idle_connections_at_once() {
    static BEGUN: Notify = Notify::const_new();
    static MAY_END: Notify = Notify::const_new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route(
        "/",
        post(async || {
            BEGUN.notify_one();
            MAY_END.notified().await;
            "done"
        }),
    );
    let (stop, stopped) = oneshot::channel();
    let stopping = async { stopped.await.unwrap() };
    let serving = tokio::spawn(serve(listener, router, PATIENT, stopping));
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut live = TcpStream::connect(address).await.unwrap();
    live.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    BEGUN.notified().await;
    stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    MAY_END.notify_one();
    let mut answer = String::new();
    live.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
