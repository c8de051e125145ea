//! Witnesses: ours, fed by the log and the client of others.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
};

use ledger::CheckpointKey;
use serde_json::{Value, json};

use crate::{
    strangers::{installed, script},
    world::Place,
};

/// A witness of ours that serves; it ends with its test.
pub(crate) struct Witness {
    child: Child,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Witness {
    /// Makes one that knows a log.
    pub(crate) fn of(place: &Place, log: &str) -> Self {
        let name = ["--dir", "witness", "--name", "witness.example/1"];
        let made = place.run(["witness", "init", "-o", "json"].into_iter().chain(name)).ends(0);
        place.run(["witness", "add-log", "--dir", "witness", log]).ends(0).says("from now on");
        Self::serve(place, made.json()["key"].as_str().unwrap())
    }

    fn serve(place: &Place, key: &str) -> Self {
        let listen = ["--listen", "127.0.0.1:0", "--print-addresses"];
        let serve = ["witness", "serve", "--dir", "witness"].into_iter().chain(listen);
        let mut command = place.command(serve);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: addresses["witness"].as_str().unwrap().to_owned(), key: key.to_owned() }
    }
}

/// The witness of others; it ends with its test.
struct Theirs {
    child: Child,
    url: String,
    key: String,
}

impl Theirs {
    fn of(place: &Place, log: &str) -> Self {
        // It says only what it was told, so it is told a port that is free just now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let run = |words: &[&str]| {
            let mut command = place.program(installed("tlog/bin/aics-witness"));
            command.args(words).args(["--config", "theirs.json"]);
            command
        };
        let listen = port.to_string();
        let init = ["init", "--name", "theirs.example/1", "--listen", &listen];
        let made = run(&init).output().unwrap();
        let said = String::from_utf8(made.stdout).unwrap();
        let key =
            said.lines().find(|line| line.starts_with("theirs.example/1+")).unwrap().to_owned();
        let origin = log.split('+').next().unwrap();
        let added = run(&["add-log", "--origin", origin, "--vkey", log]).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        let mut serve = run(&["serve"]);
        let serve = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: serve.spawn().unwrap(), url: format!("http://{port}"), key }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_log_and_a_client_of_others_find_in_our_witness_what_the_specification_says() {
    let place = Place::new();
    let seed = "07".repeat(32);
    let log = CheckpointKey::from_seed(&[7; 32]).verifier("log.example/1").unwrap();
    let witness = Witness::of(&place, &log.to_string());
    let feed = || {
        let mut python = place.program(installed("tlog/bin/python"));
        python.arg(script("feed_witness.py")).args([&witness.url, &witness.key, log.name()]);
        let mut child = python
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(seed.as_bytes()).unwrap();
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()
    };
    assert_eq!(
        feed(),
        json!({
            "first": "cosigned",
            "grown": vec!["cosigned"; 6],
            "again": "cosigned",
            "forgotten": "cosigned",
            "behind": "WitnessAhead",
            "forked": 422,
            "forked_and_grown": 422,
            "unsigned": 403,
            "unknown": 404,
            "last": "cosigned",
        })
    );
    let status = place.run(["witness", "status", "--dir", "witness", "-o", "json"]).ends(0).json();
    assert_eq!(status["logs"][0]["size"], 700);
}

#[test]
fn a_witness_that_was_killed_remembers_and_a_known_log_gets_no_other_key() {
    let place = Place::new();
    let log = CheckpointKey::from_seed(&[7; 32]).verifier("log.example/1").unwrap().to_string();
    let witness = Witness::of(&place, &log);
    let key = witness.key.clone();
    drop(witness);
    let witness = Witness::serve(&place, &key);
    let add = |line| place.run(["witness", "add-log", "--dir", "witness", line]);
    add(&log).ends(0).says("already");
    let other = CheckpointKey::from_seed(&[8; 32]).verifier("log.example/1").unwrap().to_string();
    add(&other).ends(7).says("another key");
    add("garbage").ends(2);
    add(&witness.key).ends(2).says("log");
    place.run(["witness", "status", "--dir", "witness"]).ends(0).says(&key).says("log.example/1");
    place.run(["witness", "status", "--dir", "nowhere"]).ends(6);
    place.run(["witness", "init", "--dir", "witness", "--name", "other"]).ends(7);
    std::fs::remove_file(place.path("witness/witness.sqlite")).unwrap();
    place.run(["witness", "serve", "--dir", "witness"]).ends(1).says("make a new witness");
}

