use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use ledger::{
    HeadFile, export,
    verify::{self, Class, Place, Report},
};

use super::*;

type Damage<'a> = &'a dyn Fn(&Path);

/// A log of 700 entries, of which every tenth has a payload; and its key.
pub(super) fn log_of_700(place: &Path) -> String {
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

pub(super) fn findings(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

/// Flips one bit of a file, checks the pack, and flips it back.
fn flipped(pack: &Path, key: &str, file: &str, bit: usize) -> Report {
    let mut byte = [0];
    let at = bit as u64 / 8;
    let open = fs::File::options().read(true).write(true).open(pack.join(file)).unwrap();
    open.read_exact_at(&mut byte, at).unwrap();
    open.write_all_at(&[byte[0] ^ 1 << (bit % 8)], at).unwrap();
    let report = verify::pack(pack, key, &[], Some(&subject_keys()));
    open.write_all_at(&byte, at).unwrap();
    report
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is_and_its_place_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = pack_of_700(place.path());
    let clean = verify::pack(&dir, &key, &[], Some(&subject_keys()));
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

/// The names of all files of a pack but for its README, which nothing speaks of.
fn files(pack: &Path) -> Vec<String> {
    let (mut names, mut folders) = (Vec::new(), vec![pack.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(pack).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.retain(|name| name != "README");
    names.sort_unstable();
    names
}

/// A pack of a log of 700 entries, and its key.
fn pack_of_700(place: &Path) -> (PathBuf, String) {
    let key = log_of_700(place);
    let pack = place.join("pack");
    export(&place.join("log"), &pack, HeadFile::Newest).unwrap();
    let report = verify::pack(&pack, &key, &[], Some(&subject_keys()));
    assert!(report.is_clean(), "{:?}", findings(&report));
    (pack, key)
}

#[test]
fn any_flipped_bit_of_a_small_pack_is_found() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    for number in 0..2 {
        let mut draft = draft(number);
        draft.payload = Some(format!("secret {number}").into_bytes());
        log.append(log.seal(draft).unwrap()).wait().unwrap();
    }
    log.close().unwrap();
    let (pack, key) = (place.path().join("pack"), log.verifier_key());
    export(&place.path().join("log"), &pack, HeadFile::Newest).unwrap();
    let names = files(&pack);
    assert_eq!(names, ["checkpoint", "payload/000", "tile/0/000.p/2", "tile/entries/000.p/2"]);
    for file in names {
        for bit in 0..fs::metadata(pack.join(&file)).unwrap().len() as usize * 8 {
            let report = flipped(&pack, &key, &file, bit);
            assert!(!report.holds(Class::Integrity), "bit {bit} of {file}");
        }
    }
}

/// Of each file of a pack with several bundles, payloads and upper tiles: some bits, among them the first and the last.
#[test]
fn a_flipped_bit_anywhere_in_a_large_pack_is_found() {
    let place = tempfile::tempdir().unwrap();
    let (pack, key) = pack_of_700(place.path());
    let names = files(&pack);
    assert_eq!(names.len(), 1 + 3 + 3 + 3 + 1, "{names:?}");
    for file in names {
        let bits = fs::metadata(pack.join(&file)).unwrap().len() as usize * 8;
        // A step that is odd meets all bits of a byte in turn.
        let sampled = (0..bits).step_by((bits / 20) | 1);
        for bit in sampled.chain([bits - 1]) {
            let report = flipped(&pack, &key, &file, bit);
            assert!(!report.is_clean(), "bit {bit} of {file}");
        }
    }
}

#[test]
fn any_file_of_a_pack_that_is_gone_renamed_longer_or_shorter_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let (pack, key) = pack_of_700(place.path());
    let clean = || verify::pack(&pack, &key, &[], None).is_clean();
    for file in files(&pack) {
        let (path, aside) = (pack.join(&file), place.path().join("aside"));
        let good = fs::read(&path).unwrap();
        fs::rename(&path, &aside).unwrap();
        assert!(!clean(), "{file} is gone");
        let renamed = pack.join(format!("{file}.new"));
        fs::rename(&aside, &renamed).unwrap();
        assert!(!clean(), "{file} has another name");
        fs::rename(&renamed, &path).unwrap();
        for bad in [&good[..good.len() - 1], &[&good[..], b"x"].concat(), b""] {
            fs::write(&path, bad).unwrap();
            assert!(!clean(), "{file} with {} bytes for {}", bad.len(), good.len());
        }
        fs::write(&path, good).unwrap();
    }
    assert!(clean());
}

#[test]
fn two_files_that_changed_places_are_noticed() {
    let place = tempfile::tempdir().unwrap();
    let (pack, key) = pack_of_700(place.path());
    for folder in ["payload", "tile/0", "tile/entries"] {
        let (one, two) = (pack.join(folder).join("000"), pack.join(folder).join("001"));
        let swap = || {
            let (first, second) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
            fs::write(&one, second).unwrap();
            fs::write(&two, first).unwrap();
        };
        swap();
        assert!(!verify::pack(&pack, &key, &[], None).is_clean(), "{folder}");
        swap();
    }
}

/// Changes that touch no leaf and no tile that was signed: nothing may stand in a pack that nobody has signed.
#[test]
fn what_was_added_to_a_pack_is_named() {
    let first_record = |pack: &Path| {
        let payloads = fs::read(pack.join("payload/000")).unwrap();
        let end = u32::from_be_bytes(*payloads.first_chunk().unwrap()) as usize + 4;
        (payloads, end)
    };
    let append = |pack: &Path, more: &[u8]| {
        let path = pack.join("payload/001");
        fs::write(&path, [&fs::read(&path).unwrap()[..], more].concat()).unwrap();
    };
    let table: [(&str, Damage<'_>, &str); 12] = [
        (
            "entries behind the signed ones",
            &|d| {
                let (partial, full) =
                    (d.join("tile/entries/002.p/188"), d.join("tile/entries/002"));
                let signed = fs::read(&partial).unwrap();
                let mut rest = signed.as_slice();
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]])) + 2;
                let forged = rest.split_off(..length).unwrap().repeat(256 - 188);
                fs::write(full, [signed.as_slice(), &forged].concat()).unwrap();
                fs::remove_file(partial).unwrap();
            },
            "tile/entries/002: it is no part of what was signed",
        ),
        (
            "a tile behind the last",
            &|d| fs::write(d.join("tile/0/003"), [0; 32]).unwrap(),
            "tile/0/003: it is no part of what was signed",
        ),
        (
            "a narrower tile",
            &|d| {
                fs::create_dir(d.join("tile/0/001.p")).unwrap();
                let tile = fs::read(d.join("tile/0/001")).unwrap();
                fs::write(d.join("tile/0/001.p/1"), &tile[..32]).unwrap();
            },
            "tile/0/001.p/1: it is no part of what was signed",
        ),
        (
            "a payload behind the last",
            &|d| append(d, b"\0\0\0\0\0\0\0\x05hello"),
            "payload/001: it goes on behind the last payload of an entry",
        ),
        (
            "empty records behind the last",
            &|d| append(d, &[0; 4]),
            "payload/001: it goes on behind the last payload of an entry",
        ),
        (
            "half a record behind the last",
            &|d| append(d, b"\0\0"),
            "payload/001: it cannot be read to its end: unexpected end of file",
        ),
        (
            "a payload of an entry that names none",
            &|d| {
                let (payloads, end) = first_record(d);
                assert_eq!(payloads[end..end + 4], [0; 4], "entry 1 has no payload");
                let forged = [&payloads[..end], b"\0\0\0\x05hello", &payloads[end + 4..]].concat();
                fs::write(d.join("payload/000"), forged).unwrap();
            },
            "entry 1: it names no payload, but payload/000 has one",
        ),
        (
            "payloads of no entry",
            &|d| fs::write(d.join("payload/009"), b"\0\0\0\x05hello").unwrap(),
            "payload/009: it is no part of what was signed",
        ),
        (
            "another head",
            &|d| fs::write(d.join("checkpoint.1"), b"older").unwrap(),
            "checkpoint.1: it is no part of what was signed",
        ),
        (
            "an unfinished file",
            &|d| fs::write(d.join("checkpoint.new"), b"newer").unwrap(),
            "checkpoint.new: it is no part of what was signed",
        ),
        (
            "a write-ahead log",
            &|d| {
                fs::create_dir(d.join("wal")).unwrap();
                fs::write(d.join("wal/1"), b"more").unwrap();
            },
            "wal/1: it is no part of what was signed",
        ),
        (
            "a link",
            &|d| std::os::unix::fs::symlink("/etc", d.join("more")).unwrap(),
            "more: it is no part of what was signed",
        ),
    ];
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    for (name, damage, expected) in table {
        let pack = place.path().join(name);
        export(&place.path().join("log"), &pack, HeadFile::Newest).unwrap();
        damage(&pack);
        for keys in [None, Some(&subject_keys())] {
            let found = findings(&verify::pack(&pack, &key, &[], keys));
            assert!(found.iter().any(|finding| finding.contains(expected)), "{name}: {found:?}");
        }
    }
}

