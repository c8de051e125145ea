use super::*;

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

async fn listing(tools: String) -> Listing {
    let upstream = modern(move |asked| asked.result(&format!(r#"{{"tools":[{tools}]}}"#))).await;
    upstream.list_tools().await.unwrap()
}

#[tokio::test]
async fn a_definition_is_kept_and_digested_as_it_came() {
    let raw = r#"{ "name":"a",  "inputSchema":{"type":"object"}, "x":1.0 }"#;
    let listing = listing(format!("\n {raw} , {}", tool("b"))).await;
    let names: Vec<_> = listing.tools.iter().map(ToolDefinition::name).collect();
    assert_eq!((names, listing.refused.len()), (vec!["a", "b"], 0));
    let tool = &listing.tools[0];
    assert_eq!(tool.bytes(), raw.as_bytes());
    // sha256sum of the bytes above.
    let expected: Digest = DIGEST.parse().unwrap();
    assert_eq!(tool.digest(), expected);
    assert_eq!(tool.input_schema().canonical(), br#"{"type":"object"}"#);
    assert!(tool.mirror().is_empty());
}

const DIGEST: &str = "b05b52dad7abb3fd2ec329d81b0d58ebe83dea2512cceb712a0977958deb84cb";

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let upstream = modern(|asked| match asked.body["params"]["cursor"].as_str() {
        None => asked.result(&format!(r#"{{"tools":[{}],"nextCursor":"2\u0041"}}"#, tool("a"))),
        Some("2A") => asked.result(&format!(r#"{{"tools":[{}],"nextCursor":null}}"#, tool("b"))),
        Some(other) => panic!("{other}"),
    })
    .await;
    let names: Vec<_> = upstream
        .list_tools()
        .await
        .unwrap()
        .tools
        .iter()
        .map(|tool| tool.name().to_owned())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn a_list_without_end_is_refused() {
    let endless = modern(|asked| asked.result(r#"{"tools":[],"nextCursor":"x"}"#)).await;
    assert!(matches!(endless.list_tools().await, Err(UpstreamError::TooManyTools(1024))));
    let many: Vec<_> = (0..1025).map(|at| tool(&format!("t{at}"))).collect();
    let many = many.join(",");
    let long = modern(move |asked| asked.result(&format!(r#"{{"tools":[{many}]}}"#))).await;
    assert!(matches!(long.list_tools().await, Err(UpstreamError::TooManyTools(1024))));
}

#[tokio::test]
async fn one_bad_definition_does_not_take_away_the_others() {
    let deep =
        format!(r#"{{"name":"d","inputSchema":{{"x":{}{}}}}}"#, "[".repeat(63), "]".repeat(63));
    let long = format!(r#"{{"name":"l","inputSchema":{{}},"x":"{}"}}"#, "a".repeat(256 * 1024));
    for (bad, name, expected) in [
        (r#"{"name":"a","name":"b","inputSchema":{}}"#, None, "Json"),
        (r#"{"name":"a","inputSchema":{"maximum":9223372036854775807}}"#, None, "Json"),
        (&deep, None, "Json"),
        (&long, None, "Json"),
        ("1", None, "Name"),
        (r#"{"inputSchema":{}}"#, None, "Name"),
        (r#"{"name":"","inputSchema":{}}"#, Some(""), "Name"),
        (r#"{"name":"a\u0007","inputSchema":{}}"#, Some("a\u{7}"), "Name"),
        (r#"{"name":"a"}"#, Some("a"), "Schema"),
        (r#"{"name":"a","inputSchema":true}"#, Some("a"), "Schema"),
        (r#"{"name":"a","inputSchema":{"x-mcp-header":"A"}}"#, Some("a"), "Mirror"),
    ] {
        let listing = listing(format!("{bad},{}", tool("good"))).await;
        assert_eq!(listing.tools.len(), 1, "{bad}");
        let [refused] = &listing.refused[..] else { panic!("{bad}") };
        assert_eq!(refused.name.as_ref().map(Foreign::raw), name, "{bad}");
        assert!(format!("{:?}", refused.error).starts_with(expected), "{:?}", refused.error);
    }
}

#[tokio::test]
async fn tools_of_one_name_are_all_refused() {
    let listing = listing([tool("a"), tool("b"), tool("a")].join(",")).await;
    assert_eq!(listing.tools.iter().map(ToolDefinition::name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(listing.refused[0].error, ToolError::Repeated);
    assert_eq!(listing.refused.len(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_to_list_is_quoted() {
    let upstream = modern(|asked| {
        let error = r#"{"code":-32603,"message":"no\u001b[2J"}"#;
        answer(200, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, asked.id()))
    })
    .await;
    let error = upstream.list_tools().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r"the server refused `tools/list` with error -32603: no\u{1b}[2J"
    );
}
