//! Clients that are slow, on purpose or not, by bare connections.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Bytes, routing::post};
use futures_util::poll;
use server::{Bounds, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    time::interval,
};

const HASTY: Bounds =
    Bounds { head: Duration::from_millis(300), body: Duration::from_millis(300), connections: 4 };
/// Much more patience than a test takes.
const PATIENT: Bounds =
    Bounds { head: Duration::from_secs(600), body: Duration::from_secs(600), connections: 4 };

/// Serves a router that answers with how many bytes it was sent, and connects to it.
async fn connect(bounds: Bounds) -> TcpStream {
    TcpStream::connect(listening(bounds).await).await.expect("somebody listens")
}

/// The same without a connection: its address.
async fn listening(bounds: Bounds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let router = Router::new()
        .route("/", post(async |body: Bytes| body.len().to_string()))
        .route("/unread", post(async || "done"));
    tokio::spawn(serve(listener, router, bounds, std::future::pending()));
    address
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

/// Sends a body, and gives the first line of the answer once the answer is there.
async fn ask(stream: &mut TcpStream, body: &str) -> String {
    let length = body.len();
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
    let mut answer = String::new();
    while !answer.ends_with(&format!("\r\n\r\n{length}")) {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.expect("the connection is open");
        assert_ne!(read, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&buffer[..read]).expect("the answers are text"));
    }
    answer.lines().next().unwrap_or_default().to_owned()
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
        assert_eq!(ask(&mut stream, body).await, "HTTP/1.1 200 OK");
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

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_one_ends() {
    let address = listening(PATIENT).await;
    let mut taken = Vec::new();
    for _ in 0..PATIENT.connections {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream, "").await, "HTTP/1.1 200 OK");
        taken.push(stream);
    }
    let mut outside = TcpStream::connect(address).await.unwrap();
    let mut waiting = pin!(ask(&mut outside, ""));
    // Whoever is inside is served before and after somebody waits outside.
    for stream in &mut taken {
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(ask(stream, "").await, "HTTP/1.1 200 OK");
    }
    taken.pop();
    assert_eq!(waiting.await, "HTTP/1.1 200 OK");
}
