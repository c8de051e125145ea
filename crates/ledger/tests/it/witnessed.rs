//! Heads that witnesses have cosigned, and what `verify` says of their lines.

use std::{fs, path::PathBuf};

use ledger::{
    Checkpoint, CheckpointKey, HeadFile, TlogPolicy, export,
    verify::{self, Class, Report},
};
use model::{Digest, Timestamp};

use super::{
    tamper::{findings, log_of_700},
    *,
};

const NOW: Timestamp = Timestamp::from_seconds(1_000);

/// A log of 720 entries, of whose first 700 a witnessed head is kept, and a pack of it.
struct Scene {
    _place: tempfile::TempDir,
    log: PathBuf,
    pack: PathBuf,
    key: ledger::VerifierKey,
    policy: TlogPolicy,
}

fn witness(number: u8) -> (CheckpointKey, ledger::WitnessKey) {
    let key = CheckpointKey::from_seed(&[number; 32]);
    let public = key.witness(&format!("w{number}.example")).unwrap();
    (key, public)
}

/// The line of a witness under a head, of this time.
fn line(number: u8, note: &[u8], seconds: i64) -> Vec<u8> {
    let (key, public) = witness(number);
    key.cosign(note, &public, Timestamp::from_seconds(seconds)).unwrap().into_bytes()
}

/// One of two witnesses is enough.
fn policy() -> TlogPolicy {
    let (one, two) = (witness(11).1, witness(12).1);
    let text = format!("witness 1 {one}\nwitness 2 {two}\ngroup any any 1 2\nquorum any\n");
    TlogPolicy::parse(text.as_bytes()).unwrap()
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let key = log_of_700(place.path()).parse().unwrap();
        let (log_dir, pack) = (place.path().join("log"), place.path().join("pack"));
        let log = open(place.path());
        let note = fs::read(log_dir.join("checkpoint")).unwrap();
        log.keep_witnessed(&[&note[..], &line(11, &note, 900)].concat()).unwrap();
        append_all(&log, 700..720);
        log.close().unwrap();
        export(&log_dir, &pack, HeadFile::Newest).unwrap();
        Self { _place: place, log: log_dir, pack, key, policy: policy() }
    }

    fn note(&self) -> Vec<u8> {
        fs::read(self.pack.join("checkpoint")).unwrap()
    }

    fn kept(&self) -> Vec<u8> {
        fs::read(self.pack.join(HeadFile::Witnessed.name())).unwrap()
    }

    fn pack(&self, older: &[&[u8]]) -> Report {
        let mut report = verify::pack(&self.pack, &self.key.to_string(), older, None);
        assert!(report.is_clean(), "{:?}", findings(&report));
        report.ask_for_witnesses(&self.key, &self.policy, NOW);
        report
    }

    fn sign(&self, size: u64, root: Digest) -> String {
        let origin = self.key.name().to_owned();
        CheckpointKey::from_seed(&SIGNING).sign(&Checkpoint { origin, size, root }, &self.key)
    }
}

#[test]
fn entries_of_a_pack_behind_the_newest_witnessed_head_are_missing_from_what_is_witnessed() {
    let scene = Scene::new();
    let report = scene.pack(&[]);
    let tail = "completeness: checkpoint: no witnessed head covers entries 700 to 719";
    assert_eq!(findings(&report), [tail]);
    assert!(report.holds(Class::Integrity) && !report.holds(Class::Completeness));
    assert_eq!(report.witnessed.map(|it| it.checkpoint.size), Some(700));

    // A node's own log is always a little ahead: that is said, and is no finding.
    let mut own = verify::log(&scene.log, &scene.key.to_string(), &[], None);
    own.ask_for_witnesses(&scene.key, &scene.policy, NOW);
    assert!(own.is_clean(), "{:?}", findings(&own));
    assert_eq!(own.unwitnessed(), Some(700..=719));

    // Once the newest head is witnessed, too, nothing is left.
    let note = scene.note();
    fs::write(scene.pack.join("checkpoint"), [&note[..], &line(12, &note, 950)].concat()).unwrap();
    let report = scene.pack(&[]);
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!((report.witnessed.map(|it| it.checkpoint.size)), Some(720));
}

#[test]
fn a_bad_line_of_a_known_witness_is_found_in_every_head() {
    let scene = Scene::new();
    let (note, kept) = (scene.note(), scene.kept());
    let other = [&note[..], &line(12, &kept, 950)].concat();
    let file = HeadFile::Witnessed.name();
    let bad = |place: &str, who: &str| {
        format!("integrity: {place}: the signature by the key `{who}` does not fit the text")
    };
    let tail = "completeness: checkpoint: no witnessed head covers entries 700 to 719".to_owned();
    let none = "integrity: checkpoint: no head is witnessed as the policy wants it".to_owned();

    fs::write(scene.pack.join("checkpoint"), &other).unwrap();
    assert_eq!(findings(&scene.pack(&[])), [bad("checkpoint", "w12.example"), tail.clone()]);
    fs::write(scene.pack.join("checkpoint"), &note).unwrap();

    let spoiled = [&kept[..], &line(12, &note, 950)].concat();
    fs::write(scene.pack.join(file), &spoiled).unwrap();
    let found = findings(&scene.pack(&[]));
    assert_eq!(found[0], bad(file, "w12.example"));
    assert!(found[1].starts_with(&none), "{found:?}");
    fs::write(scene.pack.join(file), &kept).unwrap();

    assert_eq!(findings(&scene.pack(&[&kept])), std::slice::from_ref(&tail));
    assert_eq!(
        findings(&scene.pack(&[&kept, &spoiled])),
        [bad("older checkpoint 1", "w12.example"), tail]
    );
}

