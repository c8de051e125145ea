use super::{
    held::{IDLE, MAX},
    *,
};

/// A client that can be asked this.
struct Client(u16, Able);

impl Holder for Client {
    fn id(&self) -> Digest {
        let mut id = Digest::default();
        id.0[..2].copy_from_slice(&self.0.to_be_bytes());
        id
    }

    fn able(&self) -> Able {
        self.1.clone()
    }
}

fn client(number: u16) -> Client {
    Client(number, Able::default())
}

async fn called(upstream: &Upstream, holder: &Client) -> Result<(), UpstreamError> {
    let id = RequestId::Number(1);
    upstream.call(Call { holder: Some(holder), ..call(&id, b"{}") }).await.map(drop)
}

/// A server that numbers its sessions, and what it was sent.
async fn numbering() -> (Upstream, mpsc::UnboundedReceiver<Asked>) {
    let (sent, seen) = mpsc::unbounded_channel();
    let sessions = AtomicUsize::new(0);
    let server = serve(move |asked| {
        sent.send(asked.clone()).unwrap();
        match asked.method() {
            "initialize" => {
                initialized(asked, &sessions.fetch_add(1, Ordering::SeqCst).to_string())
            }
            "tools/call" => asked.result("{}"),
            _ => accepted(),
        }
    });
    (upstream(&server.await, Protocol::Only(Era::Legacy)), seen)
}

