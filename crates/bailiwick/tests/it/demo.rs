//! The demo, run as a newcomer runs it, and its story held against what it left behind.

mod bypass;
mod outside;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use bypass::Bypass;
use outside::{books, check_story};

/// How a demo ended, and what it told.
struct Played {
    status: i32,
    lines: Vec<String>,
    stderr: String,
}

fn demo(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.args(["demo", "--keep"]).arg(folder).args(more);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BAILIWICK") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn play(folder: &Path, more: &[&str]) -> Played {
    let output = demo(folder, more).arg("--json").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Played {
        status: output.status.code().unwrap_or(-1),
        lines: stdout.lines().map(str::to_owned).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_story_is_what_the_ledger_and_the_desk_say_happened() {
    let folder = TempDir::new().unwrap();
    let Played { status, lines, stderr } = play(folder.path(), &[]);
    assert_eq!(status, 0, "{stderr}\n{}", lines.join("\n"));
    check_story(folder.path(), &lines).unwrap();
}

#[test]
fn a_gateway_that_skips_the_decision_is_found_out_by_the_demo_and_from_outside() {
    let folder = TempDir::new().unwrap();
    let bypass = Bypass::start(folder.path());
    let Played { status, lines, stderr } = play(folder.path(), &["--gateway-via", &bypass.url]);
    // It did what it was asked: everything reached the desk, with the desk's own secret.
    let books = books(folder.path()).unwrap();
    assert_eq!((books.refunds.len(), books.exports), (3, 1), "{stderr}\n{}", lines.join("\n"));
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("`export` came to `permit`, not `deny`"), "{stderr}");
    let summary: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    for claim in ["stopped_refused", "cut_at_both_sides", "sub_agent_narrowed"] {
        assert_eq!(summary["summary"][claim], false, "{claim}");
    }
    // Whatever a demo says of itself, the desk's books speak against it.
    let found = check_story(folder.path(), &lines).unwrap_err();
    assert_eq!(found, "the desk paid back [4000, 400000, 100]");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("letter"), "mine").unwrap();
    let Played { status, lines, stderr } = play(folder.path(), &[]);
    assert_eq!((status, lines.len()), (7, 1), "{stderr}");
    let told: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(told["error"]["code"], "folder_not_empty");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_person_reads_the_story_and_no_process_of_it_outlives_a_demo_that_is_killed() {
    let folder = TempDir::new().unwrap();
    let mut child = demo(folder.path(), &["--stay"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = Vec::new();
    for line in lines {
        let last = line.starts_with("Everything was as it should be");
        told.push(line);
        if last {
            break;
        }
    }
    // What a person reads: each step with its verdict and its place, and the task as a tree.
    let told = told.join("\n");
    for words in [
        "refunds 4,000.00 EUR on A-1002                      HOLD",
        "customers are never exported in bulk (policy no-bulk-export)",
        "next: read the orders that you need, one by one",
        "`agent:support-bot` was stopped by Olivia",
        "prompt    “Mara Lindqvist's desk lamp",
        "└─ task      Lena asks support-bot for help",
        "└─ outcome   cut",
    ] {
        assert!(told.contains(words), "`{words}` is not told:\n{told}");
    }
    let mut children = children_of(child.id());
    assert_eq!(children.len(), 4, "a node, a desk, two agents");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let gone = async {
        while !children.is_empty() {
            children.retain(|pid| is_alive(*pid));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[test]
fn a_folder_that_is_kept_can_be_served_and_its_people_still_find_their_way() {
    let folder = TempDir::new().unwrap();
    let output = demo(folder.path(), &["-o", "json"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    for line in stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "`-o json` tells in lines: {line}");
    }
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let config = folder.path().join("acme/bailiwick.toml");
    assert!(!fs::read_to_string(&config).unwrap().contains(":0\""));
    let program = || Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    let mut node = program()
        .args(["serve", "--print-addresses", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let profile = folder.path().join("people/olivia.toml");
    let whoami = program().args(["whoami", "--profile"]).arg(&profile).output().unwrap();
    // What the agents did is there to try a mapping on: the one in force, and one that says something else.
    let catalog = folder.path().join("input/catalog.toml");
    let other = folder.path().join("other.toml");
    let text = fs::read_to_string(&catalog).unwrap();
    fs::write(&other, text.replace("resource = \"Order\"", "resource = \"Sale\"")).unwrap();
    let test = |file: &Path| {
        let mut command = program();
        command.args(["catalog", "test", "-o", "json", "--profile"]).arg(&profile).arg(file);
        let output = command.output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["calls"].clone()
    };
    let (same, differs) = (test(&catalog), test(&other));
    kill_process(Pid::from_child(&node), Signal::TERM).unwrap();
    node.wait().unwrap();
    let (same, differs) = (same.as_array().unwrap(), differs.as_array().unwrap());
    assert!(same.iter().all(|call| call["differs"] == false), "{same:?}");
    let small = same.iter().find(|call| call["arguments"]["amount"] == 4_000).unwrap();
    assert_eq!(small["recorded"]["verdict"], "permit");
    assert_eq!(small["proposed"]["effects"][0]["resource"], "support-desk/Refund/A-1001");
    let changed: Vec<&Value> =
        differs.iter().filter(|call| call["differs"] == true).map(|call| &call["tool"]).collect();
    assert!(!changed.is_empty() && changed.iter().all(|tool| *tool == "get_order"), "{differs:?}");
    assert_eq!(whoami.status.code(), Some(0), "{ready}: {whoami:?}");
    assert!(String::from_utf8_lossy(&whoami.stdout).contains("olivia"));
}

/// The processes whose parent this is.
fn children_of(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat[1] == parent.to_string())).collect()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

/// State, parent and what follows of `/proc/PID/stat` (proc(5)); the name before it may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}