#[test]
fn what_a_node_has_beside_its_signed_log_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let log = place.path().join("log");
    let check = || {
        let report = verify::log(&log, &key, &[], None);
        (report.is_clean(), report.uncovered)
    };
    assert_eq!(check(), (true, 0));
    fs::write(log.join("tile/0/003"), [0; 32]).unwrap();
    fs::write(log.join("notes"), b"mine").unwrap();
    let payloads = fs::read(log.join("payload/002")).unwrap();
    fs::write(log.join("payload/002"), [&payloads[..], &[0; 4]].concat()).unwrap();
    assert_eq!(check(), (true, 3));
    fs::create_dir(log.join("tile/0/001.p")).unwrap();
    fs::write(log.join("tile/0/001.p/1"), [0; 32]).unwrap();
    let report = verify::log(&log, &key, &[], None);
    assert!(findings(&report)[0].contains("tile/0/001.p/1: it is not the start of tile/0/001"));
    fs::remove_dir_all(log.join("tile/0/001.p")).unwrap();
    let payloads = fs::read(log.join("payload/001")).unwrap();
    fs::write(log.join("payload/001"), [&payloads[..], &[0; 4]].concat()).unwrap();
    assert_eq!(check(), (false, 3), "the head covers all of that bundle");
}

/// The head of a live log may be older than its files: the pack holds what the head covers and not a byte more.
#[test]
fn a_pack_of_a_log_that_wrote_ahead_of_its_head_is_clean() {
    let place = tempfile::tempdir().unwrap();
    let (dir, mut heads, mut key) = (place.path().join("log"), Vec::new(), String::new());
    for numbers in [0..120, 120..300] {
        let log = open(place.path());
        let seal = |number: u64| {
            let mut draft = draft(number);
            draft.payload = (number % 100 == 99).then(|| b"secret".to_vec());
            log.seal(draft).unwrap()
        };
        let under_way: Vec<_> = numbers.map(|number| log.append(seal(number))).collect();
        assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
        log.close().unwrap();
        heads.push(fs::read(dir.join("checkpoint")).unwrap());
        key = log.verifier_key();
    }
    fs::write(dir.join("checkpoint"), &heads[0]).unwrap();
    let pack = place.path().join("pack");
    assert_eq!(export(&dir, &pack, HeadFile::Newest).unwrap().size, 120);
    let report = verify::pack(&pack, &key, &[], Some(&subject_keys()));
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!((report.entries, report.commitments), (120, 1));
}

