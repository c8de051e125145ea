//! What each level of `verify` finds by itself, and places where only one check stands between a change and "verified".

use std::{fs, path::PathBuf};

use ledger::{
    Checkpoint, HeadFile, export,
    verify::{self, Class, Level, Place, Report, Verdict},
};
use model::Digest;

use super::{
    tamper::{findings, log_of_700},
    *,
};

use Verdict::{Fails, Holds, NotChecked};

struct Scene {
    place: tempfile::TempDir,
    key: String,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let key = log_of_700(place.path());
        Self { place, key }
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    /// A new pack.
    fn pack(&self, name: &str) -> PathBuf {
        let pack = self.place.path().join(name);
        export(&self.log(), &pack, HeadFile::Newest).unwrap();
        pack
    }

    fn check(&self, pack: &Path, older: &[&[u8]]) -> Report {
        verify::pack(pack, &self.key, older, Some(&subject_keys()))
    }

    /// A head that the real key has signed.
    fn signed(&self, size: u64, root: Digest) -> String {
        let verifier: ledger::VerifierKey = self.key.parse().unwrap();
        let origin = verifier.name().to_owned();
        CheckpointKey::from_seed(&SIGNING).sign(&Checkpoint { origin, size, root }, &verifier)
    }
}

fn verdicts(report: &Report) -> [Verdict; 5] {
    [Level::Signature, Level::Tree, Level::History, Level::Payloads, Level::Meaning]
        .map(|level| report.verdict(level))
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[40] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn each_level_fails_by_itself_and_what_was_not_asked_has_no_verdict() {
    let scene = Scene::new();
    let kept = fs::read(scene.log().join("checkpoint")).unwrap();
    let pack = scene.pack("whole");
    assert_eq!(verdicts(&scene.check(&pack, &[])), [Holds, Holds, NotChecked, Holds, Holds]);
    assert_eq!(verdicts(&scene.check(&pack, &[&kept])), [Holds; 5]);
    let tree = verify::tree(&scene.log(), &scene.key, &[&kept]);
    assert_eq!(verdicts(&tree), [Holds, Holds, Holds, NotChecked, NotChecked]);

    let other = CheckpointKey::from_seed(&[9; 32]).verifier("acme.example/audit").unwrap();
    let unsigned = verify::pack(&pack, &other.to_string(), &[], None);
    assert_eq!(verdicts(&unsigned), [Fails, NotChecked, NotChecked, NotChecked, NotChecked]);
    assert_eq!(unsigned.document()["completeness"], serde_json::Value::Null);
    assert_eq!(unsigned.does_not_say(), <[&str; 0]>::default());

    let forged = scene.signed(300, Digest([7; 32]));
    let history = scene.check(&pack, &[forged.as_bytes()]);
    assert_eq!(verdicts(&history), [Holds, Holds, Fails, Holds, Holds]);

    let tile = scene.pack("tile");
    flip(&tile.join("tile/0/001"));
    assert_eq!(verdicts(&scene.check(&tile, &[])), [Holds, Fails, NotChecked, Holds, Holds]);
    let payload = scene.pack("payload");
    flip(&payload.join("payload/001"));
    // With the key it does not open; without, it is not the one that its entry names.
    for key in [Some(&subject_keys()), None] {
        let report = verify::pack(&payload, &scene.key, &[], key);
        assert_eq!(verdicts(&report), [Holds, Holds, NotChecked, Fails, Holds]);
    }
}

#[test]
fn what_cannot_be_read_is_a_finding_and_not_taken_for_missing() {
    let scene = Scene::new();
    for (file, found) in [
        ("anchor/witnessed", "integrity: anchor/witnessed: "),
        ("payload/000", "integrity: payload/000: it cannot be read to its end: "),
        ("payload/000", "integrity: entry 0: its payload in payload/000 cannot be read: "),
        ("tile/entries/001", "integrity: tile/entries/001: "),
        ("tile/0/001", "integrity: tile/0/001: "),
    ] {
        let pack = scene.pack(&format!("{}{}", found.len(), file.replace('/', "-")));
        let path = pack.join(file);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path).unwrap();
        let told = findings(&scene.check(&pack, &[]));
        assert!(told.iter().any(|line| line.starts_with(found)), "{file}: {told:?}");
    }
    let pack = scene.pack("long");
    let path = pack.join("payload/000");
    let bytes = fs::read(&path).unwrap();
    // A length that no payload has.
    fs::write(&path, [&[0xff; 4], &bytes[4..]].concat()).unwrap();
    let told = findings(&scene.check(&pack, &[]));
    let found = "integrity: entry 0: its payload in payload/000 cannot be read: invalid data";
    assert!(told.iter().any(|line| line.starts_with(found)), "{told:?}");
}

#[test]
fn an_older_head_of_no_entries_has_the_root_of_none() {
    let scene = Scene::new();
    let pack = scene.pack("pack");
    let check = |root| findings(&scene.check(&pack, &[scene.signed(0, root).as_bytes()]));
    assert_eq!(check(ledger::Head::empty().root), <[&str; 0]>::default());
    let wrong = "integrity: older checkpoint 0: the first 0 entries are others than it covers";
    assert_eq!(check(Digest([7; 32])), [wrong]);
}

