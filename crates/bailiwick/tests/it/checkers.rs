//! Programs of others that look for faults of an MCP server, against the gateway itself. `tests/conformance/install` brings
//! them.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{office::Office, strangers::installed};

/// An office whose agent may do without a key, and a token of that kind.
fn open() -> (Office, String) {
    let office = Office::new();
    office.loosen();
    office.open_task("task.token");
    let token = office.agent_token().ends(0).stdout.trim().to_owned();
    (office, token)
}

/// The one document that a program prints, however it ends.
fn document(mut command: Command) -> Value {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&ran.stderr)))
}

/// The names of the checks that came to this.
fn named<'d>(checks: &'d Value, name: &str, statuses: &[&str]) -> Vec<&'d str> {
    let all = checks.as_array().unwrap().iter();
    let of = all.filter(|check| statuses.contains(&check["status"].as_str().unwrap()));
    of.map(|check| check[name].as_str().unwrap()).collect()
}

#[test]
fn mcpcheck_finds_nothing_against_the_newest_revision_but_what_the_sample_server_leaves_out() {
    let (office, token) = open();
    let mut command = Command::new(installed("checkers/bin/jbt-mcpcheck"));
    command.args([&office.url(), "--token", &token, "--strict", "--json"]);
    let report = document(command);
    // The tools of the sample server publish no `outputSchema`, which is theirs to choose.
    assert_eq!(
        named(&report["checks"], "name", &["fail", "warn", "error"]),
        ["schemas"],
        "{report}"
    );
    assert_eq!(named(&report["checks"], "name", &["pass"]).len(), 7, "{report}");
}

#[test]
fn authlab_finds_nothing_but_that_nobody_signs_in_with_a_browser() {
    let (office, token) = open();
    let handed = std::fs::read_to_string(office.place.path("task.token")).unwrap();
    let mut command = Command::new(installed("checkers/bin/mcp-authlab"));
    command.env("HOME", office.place.path(""));
    command.args(["scan", &office.url(), "--no-login", "--format", "json"]);
    command.args(["--token", &token, "--foreign-token", handed.trim()]);
    let report = document(command);
    // Both ask for an authorization endpoint. Agents have keys of their own and exchange tokens, so there is none.
    assert_eq!(named(&report["results"], "id", &["fail"]), ["ASM-01", "ASM-04"], "{report}");
    for critical in
        ["TOK-01", "TOK-02", "TOK-03", "TOK-05", "TOK-06", "SESS-01", "ORIG-01", "CHAL-02"]
    {
        assert!(
            named(&report["results"], "id", &["pass"]).contains(&critical),
            "{critical}: {report}"
        );
    }
}

#[test]
fn the_inspector_lists_and_calls_with_a_bearer_token() {
    let (office, token) = open();
    let inspect = |arguments: &[&str]| {
        let mut command = Command::new(installed("node/bin/node"));
        command.env("HOME", office.place.path(""));
        command.arg(installed("inspector/node_modules/.bin/mcp-inspector"));
        command.args(["--cli", &office.url(), "--transport", "http"]);
        command.args(["--header", &format!("Authorization: Bearer {token}")]).args(arguments);
        document(command)
    };
    let listed = inspect(&["--method", "tools/list"]);
    let names = listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str());
    assert_eq!(names.flatten().collect::<Vec<_>>(), ["get_order", "reindex_search"]);
    let call =
        ["--method", "tools/call", "--tool-name", "get_order", "--tool-arg", "order_id=A-1001"];
    let called = inspect(&call);
    assert_eq!(called["structuredContent"]["item"], "Desk lamp", "{called}");
    assert_eq!(office.calls("get_order"), ["finished"]);
}
