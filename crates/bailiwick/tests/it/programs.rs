//! MCP servers that are programs on the node's machine: real ones, behind a real fence.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    connecting::{Client, call},
    office::Office,
    strangers::{installed, script},
    world::{Place, exists},
};

const PEEK: &str = r#"
server = "peek"

[[tool]]
name = "peek"
effect = [{ verb = "read", resource = "File", id = "'any'" }]

[[tool]]
name = "leave"
effect = [{ verb = "execute", resource = "File", id = "'any'" }]

[[tool]]
name = "end"
effect = [{ verb = "execute", resource = "Process", id = "'any'" }]

[[tool]]
name = "around"
effect = [{ verb = "read", resource = "Variable", id = "args.name" }]

[[tool]]
name = "work"
effect = [{ verb = "execute", resource = "Work", id = "'any'" }]
"#;

/// A program of Python's official SDK, as a configuration says it.
fn peek(place: &Path, more: &str) -> String {
    let python = installed("py-sdk-2/bin/python");
    let base = Command::new(&python).args(["-c", "import sys; print(sys.base_prefix)"]).output();
    let base = String::from_utf8(base.unwrap().stdout).unwrap();
    let (venv, base) = (installed("py-sdk-2"), base.trim());
    format!(
        "[programs.peek]\ncommand = {python:?}\narguments = [{script:?}]\n\
         reads = [{venv:?}, {base:?}, {script:?}]\nwrites = [{place:?}]\n\
         variables = {{ MARKS = {place:?} }}\n{more}\n",
        script = script("peek.py").canonicalize().unwrap(),
    )
}

/// One of the servers that the protocol's own project publishes.
fn published(name: &str, arguments: &[&Path], more: &str) -> String {
    let node = installed("node/bin/node").canonicalize().unwrap();
    let modules = installed("servers/node_modules").canonicalize().unwrap();
    let index = modules.join(format!("@modelcontextprotocol/server-{name}/dist/index.js"));
    let arguments: Vec<&Path> =
        [index.as_path()].into_iter().chain(arguments.iter().copied()).collect();
    format!(
        "[programs.{name}]\ncommand = {node:?}\narguments = {arguments:?}\nreads = [{modules:?}]\n{more}\n"
    )
}

/// What a tool says, and whether it failed.
fn said(answer: &Value) -> (bool, &str) {
    let result = &answer["result"];
    (result["isError"] == true, result["content"][0]["text"].as_str().unwrap_or_default())
}

/// Whether this kernel can keep a program from signalling what is outside: Linux 6.12 and later.
fn keeps_signals() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|it| it.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn an_agent_works_with_files_through_a_published_server_and_only_by_the_tools_that_were_accepted() {
    let shared = folder();
    let config =
        published("filesystem", &[shared.path()], &format!("writes = [{:?}]", shared.path()));
    let office = Office::with_program(
        "filesystem",
        &config,
        r#"
server = "filesystem"

[[tool]]
name = "read_text_file"
effect = [{ verb = "read", resource = "File", id = "args.path" }]

[[tool]]
name = "write_file"
effect = [{ verb = "execute", resource = "File", id = "args.path" }]
"#,
    );
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let note = shared.path().join("note.txt");
    let write = call("write_file", &json!({ "path": note, "content": "paid" }));
    assert!(!said(&client.ask(1, "tools/call", &write)).0);
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "paid");
    let read = client.ask(2, "tools/call", &call("read_text_file", &json!({ "path": note })));
    assert_eq!(said(&read), (false, "paid"));
    let moved = json!({ "source": note, "destination": shared.path().join("gone") });
    let refused = client.ask(3, "tools/call", &call("move_file", &moved));
    assert!(said(&refused).1.starts_with("This call was refused."), "{refused}");
    assert!(note.exists());
}

#[test]
fn a_published_server_keeps_its_memory_in_the_one_file_that_it_may_write_to() {
    let kept = folder();
    let file = kept.path().join("memory.jsonl");
    let more =
        format!("writes = [{:?}]\nvariables = {{ MEMORY_FILE_PATH = {file:?} }}", kept.path());
    let office = Office::with_program(
        "memory",
        &published("memory", &[], &more),
        r#"
server = "memory"

[[tool]]
name = "create_entities"
effect = [{ verb = "execute", resource = "Entity", id = "'any'" }]

[[tool]]
name = "read_graph"
effect = [{ verb = "read", resource = "Entity", id = "'all'" }]
"#,
    );
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let entity =
        json!({ "name": "Mara", "entityType": "customer", "observations": ["likes lamps"] });
    let create = call("create_entities", &json!({ "entities": [entity] }));
    assert!(!said(&client.ask(1, "tools/call", &create)).0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("likes lamps"));
    let graph = client.ask(2, "tools/call", &call("read_graph", &json!({})));
    assert!(said(&graph).1.contains("Mara"), "{graph}");
}

