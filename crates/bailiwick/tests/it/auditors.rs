//! Packs of the ledger, audited by a program that we did not write.

use std::{path::Path, process::Output};

use ledger::{CheckpointKey, Config, Draft, HeadFile, Keys, KeysInMemory, Log, export};
use model::{EntryId, Realm, Timestamp};

use crate::{
    strangers::{installed, script},
    world::Place,
};

/// A log with a key of this seed.
pub(crate) fn open(place: &Path, seed: u8) -> Log {
    let realm = Realm {
        org: "acme.example".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        node: 1,
    };
    let config = Config {
        dir: place.join("log"),
        lock: place.join("lock"),
        realm,
        origin: "acme.example/prod/1".to_owned(),
        segment_bytes: 2 << 20,
        reserve_bytes: 0,
    };
    let subjects = std::sync::Arc::new(KeysInMemory::default());
    Log::open(config, Keys { checkpoint: CheckpointKey::from_seed(&[seed; 32]), subjects }).unwrap()
}

/// A pack of a log that has so many entries now, and its key.
fn pack(place: &Path, seed: u8, entries: std::ops::Range<u64>, name: &str) -> String {
    let log = open(place, seed);
    let draft = |number: u64| {
        let at = Timestamp::from_millis(number as i64);
        Draft::new(EntryId::compose(at, 1, number), "start", at)
    };
    let under_way: Vec<_> =
        entries.map(|number| log.append(log.seal(draft(number)).unwrap())).collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
    log.close().unwrap();
    export(&place.join("log"), &place.join(name), HeadFile::Newest).unwrap();
    log.verifier_key()
}

#[test]
fn a_program_of_others_finds_a_pack_whole_and_each_damage_of_it() {
    let place = Place::new();
    let folder = place.path("");
    let key = pack(&folder, 7, 0..300, "older");
    pack(&folder, 7, 300..700, "pack");
    let audit = |arguments: &[&str]| -> Output {
        let mut command = place.program(installed("tlog/bin/python"));
        command.arg(script("audit_pack.py")).args(arguments).output().unwrap()
    };
    let clean = audit(&["pack", &key, "older"]);
    assert!(clean.status.success(), "{clean:?}");
    assert_eq!(String::from_utf8_lossy(&clean.stdout), "700 4 3\n");

    for (file, byte) in [
        ("tile/0/000", 32 * 17),
        ("tile/0/002.p/188", 5),
        ("tile/1/000.p/2", 40),
        ("tile/entries/001", 1000),
        ("tile/entries/002.p/188", 60),
        ("checkpoint", 30),
    ] {
        let path = place.path("pack").join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[byte] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(!audit(&["pack", &key]).status.success(), "{file}");
        std::fs::write(&path, whole).unwrap();
    }

    // The same key signs another history: only who holds a head of the former one sees it.
    let other = Place::new();
    pack(&other.path(""), 7, 1_000..1_700, "pack");
    let rewritten = other.path("pack");
    let rewritten = rewritten.to_str().unwrap();
    assert!(audit(&[rewritten, &key]).status.success());
    assert!(!audit(&[rewritten, &key, "older"]).status.success());
}