/// What a server says on the stream of a session when a resource changed.
fn told(uri: &str) -> String {
    let method = "notifications/resources/updated";
    let message = format!(r#"{{"method":"{method}","params":{{"uri":"{uri}"}}}}"#);
    stream(&format!("data: {message}\n\n"))
}

/// The session of the next request like this.
async fn next(seen: &mut mpsc::UnboundedReceiver<Asked>, start: &str) -> Option<String> {
    loop {
        let asked = seen.recv().await.unwrap();
        let method = asked.method();
        if asked.head.starts_with(start) && (method.is_empty() || method == "tools/call") {
            return asked.header("mcp-session-id").map(str::to_owned);
        }
    }
}

#[tokio::test]
async fn who_was_not_there_for_longest_makes_room_and_the_server_is_told() {
    let (upstream, mut seen) = numbering().await;
    let last = u16::try_from(MAX).unwrap();
    for number in 0..last {
        called(&upstream, &client(number)).await.unwrap();
    }
    called(&upstream, &client(0)).await.unwrap();
    called(&upstream, &client(last)).await.unwrap();
    assert_eq!(next(&mut seen, "DELETE ").await.as_deref(), Some("1"));
    called(&upstream, &client(0)).await.unwrap();
    let mut kept = next(&mut seen, "POST ").await;
    if kept == Some(last.to_string()) {
        kept = next(&mut seen, "POST ").await;
    }
    assert_eq!(kept.as_deref(), Some("0"), "it keeps what it has");
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_ended_after_an_hour() {
    let (upstream, mut seen) = numbering().await;
    called(&upstream, &client(0)).await.unwrap();
    let now = Instant::now();
    assert!(upstream.0.sweep(now + IDLE / 2), "it stays");
    assert!(!upstream.0.sweep(now + IDLE), "nobody is left");
    assert_eq!(next(&mut seen, "DELETE ").await.as_deref(), Some("0"));
    called(&upstream, &client(0)).await.unwrap();
    assert_eq!(next(&mut seen, "POST ").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn holders_do_not_wait_for_each_others_handshakes() {
    let server = serve(|asked| match asked.method() {
        // Whoever can be asked something is never answered.
        "initialize" if asked.body["params"]["capabilities"] != json!({}) => String::new(),
        "initialize" => initialized(asked, "s"),
        "tools/call" => asked.result("{}"),
        _ => accepted(),
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    let (one, two) = (Client(1, Able::anything()), client(2));
    tokio::select! {
        biased;
        waited = called(&upstream, &one) => panic!("nobody answers it: {waited:?}"),
        called = called(&upstream, &two) => called.unwrap(),
    }
}

#[tokio::test]
async fn a_server_that_gives_no_session_is_greeted_once_and_tells_everybody() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let server = serve(move |asked| {
        if asked.head.starts_with("GET ") {
            return told("a:b");
        }
        sent.send(asked.method().to_owned()).unwrap();
        match asked.method() {
            "initialize" => asked.result(r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#),
            "tools/call" => asked.result("{}"),
            _ => accepted(),
        }
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    for number in 0..2 {
        called(&upstream, &client(number)).await.unwrap();
        let changed = upstream.updates(client(number).id()).next().await;
        assert_eq!(changed.as_deref(), Some("a:b"));
    }
    let mut methods = Vec::new();
    while methods.len() < 4 {
        methods.push(seen.recv().await.unwrap());
    }
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call", "tools/call"]);
}

#[tokio::test]
async fn a_server_that_does_not_ask_clients_has_a_session_in_which_it_cannot() {
    let server = serve(|asked| match asked.method() {
        "initialize" if asked.body["params"]["capabilities"] != json!({}) => answer(400, ""),
        "initialize" => initialized(asked, "s"),
        "tools/call" => asked.result("{}"),
        _ => accepted(),
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    called(&upstream, &Client(1, Able::anything())).await.unwrap();
}

#[tokio::test]
async fn a_session_whose_holder_ended_during_the_handshake_is_ended_too() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let held: Arc<std::sync::OnceLock<Upstream>> = Arc::default();
    let ending = held.clone();
    let server = serve(move |asked| {
        sent.send(asked.clone()).unwrap();
        match asked.method() {
            "initialize" => {
                ending.get().unwrap().end_sessions(&[client(1).id()]);
                initialized(asked, "s")
            }
            _ => accepted(),
        }
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    assert!(held.set(upstream.clone()).is_ok());
    let error = called(&upstream, &client(1)).await.unwrap_err();
    assert!(!error.may_have_arrived(), "{error:?}");
    assert_eq!(next(&mut seen, "DELETE ").await.as_deref(), Some("s"));
}

/// What comes of two calls where the first session is refused in this way, and which sessions the server is told are over.
async fn refusing_the_first(status: u16, body: &'static str) -> (Vec<String>, Vec<String>) {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let sessions = AtomicUsize::new(0);
    let server = serve(move |asked| match (asked.method(), asked.header("mcp-session-id")) {
        ("initialize", _) => {
            initialized(asked, &sessions.fetch_add(1, Ordering::SeqCst).to_string())
        }
        ("tools/call", Some("0")) => answer(status, &body.replace("ID", &asked.id().to_string())),
        ("tools/call", _) => asked.result("{}"),
        ("", session) => {
            sent.send(session.unwrap().to_owned()).unwrap();
            accepted()
        }
        _ => accepted(),
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let outcome = reply(&upstream).await.map(|reply| reply.outcome);
        outcomes.push(outcome.map_or_else(|why| format!("{why:?}"), |it| format!("{it:?}")));
    }
    drop(upstream);
    let mut ended = Vec::new();
    while ended.last().is_none_or(|last| last != "1") {
        ended.push(seen.recv().await.unwrap());
    }
    (outcomes, ended)
}

#[tokio::test]
async fn a_session_that_the_server_refuses_is_not_used_again_and_ended_where_it_may_still_be_there()
{
    let unknown =
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No valid session ID"},"id":ID}"#;
    for (status, body, outcome, ended) in [
        (400, unknown, "Error(-32000)", &["0", "1"][..]),
        (400, "", "Status(400)", &["0", "1"]),
        (405, "", "Status(405)", &["0", "1"]),
        (404, "", "SessionLost", &["1"]),
    ] {
        let (outcomes, told) = refusing_the_first(status, body).await;
        assert_eq!(outcomes, [outcome, "Done"]);
        assert_eq!(told, ended, "{status} {body}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_or_is_cut_ends_its_session() {
    for (said, is_cut) in [(answer(500, ""), false), (String::new(), true)] {
        let (sent, mut seen) = mpsc::unbounded_channel();
        let server = serve(move |asked| {
            sent.send(asked.clone()).unwrap();
            match asked.method() {
                "initialize" => initialized(asked, "s"),
                "notifications/initialized" => said.clone(),
                _ => accepted(),
            }
        });
        let (upstream, holder) = (upstream(&server.await, Protocol::Only(Era::Legacy)), client(0));
        let call = called(&upstream, &holder);
        if is_cut {
            let begun = async {
                while seen.recv().await.unwrap().method() != "notifications/initialized" {}
            };
            tokio::select! {
                called = call => panic!("nobody answers it: {called:?}"),
                () = begun => {}
            }
        } else {
            call.await.unwrap_err();
        }
        assert_eq!(next(&mut seen, "DELETE ").await.as_deref(), Some("s"));
    }
}

/// Its calls on their way are not cut by that.
#[tokio::test]
async fn a_server_that_is_let_go_ends_its_sessions_after_the_last_call_in_them() {
    let (upstream, mut seen) = legacy(|_| {
        let ask = r#"data: {"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
        let whole = stream(&format!("{ask}\n\n"));
        whole.strip_suffix("0\r\n\r\n").unwrap().to_owned()
    })
    .await;
    let id = RequestId::Number(1);
    let Answer::Stream(mut events) = upstream.call(call(&id, b"{}")).await.unwrap() else {
        panic!("it is no stream")
    };
    drop(upstream);
    assert!(matches!(events.next().await.unwrap(), Some(Event::Refused { .. })));
    while seen.recv().await.unwrap().body["id"] != "q" {}
    drop(events);
    assert_eq!(next(&mut seen, "DELETE ").await.as_deref(), Some("s-1"));
}

/// Calls as a client of the older revisions that can be asked this.
async fn asked_by(upstream: &Upstream, holder: &Client) -> Result<(), UpstreamError> {
    let id = RequestId::Number(1);
    let older =
        Call { holder: Some(holder), era: Era::Legacy, able: &holder.1, ..call(&id, b"{}") };
    upstream.call(older).await.map(drop)
}

#[tokio::test]
async fn at_a_server_of_both_revisions_a_client_has_a_session_where_it_can_be_asked() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let sessions = AtomicUsize::new(0);
    let server = serve(move |asked| match asked.method() {
        "server/discover" => asked.discovered(),
        "initialize" => initialized(asked, &sessions.fetch_add(1, Ordering::SeqCst).to_string()),
        "tools/call" => {
            sent.send(asked.header("mcp-session-id").map(str::to_owned)).unwrap();
            asked.result("{}")
        }
        _ => accepted(),
    });
    let upstream = upstream(&server.await, Protocol::Probe);
    for number in 0..2 {
        let answers = Client(number, Able::anything());
        asked_by(&upstream, &client(number)).await.unwrap();
        asked_by(&upstream, &answers).await.unwrap();
        called(&upstream, &answers).await.unwrap();
        asked_by(&upstream, &answers).await.unwrap();
        let session = Some(number.to_string());
        for expected in [None, session.clone(), None, session] {
            assert_eq!(seen.recv().await.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_server_of_the_newer_revision_alone_is_asked_for_a_session_once() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let server = serve(move |asked| {
        sent.send(asked.method().to_owned()).unwrap();
        match asked.method() {
            "server/discover" => asked.discovered(),
            "tools/call" => asked.result("{}"),
            _ => answer(404, ""),
        }
    });
    let upstream = upstream(&server.await, Protocol::Probe);
    for number in 0..2 {
        asked_by(&upstream, &Client(number, Able::anything())).await.unwrap();
    }
    let mut methods = Vec::new();
    while methods.len() < 4 {
        methods.push(seen.recv().await.unwrap());
    }
    assert_eq!(methods, ["server/discover", "initialize", "tools/call", "tools/call"]);
}

/// A server of both revisions that refuses the second session in this way, and the sessions in which it is called.
async fn refusing_the_second(
    status: u16,
    error: &'static str,
) -> (Upstream, mpsc::UnboundedReceiver<Option<String>>) {
    let (sent, seen) = mpsc::unbounded_channel();
    let sessions = AtomicUsize::new(0);
    let server = serve(move |asked| match asked.method() {
        "server/discover" => asked.discovered(),
        "initialize" => match sessions.fetch_add(1, Ordering::SeqCst) {
            1 => answer(
                status,
                &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, asked.id()),
            ),
            number => initialized(asked, &number.to_string()),
        },
        "tools/call" => {
            sent.send(asked.header("mcp-session-id").map(str::to_owned)).unwrap();
            asked.result("{}")
        }
        _ => accepted(),
    });
    (upstream(&server.await, Protocol::Probe), seen)
}

#[tokio::test]
async fn a_server_that_refuses_one_session_takes_no_other_away_and_may_give_one_the_next_time() {
    for (status, error) in [
        (400, r#"{"code":-32000,"message":"Too many sessions"}"#),
        (200, r#"{"code":-32601,"message":"Method not found"}"#),
    ] {
        let (upstream, mut seen) = refusing_the_second(status, error).await;
        let [has, comes] = [0, 1].map(|number| Client(number, Able::anything()));
        for (holder, session) in
            [(&has, Some("0")), (&comes, None), (&has, Some("0")), (&comes, Some("2"))]
        {
            asked_by(&upstream, holder).await.unwrap();
            assert_eq!(seen.recv().await.unwrap().as_deref(), session, "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_has_no_room_for_a_first_session_is_asked_again() {
    let (upstream, mut seen) =
        refusing_the_second(400, r#"{"code":-32000,"message":"Too many"}"#).await;
    let [has, comes] = [0, 1].map(|number| Client(number, Able::anything()));
    asked_by(&upstream, &has).await.unwrap();
    upstream.end_sessions(&[has.id()]);
    for holder in [&comes, &comes] {
        asked_by(&upstream, holder).await.unwrap();
    }
    for session in [Some("0"), None, Some("2")] {
        assert_eq!(seen.recv().await.unwrap().as_deref(), session);
    }
}

#[tokio::test]
async fn a_handshake_with_more_words_than_any_needs_is_refused() {
    for is_streamed in [false, true] {
        for long in ["server/discover", "initialize"] {
            let server = serve(move |asked| {
                let method = asked.method();
                let words = if method == long { 256 * 1024 } else { 1 };
                let members = match method {
                    "server/discover" => r#""supportedVersions":["2025-11-25"]"#,
                    _ => r#""protocolVersion":"2025-11-25""#,
                };
                let said = format!(r#"{{{members},"instructions":"{}"}}"#, "a".repeat(words));
                let whole = asked.result(&said);
                match whole.split_once("\r\n\r\n") {
                    Some((_, message)) if is_streamed => stream(&format!("data: {message}\n\n")),
                    _ => whole,
                }
            });
            let error = reply(&upstream(&server.await, Protocol::Probe)).await.unwrap_err();
            assert!(!error.may_have_arrived());
            let UpstreamError::Handshake(error) = error else { panic!("{error:?}") };
            assert!(error.to_string().contains("is longer than 262144 bytes"), "{long}: {error}");
        }
    }
}

/// What a client is told first by a server that answers so where it is listened to first, and then as it should.
async fn told_after(first: String) -> Option<String> {
    let listened = AtomicUsize::new(0);
    let server = serve(move |asked| match asked.method() {
        "initialize" => initialized(asked, "s"),
        "tools/call" => asked.result("{}"),
        "" if listened.fetch_add(1, Ordering::SeqCst) == 0 => first.clone(),
        "" => told("a:b"),
        _ => accepted(),
    });
    let upstream = upstream(&server.await, Protocol::Only(Era::Legacy));
    called(&upstream, &client(0)).await.expect("it answers calls");
    upstream.updates(client(0).id()).next().await
}

#[tokio::test]
async fn a_message_to_listeners_that_is_too_long_is_not_read_and_the_stream_asked_for_anew() {
    let long = told(&format!("too:long\",\"more\":\"{}", "a".repeat(64 * 1024)));
    assert_eq!(told_after(long).await.as_deref(), Some("a:b"));
}

#[tokio::test]
async fn a_stream_that_a_server_refuses_for_the_moment_is_asked_for_again() {
    assert_eq!(told_after(answer(409, "")).await.as_deref(), Some("a:b"));
}
