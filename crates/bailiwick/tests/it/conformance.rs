//! The official conformance suite of MCP, against a server that it knows: directly, and through the gateway.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    office::{Office, Served},
    strangers::{installed, script},
};

const SYSTEM: &str = "fixture";

/// How many checks of a scenario passed, did not pass, and were skipped.
type Counts = BTreeMap<String, [usize; 3]>;

/// What the suite found, and what it said of the checks that did not pass.
#[derive(Default)]
struct Found {
    counts: Counts,
    complaints: String,
}

/// The server of the suite; it ends with its test.
struct Fixture {
    child: Child,
    url: String,
}

impl Fixture {
    /// One that writes down what arrives.
    fn start(calls: &Path) -> Self {
        let mut command = Command::new(installed("py-sdk-2/bin/python"));
        command.arg(script("fixture.py")).env("CALLS", calls);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs what a revision requires of a server.
fn suite(revision: &str, url: &str, folder: &Path) -> Found {
    let tool = "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js";
    let mut command = Command::new(installed("node/bin/node"));
    command.arg(installed(tool)).args(["server", "--url", url, "--requirements", revision]);
    // Its exit status says whether everything passed; what did is told by scenario.
    command.arg("-o").arg(folder).stdin(Stdio::null()).output().unwrap();
    let mut found = Found::default();
    for scenario in std::fs::read_dir(folder).unwrap() {
        found.count(&scenario.unwrap().path());
    }
    found
}

impl Found {
    /// Counts one scenario, whose folder is named `server-SCENARIO-MOMENT`.
    fn count(&mut self, folder: &Path) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let name = name.strip_prefix("server-").unwrap();
        let scenario = &name[..name.len() - "-2026-01-01T00-00-00-000Z".len()];
        let checks = std::fs::read(folder.join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        let counts = self.counts.entry(scenario.to_owned()).or_default();
        for check in checks {
            match check["status"].as_str().unwrap() {
                "SUCCESS" => counts[0] += 1,
                "SKIPPED" => counts[2] += 1,
                "INFO" => {}
                _ => {
                    counts[1] += 1;
                    let (id, why) = (&check["id"], &check["errorMessage"]);
                    self.complaints += &format!("{scenario}: {id}: {why}\n");
                }
            }
        }
    }
}

/// Says what each tool means: all of them run something that may ask the client, and one is permitted to nobody.
fn accept(office: &Office) -> String {
    let shown = office.olivia().run(&["catalog", "show", SYSTEM, "-o", "json"]).ends(0).json();
    let tools = shown["tools"].as_array().unwrap().iter().map(|tool| {
        let name = tool["name"].as_str().unwrap();
        let verb = if name == "test_denied" { "export" } else { "execute" };
        format!(
            "[[tool]]\nname = \"{name}\"\n\
             input_requests = [\"elicitation/create\", \"roots/list\", \"sampling/createMessage\"]\n\
             effect = [{{ verb = \"{verb}\", resource = \"Scenario\", id = \"'all'\" }}]\n"
        )
    });
    format!("server = \"{SYSTEM}\"\n{}", tools.collect::<String>())
}

/// Passes requests on to a listening `connect` with its password, which the suite cannot send. `Host` and `Origin` that name this
/// address become that one's; all others stay, since the suite tries foreign ones.
fn with_password(served: &Served) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().to_string();
    let there = served.url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let (url, password) = (format!("http://{here}/mcp"), served.password.clone());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (here, there, password) = (here.clone(), there.clone(), password.clone());
            std::thread::spawn(move || pass_on(&client.unwrap(), &here, &there, &password));
        }
    });
    url
}

/// One request a connection, whichever side ends it.
fn pass_on(client: &TcpStream, here: &str, there: &str, password: &str) -> Option<()> {
    let mut server = TcpStream::connect(there).ok()?;
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "host" | "origin" => line = line.replace(here, there),
            "connection" => line.clear(),
            _ => {}
        }
        server.write_all(line.as_bytes()).ok()?;
        line.clear();
    }
    write!(server, "Authorization: Bearer {password}\r\nConnection: close\r\n\r\n").ok()?;
    let (mut up, mut back) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        copied(&mut reader, &mut up);
        let _ = up.shutdown(Shutdown::Write);
    });
    copied(&mut server, &mut back);
    client.shutdown(Shutdown::Both).ok()
}

/// Copies what comes as it comes, so that events are not held up.
fn copied(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn expected(revision: &str) -> Counts {
    let text = std::fs::read_to_string(script("mcp-server.expected")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let ours = words.filter(|words| words[0] == revision);
    let number = |text: &str| text.parse().unwrap();
    ours.map(|it| (it[1].to_owned(), [number(it[2]), number(it[3]), number(it[4])])).collect()
}

fn written(revision: &str, counts: &Counts) -> String {
    let line = |(scenario, [passed, failed, skipped]): (&String, &[usize; 3])| {
        format!("{revision} {scenario} {passed} {failed} {skipped}\n")
    };
    counts.iter().map(line).collect()
}

/// What of a server's requests is decided on; the gateway asks the others for itself.
fn is_decided(call: &str) -> bool {
    ["tools/call ", "resources/", "prompts/", "completion/", "subscriptions/"]
        .iter()
        .any(|it| call.starts_with(it))
}

fn the_suite_passes_through_the_gateway(revision: &str) {
    let office = Office::with_config(SYSTEM, "");
    let calls = office.place.path("calls");
    let direct = Fixture::start(&office.place.path("direct"));
    let alone = suite(revision, &direct.url, &office.place.path("alone"));

    let fixture = Fixture::start(&calls);
    office.add(&["--url", &fixture.url, "--internal"]).ends(0);
    office.employ(&accept(&office));
    office.open_task("task.token");
    let served = office.listen();
    let governed = suite(revision, &with_password(&served), &office.place.path("governed"));

    let (alone, complaints) = (written(revision, &alone.counts), &governed.complaints);
    let expected = written(revision, &expected(revision));
    let governed = written(revision, &governed.counts);
    assert_eq!(governed, expected, "directly it is\n{alone}\nthrough the gateway\n{complaints}");

    let arrived = std::fs::read_to_string(&calls).unwrap();
    let arrived = arrived.lines().filter(|call| is_decided(call)).count();
    let shown = office.olivia().run(&["ledger", "show", "--limit", "1000", "-o", "json"]).ends(0);
    let shown = shown.json();
    let ended = shown["entries"].as_array().unwrap().iter().filter(|entry| {
        let leaf = &entry["leaf"];
        leaf["kind"] == "outcome" && leaf["body"]["status"] != "not_sent"
    });
    assert_eq!(ended.count(), arrived, "each request that arrived has its outcome in the ledger");
}

#[test]
fn the_official_suite_passes_through_the_gateway_in_the_older_revision() {
    the_suite_passes_through_the_gateway("2025-11-25");
}

#[test]
fn the_official_suite_passes_through_the_gateway_in_the_newer_revision() {
    the_suite_passes_through_the_gateway("2026-07-28");
}
