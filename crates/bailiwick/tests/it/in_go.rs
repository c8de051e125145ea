//! Packs of a node, checked in Go by packages that we did not write (`docs/examples/verify_pack.go`).

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::json;

use crate::{
    connecting::{Client, call},
    office::Office,
    strangers::installed,
    world::Place,
};

/// The example, compiled as its first lines say.
fn compiled(place: &Place) -> PathBuf {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/verify_pack.go");
    let program = place.path("verify_pack");
    let mut go = place.program("go");
    go.args(["build", "-o"]).arg(&program).arg(example);
    go.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]);
    let built = go.env("GOCACHE", installed("go-cache")).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    program
}

/// The office's agent reads an order so many times.
fn work(office: &Office, calls: u32) {
    let mut client = Client::of(office);
    client.initialize();
    for id in 1..=calls {
        let order = call("get_order", &json!({ "order_id": "A-1001" }));
        let answer = client.ask(id, "tools/call", &order);
        assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");
    }
    assert_eq!(client.end(), 0);
}

#[test]
fn a_program_in_go_finds_the_pack_of_a_node_whole_and_each_damage_of_it() {
    let office = Office::new();
    office.open_task("task.token");
    work(&office, 5);
    let head = || std::fs::read(office.place.path("acme/data/ledger/checkpoint")).unwrap();
    let kept = head();
    std::fs::write(office.place.path("kept"), &kept).unwrap();
    work(&office, 150);
    let Office { place, node, .. } = office;
    assert_eq!(node.stop(), 0);
    let config = ["--config", "acme/bailiwick.toml"];
    let run = |words: &[&'static str]| place.run(words.iter().copied().chain(config)).ends(0);
    let exported = run(&["ledger", "export", "--out", "pack", "-o", "json"]).json();
    let size = exported["entries"].as_u64().unwrap();
    assert!(size > 256 && size % 256 != 0, "there are full and partial tiles: {size}");
    let key = run(&["ledger", "key"]).stdout.trim().to_owned();

    let program = compiled(&place);
    let verify = |more: &[&str]| -> Output {
        let mut command: Command = place.program(&program);
        command.args(["pack", &key]).args(more).output().unwrap()
    };
    let whole = verify(&["kept"]);
    assert!(whole.status.success(), "{whole:?}");
    let said = String::from_utf8(whole.stdout).unwrap();
    assert!(
        said.starts_with(&format!("{size} entries, 3 tiles, 4 proofs, 1 older heads")),
        "{said}"
    );

    let rest = size % 256;
    for (file, byte) in [
        ("tile/0/000".to_owned(), 32 * 17),
        (format!("tile/0/001.p/{rest}"), 5),
        ("tile/1/000.p/1".to_owned(), 31),
        ("tile/entries/000".to_owned(), 1000),
        (format!("tile/entries/001.p/{rest}"), 60),
        ("checkpoint".to_owned(), 30),
        ("checkpoint".to_owned(), kept.len() - 10),
    ] {
        let path = place.path("pack").join(&file);
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[byte] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let refused = verify(&[]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{file} at {byte}");
        assert!(said.starts_with("NOT VERIFIED"), "{file} at {byte}: {said}");
        std::fs::write(&path, bytes).unwrap();
    }

    // A head of another history, with another log's key or none, is no beginning of this one.
    let other = Place::initialized();
    assert_eq!(other.serve().stop(), 0);
    let theirs = std::fs::read(other.path("acme/data/ledger/checkpoint")).unwrap();
    std::fs::write(place.path("theirs"), theirs).unwrap();
    assert_eq!(verify(&["theirs"]).status.code(), Some(1));
    assert!(verify(&["kept"]).status.success(), "and the pack is as it was");
}