#[test]
fn a_node_shows_the_head_that_its_witnesses_cosigned_and_auditors_of_both_houses_count_them() {
    let place = Place::initialized();
    let config = ["--config", "acme/bailiwick.toml"];
    let log = place.run(["ledger", "key"].into_iter().chain(config)).ends(0).stdout;
    let log = log.trim();
    let (ours, theirs) = (Witness::of(&place, log), Theirs::of(&place, log));
    let policy = format!(
        "log {log}\nwitness ours {} {}\nwitness theirs {} {}\ngroup both all ours theirs\nquorum both\n",
        ours.key, ours.url, theirs.key, theirs.url
    );
    place.write("acme/witnesses.policy", &policy);
    place.configure("[ledger]\nwitnesses = \"witnesses.policy\"");
    let export = |out, more: &[&'static str]| {
        place.run(
            ["ledger", "export", "--out", out]
                .into_iter()
                .chain(config)
                .chain(more.iter().copied()),
        )
    };

    let node = place.serve();
    let server = node.server().to_owned();
    let olivia = place.somebody("olivia");
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    // Before enough have cosigned it, nothing is shown; then the proof leads to the head that they cosigned.
    let prove = ["ledger", "proof", "0", "--out", "0.tlog-proof", "--entry", "0.json"];
    place.eventually("both witnesses have cosigned", || {
        let ran = olivia.run(&prove);
        assert!([0, 6].contains(&ran.status), "{ran:?}");
        ran.status == 0
    });
    let check = |policy| {
        let proof = ["ledger", "verify-proof", "0.tlog-proof", "--entry", "0.json"];
        place.run(proof.into_iter().chain(["--key", log, "--policy", policy]))
    };
    check("acme/witnesses.policy").ends(0).says("witness.example/1, theirs.example/1");
    let other = CheckpointKey::from_seed(&[9; 32]).witness("other.example").unwrap();
    place.write("other.policy", &format!("witness other {other}\nquorum other\n"));
    check("other.policy").ends(3).says("0 of 1 witnesses");
    place.write("none.policy", "quorum none\n");
    let nobody = check("none.policy").ends(0).says("VERIFIED");
    assert!(!nobody.stdout.contains("witnessed"), "nobody had to: {nobody:?}");
    // Both files, or none.
    let again = ["ledger", "proof", "0", "--out", "again.tlog-proof", "--entry", "0.json"];
    olivia.run(&again).ends(7).says("0.json");
    let again = ["ledger", "proof", "0", "--out", "0.tlog-proof", "--entry", "again.json"];
    olivia.run(&again).ends(7).says("0.tlog-proof");
    assert!(!place.path("again.tlog-proof").exists() && !place.path("again.json").exists());
    assert_eq!(node.stop(), 0);
    export("pack", &[]).ends(0).says("as far as they are witnessed");
    let doctor = || place.run(["doctor"].into_iter().chain(config));
    doctor().says("2 are named; 2 of them have cosigned the head of ").says(" s ago");

    let verify =
        |pack, policy| place.run(["verify", pack, "--key", log, "--policy", policy, "-o", "json"]);
    let verified = verify("pack", "acme/witnesses.policy").ends(0).json();
    assert_eq!(verified["witnessed"]["size"], verified["size"]);
    assert_eq!(verified["witnessed"]["by"].as_array().unwrap().len(), 2);

    // The auditor's program of others: signature, both cosignatures, and the tiles that they are over.
    let audit = |quorum| {
        let mut command = place.program(installed("tlog/bin/aics-tlog"));
        command.args(["verify-checkpoint", "--note", "pack/checkpoint", "--log-key", log]);
        command.args([
            "--witness-key",
            &ours.key,
            "--witness-key",
            &theirs.key,
            "--quorum",
            quorum,
        ]);
        command.output().unwrap()
    };
    let audited = audit("2");
    assert!(audited.status.success(), "{audited:?}");

    // Who trusts somebody else is not convinced.
    let refused = verify("pack", "other.policy").ends(3).json();
    assert_eq!(refused["witnessed"], Value::Null);
    assert_eq!(refused["integrity"], false);
    verify("pack", "acme/data/keys/checkpoint.pub").ends(2);

    // What came since is missing from what they have seen.
    drop((ours, theirs));
    let node = place.serve();
    assert_eq!(node.stop(), 0);
    export("newest", &["--unwitnessed"]).ends(0);
    let newest = verify("newest", "acme/witnesses.policy").ends(3).json();
    assert!(newest["witnessed"]["size"].as_u64() < newest["size"].as_u64(), "{newest}");
    assert_eq!((&newest["integrity"], &newest["completeness"]), (&json!(true), &json!(false)));
    let said = place.run(["verify", "newest", "--key", log, "--policy", "acme/witnesses.policy"]);
    let said = said.ends(3).says("completeness: checkpoint: no witnessed head covers entries");
    assert!(!said.stdout.contains("not witnessed"), "it is said twice: {said:?}");
    let exported = export("behind", &["-o", "json"]).ends(0).json();
    let left_out = newest["size"].as_u64().unwrap() - newest["witnessed"]["size"].as_u64().unwrap();
    assert_eq!(exported["left_out"], left_out);
    export("again", &[]).ends(0).says(&format!("{left_out} newer ones are left out"));
    verify("behind", "acme/witnesses.policy").ends(0);

    // Who is no longer a witness, or not yet, makes no head a witnessed one.
    place.write(
        "acme/witnesses.policy",
        &format!("witness other {other} http://127.0.0.1:9\nquorum other\n"),
    );
    export("none", &[]).ends(1).says("0 of 1 witnesses").says("--unwitnessed");
    doctor().says("no head counts as witnessed: 0 of 1 witnesses");
    let again = place.serve();
    let profile = std::fs::read_to_string(place.path("olivia.toml")).unwrap();
    place.write("olivia.toml", &profile.replace(&server, again.server()));
    let shown = ["ledger", "proof", "0", "--out", "no.tlog-proof"];
    olivia
        .run(&shown)
        .ends(6)
        .says("too few witnesses have cosigned")
        .says("what the node logs of its witnesses");
    assert_eq!(again.stop(), 0);
    let config_file = std::fs::read_to_string(place.path("acme/bailiwick.toml")).unwrap();
    let without = config_file.replace("witnesses = \"witnesses.policy\"", "");
    place.write("acme/bailiwick.toml", &without);
    let exported = export("all", &["-o", "json"]).ends(0).json();
    assert_eq!((&exported["witnessed"], &exported["left_out"]), (&json!(false), &json!(0)));

    // A head that was kept for its witnesses is held against the entries like any other.
    std::fs::write(place.path("newest/anchor/witnessed"), "no head").unwrap();
    verify("newest", "acme/witnesses.policy").ends(3);
}

