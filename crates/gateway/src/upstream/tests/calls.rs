use super::*;

#[tokio::test]
async fn a_call_goes_out_as_decided_and_its_result_comes_back_as_sent() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let result = r#"{ "content":[], "big":123456789012345678901234567890,"x":1e2, "resultType":"complete" }"#;
    let upstream = modern(move |asked| {
        sent.send(asked.clone()).unwrap();
        asked.result(result)
    })
    .await;
    let (id, token) = (RequestId::Text("c-1".into()), RequestId::Text("p".into()));
    let call =
        Call { progress: Some(&token), ..call(&id, br#"{"amount":100,"note":"M\u00fcller"}"#) };
    let Answer::Whole(reply, _) = upstream.call(call).await.unwrap() else { panic!() };
    assert_eq!(reply.outcome, Outcome::Done);
    assert_eq!(reply.bytes, format!(r#"{{"jsonrpc":"2.0","id":"c-1","result":{result}}}"#));

    let asked = seen.recv().await.unwrap();
    assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(asked.header("mcp-method"), Some("tools/call"));
    assert_eq!(asked.header("mcp-name"), Some("refund_order"));
    assert_eq!(asked.header("accept"), Some("application/json, text/event-stream"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(
        asked.body["params"],
        json!({"name": "refund_order", "arguments": {"amount": 100, "note": "M\u{fc}ller"}, "_meta": {
            "progressToken": asked.id(),
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "bailiwick", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        }})
    );
    assert_ne!(asked.id(), "c-1");
}

#[tokio::test]
async fn marked_arguments_go_out_as_headers_to_modern_servers_alone() {
    let schema = br#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
    let mirror =
        Mirror::of(&ijson::parse(schema, Limits { bytes: 999, depth: 9 }).unwrap()).unwrap();
    let id = RequestId::Number(1);
    let (sent, mut seen) = mpsc::unbounded_channel();
    let modern = modern(move |asked| {
        sent.send(asked.header("mcp-param-region").map(str::to_owned)).unwrap();
        asked.result("{}")
    })
    .await;
    let call = Call { mirror: &mirror, ..call(&id, br#"{"region":"eu"}"#) };
    modern.call(call).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().as_deref(), Some("eu"));

    let (legacy, mut seen) = legacy(|asked| asked.result("{}")).await;
    legacy.call(call).await.unwrap();
    seen.close();
    while let Some(asked) = seen.recv().await {
        assert!(asked.header("mcp-param-region").is_none() && asked.header("mcp-name").is_none());
        assert_eq!(asked.body["params"].get("_meta"), None);
    }
}

#[tokio::test]
async fn what_a_tool_or_server_says_about_a_failure_is_passed_on() {
    let failed = r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#;
    let upstream = modern(move |asked| asked.result(failed)).await;
    let reply_ = reply(&upstream).await.unwrap();
    assert_eq!(reply_.outcome, Outcome::ToolError);
    for (status, id) in [(200, "ID"), (400, "ID"), (404, "ID"), (400, "null"), (500, "ID")] {
        let upstream = modern(move |asked| {
            let id = id.replace("ID", &asked.id().to_string());
            let body = r#"{"code":-32602,"message":"m","data":{"a":[1.0]}}"#;
            answer(status, &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{body}}}"#))
        })
        .await;
        let reply = reply(&upstream).await.unwrap();
        assert_eq!(reply.outcome, Outcome::Error(-32602), "{status}");
        assert_eq!(
            reply.bytes,
            r#"{"jsonrpc":"2.0","id":"c-1","error":{"code":-32602,"message":"m","data":{"a":[1.0]}}}"#
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_to_the_call_is_not_passed_on() {
    for (body, expected) in [
        (r#"{"jsonrpc":"2.0","id":99,"result":{}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","id":"ID","result":{}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","id":ID.0,"result":{}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","result":{}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"m"}}"#, "ForeignId"),
        (r#"{"jsonrpc":"2.0","id":ID,"id":ID,"result":{}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{},"result":{}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{},"error":{"code":1,"message":"m"}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{},"extra":1}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":null}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":[]}"#, "Malformed"),
        (
            r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"a","resultType":"complete"}}"#,
            "Malformed",
        ),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"task"}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"error":{"code":"1","message":"m"}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"error":{"code":1}}"#, "Malformed"),
        (r#"{"jsonrpc":"1.0","id":ID,"result":{}}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"method":"sampling/createMessage"}"#, "Malformed"),
        (r#"[{"jsonrpc":"2.0","id":ID,"result":{}}]"#, "Malformed"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{}} {}"#, "Malformed"),
        ("", "Malformed"),
    ] {
        let upstream =
            modern(move |asked| answer(200, &body.replace("ID", &asked.id().to_string()))).await;
        let error = reply(&upstream).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?} for {body}");
        assert!(error.may_have_arrived());
    }
}

#[tokio::test]
async fn an_answer_that_is_neither_json_nor_a_stream_is_refused() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "ContentType"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}",
            "ContentType",
        ),
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", "ContentType"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            "ContentCoding",
        ),
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "Challenged"),
        (
            "HTTP/1.1 503 No\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n",
            "Status(503)",
        ),
        ("HTTP/1.1 302 No\r\nlocation: http://a/\r\ncontent-length: 0\r\n\r\n", "Send(Redirect"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}",
            "Body(",
        ),
    ] {
        let server = serve(move |asked| match asked.method() {
            "server/discover" => asked.discovered(),
            _ => answer.to_owned(),
        });
        let server = server.await;
        let upstream = upstream(&server, Protocol::Probe);
        let id = RequestId::Number(1);
        let deadline = Instant::now() + Duration::from_secs(2);
        let error = upstream.call(Call { deadline, ..call(&id, b"{}") }).await.err().unwrap();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_call() {
    let upstream = modern(|_| String::new()).await;
    upstream.era().await.unwrap();
    let id = RequestId::Number(1);
    let deadline = Instant::now() + Duration::from_millis(500);
    let error = upstream.call(Call { deadline, ..call(&id, b"{}") }).await.err().unwrap();
    assert!(matches!(error, UpstreamError::Send(SendError::HeadTimeout(_))), "{error:?}");
    assert!(error.may_have_arrived());
}

#[tokio::test]
async fn cutting_a_call_tells_a_legacy_server_to_stop() {
    let (upstream, mut seen) = legacy(|_| String::new()).await;
    let cut = tokio::spawn({
        let upstream = upstream.clone();
        async move { reply(&upstream).await.map(drop) }
    });
    let mut called = None;
    while let Some(asked) = seen.recv().await {
        match asked.method() {
            "tools/call" => {
                called = Some(asked.id().clone());
                cut.abort();
            }
            "notifications/cancelled" => {
                assert_eq!(Some(&asked.body["params"]["requestId"]), called.as_ref());
                assert_eq!(asked.header("mcp-session-id"), Some("s-1"));
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_that_changed_its_revision_is_asked_again() {
    let downgraded = Arc::new(AtomicUsize::new(0));
    let now = downgraded.clone();
    let server = serve(move |asked| match (asked.method(), now.load(Ordering::SeqCst)) {
        ("server/discover", 0) => asked.discovered(),
        ("initialize", 1) => initialized(asked, "s-1"),
        ("notifications/initialized", _) => accepted(),
        ("tools/call", _) if now.load(Ordering::SeqCst) == 0 => asked.result("{}"),
        ("tools/call", _) if asked.header("mcp-session-id").is_some() => asked.result("{}"),
        _ => answer(400, "no session"),
    });
    let upstream = upstream(&server.await, Protocol::Probe);
    reply(&upstream).await.unwrap();
    downgraded.store(1, Ordering::SeqCst);
    assert!(matches!(reply(&upstream).await, Err(UpstreamError::Status(_))));
    reply(&upstream).await.unwrap();
    assert_eq!(upstream.era().await.unwrap(), Era::Legacy);
}

#[tokio::test]
async fn what_a_server_says_in_our_name_is_taken_out() {
    for (body, passed_on) in [
        (
            r#""result":{"content":[],"_meta":{"bailiwick/refusal":{"verdict":"hold"},"x":1.50}}"#,
            r#""result":{"_meta":{"x":1.5},"content":[]}"#,
        ),
        (
            r#""result":{"_meta":{"\u0062ailiwick\/refusal":{}},"isError":true}"#,
            r#""result":{"_meta":{},"isError":true}"#,
        ),
        (
            r#""error":{"code":403,"message":"m","data":{"bailiwick/refusal":{},"why":1}}"#,
            r#""error":{"code":403,"data":{"why":1},"message":"m"}"#,
        ),
        (
            r#""result":{"_meta" : {"other/refusal":1.50}}"#,
            r#""result":{"_meta" : {"other/refusal":1.50}}"#,
        ),
        (r#""result":{"_meta":null}"#, r#""result":{"_meta":null}"#),
        (
            r#""error":{"code":1,"message":"m","data":[1]}"#,
            r#""error":{"code":1,"message":"m","data":[1]}"#,
        ),
    ] {
        let message = |id: &str, rest: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#);
        let upstream =
            modern(move |asked| answer(200, &message(&asked.id().to_string(), body))).await;
        let bytes = reply(&upstream).await.unwrap().bytes;
        assert_eq!(bytes, message(r#""c-1""#, passed_on), "{body}");
    }
}
