//! The official conformance suite of MCP against the outbound side: the client of protected servers.

use std::process::{Command, Stdio};

use crate::strangers::installed;

#[test]
fn the_official_authorization_scenarios_pass_against_the_client_of_protected_servers() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/mcp-client-auth");
    // Examples are built beside the tests.
    let tests = std::env::current_exe().unwrap();
    let client = tests.parent().unwrap().parent().unwrap().join("examples/oauth_client");
    let mut suite = Command::new(script);
    let ran = suite.arg(installed()).arg(client).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.lines().next_back().unwrap().ends_with(" passed, 0 failed"), "{said}");
}
