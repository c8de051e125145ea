//! Another key for a log's heads: whoever holds either line is led to the other, and none is believed that the former key did
//! not sign for.

use std::{fs, path::PathBuf};

use ledger::{HandOverError, HeadFile, OpenError, VerifierKey, export, hand_over, verify};

use super::{tamper::findings, *};

const AT: Timestamp = Timestamp::from_millis(9_000);

fn key(number: u8) -> CheckpointKey {
    CheckpointKey::from_seed(&[number; 32])
}

fn line(number: u8) -> VerifierKey {
    key(number).verifier("acme.example/audit").unwrap()
}

fn keys_of(checkpoint: CheckpointKey) -> Keys {
    Keys { checkpoint, subjects: key_store() }
}

/// A log that keys sign for.
struct Scene {
    place: tempfile::TempDir,
}

impl Scene {
    /// Whose first key has signed for 300 entries.
    fn new() -> Self {
        let scene = Self { place: tempfile::tempdir().unwrap() };
        scene.append(key(1), 0..300);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn append(&self, checkpoint: CheckpointKey, numbers: std::ops::Range<u64>) {
        let log = Log::open(config(self.place.path()), keys_of(checkpoint)).unwrap();
        append_all(&log, numbers);
        log.close().unwrap();
    }

    fn hand_over(&self, from: CheckpointKey, to: u8) -> Result<String, HandOverError> {
        let id = EntryId::compose(AT, 7, u64::from(to));
        hand_over(config(self.place.path()), keys_of(from), key(to), (id, AT))
    }

    fn head(&self) -> Vec<u8> {
        fs::read(self.path("log/checkpoint")).unwrap()
    }

    fn pack(&self) -> tempfile::TempDir {
        let pack = tempfile::tempdir().unwrap();
        export(&self.path("log"), pack.path(), HeadFile::Newest).unwrap();
        pack
    }

    fn found(&self, by: u8, older: &[&[u8]]) -> Vec<String> {
        findings(&verify::pack(self.pack().path(), &line(by).to_string(), older, None))
    }
}

#[test]
fn both_keys_sign_until_the_former_one_is_gone_and_either_line_verifies_before_and_after() {
    let scene = Scene::new();
    let first = scene.head();
    assert_eq!(scene.hand_over(key(1), 2).unwrap(), line(2).to_string());
    scene.append(key(2).beside(key(1)), 400..500);
    let both = scene.head();
    for by in [1, 2] {
        assert_eq!(line(by).open(&both).map(|head| head.size), Ok(401), "{by} signs");
        assert_eq!(scene.found(by, &[&first]), [""; 0], "{by}");
    }
    // A power cut may leave the keys as they were: the log goes on under the former one, until it is done again.
    scene.append(key(1), 500..501);
    scene.hand_over(key(1), 2).unwrap();

    scene.append(key(2), 600..700);
    let newest = scene.head();
    assert!(line(1).open(&newest).is_err(), "the former key signs nothing any more");
    for by in [1, 2] {
        assert_eq!(scene.found(by, &[&first, &both, &newest]), [""; 0], "{by}");
        let told = verify::pack(scene.pack().path(), &line(by).to_string(), &[], None).to_string();
        let leads = format!("signed by `{}`, to which the given key leads", line(2));
        assert_eq!(told.contains(&leads), by == 1, "{told}");
        let log = verify::log(&scene.path("log"), &line(by).to_string(), &[&first], None);
        assert!(log.is_clean(), "{:?}", findings(&log));
    }
    assert!(!scene.found(3, &[]).is_empty());

    // Once more, and the first line still leads to the last.
    scene.hand_over(key(2), 3).unwrap();
    scene.append(key(3), 700..710);
    for by in [1, 2, 3] {
        assert_eq!(scene.found(by, &[&first, &both, &newest]), [""; 0], "{by}");
    }
}

#[test]
fn naming_a_key_again_says_it_once_and_a_log_that_is_open_or_another_one_names_none() {
    let scene = Scene::new();
    scene.hand_over(key(1), 2).unwrap();
    scene.hand_over(key(1), 2).unwrap();
    let log = Log::open(config(scene.place.path()), keys_of(key(2))).unwrap();
    let named = entries(&log).into_iter().filter(|entry| entry.leaf.kind == "checkpoint_key");
    assert_eq!(named.map(|entry| entry.index).collect::<Vec<_>>(), [300]);
    let refused = scene.hand_over(key(2), 3).unwrap_err();
    assert!(matches!(refused, HandOverError::Open(OpenError::InUse(_))), "{refused}");
    drop(log);
    let refused = scene.hand_over(key(9), 3).unwrap_err();
    assert!(matches!(refused, HandOverError::Open(OpenError::Note { .. })), "{refused}");
}

#[test]
fn nobody_is_led_to_a_key_that_the_former_one_did_not_sign_for() {
    let scene = Scene::new();
    scene.hand_over(key(1), 2).unwrap();
    scene.append(key(2), 600..700);
    let pack = scene.pack();
    let handover = pack.path().join("anchor/handover/300");
    let whole = fs::read(&handover).unwrap();
    let head = line(1).open(&whole).unwrap();
    let verify = |by: u8| findings(&verify::pack(pack.path(), &line(by).to_string(), &[], None));
    assert_eq!(verify(1), [""; 0]);

    let not_signed = "integrity: checkpoint: no signature by the key `acme.example/audit`";
    let is_found = |what: &str, bytes: &[u8]| {
        fs::write(&handover, bytes).unwrap();
        let found = verify(1);
        assert!(found.iter().any(|it| it.contains(what)), "{what}: {found:?}");
        let newer = verify(2);
        assert!(newer.iter().any(|it| it.contains("anchor/handover/300")), "{what}: {newer:?}");
        fs::write(&handover, &whole).unwrap();
    };
    // Signed by the new key alone, which may be anybody's.
    is_found(not_signed, key(2).sign(&head, &line(2)).as_bytes());
    is_found(not_signed, b"no head");
    // The former key signs another history: the entry that was read is not under it.
    let forged = ledger::Checkpoint { root: model::Digest([9; 32]), ..head.clone() };
    let forged = key(1).sign(&forged, &line(1));
    is_found("anchor/handover/300: the first 301 entries are others", forged.as_bytes());
    let before = ledger::Checkpoint { size: 300, ..head };
    is_found("it does not cover entry 300", key(1).sign(&before, &line(1)).as_bytes());

    fs::rename(&handover, pack.path().join("anchor/handover/299")).unwrap();
    assert!(verify(1).iter().any(|it| it.contains("entry 299 names no other key")));
    fs::remove_file(pack.path().join("anchor/handover/299")).unwrap();
    assert!(verify(1).contains(&not_signed.to_owned()));
    assert_eq!(verify(2), [""; 0], "whoever has the newer line needs no handover");
    fs::write(pack.path().join("anchor/handover/300.tsr"), "").unwrap();
    assert_eq!(verify(2), ["integrity: anchor/handover/300.tsr: it is no part of what was signed"]);
    for index in 0..=1000 {
        fs::write(pack.path().join(format!("anchor/handover/{index}")), "").unwrap();
    }
    assert!(verify(2).contains(&"integrity: anchor/handover: there are 1001 handovers".to_owned()));
}

#[test]
fn a_key_that_signs_already_is_named_by_no_entry_and_no_more_keys_follow_than_verifiers_follow() {
    let scene = Scene::new();
    let head = scene.head();
    scene.hand_over(key(1), 1).unwrap();
    assert_eq!(scene.head(), head, "a rotation that was cut late has nothing left to name");
    fs::create_dir_all(scene.path("log/anchor/handover")).unwrap();
    for index in 0..1000 {
        fs::write(scene.path(&format!("log/anchor/handover/{index}")), "").unwrap();
    }
    let refused = scene.hand_over(key(1), 2).unwrap_err();
    assert!(matches!(refused, HandOverError::TooMany), "{refused}");
    assert_eq!(scene.head(), head);
}