#[test]
fn where_neither_entries_nor_tiles_are_what_was_signed_both_are_named() {
    let scene = Scene::new();
    let pack = scene.pack("pack");
    flip(&pack.join("tile/entries/000"));
    flip(&pack.join("tile/0/001"));
    let told = findings(&scene.check(&pack, &[]));
    assert!(told.iter().any(|line| line.contains("checkpoint: it signs root ")), "{told:?}");
    for entry in [
        "entry 0: its hash is not the one in tile/0/000",
        "entry 257: its hash is not the one in tile/0/001",
    ] {
        assert!(told.iter().any(|line| line.contains(entry)), "{entry}: {told:?}");
    }
}

#[test]
fn a_narrower_file_of_a_node_is_the_start_of_what_it_grew_into_entry_by_entry() {
    let scene = Scene::new();
    let log = scene.log();
    let bundle = fs::read(log.join("tile/entries/001")).unwrap();
    let length = |at: usize| usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]])) + 2;
    let two = length(0) + length(length(0));
    let narrower = log.join("tile/entries/001.p/2");
    fs::create_dir(narrower.parent().unwrap()).unwrap();
    let told = |bytes: &[u8]| {
        fs::write(&narrower, bytes).unwrap();
        let report = verify::log(&log, &scene.key, &[], None);
        (report.is_clean(), findings(&report))
    };
    assert_eq!(told(&bundle[..two]), (true, vec![]));
    let wrong = "integrity: tile/entries/001.p/2: it is not the start of tile/entries/001";
    for bytes in [&bundle[..two - 1], &bundle[..length(0)], &bundle[..two + 1], b""] {
        assert_eq!(told(bytes), (false, vec![wrong.to_owned()]), "{} bytes", bytes.len());
    }
}

#[test]
fn findings_beyond_a_thousand_of_a_class_are_counted() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let seal = |number: u64| {
        let mut draft = draft(number);
        draft.payload = Some(b"secret".to_vec());
        log.seal(draft).unwrap()
    };
    let under_way: Vec<_> = (0..1100).map(|number| log.append(seal(number))).collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
    log.close().unwrap();
    let other = SubjectKeys::new(Arc::new(KeysInMemory::with(ORGANIZATION, "k1", [3; 32])));
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &[], Some(&other));
    assert_eq!((report.findings.len(), report.further), (1000, 100));
    assert!(report.to_string().contains("\n  and 100 more"));
    assert!(!report.holds(Class::Integrity) && report.holds(Class::Completeness));
    assert_eq!(report.findings[0].place, Place::Entry(0));
}

#[test]
fn an_empty_file_of_payloads_is_one_too_many_where_no_entry_has_any() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    append_all(&log, 0..3);
    log.close().unwrap();
    let pack = place.path().join("pack");
    export(&place.path().join("log"), &pack, HeadFile::Newest).unwrap();
    let told = || findings(&verify::pack(&pack, &log.verifier_key(), &[], None));
    assert_eq!(told(), <[&str; 0]>::default());
    fs::create_dir(pack.join("payload")).unwrap();
    fs::write(pack.join("payload/000"), b"").unwrap();
    assert_eq!(told(), ["integrity: payload/000: it goes on behind the last payload of an entry"]);
}

#[test]
fn payloads_that_are_missing_are_told_from_those_that_are_others() {
    let scene = Scene::new();
    let pack = scene.pack("pack");
    fs::remove_file(pack.join("payload/001")).unwrap();
    let report = scene.check(&pack, &[]);
    assert!(report.holds(Class::Integrity) && !report.holds(Class::Completeness));
    assert_eq!(
        findings(&report)[0],
        "completeness: entry 260: its payload is gone, and no entry erased it"
    );
}

#[test]
fn where_one_side_is_what_was_signed_only_the_other_is_accused() {
    let scene = Scene::new();
    for (file, accused) in [
        ("tile/entries/000", "entry 0: it is not the entry that was signed"),
        ("tile/0/000", "tile/0/000: its hash of entry 1 is not the entry's"),
        ("tile/1/000.p/2", "tile/1/000.p/2: its hash 1 is not the one of the tile below"),
    ] {
        let pack = scene.pack(&file.replace('/', "-"));
        flip(&pack.join(file));
        let report = verify::pack(&pack, &scene.key, &[], None);
        let of_tree = report.findings.iter().filter(|finding| finding.level == Level::Tree);
        let told: Vec<String> = of_tree.map(ToString::to_string).collect();
        assert_eq!(told, [format!("integrity: {accused}")]);
    }
}

#[test]
fn a_tile_with_more_hashes_than_its_name_says_is_not_the_one_that_was_signed() {
    let scene = Scene::new();
    for file in ["tile/0/002.p/188", "tile/1/000.p/2"] {
        let pack = scene.pack(&file.replace('/', "-"));
        let longer = [fs::read(pack.join(file)).unwrap(), vec![7; 32]].concat();
        fs::write(pack.join(file), longer).unwrap();
        let told = findings(&scene.check(&pack, &[]));
        assert!(told.iter().any(|line| line.contains(file)), "{file}: {told:?}");
    }
}