#[test]
fn resources_and_prompts_are_decided_on_like_tools_once_somebody_has_said_what_they_mean() {
    let office = Office::with_program(
        "everything",
        &published("everything", &[], ""),
        r#"
server = "everything"

[[tool]]
name = "mcp:resources/list"
effect = [{ verb = "read", resource = "Document", id = "'all'" }]

[[tool]]
name = "mcp:resources/read"
effect = [{ verb = "read", resource = "Document", id = "args.uri" }]

[[tool]]
name = "mcp:prompts/get"
effect = [{ verb = "export", resource = "Prompt", id = "args.name" }]
"#,
    );
    office.open_task("task.token");
    let mut client = Client::of(&office);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let opened = client.ask(0, "initialize", &params);
    let offered = json!({ "logging": {}, "resources": {}, "tools": {} });
    assert_eq!(opened["result"]["capabilities"], offered, "what no policy permits is not offered");
    let tools = client.ask(1, "tools/list", &json!({}));
    assert_eq!(tools["result"]["tools"], json!([]));

    let listed = client.ask(2, "resources/list", &json!({}));
    let uri = listed["result"]["resources"][0]["uri"].clone();
    assert!(uri.is_string(), "{listed}");
    let read = client.ask(3, "resources/read", &json!({ "uri": uri }));
    assert_eq!(read["result"]["contents"][0]["uri"], uri, "{read}");
    // The newer revision says the same in its headers, and to the server as far as that speaks it.
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let read = client.ask(4, "resources/read", &json!({ "uri": uri, "_meta": meta }));
    assert_eq!(read["result"]["contents"][0]["uri"], uri, "{read}");

    let refused = client.ask(5, "prompts/get", &json!({ "name": "simple-prompt" }));
    assert_eq!(refused["error"]["code"], 403, "{refused}");
    assert_eq!(refused["error"]["data"]["bailiwick/refusal"]["verdict"], "deny");
    let unknown = client.ask(6, "resources/read", &json!({ "uri": uri, "and": "more" }));
    assert_eq!(
        unknown["error"]["data"]["bailiwick/refusal"]["code"], "arguments_invalid",
        "{unknown}"
    );
    let unaccepted = client.ask(7, "prompts/list", &json!({}));
    assert_eq!(unaccepted["error"]["data"]["bailiwick/refusal"]["code"], "tool_not_accepted");
    let never = client.ask(8, "tasks/list", &json!({}));
    assert_eq!(never["error"]["code"], -32601, "{never}");
    let disguised = call("mcp:resources/read", &json!({ "uri": uri }));
    assert_eq!(client.ask(9, "tools/call", &disguised)["error"]["code"], -32602);
    let shown = office.olivia().run(&["ledger", "show", "-o", "json"]).ends(0).stdout;
    assert!(shown.contains("mcp:resources/read"));
}

#[test]
fn a_program_reaches_neither_the_nodes_data_nor_its_keys_nor_the_node_itself() {
    let marks = folder();
    let office = Office::with_program("peek", &peek(marks.path(), ""), PEEK);
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let node = office.node.id();
    let mut ask = |tool: &str, arguments: Value| {
        said(&client.ask(1, "tools/call", &call(tool, &arguments))).1.to_owned()
    };
    const DENIED: &str = "cannot: Permission denied";
    office.place.write("secret.txt", "secret");
    for path in ["acme/master.key", "acme/data/keys/token.key", "acme/bailiwick.toml", "secret.txt"]
    {
        let path = office.place.path(path);
        assert!(exists(&path), "{path:?}");
        assert_eq!(ask("peek", json!({ "path": path })), DENIED, "{path:?}");
    }
    for path in [format!("/proc/{node}/environ"), format!("/proc/{node}/mem"), "/etc/shadow".into()]
    {
        assert_eq!(ask("peek", json!({ "path": path })), DENIED, "{path}");
    }
    for path in
        [office.place.path("acme/data/x"), "/tmp/bailiwick-was-here".into(), "/etc/x".into()]
    {
        assert_eq!(ask("leave", json!({ "path": path })), DENIED, "{path:?}");
        assert!(!exists(&path));
    }
    if keeps_signals() {
        assert_eq!(ask("end", json!({ "pid": node })), "cannot: Operation not permitted");
    }
    // What it may do, it can; and of the node's environment it has nothing.
    let own = marks.path().join("note");
    assert_eq!(ask("leave", json!({ "path": own })), "written 10");
    assert_eq!(ask("peek", json!({ "path": own })), "read 10 bytes");
    assert_eq!(ask("around", json!({ "name": "CARGO_MANIFEST_DIR" })), "not set");
    assert!(ask("around", json!({ "name": "HOME" })).contains("bailiwick-"));
}