#[test]
fn a_witnessed_head_that_the_auditor_kept_counts_like_one_of_the_pack() {
    let scene = Scene::new();
    let kept = scene.kept();
    fs::remove_dir_all(scene.pack.join("anchor")).unwrap();
    let none = "integrity: checkpoint: no head is witnessed as the policy wants it: 0 of 2 witnesses have cosigned the head, which is no quorum";
    assert_eq!(findings(&scene.pack(&[])), [none]);
    let report = scene.pack(&[&kept]);
    assert_eq!(report.witnessed.as_ref().map(|it| it.checkpoint.size), Some(700));
    assert!(report.holds(Class::Integrity), "{:?}", findings(&report));

    // What was signed comes before what is missing.
    fs::remove_file(scene.pack.join("payload/001")).unwrap();
    let mut report = verify::pack(&scene.pack, &scene.key.to_string(), &[], None);
    assert!(!report.holds(Class::Completeness) && report.holds(Class::Integrity));
    report.ask_for_witnesses(&scene.key, &scene.policy, NOW);
    assert_eq!(findings(&report)[0], none);
}

#[test]
fn a_line_from_the_future_counts_for_nobody_and_spoils_nothing() {
    let scene = Scene::new();
    let note = scene.note();
    let early = [&note[..], &line(11, &note, 1_031), &line(12, &note, 900)].concat();
    fs::write(scene.pack.join("checkpoint"), early).unwrap();
    let report = scene.pack(&[]);
    assert!(report.is_clean(), "{:?}", findings(&report));
    let by: Vec<_> = report.witnessed.unwrap().by.into_iter().map(|(name, _)| name).collect();
    assert_eq!(by, ["w12.example"]);
}

#[test]
fn a_head_that_is_not_of_this_log_or_whose_policy_wants_nobody_is_not_called_witnessed() {
    let scene = Scene::new();
    let forged = scene.sign(700, Digest([7; 32])).into_bytes();
    let forged = [&forged[..], &line(11, &forged, 900)].concat();
    fs::write(scene.pack.join(HeadFile::Witnessed.name()), forged).unwrap();
    let mut report = verify::pack(&scene.pack, &scene.key.to_string(), &[], None);
    report.ask_for_witnesses(&scene.key, &scene.policy, NOW);
    assert_eq!(report.witnessed, None);
    let found = findings(&report);
    assert!(found[0].contains("anchor/witnessed: the first 700 entries are others"), "{found:?}");
    assert!(found[1].contains("no head is witnessed as the policy wants it"), "{found:?}");

    let scene = Scene::new();
    let mut report = verify::pack(&scene.pack, &scene.key.to_string(), &[], None);
    let none = format!("witness 1 {}\nquorum none\n", witness(11).1);
    let none = TlogPolicy::parse(none.as_bytes()).unwrap();
    report.ask_for_witnesses(&scene.key, &none, NOW);
    assert!(report.is_clean(), "{:?}", findings(&report));
    assert_eq!(report.witnessed, None, "nobody had to");
}

#[test]
fn a_head_that_was_kept_for_its_witnesses_is_held_against_the_entries() {
    let place = tempfile::tempdir().unwrap();
    let key = log_of_700(place.path());
    let (dir, pack) = (place.path().join("log"), place.path().join("pack"));
    assert!(export(&dir, &pack, HeadFile::Witnessed).is_err(), "there is none");
    let log = open(place.path());
    let newest = fs::read(dir.join("checkpoint")).unwrap();
    log.keep_witnessed(&newest).unwrap();
    append_all(&log, 700..720);
    log.close().unwrap();
    export(&dir, &pack, HeadFile::Newest).unwrap();
    let check = || verify::pack(&pack, &key, &[], None);
    assert!(check().is_clean(), "{:?}", findings(&check()));
    let witnessed = place.path().join("witnessed");
    assert_eq!(export(&dir, &witnessed, HeadFile::Witnessed).unwrap().size, 700);
    assert!(verify::pack(&witnessed, &key, &[], None).is_clean());

    let kept = pack.join(HeadFile::Witnessed.name());
    let signing = ledger::CheckpointKey::from_seed(&SIGNING);
    let verifier: ledger::VerifierKey = key.parse().unwrap();
    let mut forged = verifier.open(&newest).unwrap();
    forged.root.0[0] ^= 1;
    let mut longer = forged.clone();
    longer.size = 10_000;
    for wrong in
        [signing.sign(&forged, &verifier), signing.sign(&longer, &verifier), "no".to_owned()]
    {
        fs::write(&kept, wrong).unwrap();
        let found = findings(&check());
        assert!(found.iter().any(|it| it.contains("anchor/witnessed")), "{found:?}");
    }
}
