use std::fs;

use ledger::{
    export,
    verify::{self, Class, Place, Report},
};

use super::*;

/// A log of 700 entries, of which every tenth has a payload; and its key.
fn log_of_700(place: &Path) -> String {
    let log = open(place);
    let seal = |number: u64| {
        let mut draft = draft(number);
        draft.payload = number.is_multiple_of(10).then(|| format!("secret {number}").into_bytes());
        log.seal(draft).unwrap()
    };
    let under_way: Vec<_> = (0..700).map(|number| log.append(seal(number))).collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
    log.close().unwrap();
    log.verifier_key()
}

fn findings(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

/// Flips one bit of a file, checks the log, and flips it back.
fn flipped(dir: &Path, key: &str, file: &str, bit: usize) -> Report {
    let path = dir.join(file);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[bit / 8] ^= 1 << (bit % 8);
    fs::write(&path, bad).unwrap();
    let report = verify::log(dir, key, &[], Some(&payload_key()));
    fs::write(&path, good).unwrap();
    report
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is_and_its_place_is_named() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let dir = place.path().join("log");
    let clean = verify::log(&dir, &key, &[], Some(&payload_key()));
    assert!(clean.is_clean(), "{:?}", findings(&clean));
    assert_eq!((clean.entries, clean.tiles, clean.payloads, clean.commitments), (700, 4, 70, 70));

    let file = |name: &str| Place::File(name.to_owned());
    let length = |name: &str| fs::metadata(dir.join(name)).unwrap().len() as usize;
    let entry_length = length("tile/entries/001") / 256;
    for (name, byte, expected) in [
        ("tile/entries/000", 5, Place::Entry(0)),
        ("tile/entries/001", entry_length * 100 + 30, Place::Entry(356)),
        ("tile/entries/002.p/188", length("tile/entries/002.p/188") - 1, Place::Entry(699)),
        ("tile/0/000", 32 * 17, file("tile/0/000")),
        ("tile/0/002.p/188", 32 * 3, file("tile/0/002.p/188")),
        ("tile/1/000.p/2", 40, file("tile/1/000.p/2")),
        ("checkpoint", 30, Place::Checkpoint),
        ("payload/000", 44, Place::Entry(0)),
        ("payload/002", length("payload/002") - 1, Place::Entry(690)),
    ] {
        let report = flipped(&dir, &key, name, byte * 8 + 3);
        let first = &report.findings[0];
        assert_eq!((first.class, &first.place), (Class::Integrity, &expected), "{name}: {first}");
    }
}

#[test]
fn any_flipped_bit_of_a_tile_or_bundle_is_found() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    append_all(&log, 0..2);
    log.close().unwrap();
    let (dir, key) = (place.path().join("log"), log.verifier_key());
    for file in ["tile/0/000.p/2", "tile/entries/000.p/2", "checkpoint"] {
        for bit in 0..fs::metadata(dir.join(file)).unwrap().len() as usize * 8 {
            let report = flipped(&dir, &key, file, bit);
            assert!(!report.holds(Class::Integrity), "bit {bit} of {file}");
        }
    }
}

