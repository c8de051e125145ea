//! The verifier that is nothing else.

use std::{fs, process::Command};

use ledger::{HeadFile, export, verify};

use super::{tamper::log_of_700, *};

/// The status, and what it says on both streams.
fn ran(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bailiwick-verify")).args(arguments).output();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_tells_of_a_pack_what_the_library_finds_and_its_status_says_whether_all_holds() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let (dir, pack) = (place.path().join("log"), place.path().join("pack"));
    let older = place.path().join("older");
    let witness = CheckpointKey::from_seed(&[11; 32]);
    let public = witness.witness("w.example").unwrap();
    let note = fs::read(dir.join("checkpoint")).unwrap();
    fs::write(&older, &note).unwrap();
    let cosigned = witness.cosign(&note, &public, model::Timestamp::from_seconds(900)).unwrap();
    open(place.path()).keep_witnessed(&[&note[..], cosigned.as_bytes()].concat()).unwrap();
    export(&dir, &pack, HeadFile::Witnessed).unwrap();
    let (policy, key_file) = (place.path().join("policy"), place.path().join("key"));
    fs::write(&policy, format!("witness w {public}\nquorum w\n")).unwrap();
    fs::write(&key_file, format!("{key}\n")).unwrap();
    let [pack_text, older, policy, key_file] =
        [&pack, &older, &policy, &key_file].map(|path| path.to_str().unwrap());

    let report = verify::pack(&pack, &key, &[], None);
    assert_eq!(ran(&[pack_text, "--key", &key]), (Some(0), format!("{report}\n"), String::new()));
    let all = [pack_text, "--key", key_file, "--older", older, "--policy", policy];
    let (status, text, _) = ran(&all);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("witnessed: 700 entries, by `w.example` at 1970-01-01T00:15:00.000Z"));
    assert!(text.contains("3 history       holds") && text.starts_with("VERIFIED\n"), "{text}");
    let (status, json, _) = ran(&[&all[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (status, &json["verified"], &json["levels"]["history"]),
        (Some(0), &true.into(), &true.into())
    );

    let bundle = pack.join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    fs::write(bundle, bytes).unwrap();
    let (status, text, _) = ran(&[pack_text, "--key", &key]);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.starts_with("NOT VERIFIED\n") && text.contains("2 tree          FAILS"), "{text}");
}

#[test]
fn where_it_cannot_judge_it_gives_no_verdict_and_says_why() {
    let place = tempfile::tempdir().unwrap();
    let key =
        CheckpointKey::from_seed(&SIGNING).verifier("acme.example/audit").unwrap().to_string();
    let here = place.path().to_str().unwrap();
    let long = place.path().join("long");
    fs::write(&long, vec![b'x'; 64 * 1024 + 1]).unwrap();
    let (long, nowhere) = (long.to_str().unwrap(), "/nowhere/at/all");
    for (arguments, status, why) in [
        (&[][..], 2, "name a pack"),
        (&[here], 2, "say `--key`"),
        (&[here, "--key"], 2, "`--key` wants a value"),
        (&[here, "--key", "nonsense"], 2, "`--key`: not an Ed25519 verifier key"),
        (&[here, "--key", &key, "--fast"], 2, "`--fast` is not known"),
        (&[here, here, "--key", &key], 2, "one pack"),
        (&[here, "--key", &key, "--older", nowhere], 2, nowhere),
        (&[here, "--key", &key, "--policy", long], 2, "longer than 64 KiB"),
        (&[here, "--key", &key, "--policy", nowhere], 2, nowhere),
        (&[here, "--key", &key], 6, "there is no pack"),
        (&[nowhere, "--key", &key], 6, "there is no pack"),
        (&[long, "--key", &key], 6, "there is no pack"),
    ] {
        let (ended, said, told) = ran(arguments);
        assert_eq!((ended, said.as_str()), (Some(status), ""), "{arguments:?}: {told}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
}

/// What an auditor has to trust is what `docs/ledger.md` says.
#[test]
fn it_stands_on_as_few_crates_as_its_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).args(["tree", "--locked", "--offline", "--package", "ledger"]);
    cargo.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let ours = |name: &&str| ["ledger", "model"].contains(name);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let (ours, others): (HashSet<&str>, HashSet<&str>) = names.partition(ours);
    let said = format!("compiles two crates of ours and {} crates of others into it", others.len());
    let document = fs::read_to_string(root.join("docs/ledger.md")).unwrap();
    assert!(document.replace('\n', " ").contains(&said), "{said}, by this tree:\n{tree}");
    assert_eq!(ours.len(), 2);
}
