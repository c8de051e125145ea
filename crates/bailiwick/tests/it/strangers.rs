//! Clients that we did not write. `tests/conformance/install` brings them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::office::Office;

const NEWEST: &str = "2026-07-28";
const OLDER: &str = "2025-11-25";

/// Where the programs of others are, and the scripts that use them.
pub(crate) fn installed(name: &str) -> PathBuf {
    let folder = std::env::var_os("BAILIWICK_TEST_CONFORMANCE")
        .expect("BAILIWICK_TEST_CONFORMANCE names no folder; `./test` installs and names it");
    PathBuf::from(folder).join(name)
}

pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance").join(name)
}

/// What a client prints: one object for each way in which it agreed on a revision.
fn use_client(mut command: Command) -> Vec<Value> {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Holds what clients saw against what the desk did.
fn check(office: &Office, seen: &[Value], revisions: &[&str]) {
    let agreed: Vec<_> = seen.iter().map(|seen| seen["revision"].as_str().unwrap()).collect();
    assert_eq!(agreed, revisions, "{seen:?}");
    for seen in seen {
        let listed = serde_json::json!(["get_order", "reindex_search"]);
        assert_eq!(seen["tools"], listed, "what no policy permits is not listed");
        assert_eq!(seen["order"]["item"], "Desk lamp", "{seen}");
        assert_eq!(seen["export_refused"], true, "{seen}");
        assert!(
            seen["export_said"].as_str().unwrap().starts_with("This call was refused."),
            "{seen}"
        );
        assert_eq!(seen["work_failed"], false, "{seen}");
        assert!(seen["progress"].as_u64().unwrap() > 0, "{seen}");
    }
    assert_eq!(office.calls("get_order"), vec!["finished"; seen.len()]);
    assert_eq!(office.calls("reindex_search"), vec!["finished"; seen.len()]);
    assert_eq!(office.calls("export_customers"), Vec::<String>::new());
}

/// Each client by pipes and by a loopback address, as a configuration of ours tells it.
fn work_through_connect(client: impl Fn() -> Command, revisions: &[&str]) {
    let office = Office::new();
    office.open_task("task.token");
    let url = office.url();
    let config =
        ["agent", "connect-config"].into_iter().chain(office.arguments(&url).into_iter().skip(1));
    office.place.write("mcp.json", &office.place.run(config).ends(0).stdout);
    let mut by_pipes = client();
    by_pipes.arg("stdio").arg(office.place.path("mcp.json"));
    let mut seen = use_client(by_pipes);

    let served = office.listen();
    let mut by_address = client();
    by_address.args(["http", &served.url, &served.password]);
    seen.extend(use_client(by_address));
    check(&office, &seen, &[revisions, revisions].concat());
}

/// Each client straight at the gateway, with a token that is bound to no key.
fn work_directly(client: impl Fn() -> Command, revisions: &[&str]) {
    let office = Office::new();
    office.loosen();
    office.open_task("task.token");
    let mut command = client();
    command.args(["http", &office.url(), office.agent_token().ends(0).stdout.trim()]);
    check(&office, &use_client(command), revisions);
}

fn python(line: &str) -> Command {
    let mut command = Command::new(installed(&format!("py-sdk-{line}/bin/python")));
    command.arg(script("sdk.py"));
    command
}

fn typescript(line: &str) -> Command {
    let mut command = Command::new(installed("node/bin/node"));
    command.env("MODULES", installed(&format!("ts-sdk-{line}"))).arg(script("sdk.mjs")).arg(line);
    command
}

#[test]
fn the_official_python_sdk_works_through_connect_in_its_older_line() {
    work_through_connect(|| python("1"), &[OLDER]);
}

#[test]
fn the_official_python_sdk_works_through_connect_in_both_revisions() {
    work_through_connect(|| python("2"), &[OLDER, NEWEST]);
}

#[test]
fn the_official_typescript_sdk_works_through_connect_in_its_older_line() {
    work_through_connect(|| typescript("1"), &[OLDER]);
}

#[test]
fn the_official_typescript_sdk_works_through_connect_in_both_revisions() {
    work_through_connect(|| typescript("2"), &[OLDER, NEWEST]);
}

#[test]
fn the_official_python_sdk_works_with_a_bearer_token_in_its_older_line() {
    work_directly(|| python("1"), &[OLDER]);
}

#[test]
fn the_official_python_sdk_works_with_a_bearer_token_in_both_revisions() {
    work_directly(|| python("2"), &[OLDER, NEWEST]);
}

#[test]
fn the_official_typescript_sdk_works_with_a_bearer_token_in_its_older_line() {
    work_directly(|| typescript("1"), &[OLDER]);
}

#[test]
fn the_official_typescript_sdk_works_with_a_bearer_token_in_both_revisions() {
    work_directly(|| typescript("2"), &[OLDER, NEWEST]);
}
