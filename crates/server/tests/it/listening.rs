//! Clients that are slow, on purpose or not, by bare connections.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use futures_util::{poll, stream};
use server::{Bounds, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{interval, timeout},
};

const HASTY: Bounds = patience(Duration::from_millis(300));
/// Much more patience than a test takes.
const PATIENT: Bounds = patience(Duration::from_secs(600));

const fn patience(each: Duration) -> Bounds {
    Bounds { head: each, body: each, write: each, connections: 4 }
}

/// Serves a router that answers with how many bytes it was sent, and connects to it.
async fn connect(bounds: Bounds) -> TcpStream {
    TcpStream::connect(listening(bounds).await).await.expect("somebody listens")
}

/// The same without a connection: its address.
async fn listening(bounds: Bounds) -> SocketAddr {
    let router = Router::new()
        .route("/", post(async |body: Bytes| body.len().to_string()))
        .route("/endless", get(async || without_end(None)))
        .route("/unread", post(async || "done"));
    listen(router, bounds).await
}

async fn listen(router: Router, bounds: Bounds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(serve(listener, router, bounds, std::future::pending()));
    address
}

/// Serves an answer that never ends; says when it has been let go.
async fn endless(bounds: Bounds) -> (SocketAddr, mpsc::Receiver<()>) {
    let (ends, ended) = mpsc::channel(1);
    let router = Router::new().route("/", get(async move || without_end(Some(Gone(ends)))));
    (listen(router, bounds).await, ended)
}

/// Tells that it was dropped.
struct Gone(mpsc::Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

fn without_end(gone: Option<Gone>) -> Body {
    Body::from_stream(stream::unfold(gone, async |gone| {
        Some((Ok::<_, Infallible>(Bytes::from_static(&[b'.'; 64 * 1024])), gone))
    }))
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

/// Connects as often as a listener allows at once, and says the same on each connection.
async fn crowd(address: SocketAddr, says: &str) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..PATIENT.connections {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.write_all(says.as_bytes()).await.expect("the connection is open");
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn nobody_is_kept_out_by_those_whose_next_word_does_not_come() {
    let silences = [
        ("", "no request"),
        ("POST / HTTP/1.1\r\nhost:", "half a head"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1234", "half a body"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "no further request"),
    ];
    for (says, silence) in silences {
        let address = listening(PATIENT).await;
        // More than once around: whoever comes takes a silent one's place, and is silent as well.
        let mut kept = Vec::new();
        for _ in 0..5 {
            kept.extend(crowd(address, says).await);
        }
        let mut asks = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut asks, "").await, "HTTP/1.1 200 OK", "{silence}");
        let mut rest = Vec::new();
        // Closed in order, or reset where something was not read.
        let _ = kept[0].read_to_end(&mut rest).await;
        // Whoever asks where others wait has one answer a connection.
        let mut asks = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut asks, "again").await, "HTTP/1.1 200 OK", "{silence}");
    }
}

/// Asks without end on one connection after the other, and reads every answer.
async fn asks_without_end(address: SocketAddr) {
    let request = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    loop {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        let (mut answers, mut asks) = stream.split();
        let asking =
            async { while asks.write_all(request.repeat(100).as_bytes()).await.is_ok() {} };
        let mut sink = tokio::io::sink();
        tokio::join!(asking, async { tokio::io::copy(&mut answers, &mut sink).await.ok() });
    }
}

#[tokio::test]
async fn nobody_is_kept_out_by_those_who_ask_without_end() {
    let address = listening(PATIENT).await;
    let mut greedy = JoinSet::new();
    for _ in 0..3 * PATIENT.connections {
        greedy.spawn(asks_without_end(address));
    }
    for _ in 0..50 {
        let mut asks = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut asks, "").await, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn nobody_is_kept_out_by_those_who_do_not_read() {
    let address = listening(PATIENT).await;
    let says = "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n";
    let _kept = crowd(address, says).await;
    let mut asks = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut asks, "").await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn who_is_worked_for_keeps_the_place_and_the_next_one_waits() {
    static BEGUN: Semaphore = Semaphore::const_new(0);
    static MAY_END: Notify = Notify::const_new();
    let router = Router::new().route(
        "/",
        post(async |body: Bytes| {
            if body.is_empty() {
                BEGUN.add_permits(1);
                MAY_END.notified().await;
            }
            body.len().to_string()
        }),
    );
    let address = listen(router, PATIENT).await;
    let says = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut kept = crowd(address, says).await;
    let all = u32::try_from(PATIENT.connections).unwrap();
    BEGUN.acquire_many(all).await.unwrap().forget();
    let mut outside = TcpStream::connect(address).await.unwrap();
    let mut waiting = pin!(ask(&mut outside, "1"));
    assert!(poll!(&mut waiting).is_pending());
    // Each of them is answered, and the first to be answered makes room.
    MAY_END.notify_one();
    assert_eq!(waiting.await, "HTTP/1.1 200 OK");
    MAY_END.notify_waiters();
    let mut answered = 0;
    for stream in &mut kept {
        answered += usize::from(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    }
    assert_eq!(answered, PATIENT.connections);
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_answer_is_left() {
    let (address, mut ended) = endless(HASTY).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let ended = timeout(Duration::from_secs(20), ended.recv()).await;
    assert_eq!(ended.expect("the answer is let go"), Some(()));
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_left() {
    let (address, _ended) = endless(HASTY).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut pace = interval(Duration::from_millis(20));
    let mut part = vec![0; 512 * 1024];
    // Three times as long as it is waited for somebody who reads nothing.
    for _ in 0..45 {
        pace.tick().await;
        stream.read_exact(&mut part).await.unwrap();
    }
}
