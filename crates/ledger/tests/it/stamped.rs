//! Heads with timestamps, as `verify` judges them without the authority's certificates. Real tokens are made and checked by
//! OpenSSL in the tests of `bailiwick`.

use std::{fs, path::PathBuf};

use ledger::{HeadFile, TimestampError, TimestampRequest, export, stamped_sizes, verify};

use super::{
    tamper::{findings, log_of_700},
    *,
};

/// What an authority would answer to this head, as far as it is looked at here: it is made of what a request says.
fn token(note: &[u8]) -> Vec<u8> {
    let request = TimestampRequest::of(note, [1; 8]).to_der();
    let element = |tag: u8, parts: &[&[u8]]| -> Vec<u8> {
        let content = parts.concat();
        let length = (content.len() as u16).to_be_bytes();
        let head =
            if content.len() < 128 { vec![tag, length[1]] } else { vec![tag, 0x81, length[1]] };
        [head, content].concat()
    };
    let imprint = &request[5..56];
    let info = element(
        0x30,
        &[&[2, 1, 1, 6, 1, 0x2a], imprint, &[2, 1, 9], &element(0x18, &[b"20261123050203Z"])],
    );
    let info = element(0xa0, &[&element(4, &[&info])]);
    let kind = [6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
    let signed = element(0x30, &[&[2, 1, 3, 0x31, 0], &element(0x30, &[&kind, &info])]);
    let kind = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let token = element(0x30, &[&kind, &element(0xa0, &[&signed])]);
    element(0x30, &[&[0x30, 3, 2, 1, 0], &token])
}

/// A log of 720 entries, of whose first 700 a stamped head is kept, and a pack of it.
struct Scene {
    place: tempfile::TempDir,
    pack: PathBuf,
    key: String,
    note: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let key = log_of_700(place.path());
        let (dir, pack) = (place.path().join("log"), place.path().join("pack"));
        let log = open(place.path());
        let note = fs::read(dir.join("checkpoint")).unwrap();
        log.keep_stamped(700, &note, &token(&note)).unwrap();
        append_all(&log, 700..720);
        log.close().unwrap();
        export(&dir, &pack, HeadFile::Newest).unwrap();
        Self { place, pack, key, note }
    }

    fn findings(&self) -> Vec<String> {
        findings(&verify::pack(&self.pack, &self.key, &[], None))
    }

    fn stamped(&self, name: &str) -> PathBuf {
        self.pack.join("anchor/stamped").join(name)
    }
}

#[test]
fn verify_says_which_head_was_stamped_when_what_it_did_not_check_and_what_is_behind() {
    let scene = Scene::new();
    let report = verify::pack(&scene.pack, &scene.key, &[], None);
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!(report.unanchored(), Some(700..=719));
    let text = report.to_string();
    for line in [
        "stamped: 700 entries, at 2026-11-23T05:02:03.000Z by the token's own word\n",
        "not anchored: entries 700 to 719, ",
        "does not say: that an authority gave these timestamps: ",
        "`openssl ts -verify -data anchor/stamped/700 -in anchor/stamped/700.tsr -CAfile CERTIFICATE`",
    ] {
        assert!(text.contains(line), "`{line}` is not in {text}");
    }
    let document = report.document();
    assert_eq!(document["stamped"][0]["size"], 700);
    assert_eq!(document["unanchored"], serde_json::json!({ "from": 700, "to": 719 }));
    assert!(verify::log(&scene.place.path().join("log"), &scene.key, &[], None).is_clean());

    // A copy that ends before a stamped head does not have it.
    let (dir, older) = (scene.place.path().join("log"), scene.place.path().join("older"));
    fs::write(dir.join("anchor/witnessed"), &scene.note).unwrap();
    fs::rename(dir.join("anchor/stamped/700"), dir.join("anchor/stamped/701")).unwrap();
    fs::rename(dir.join("anchor/stamped/700.tsr"), dir.join("anchor/stamped/701.tsr")).unwrap();
    export(&dir, &older, HeadFile::Witnessed).unwrap();
    assert_eq!(stamped_sizes(&older).unwrap(), [0_u64; 0]);
}