#[test]
fn a_program_without_a_fence_is_named_so_wherever_it_is_approved() {
    let marks = folder();
    let config =
        peek(marks.path(), "unsafe_same_user = true\nsecrets = { TOKEN = \"file:token\" }");
    let office = Office::with_config("peek", &config);
    office.place.write("acme/token", "s3cret\n");
    office.add(&["--program", "peek"]).ends(1).says("`program-not-separated:peek`");
    office.add(&["--program", "nothing"]).ends(1).says("adds [programs.nothing] and restarts it");
    let credential = ["--url", "program-not-separated:peek", "--credential", "env:TOKEN"];
    office.add(&credential).ends(1).says("[programs.peek]");
    office.add(&["--url", "program-not-separated:peek"]).ends(0).says("around");
    office.olivia().run(&["server", "list"]).ends(0).says("program-not-separated:peek");
    let config = office.place.path("acme/bailiwick.toml");
    let examined = office.olivia().run(&["doctor", "--config", config.to_str().unwrap()]).ends(0);
    examined
        .says("`peek` says `unsafe_same_user`: it is not separated from the node")
        .says("`peek` is a program that is not separated from the node")
        .says("there are 1: nobody can be the second person");
    office.employ(PEEK);
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let key = json!({ "path": office.place.path("acme/master.key") });
    let peeked = client.ask(1, "tools/call", &call("peek", &key));
    assert!(
        !said(&peeked).0,
        "without a fence it can, so the fence is what keeps others out: {peeked}"
    );
    let token = client.ask(2, "tools/call", &call("around", &json!({ "name": "TOKEN" })));
    assert_eq!(said(&token), (false, "s3cret"));
}

#[test]
fn a_program_that_ends_is_started_again_and_a_call_on_its_way_fails() {
    let marks = folder();
    let office = Office::with_program("peek", &peek(marks.path(), ""), PEEK);
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let ended = client.ask(1, "tools/call", &call("end", &json!({ "pid": 0 })));
    assert!(ended["error"].is_object(), "{ended}");
    let home = call("around", &json!({ "name": "HOME" }));
    office.place.eventually("it is there again", || {
        let answer = client.ask(2, "tools/call", &home);
        answer["result"]["isError"] == false
    });
}

#[test]
fn a_program_ends_with_the_node_and_so_does_what_it_started() {
    let marks = folder();
    // A shell that stays when its server has gone, and ignores the end of its stdin.
    let config = peek(marks.path(), "");
    let (command, rest) = config.split_once("\ncommand = ").unwrap();
    let (python, rest) = rest.split_once('\n').unwrap();
    let script = script("peek.py").canonicalize().unwrap();
    let line = format!(
        "{} {}; sleep 1000 # {}",
        python.trim_matches('"'),
        script.display(),
        marks.path().display()
    );
    let (_, rest) = rest.split_once('\n').unwrap();
    let config =
        format!("{command}\ncommand = \"/bin/sh\"\narguments = [\"-c\", {line:?}]\n{rest}")
            .replace("reads = [", &format!("reads = [{python}, "));
    let office = Office::with_program("peek", &config, PEEK);
    assert!(runs(marks.path()), "discovering its tools has started it");
    // Also while it works for somebody.
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let work = call("work", &json!({ "seconds": 60 }));
    client.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": work }));
    office.place.eventually("it has begun", || exists(&marks.path().join("begun")));
    assert_eq!(office.node.stop(), 0);
    office.place.eventually("nothing of it runs", || !runs(marks.path()));
}

/// Whether a process names this path on its command line.
fn runs(path: &Path) -> bool {
    let path = path.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(&path))
}

#[test]
fn a_stop_ends_the_work_of_a_program() {
    let marks = folder();
    let office = Office::with_program("peek", &peek(marks.path(), ""), PEEK);
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let mut work = call("work", &json!({ "seconds": 60 }));
    work["_meta"] = json!({ "progressToken": 7 });
    client.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": work }));
    while client.hear()["method"] != "notifications/progress" {}
    office.place.eventually("it has begun", || exists(&marks.path().join("begun")));
    office
        .olivia()
        .run(&["stop", "agent:support-bot", "--reason", "drill"])
        .ends(0)
        .says("calls cut  1");
    let cut = client.hear();
    assert!(cut["error"].is_object() || cut["result"]["isError"] == true, "{cut}");
    office.place.eventually("it lets go", || exists(&marks.path().join("cut")));
}

#[test]
fn a_node_does_not_start_with_a_program_that_could_reach_what_is_its_own() {
    let refused = |more: &str, why: &str| {
        let place = Place::initialized();
        place.configure(&format!("[programs.x]\n{more}"));
        for command in [["config", "check"], ["serve", "--print-addresses"]] {
            let run = command.iter().copied().chain(["--config", "acme/bailiwick.toml"]);
            place.run(run).ends(1).says(why);
        }
    };
    refused("command = \"/bin/cat\"\nreads = [\"data\"]", "this node's own");
    refused("command = \"/bin/cat\"\nwrites = [\".\"]", "this node's own");
    refused("command = \"/bin/cat\"\nreads = [\"/\"]", "this node's own");
    refused(
        "command = \"/bin/cat\"\nreads = [\"/no/where\"]",
        "error: [programs.x] names `/no/where`",
    );
    refused("command = \"/bin/not-there\"", "error: [programs.x] names `/bin/not-there`");
    refused("comand = \"/bin/cat\"", "did you mean `command`?");
    refused("command = \"/bin/cat\"\nsecrets = { T = \"hunter2\" }", "file:PATH");
}
