use std::sync::{Arc, atomic::Ordering};

use http::{HeaderValue, StatusCode};
use token::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, mpsc, oneshot},
};

use super::*;

pub(crate) mod server;
mod tls;

use server::{Server, read_request};

fn client() -> Outbound {
    Outbound::new(Limits { head_bytes: 1024, body_bytes: 1000, ..Limits::default() })
}

fn post(body: &'static str) -> Request {
    Request {
        method: Method::POST,
        path: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
        deadline: None,
    }
}

async fn exchange(client: &Outbound, target: &Target) -> Result<Bytes, String> {
    let response =
        client.send(target, post("{}"), None).await.map_err(|error| format!("{error:?}"))?;
    response.collect(usize::MAX).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn a_response_is_read_whole_and_its_connection_serves_the_next_request() {
    let (requests, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                requests.send(request).unwrap();
                stream
                    .write_all(b"HTTP/1.1 201 Created\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let client = client();
    let target = server.target(&client);
    for _ in 0..3 {
        let response = client.send(&target, post("{\"a\":1}"), None).await.unwrap();
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(response.headers["x-a"], "b");
        assert_eq!(response.collect(5).await.unwrap(), "hello");
        let request = seen.recv().await.unwrap();
        assert!(request.starts_with("POST /mcp HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    }
    let path = Some(PathAndQuery::from_static("/other?a=b"));
    let response = client.send(&target, Request { path, ..post("") }, None).await.unwrap();
    assert_eq!(response.status, StatusCode::CREATED);
    let request = seen.recv().await.unwrap();
    assert!(request.starts_with("POST /other?a=b HTTP/1.1\r\n"), "{request}");
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_or_spoke_on_is_not_used_again() {
    for tail in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake"] {
        let go = Arc::new(Notify::new());
        let told = go.clone();
        let server = Server::start(move |mut stream| {
            let (told, tail) = (told.clone(), tail);
            async move {
                read_request(&mut stream).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue";
                stream.write_all(answer).await.unwrap();
                told.notified().await;
                stream.write_all(tail.as_bytes()).await.unwrap();
            }
        })
        .await;
        let client = client();
        let target = server.target(&client);
        assert_eq!(exchange(&client, &target).await.unwrap(), "true");
        go.notify_one();
        // Until the client's side of the connection has noticed.
        while let Some(connection) = target.pool().take() {
            target.pool().park(connection);
            tokio::task::yield_now().await;
        }
        assert_eq!(exchange(&client, &target).await.unwrap(), "true");
        assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn dropping_a_waiting_request_or_an_open_body_closes_the_connection() {
    for head in ["", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"] {
        let (events, mut seen) = mpsc::unbounded_channel();
        let server = Server::start(move |mut stream| {
            let events = events.clone();
            async move {
                read_request(&mut stream).await;
                stream.write_all(head.as_bytes()).await.unwrap();
                events.send("received").unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
                events.send("closed").unwrap();
            }
        })
        .await;
        let client = Outbound::new(Limits::default());
        let target = server.target(&client);
        let (opened, open) = oneshot::channel();
        let call = tokio::spawn(async move {
            let mut response = client.send(&target, post("{}"), None).await.unwrap();
            response.body.next().await.unwrap().unwrap();
            opened.send(()).unwrap();
            response.body.next().await.map(drop)
        });
        assert_eq!(seen.recv().await, Some("received"));
        if !head.is_empty() {
            open.await.unwrap();
        }
        call.abort();
        assert_eq!(seen.recv().await, Some("closed"));
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_that_names_only_where_it_points() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 302 Found\r\nlocation: https://evil.example:8443/?secret=1\r\ncontent-length: 0\r\n\r\n"[..],
            "`https://evil.example:8443`",
        ),
        (b"HTTP/1.1 307 T\r\nlocation: //evil.example/x\r\n\r\n", "an unreadable place"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "an unreadable place"),
    ] {
        let server = Server::answering(answer).await;
        let client = client();
        let error = client.send(&server.target(&client), post("{}"), None).await.err().unwrap();
        assert!(matches!(error, SendError::Redirect { .. }));
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_response_that_lies_about_its_length_is_refused() {
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"[..], "Short"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", "Short"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nshort", "Short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nlong", "Excess"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nlong", "Excess"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nlong", "Excess"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nlong", "Broken"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nlong", "Broken"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "Broken"),
        (b"not http at all\r\n\r\n", "Broken"),
        (b"", "Broken"),
    ] {
        let server = Server::closing(answer).await;
        let client = client();
        let target = server.target(&client);
        let error = exchange(&client, &target).await.unwrap_err();
        assert!(error.starts_with(expected), "{error} for {}", String::from_utf8_lossy(answer));
        assert!(target.pool().take().is_none());
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let server = Server::closing(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
    let client = client();
    assert_eq!(exchange(&client, &server.target(&client)).await.unwrap(), "all of it");
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    for (answer, expected) in [
        (&b""[..], "HeadTimeout"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "HeadTimeout"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", "Idle"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", "Idle"),
    ] {
        let server = Server::answering(answer).await;
        let soon = Duration::from_millis(200);
        let limits = match expected {
            "Idle" => Limits { idle: soon, ..Limits::default() },
            _ => Limits { head: soon, ..Limits::default() },
        };
        let client = Outbound::new(limits);
        let error = exchange(&client, &server.target(&client)).await.unwrap_err();
        assert!(error.starts_with(expected), "{error} for {}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_deadline_ends_an_exchange_wherever_it_is() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(b"1\r\na\r\n").await.is_ok() {}
    })
    .await;
    let client = Outbound::new(Limits::default());
    let target = server.target(&client);
    let soon = Instant::now() + Duration::from_secs(1);
    let request = Request { deadline: Some(soon), ..post("{}") };
    let response = client.send(&target, request, None).await.unwrap();
    assert!(matches!(response.collect(usize::MAX).await, Err(BodyError::Deadline)));

    let request = Request { deadline: Some(soon), ..post("{}") };
    let error = client.send(&target, request, None).await.err().unwrap();
    assert!(matches!(error, SendError::Late(_)));
    assert!(!error.may_have_arrived());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let long =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1100)).into_boxed_str());
    let body = Box::leak(
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
            "a".repeat(1001)
        )
        .into_boxed_str(),
    );
    for (answer, expected) in [
        (long.as_bytes(), "HeadTooLarge"),
        (body.as_bytes(), "TooLong { limit: 1000 }"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", "TooLong { limit: 1000 }"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n", "HeadTooLarge"),
    ] {
        let server = Server::answering(answer).await;
        let client = client();
        let error = exchange(&client, &server.target(&client)).await.unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let server = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = client();
    let response = client.send(&server.target(&client), post("{}"), None).await.unwrap();
    assert!(matches!(response.collect(4).await, Err(BodyError::TooLong { limit: 4 })));
}

#[tokio::test]
async fn a_secret_goes_to_its_own_origin_alone() {
    let (requests, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                requests.send(request).unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let client = client();
    let target = server.target(&client);
    let own = Credential::bearer(target.origin().clone(), &Secret::new("s3cret")).unwrap();
    client.send(&target, post("{}"), Some(&own)).await.unwrap();
    assert!(seen.recv().await.unwrap().contains("authorization: Bearer s3cret\r\n"));

    let port = target.origin().port();
    for other in [
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1:1".to_owned(),
    ] {
        let foreign = Credential::bearer(other.parse().unwrap(), &Secret::new("s3cret")).unwrap();
        let error = client.send(&target, post("{}"), Some(&foreign)).await.err().unwrap();
        assert!(matches!(error, SendError::ForeignOrigin { .. }), "{error}");
        assert!(!error.to_string().contains("s3cret") && !error.may_have_arrived());
    }

    for (name, credential) in
        [(header::AUTHORIZATION, Some(&own)), (header::HOST, None), (header::CONTENT_LENGTH, None)]
    {
        let mut request = post("{}");
        request.headers.insert(name, HeaderValue::from_static("1"));
        let error = client.send(&target, request, credential).await.err().unwrap();
        assert!(matches!(error, SendError::ReservedHeader(_)), "{error}");
    }
    assert!(seen.try_recv().is_err());
}

#[test]
fn what_cannot_be_a_secret_header_is_refused() {
    let origin: Origin = "https://desk.example".parse().unwrap();
    for secret in ["", "a\r\nx: y", "a\0"] {
        let error = Credential::bearer(origin.clone(), &Secret::new(secret)).err();
        assert_eq!(error, Some(CredentialError::Value));
    }
    let error = Credential::new(origin, header::HOST, &Secret::new("a")).err();
    assert_eq!(error, Some(CredentialError::Header(header::HOST)));
}

#[tokio::test]
async fn a_name_that_stands_for_an_inside_address_needs_an_internal_target() {
    let client = client();
    let target = client.target("https://localhost/", false).unwrap();
    let error = client.send(&target, post("{}"), None).await.err().unwrap();
    let SendError::Address { source: TargetError::Inside { kind, .. }, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(kind, "loopback");
}

#[tokio::test]
async fn no_more_connections_are_opened_than_the_limit() {
    let server = Server::answering(b"").await;
    let limits =
        Limits { connections: 1, connect: Duration::from_millis(500), ..Limits::default() };
    let client = Outbound::new(limits);
    let target = server.target(&client);
    let waiting = tokio::spawn({
        let (client, target) = (client.clone(), target.clone());
        async move { client.send(&target, post("{}"), None).await.map(drop) }
    });
    while server.accepted.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let error = exchange(&client, &target).await.unwrap_err();
    assert!(error.starts_with("Busy"), "{error}");
    waiting.abort();
}

#[tokio::test]
async fn connections_to_all_servers_together_have_a_limit_of_their_own() {
    let (one, other) = (Server::answering(b"").await, Server::answering(b"").await);
    let limits = Limits { at_once: 1, connect: Duration::from_millis(500), ..Limits::default() };
    let client = Outbound::new(limits);
    let (held, wanted) = (one.target(&client), other.target(&client));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.send(&held, post("{}"), None).await.map(drop) }
    });
    while one.accepted.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let error = exchange(&client, &wanted).await.unwrap_err();
    assert!(error.starts_with("Busy"), "{error}");
    assert_eq!(other.accepted.load(Ordering::SeqCst), 0);
    waiting.abort();
}

#[tokio::test]
async fn a_switch_of_protocols_is_refused() {
    let server =
        Server::answering(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
    let client = client();
    let error = exchange(&client, &server.target(&client)).await.unwrap_err();
    assert!(error.starts_with("Upgrade") || error.starts_with("Broken"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_said_and_nothing_has_arrived() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client();
    let target = client.target(&format!("http://{address}/"), true).unwrap();
    let error = client.send(&target, post("{}"), None).await.err().unwrap();
    assert!(matches!(error, SendError::Connect { .. }), "{error}");
    assert!(!error.may_have_arrived());
}