#[test]
fn a_stamped_head_that_is_not_whole_or_not_of_this_log_is_found_and_counts_for_nothing() {
    let scene = Scene::new();
    let (head, tsr) = (scene.stamped("700"), scene.stamped("700.tsr"));
    let whole = fs::read(&tsr).unwrap();
    let other = CheckpointKey::from_seed(&SIGNING);
    let key = scene.key.parse::<ledger::VerifierKey>().unwrap();
    let forged = ledger::Checkpoint {
        origin: key.name().to_owned(),
        size: 700,
        root: model::Digest([9; 32]),
    };
    let forged = other.sign(&forged, &key).into_bytes();

    let found = |what: &str, note: Option<&[u8]>, response: Option<&[u8]>| {
        let put = |path: &PathBuf, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        };
        put(&head, note);
        put(&tsr, response);
        let report = verify::pack(&scene.pack, &scene.key, &[], None);
        let said = findings(&report);
        assert!(said.iter().any(|it| it.starts_with(what)), "{what}: {said:?}");
        assert_eq!(report.unanchored(), None, "{what}");
        assert!(!report.to_string().contains("\n  stamped"), "{what}");
        fs::write(&head, &scene.note).unwrap();
        fs::write(&tsr, &whole).unwrap();
        assert_eq!(scene.findings(), [""; 0]);
    };
    let note = Some(&scene.note[..]);
    found(
        "integrity: anchor/stamped/700.tsr: it is a timestamp of something else",
        note,
        Some(&token(b"x")),
    );
    found("integrity: anchor/stamped/700.tsr: it is no timestamp response", note, Some(b"garbage"));
    found("integrity: anchor/stamped/700: it or its timestamp cannot be read", note, None);
    found(
        "integrity: anchor/stamped/700.tsr: it is no part of what was signed",
        None,
        Some(&whole),
    );
    let forged_token = token(&forged);
    found(
        "integrity: anchor/stamped/700: the first 700 entries are others",
        Some(&forged),
        Some(&forged_token),
    );
    found(
        "integrity: anchor/stamped/700: it is no head of 700 entries",
        Some(b"x"),
        Some(&token(b"x")),
    );

    fs::write(scene.stamped("700.tsr.new"), b"").unwrap();
    fs::write(scene.stamped("0700"), b"").unwrap();
    let stray = "it is no part of what was signed";
    assert_eq!(
        scene.findings(),
        ["0700", "700.tsr.new"].map(|name| format!("integrity: anchor/stamped/{name}: {stray}"))
    );
}

#[test]
fn more_stamped_heads_than_a_log_keeps_are_not_read_and_neither_is_what_is_no_folder() {
    let scene = Scene::new();
    for size in 1..65 {
        fs::write(scene.stamped(&size.to_string()), "").unwrap();
    }
    let many = "integrity: anchor/stamped: there are 65 stamped heads, more than a log keeps";
    assert!(scene.findings().contains(&many.to_owned()), "{:?}", scene.findings());
    fs::remove_dir_all(scene.pack.join("anchor/stamped")).unwrap();
    fs::write(scene.pack.join("anchor/stamped"), "").unwrap();
    let found = scene.findings();
    assert!(
        found.iter().any(|it| it.starts_with("integrity: anchor/stamped: Not a directory")),
        "{found:?}"
    );
}

#[test]
fn stamped_heads_reach_back_to_the_first_and_do_not_grow_without_end() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    for size in 1..=200 {
        log.keep_stamped(size, b"head", b"token").unwrap();
    }
    let sizes = stamped_sizes(&place.path().join("log")).unwrap();
    assert!(sizes.len() <= 32, "{sizes:?}");
    assert_eq!((sizes.first(), sizes.last()), (Some(&1), Some(&200)));
    assert!(
        sizes.ends_with(&(185..=200).collect::<Vec<_>>()),
        "the newest are all there: {sizes:?}"
    );
    let files = fs::read_dir(place.path().join("log/anchor/stamped")).unwrap().count();
    assert_eq!(files, sizes.len() * 2, "each has its timestamp, and nothing is left of others");
}

#[test]
fn a_request_is_answered_by_its_own_response_alone() {
    let request = TimestampRequest::of(b"head", [1; 8]);
    assert_eq!(request.check(&token(b"head")), Err(TimestampError::OtherNonce));
    assert_eq!(request.check(&token(b"other")), Err(TimestampError::OtherImprint));
}