#[test]
fn without_its_witnesses_a_node_works_and_exports_nothing_as_witnessed() {
    let place = Place::initialized();
    let key = CheckpointKey::from_seed(&[9; 32]).witness("away.example").unwrap();
    place.configure("[ledger]\nwitnesses = \"witnesses.policy\"");
    let config = ["--config", "acme/bailiwick.toml"];
    let serve = || place.run(["serve"].into_iter().chain(config));
    serve().ends(6).says("witnesses.policy");
    let log = CheckpointKey::from_seed(&[9; 32]).verifier("acme/dev/1").unwrap();
    for (policy, why) in [
        ("quorum nobody\n".to_owned(), "line 1"),
        (format!("witness away {key}\nquorum away\n"), "`away.example`: it has no URL"),
        (format!("witness away {key} ftp://away\nquorum away\n"), "`away.example`: its URL"),
        (format!("log {log}\nwitness away {key}\nquorum away\n"), "not among them"),
        ("quorum none\n".to_owned(), "nobody would have to witness"),
    ] {
        place.write("acme/witnesses.policy", &policy);
        let ran = serve();
        assert_ne!(ran.status, 0, "{policy}");
        ran.says(why);
    }
    // Nobody listens on the discard port.
    let policy = format!("witness away {key} http://127.0.0.1:9\nquorum away\n");
    place.write("acme/witnesses.policy", &policy);
    let node = place.serve();
    let newest = place.path("acme/data/ledger/checkpoint");
    place.eventually("a head is signed", || newest.is_file());
    assert_eq!(node.stop(), 0);
    let export = ["ledger", "export", "--out", "pack"].into_iter().chain(config);
    place.run(export).ends(1).says("--unwitnessed");
    let export = ["ledger", "export", "--out", "pack", "--unwitnessed"].into_iter().chain(config);
    place.run(export).ends(0);
    place.run(["ledger", "verify"].into_iter().chain(config)).ends(0);
    let policy = ["--policy", "acme/witnesses.policy"];
    let verify = ["ledger", "verify"].into_iter().chain(config).chain(policy);
    place.run(verify).ends(3).says("0 of 1 witnesses");

    let doctor = || place.run(["doctor"].into_iter().chain(config));
    doctor().says("`away.example` is asked at an address of this machine");
    let policy = format!("witness away {key} https://away.example\nquorum away\n");
    place.write("acme/witnesses.policy", &policy);
    let said = doctor().says("1 are named, and no head counts as witnessed: too few");
    assert!(!said.stdout.contains("this machine"), "{said:?}");
    place.write("acme/witnesses.policy", "quorum nobody\n");
    doctor().ends(3).says("no policy for witnesses");
}
