//! `connect`: a client that speaks plain MCP on one side, a gateway that wants proofs of possession on the other.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{office::Office, world::Place};

/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that speaks lines with a running `connect`; it ends with its test.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Client {
    /// Starts `connect` for an agent.
    pub(crate) fn of(office: &Office) -> Self {
        let url = office.url();
        Self::started(office.place.command(office.arguments(&url)))
    }

    /// Starts a program that speaks lines.
    pub(crate) fn started(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let message = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    fn say(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.say(message.to_string().as_bytes());
    }

    pub(crate) fn hear(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// Sends a request and hears what comes next.
    pub(crate) fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The handshake of the revisions before 2026-07-28.
    pub(crate) fn initialize(&mut self) {
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let answer = self.ask(0, "initialize", &params);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    }

    /// Ends stdin and waits for the program.
    pub(crate) fn end(mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

#[test]
fn a_client_that_knows_only_pipes_lists_and_calls_what_its_agent_may() {
    let office = Office::new();
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let listed = client.ask(1, "tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "get_order"), "{listed}");
    let answer = client.ask(2, "tools/call", &call("get_order", &json!({ "order_id": "A-1001" })));
    assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");

    // A refusal comes as the gateway gives it.
    let answer = client.ask(3, "tools/call", &call("export_customers", &json!({})));
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(answer["result"]["_meta"]["bailiwick/refusal"]["verdict"], "deny", "{answer}");
    assert_eq!(office.calls("export_customers"), Vec::<String>::new());
    assert_eq!(client.end(), 0);
}

#[test]
fn a_client_of_the_newer_revision_needs_no_handshake_and_no_headers_of_its_own() {
    let office = Office::new();
    office.open_task("task.token");
    let mut client = Client::of(&office);
    let modern = |mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        params
    };
    let found = client.ask(1, "server/discover", &modern(json!({})));
    assert_eq!(found["result"]["supportedVersions"][0], "2026-07-28", "{found}");
    let order = call("get_order", &json!({ "order_id": "A-1001" }));
    let answer = client.ask(2, "tools/call", &modern(order));
    assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");
    let unknown = client.ask(3, "roots/list", &modern(json!({})));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    assert_eq!(client.end(), 0);
}

#[test]
fn what_is_no_message_is_answered_and_harms_no_other_message() {
    let office = Office::new();
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(1 << 20));
    let twice = br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#;
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    for (line, code) in
        [(&b"hello"[..], -32700), (twice, -32700), (batch, -32600), (long.as_bytes(), -32600)]
    {
        client.say(line);
        let answer = client.hear();
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
    }
    client.say(b"");
    assert_eq!(client.ask(7, "ping", &json!({}))["result"], json!({}));
    assert_eq!(client.end(), 0);
}

/// A client in a task of its own, and the long call that it has just sent as its first request.
fn working(office: &Office) -> (Client, Value) {
    office.open_task("task.token");
    let mut client = Client::of(office);
    client.initialize();
    let mut work = call("reindex_search", &json!({ "seconds": 60 }));
    work["_meta"] = json!({ "progressToken": "mine" });
    client.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": work }));
    (client, work)
}

#[test]
fn progress_comes_as_it_is_made_and_a_cancelled_call_is_cut_at_its_server() {
    let office = Office::new();
    let (mut client, work) = working(&office);
    let progress = client.hear();
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
    assert_eq!(progress["params"]["progressToken"], "mine");

    // Others are answered meanwhile.
    client.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }));
    while client.hear()["id"] != 2 {}
    let cancel = json!({ "requestId": 1, "reason": "not needed" });
    client
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }));
    office.place.eventually("the call is cut", || office.calls("reindex_search") == ["cut"]);
    client.send(&json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" }));
    loop {
        let heard = client.hear();
        assert_ne!(heard["id"], 1, "a cancelled request is not answered: {heard}");
        if heard["id"] == 3 {
            break;
        }
    }
    // The end of stdin cuts what is under way.
    client.send(&json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": work }));
    while client.hear()["method"] != "notifications/progress" {}
    assert_eq!(client.end(), 0);
    office.place.eventually("the call is cut", || office.calls("reindex_search") == ["cut", "cut"]);
}

#[test]
fn a_call_that_was_on_its_way_when_its_node_was_killed_is_closed_by_the_next_start() {
    let office = Office::new();
    let (client, _) = working(&office);
    assert_eq!(client.hear()["method"], "notifications/progress");
    let Office { place, node, .. } = office;
    let open = || {
        let verify = ["verify", "-o", "json", "--config", "acme/bailiwick.toml"];
        place.run(verify).ends(0).json()["open"].as_array().unwrap().len()
    };
    place.eventually("the permit is published", || open() == 1);
    drop(node);
    assert_eq!(open(), 1);
    assert_eq!(place.serve().stop(), 0);
    assert_eq!(open(), 0);
}

#[test]
fn the_end_of_a_task_is_told_and_the_next_task_takes_over_without_a_new_start() {
    let office = Office::new();
    let task = office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let order = call("get_order", &json!({ "order_id": "A-1001" }));
    assert_eq!(client.ask(1, "tools/call", &order)["result"]["isError"], false);
    office.olivia().run(&["task", "end", &task]).ends(0);
    let ended = client.ask(2, "tools/call", &order);
    let said = ended.to_string();
    assert!(ended["error"].is_object() || ended["result"]["isError"] == true, "{said}");
    assert_eq!(office.calls("get_order").len(), 1, "{said}");

    std::fs::remove_file(office.place.path("task.token")).unwrap();
    office.open_task("task.token");
    assert_eq!(client.ask(3, "tools/call", &order)["result"]["isError"], false);
    assert_eq!(office.calls("get_order").len(), 2);
    assert_eq!(client.end(), 0);
}

#[test]
fn who_has_not_everything_that_proves_the_agent_is_told_what_is_missing() {
    let office = Office::new();
    let url = office.url();
    let place = &office.place;
    place.run(office.arguments(&url)).ends(6).says("task.token");
    office.open_task("task.token");
    place.run(["key", "new", "other.pem"]).ends(0);
    let with = |name: &str, value: &str| {
        let mut arguments = office.arguments(&url).map(str::to_owned);
        let at = arguments.iter().position(|argument| argument == name).unwrap();
        value.clone_into(&mut arguments[at + 1]);
        place.run(arguments.iter().map(String::as_str))
    };
    with("--agent-key", "other.pem").ends(4).says("the agent gets no token");
    with("--agent-key", "bot.pem.pub").ends(1).says("is a public key");
    with("--agent", "agent.toml").ends(1).says("agent show NAME -o json");
    for (other, status, why) in [
        (format!("{url}x"), 4, "the agent gets no token"),
        (office.node.server().to_owned(), 9, "/mcp/SERVER"),
        ("http://gateway.example/mcp/x".to_owned(), 1, "in the clear"),
        ("gopher://x/mcp/x".to_owned(), 1, "cannot be called"),
    ] {
        place.run(office.arguments(&other)).ends(status).says(why);
    }
}

#[test]
fn who_gets_no_token_is_told_what_helps_against_its_reason() {
    let office = Office::new();
    let url = office.url();
    let connect = || office.place.run(office.arguments(&url)).ends(4);
    let task = office.open_task("task.token");
    let beyond = format!("{url}x");
    office
        .place
        .run(office.arguments(&beyond))
        .ends(4)
        .says("[invalid_target]")
        .says("server list");
    let scope = format!("task:{task}");
    office.olivia().run(&["stop", &scope, "--reason", "a test"]).ends(0);
    let stopped =
        connect().says("[stopped]").says("next: A stop is in force; only `resume` ends it");
    assert!(!stopped.stderr.contains("another task"), "{}", stopped.stderr);
    assert_eq!(stopped.stderr.matches("only `resume`").count(), 1, "{}", stopped.stderr);
    office.place.run(["key", "new", "other.pem"]).ends(0);
    let other = office.arguments(&url).map(|it| if it == "bot.pem" { "other.pem" } else { it });
    office.place.run(other).ends(4).says("[invalid_client]").says("next: see that `--agent`");
    std::fs::remove_file(office.place.path("task.token")).unwrap();
    let task = office.open_task("task.token");
    office.olivia().run(&["task", "end", &task]).ends(0);
    connect().says("[task_over]").says("next: open another task for this agent");
}

/// What a program on the same machine gets at a loopback address: status and body.
fn post(address: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut request = "POST /mcp HTTP/1.1\r\nconnection: close\r\n".to_owned();
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    write!(stream, "{request}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("dpop") && !head.contains("www-authenticate: DPoP"), "{head}");
    (status, body.to_owned())
}

#[test]
fn at_a_loopback_address_only_programs_with_the_password_are_served() {
    let office = Office::new();
    office.open_task("task.token");
    let url = office.url();
    let listen = |address: &'static str| {
        [&office.arguments(&url)[..], &["--listen", address, "--password", "password"]].concat()
    };
    office.place.run(listen("0.0.0.0:0")).ends(1).says("no loopback address");
    office.place.run([&office.arguments(&url)[..], &["--listen", "[::1]:0"]].concat()).ends(2);
    office.place.write("password", "hunter2");
    office.place.run(listen("127.0.0.1:0")).ends(1).says("can be read by others");
    std::fs::remove_file(office.place.path("password")).unwrap();

    let served = office.listen();
    let address = served.url.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/mcp").unwrap();
    let bearer = format!("Bearer {}", served.password);

    let host = ("host", address);
    let json_kind = ("content-type", "application/json");
    let accept = ("accept", "application/json, text/event-stream");
    let (mine, ping) =
        (("authorization", bearer.as_str()), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let sent =
        |headers: &[(&str, &str)]| post(address, &[headers, &[json_kind, accept]].concat(), ping).0;
    assert_eq!(sent(&[host, mine]), 200);
    assert_eq!(sent(&[host]), 401);
    assert_eq!(sent(&[host, ("authorization", "Bearer hunter2")]), 401);
    assert_eq!(sent(&[host, mine, ("authorization", "Bearer x")]), 401, "one is counted");
    assert_eq!(sent(&[("host", "elsewhere.example"), mine]), 403, "another name of this address");
    assert_eq!(sent(&[host, mine, ("origin", "https://page.example")]), 403, "a page");

    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order","arguments":{"order_id":"A-1001"}}}"#;
    let headers = [host, mine, json_kind, accept, ("mcp-protocol-version", "2025-11-25")];
    let (status, answer) = post(address, &headers, call);
    assert!(status == 200 && answer.contains("Desk lamp"), "{status} {answer}");
    let (status, answer) = post(address, &headers, "hello");
    assert!(status == 400 && answer.contains("-32700"), "{status} {answer}");
}

#[test]
fn a_client_is_told_by_one_entry_how_to_start_it() {
    let place = Place::new();
    place.run(["key", "new", "bot.pem"]).ends(0);
    place.write("bot.json", "{}");
    let ask = |url, client| {
        let way = ["--agent", "bot.json", "--agent-key", "bot.pem", "--token", "task.token"];
        place.run([&["agent", "connect-config", url, "--client", client][..], &way].concat())
    };
    let url = "http://127.0.0.1:8181/mcp/support-desk";
    let path = |name: &str| place.path(name).display().to_string();
    let arguments = json!([
        "connect",
        url,
        "--agent",
        path("bot.json"),
        "--agent-key",
        path("bot.pem"),
        "--token",
        path("task.token"),
    ]);
    let program = env!("CARGO_BIN_EXE_bailiwick");
    assert_eq!(
        ask(url, "claude").ends(0).json(),
        json!({ "mcpServers": { "support-desk": { "command": program, "args": arguments } } })
    );
    assert_eq!(
        ask(url, "vscode").ends(0).json(),
        json!({ "servers": { "support-desk": { "type": "stdio", "command": program, "args": arguments } } })
    );
    ask(url, "codex").ends(0).says("[mcp_servers.support-desk]").says("args = [");
    ask("http://127.0.0.1:8181", "claude").ends(1).says("/mcp/SERVER");
    place
        .run(["agent", "connect-config", url, "--agent", "no", "--agent-key", "no", "--token", "x"])
        .ends(6);
}