#[test]
fn what_is_missing_cut_off_or_added_is_named() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let original = place.path().join("log");
    let table: [(&str, Damage<'_>, &str); 7] = [
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
        ("no checkpoint", &|d| fs::remove_file(d.join("checkpoint")).unwrap(), "checkpoint"),
    ];
    for (name, damage, expected) in table {
        let pack = place.path().join(name);
        export(&original, &pack, HeadFile::Newest).unwrap();
        damage(&pack);
        let report = verify::pack(&pack, &key, &[], None);
        let found = findings(&report);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{name}: {found:?}");
    }
}

#[test]
fn a_pack_is_clean_and_brings_no_key() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let pack = place.path().join("pack");
    assert_eq!(export(&place.path().join("log"), &pack, HeadFile::Newest).unwrap().size, 700);
    let report = verify::pack(&pack, &key, &[], Some(&subject_keys()));
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!((report.entries, report.commitments), (700, 70));
    let public = key.rsplit('+').next().unwrap();
    let readme = fs::read_to_string(pack.join("README")).unwrap();
    let checkpoint = fs::read_to_string(pack.join("checkpoint")).unwrap();
    assert!(!readme.contains(public) && !checkpoint.contains(public));
    assert!(!pack.join("wal").exists());
    assert!(
        export(&place.path().join("log"), &pack, HeadFile::Newest).is_err(),
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
fn without_the_keys_of_subjects_the_sealed_bytes_are_still_checked() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let dir = place.path().join("log");
    let report = verify::log(&dir, &key, &[], None);
    assert_eq!((report.is_clean(), report.payloads, report.commitments), (true, 70, 0));
    let report = |id, secret| {
        let keys = SubjectKeys::new(Arc::new(KeysInMemory::with(ORGANIZATION, id, secret)));
        verify::log(&dir, &key, &[], Some(&keys))
    };
    let other = report("k1", [3; 32]);
    assert_eq!(other.findings.len(), 70, "a wrong key under the same name opens nothing");
    let gone = report("k2", [3; 32]);
    assert_eq!((gone.payloads, gone.commitments, gone.erased), (70, 0, 0));
    let what = "completeness: entry 0: the key `k1` of its payload is gone, and no entry erased it";
    assert_eq!(findings(&gone)[0], what);
    assert_eq!(gone.findings.len(), 70);
}