#[test]
fn what_is_missing_cut_off_or_added_is_named() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let original = place.path().join("log");
    type Damage<'a> = &'a dyn Fn(&Path);
    let table: [(&str, Damage<'_>, &str); 8] = [
        (
            "bundle gone",
            &|d| fs::remove_file(d.join("tile/entries/001")).unwrap(),
            "tile/entries/001",
        ),
        ("tile gone", &|d| fs::remove_file(d.join("tile/0/000")).unwrap(), "tile/0/000"),
        ("upper tile gone", &|d| fs::remove_dir_all(d.join("tile/1")).unwrap(), "tile/1/000.p/2"),
        (
            "bundle cut short",
            &|d| {
                let bytes = fs::read(d.join("tile/entries/000")).unwrap();
                fs::write(d.join("tile/entries/000"), &bytes[..bytes.len() - 1]).unwrap();
            },
            "tile/entries/000: it is cut short at entry 255",
        ),
        (
            "bytes behind",
            &|d| {
                let bytes = fs::read(d.join("tile/entries/001")).unwrap();
                fs::write(d.join("tile/entries/001"), [&bytes[..], b"\0\0"].concat()).unwrap();
            },
            "tile/entries/001: it has bytes behind its last entry",
        ),
        ("payload gone", &|d| fs::remove_file(d.join("payload/001")).unwrap(), "entry 260"),
        (
            "narrower tile changed",
            &|d| {
                fs::create_dir(d.join("tile/0/001.p")).unwrap();
                fs::write(d.join("tile/0/001.p/1"), [0; 32]).unwrap();
            },
            "tile/0/001.p/1: it is not the start of tile/0/001",
        ),
        ("no checkpoint", &|d| fs::remove_file(d.join("checkpoint")).unwrap(), "checkpoint"),
    ];
    for (name, damage, expected) in table {
        let pack = place.path().join(name);
        export(&original, &pack).unwrap();
        damage(&pack);
        let report = verify::log(&pack, &key, &[], None);
        let found = findings(&report);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{name}: {found:?}");
    }
}

#[test]
fn a_pack_is_clean_and_brings_no_key() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let pack = place.path().join("pack");
    assert_eq!(export(&place.path().join("log"), &pack).unwrap().size, 700);
    let report = verify::log(&pack, &key, &[], Some(&payload_key()));
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!((report.entries, report.commitments), (700, 70));
    let public = key.rsplit('+').next().unwrap();
    let readme = fs::read_to_string(pack.join("README")).unwrap();
    let checkpoint = fs::read_to_string(pack.join("checkpoint")).unwrap();
    assert!(!readme.contains(public) && !checkpoint.contains(public));
    assert!(!pack.join("wal").exists());
    fs::write(pack.join("tile/0/003"), [0; 32]).unwrap();
    let report = verify::log(&pack, &key, &[], None);
    assert_eq!((report.is_clean(), report.uncovered), (true, 1), "what is added is only counted");
    assert!(
        export(&place.path().join("log"), &pack).is_err(),
        "a pack is never mixed with another"
    );
}

#[test]
fn another_key_or_a_rewritten_history_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let mut checkpoints = Vec::new();
    let mut key = String::new();
    for (place, numbers) in [(&first, 0..300), (&second, 1..400)] {
        let log = open(place);
        append_all(&log, numbers);
        log.close().unwrap();
        key = log.verifier_key();
        checkpoints.push(fs::read(place.join("log/checkpoint")).unwrap());
    }
    let check =
        |place: &Path, older: &[u8]| findings(&verify::tree(&place.join("log"), &key, &[older]));
    assert_eq!(check(&first, &checkpoints[0]), <[&str; 0]>::default());
    assert!(check(&second, &checkpoints[0])[0].contains("older checkpoint 0: the first 300"));
    assert!(check(&first, &checkpoints[1])[0].contains("it covers 399 entries, this log 300"));

    let other = CheckpointKey::from_seed(&[9; 32]).verifier("acme.example/audit").unwrap();
    let report = verify::log(&first.join("log"), &other.to_string(), &[], None);
    assert!(report.checkpoint.is_none());
    assert!(findings(&report)[0].contains("integrity: checkpoint: no signature"));
}

#[test]
fn without_the_payload_key_the_sealed_bytes_are_still_checked() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let dir = place.path().join("log");
    let report = verify::log(&dir, &key, &[], None);
    assert_eq!((report.is_clean(), report.payloads, report.commitments), (true, 70, 0));
    let other = PayloadKey::new("k1".parse().unwrap(), &[3; 32]);
    let report = verify::log(&dir, &key, &[], Some(&other));
    assert_eq!(report.findings.len(), 70, "a wrong key under the same name opens nothing");
    let later = PayloadKey::new("k2".parse().unwrap(), &[3; 32]);
    let report = verify::log(&dir, &key, &[], Some(&later));
    assert!(report.is_clean() && report.commitments == 0, "a key of another name says nothing");
}
