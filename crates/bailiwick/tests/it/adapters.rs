//! The adapters of `sdk/python`, with the real frameworks, a scripted model and a second person who approves by command.
//! `tests/conformance/install` brings the frameworks, `tests/conformance/adapters` says what their agents do.

use std::process::Stdio;

use serde_json::Value;

use crate::{
    office::Office,
    strangers::{installed, script},
};

/// What is refused, and what waits for a second person.
const POLICY: &str = r#"
@id("support")
permit (principal, action in [Action::"read", Action::"execute"], resource in System::"support-desk");

@id("order-is-sealed")
@explain("agent")
@reason("order A-1002 is under investigation")
forbid (principal, action == Action::"read", resource is Order in System::"support-desk")
when { resource.id == "A-1002" };

@id("reindexing-waits")
@explain("agent")
@reason("rebuilding the index waits for finance")
@hold("finance")
forbid (principal, action == Action::"execute", resource in System::"support-desk");
"#;

/// How often calls were decided on in which way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decided {
    permit: usize,
    hold: usize,
    deny: usize,
}

/// An office in which bob approves what waits for finance.
fn with_second_person() -> Office {
    let office = Office::new();
    office.place.write("support.cedar", POLICY);
    office.olivia().run(&["policy", "apply", "support.cedar"]).ends(0);
    office.place.somebody("bob");
    let add = ["person", "add", "--handle", "bob", "--name", "Bob", "--public-key", "bob.pem.pub"];
    let add = [&add[..], &["--team", "finance", "-o", "json"]].concat();
    let added = office.olivia().run(&add).ends(0).json();
    office.place.known("bob").remember(office.node.server(), added["uri"].as_str().unwrap());
    office
}

/// Lets a framework's agents work, and holds what they read against what was done and recorded.
fn work(python: &str, driver: &str, wanted: Decided) {
    let office = with_second_person();
    let task = office.open_task("task.token");
    let ran = office
        .place
        .program(installed(python))
        .arg(script(&format!("adapters/{driver}")))
        .env("PATH", std::env::join_paths([programs()]).unwrap())
        .env("PYTHONPATH", script("../../sdk/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DESK_URL", office.url())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));

    assert_eq!(office.calls("get_order"), ["finished"; 3], "{said}");
    assert_eq!(office.calls("reindex_search"), ["finished"; 2], "{said}");
    office.place.eventually("every attempt is in the ledger", || {
        let decisions = decisions(&office, &task);
        let found = decided(&decisions);
        assert!(found.permit <= wanted.permit, "{found:?}");
        assert!(found.hold <= wanted.hold && found.deny <= wanted.deny, "{found:?}");
        found == wanted && each_permit_repeats_a_hold(&decisions)
    });
}

/// The folder of the built program.
fn programs() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_bailiwick")).parent().unwrap()
}

/// What was decided within a task, on calls and where a stopped agent wanted its tools, in the order of the ledger.
fn decisions(office: &Office, task: &str) -> Vec<Value> {
    let show = ["ledger", "show", "--task", task, "--limit", "1000", "-o", "json"];
    let shown = office.olivia().run(&show).ends(0).json();
    let leaves =
        shown["entries"].as_array().unwrap().iter().rev().map(|entry| entry["leaf"].clone());
    leaves.filter(|leaf| leaf["kind"] == "decision").collect()
}

fn decided(decisions: &[Value]) -> Decided {
    let count = |verdict| decisions.iter().filter(|leaf| leaf["verdict"] == verdict).count();
    Decided { permit: count("permit"), hold: count("hold"), deny: count("deny") }
}

/// Whether each call that had to wait was held before and is the very same call.
fn each_permit_repeats_a_hold(decisions: &[Value]) -> bool {
    let of = |verdict: &'static str| {
        decisions.iter().enumerate().filter(move |(_, leaf)| {
            leaf["verdict"] == verdict && leaf["body"]["tool"] == "reindex_search"
        })
    };
    of("permit").all(|(at, permitted)| {
        of("hold")
            .any(|(before, held)| before < at && held["body"]["call"] == permitted["body"]["call"])
    })
}

#[test]
fn agents_of_langgraph_work_through_their_adapter() {
    let wanted = Decided { permit: 5, hold: 11, deny: 4 };
    work("agents-mcp-1/bin/python", "with_langgraph.py", wanted);
}

#[test]
fn agents_of_openai_agents_work_through_their_adapter() {
    let wanted = Decided { permit: 5, hold: 7, deny: 5 };
    work("agents-mcp-2/bin/python", "with_openai_agents.py", wanted);
}

#[test]
fn agents_of_pydantic_ai_work_through_their_adapter() {
    let wanted = Decided { permit: 5, hold: 6, deny: 6 };
    work("agents-mcp-2/bin/python", "with_pydantic_ai.py", wanted);
}
