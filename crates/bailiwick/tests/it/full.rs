//! A ledger on a small disk of its own that is full: a tmpfs, in a mount namespace of the node's own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    connecting::{Client, call},
    office::Office,
    world::{Place, SERVE, exists},
};

/// Room for what the ledger sets aside, 64 MiB, and for some calls.
const MOUNT: &str =
    "mkdir -p acme/data/ledger && mount -t tmpfs -o size=88m tmpfs acme/data/ledger && exec \"$@\"";
/// How many segments of 2 MiB there are once the reserve is made: that, the one that is written to, and two that stand ready.
const SEGMENTS: usize = 24 + 3;
/// More calls than fit into the segments that are there.
const MANY: usize = 5_000;

/// An office whose ledger lies on the small disk, and where that is seen from here.
fn office() -> (Office, PathBuf) {
    let place = Place::initialized();
    let mut command = place.program("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]);
    command
        .arg(env!("CARGO_BIN_EXE_bailiwick"))
        .args(SERVE)
        .args(["--set", "ledger.segment_mib=2"]);
    let node = place.serve_by(command);
    let root = PathBuf::from(format!("/proc/{}/root", node.id()));
    let ledger = place.path("acme/data/ledger");
    let ledger = root.join(ledger.strip_prefix("/").unwrap());
    (Office::with_desk(place, node), ledger)
}

/// Takes all the room that is left.
fn fill(filler: &mut File) {
    let block = [b'.'; 4096];
    while filler.write_all(&block).is_ok() {}
}

fn said(answer: &Value) -> String {
    answer["error"].to_string() + &answer["result"].to_string()
}

#[test]
fn on_a_full_disk_nothing_is_granted_refusals_are_recorded_people_can_stop_and_what_found_no_room_is_told()
 {
    let (office, ledger) = office();
    let olivia = office.olivia();
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let mut asks =
        |tool: &str, arguments: &Value| client.ask(1, "tools/call", &call(tool, arguments));
    let order = json!({ "order_id": "A-1001" });
    let answer = asks("get_order", &order);
    assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");
    office.place.eventually("room is set aside", || {
        let segments = fs::read_dir(ledger.join("wal")).unwrap().count();
        segments >= SEGMENTS && exists(&ledger.join("spare"))
    });

    let mut filler = File::create(ledger.join("filler")).unwrap();
    let refused = (0..MANY).find_map(|_| {
        fill(&mut filler);
        Some(said(&asks("get_order", &order))).filter(|said| !said.contains("Desk lamp"))
    });
    let refused = refused.expect("calls are permitted, with no room to record them");
    assert!(refused.contains("ledger_unavailable"), "{refused}");

    // What is refused anyway is refused for its own reason.
    for _ in 0..5 {
        let refused = said(&asks("export_customers", &json!({})));
        assert!(!refused.contains("ledger_unavailable"), "{refused}");
        assert!(refused.contains("not_permitted"), "{refused}");
    }

    // Somebody who comes now still gets in, and stops it.
    fill(&mut filler);
    olivia.run(&["stop", "agent:support-bot", "--reason", "a full disk"]).ends(0);
    let stopped = said(&asks("get_order", &order));
    assert!(stopped.contains("stopped"), "{stopped}");

    drop(filler);
    fs::remove_file(ledger.join("filler")).unwrap();
    let show = |filter: &[&str]| olivia.run(&[&["ledger", "show"], filter].concat());
    office.place.eventually("what found no room is told", || {
        show(&["--kind", "gap"]).stdout.contains("gap")
    });
    // One of each second had its place; those behind it are the ones that are told of.
    show(&["--verdict", "deny", "-o", "json"]).ends(0).says("ledger_unavailable");
    show(&["--kind", "stop_final"]).ends(0).says("stop_final");
}
