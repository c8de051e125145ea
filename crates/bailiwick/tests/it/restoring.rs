//! A data folder from a backup that is older than what its ledger has signed.

use std::path::Path;

use serde_json::Value;

use crate::{
    office::Office,
    witnessing::Witness,
    world::{Node, Place, Somebody},
};

const CONFIG: [&str; 2] = ["--config", "acme/bailiwick.toml"];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), to).unwrap()),
            _ => {}
        }
    }
}

/// Starts the node again, and tells olivia where it is now.
fn serve(place: &Place, former: &str) -> Node {
    let node = place.serve();
    let profile = std::fs::read_to_string(place.path("olivia.toml")).unwrap();
    place.write("olivia.toml", &profile.replace(former, node.server()));
    node
}

fn head(place: &Place, file: &str) -> ledger::Checkpoint {
    let note = std::fs::read(place.path("acme/data/ledger").join(file)).unwrap_or_default();
    let none = ledger::Checkpoint { origin: String::new(), size: 0, root: model::Digest([0; 32]) };
    ledger::Checkpoint::unverified(&note).unwrap_or(none)
}

#[test]
fn what_a_backup_does_not_have_is_recorded_before_anything_else_and_witnesses_see_no_fork() {
    let office = Office::new();
    let task = office.open_task("task.token");
    let Office { place, node, .. } = office;
    let olivia = place.known("olivia");
    let run = |words: &[&str]| place.run(words.iter().copied().chain(CONFIG));
    let log = run(&["ledger", "key"]).ends(0).stdout.trim().to_owned();
    let witness = Witness::of(&place, &log);
    let first = node.server().to_owned();
    assert_eq!(node.stop(), 0);
    copy(&place.path("acme/data"), &place.path("backup"));

    let policy = format!("witness w {} {}\nquorum w\n", witness.key, witness.url);
    place.write("acme/witnesses.policy", &policy);
    place.configure("[ledger]\nwitnesses = \"witnesses.policy\"");
    let node = serve(&place, &first);
    let second = node.server().to_owned();
    let suspend = |olivia: &Somebody<'_>| {
        olivia.run(&["agent", "suspend", "support-bot", "--reason", "odd"]).ends(0);
    };
    suspend(&olivia);
    let suspended = head(&place, "checkpoint").size;
    place.eventually("a witness has seen it", || head(&place, "anchor/witnessed").size > suspended);
    assert_eq!(node.stop(), 0);
    let kept = head(&place, "anchor/witnessed");
    std::fs::copy(place.path("acme/data/ledger/anchor/witnessed"), place.path("kept")).unwrap();

    // The whole folder comes back from the backup, and what remembers the newest head with it.
    let restore = |more: &[&str]| {
        let reason = ["restore", "--yes", "--reason", "the disk died"];
        run(&[&reason[..], more].concat())
    };
    restore(&[]).ends(7).says("nothing is missing");
    std::fs::remove_dir_all(place.path("acme/data")).unwrap();
    copy(&place.path("backup"), &place.path("acme/data"));
    let copied = head(&place, "checkpoint").size;
    assert!(copied < kept.size);
    restore(&[]).ends(7).says("nothing is missing").says("--head FILE");
    restore(&["--head", "olivia.toml"]).ends(2).says("none of this ledger");
    restore(&["--head", "nowhere"]).ends(6);
    run(&["restore", "--yes", "--reason", ""]).ends(2).says("--reason TEXT");
    let restored = restore(&["--head", "kept", "-o", "json"]).ends(0).json();
    assert_eq!((&restored["kept"], &restored["lost"]["size"]), (&copied.into(), &kept.size.into()));
    let key = restored["key"].as_str().unwrap().to_owned();
    assert_eq!(run(&["ledger", "key"]).ends(0).stdout.trim(), key);
    assert!(key.starts_with(&format!("{}/r", log.split('+').next().unwrap())), "{key}");
    restore(&["--head", "kept"]).ends(7).says("nothing is missing");

    // The node goes on; the witness takes the log for another one, and cosigns it once it is told of it.
    let node = serve(&place, &second);
    olivia.run(&["agent", "list"]).ends(0).says("support-bot  active");
    let tasks = olivia.run(&["task", "list", "-o", "json"]).ends(0).json();
    let item = tasks["items"].as_array().unwrap().iter().find(|item| item["task"] == task).unwrap();
    assert_eq!(item["state"], "ended", "what is lost may have ended it, or spent its budget");
    let logged = |code| std::fs::read_to_string(place.path("node.log")).unwrap().contains(code);
    place.eventually("the witness does not know the log", || logged("BW-1703"));
    place.run(["witness", "add-log", "--dir", "witness", &key]).ends(0);
    suspend(&olivia);
    place.eventually("the witness cosigns", || {
        head(&place, "anchor/witnessed").origin.contains("/r")
    });
    assert!(!logged("BW-1701") && !logged("BW-1702"), "no head contradicts another");
    assert_eq!(node.stop(), 0);

    run(&["ledger", "export", "--out", "pack"]).ends(0);
    let verify = |more: &[&str]| {
        let words = ["verify", "pack", "--key", &key, "-o", "json"];
        place.run(words.into_iter().chain(more.iter().copied())).ends(3).json()
    };
    for report in [verify(&[]), verify(&["--older", "kept"])] {
        assert_eq!(report["integrity"], Value::Bool(true), "{report}");
        assert_eq!(report["completeness"], Value::Bool(false), "{report}");
        assert_eq!(report["correctness"], Value::Bool(true), "{report}");
        let cut = &report["truncations"][0];
        assert_eq!(
            (&cut["kept"], &cut["lost_to"]),
            (&copied.into(), &kept.size.into()),
            "{report}"
        );
    }
    let former = place.run(["verify", "pack", "--key", &log]).ends(3);
    former.says("no signature by the key");
}

#[test]
fn a_node_whose_ledger_is_behind_says_how_to_go_on() {
    let place = Place::initialized();
    let node = place.serve();
    assert_eq!(node.stop(), 0);
    copy(&place.path("acme/data/ledger"), &place.path("backup"));
    let node = place.serve();
    assert_eq!(node.stop(), 0);
    std::fs::remove_dir_all(place.path("acme/data/ledger")).unwrap();
    std::fs::rename(place.path("backup"), place.path("acme/data/ledger")).unwrap();
    let serve = ["serve"].into_iter().chain(CONFIG);
    place.run(serve).ends(1).says("it was restored or cut off").says("bailiwick restore");
    let restore = ["restore", "--reason", "a test"].into_iter().chain(CONFIG);
    place.run(restore.clone()).ends(1).says("--yes");
    place.run(restore.chain(["--yes"])).ends(0).says("/r");
    let node = place.serve();
    let running = ["restore", "--yes", "--unknown", "--reason", "x"].into_iter().chain(CONFIG);
    place.run(running).ends(7).says("stop the node");
    assert_eq!(node.stop(), 0);
}
