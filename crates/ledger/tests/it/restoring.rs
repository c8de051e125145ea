//! A log that is brought back from an older copy goes on under another name, and says what is lost before anything else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use ledger::{
    HeadFile, Log, Loss, OpenError, Restore, RestoreError, TRUNCATED, TlogPolicy, VerifierKey,
    export,
    verify::{self, Class, Report},
};

use super::{disk::Fate, tamper::findings, *};

const AT: Timestamp = Timestamp::from_millis(1_000);

/// A log of 600 entries of which there is a copy, and that has 700 since.
struct Scene {
    place: tempfile::TempDir,
    /// The head over all 700.
    newest: Vec<u8>,
    key: String,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let log = open(place.path());
        append_all(&log, 0..600);
        log.close().unwrap();
        drop(log);
        copy(&place.path().join("log"), &place.path().join("copy"));
        let log = open(place.path());
        append_all(&log, 600..700);
        log.close().unwrap();
        let key = log.verifier_key();
        let newest = fs::read(place.path().join("log/checkpoint")).unwrap();
        Self { place, newest, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Puts a copy in place of the log; the lock stays what it is.
    fn put_back(&self, from: &str) {
        fs::remove_dir_all(self.path("log")).unwrap();
        copy(&self.path(from), &self.path("log"));
    }

    /// Puts the remembered head back as well.
    fn forget(&self) {
        fs::copy(self.path("log/checkpoint"), self.path("lock/head")).unwrap();
    }

    fn begin(
        &self,
        number: u64,
        heads: &[&[u8]],
        is_certain: bool,
    ) -> Result<Restore, RestoreError> {
        let heads: Vec<Vec<u8>> = heads.iter().map(|head| head.to_vec()).collect();
        let id = EntryId::compose(AT, 7, number);
        Restore::begin(
            config(self.place.path()),
            keys(),
            &Loss { heads: &heads, is_certain, id, at: AT },
        )
    }

    /// Restores, then appends; gives the key since.
    fn restore(&self, number: u64, heads: &[&[u8]], is_certain: bool) -> String {
        let restore = self.begin(number, heads, is_certain).unwrap();
        let key = restore.verifier_key();
        restore.finish(b"the disk died").unwrap();
        let log = open(self.place.path());
        assert_eq!(log.verifier_key(), key);
        append_all(&log, 10_000 * number..10_000 * number + 50);
        log.close().unwrap();
        key
    }

    fn verify(&self, key: &str, older: &[&[u8]]) -> Report {
        let pack = tempfile::tempdir().unwrap();
        export(&self.path("log"), pack.path(), HeadFile::Newest).unwrap();
        verify::pack(pack.path(), key, older, Some(&subject_keys()))
    }
}

const LOST: &str = "completeness: entry 600: entries 600 to 699 were signed for and are lost: the log was restored from an older copy";

/// Nothing in the copy knows what became of it the first time.
#[test]
fn a_copy_that_is_restored_twice_goes_on_under_two_names() {
    let names = [100, 200].map(|second| {
        let scene = Scene::new();
        scene.put_back("copy");
        scene.forget();
        let at = Timestamp::from_millis(second * 1000);
        let loss = Loss { heads: &[], is_certain: true, id: EntryId::compose(at, 7, 1), at };
        Restore::begin(config(scene.place.path()), keys(), &loss).unwrap().verifier_key()
    });
    assert!(names[0].starts_with("acme.example/audit/r100+"), "{names:?}");
    assert!(names[1].starts_with("acme.example/audit/r200+"), "{names:?}");
}

#[test]
fn a_log_from_an_older_copy_opens_only_once_it_says_what_is_lost_and_under_another_name() {
    let scene = Scene::new();
    scene.put_back("copy");
    let behind = Log::open(config(scene.place.path()), keys()).err().unwrap();
    assert!(matches!(behind, OpenError::Behind { size: 600, lock: 700 }), "{behind}");

    let key = scene.restore(1, &[], false);
    assert!(key.starts_with("acme.example/audit/r1+"), "{key}");
    let report = scene.verify(&key, &[]);
    assert_eq!(findings(&report), [LOST]);
    assert!(report.holds(Class::Integrity) && report.holds(Class::Correctness));
    let cut = &report.truncations[0];
    assert_eq!((cut.index, cut.kept, cut.lost_to), (600, 600, Some(700)));
    let log = open(scene.place.path());
    let entry = log.entry(600).unwrap().unwrap();
    assert_eq!(entry.leaf.kind, TRUNCATED);
    assert_eq!(log.open_payload(&entry).unwrap().unwrap(), b"the disk died");
    log.close().unwrap();
    // Whoever has only the former key line does not take the log for the former one.
    assert!(!scene.verify(&scene.key, &[]).holds(Class::Integrity));
}

#[test]
fn heads_of_the_former_name_fit_as_far_as_it_was_kept_and_beyond_that_say_what_is_lost() {
    let scene = Scene::new();
    let kept = fs::read(scene.path("copy/checkpoint")).unwrap();
    scene.put_back("copy");
    let key = scene.restore(1, &[], false);

    let report = scene.verify(&key, &[&kept]);
    assert_eq!(findings(&report), [LOST]);
    assert_eq!(report.held, 600, "entries that an auditor had seen are those");
    let beyond = "completeness: older checkpoint 0: of what it covers, entries 600 to 699 are lost, as entry 600 says";
    assert_eq!(findings(&scene.verify(&key, &[&scene.newest])), [LOST, beyond]);

    // The same once the log has more entries than it had.
    let log = open(scene.place.path());
    append_all(&log, 800..900);
    log.close().unwrap();
    assert_eq!(findings(&scene.verify(&key, &[&scene.newest])), [LOST, beyond]);

    // A head that covers what was kept, and says something else of it, is of another history.
    let former: VerifierKey = scene.key.parse().unwrap();
    let origin = former.name().to_owned();
    let forged = ledger::Checkpoint { origin, size: 599, root: model::Digest([9; 32]) };
    let forged = CheckpointKey::from_seed(&SIGNING).sign(&forged, &former);
    let report = scene.verify(&key, &[forged.as_bytes()]);
    let other = "integrity: older checkpoint 0: the first 599 entries are others than it covers";
    assert_eq!(findings(&report), [other, LOST]);
    // Nor is one of somebody else's key, whatever name it says.
    let theirs = CheckpointKey::from_seed(&[9; 32]);
    let forged = ledger::Checkpoint::unverified(&kept).unwrap();
    let forged = theirs.sign(&forged, &theirs.verifier("acme.example/audit").unwrap());
    assert!(!scene.verify(&key, &[forged.as_bytes()]).holds(Class::Integrity));
}

#[test]
fn a_head_that_was_witnessed_under_the_former_name_still_counts_for_what_it_covers() {
    let scene = Scene::new();
    scene.put_back("copy");
    let note = fs::read(scene.path("log/checkpoint")).unwrap();
    let witness = CheckpointKey::from_seed(&[11; 32]);
    let public = witness.witness("w.example").unwrap();
    let line = witness.cosign(&note, &public, Timestamp::from_seconds(900)).unwrap();
    fs::create_dir_all(scene.path("log/anchor")).unwrap();
    fs::write(scene.path("log/anchor/witnessed"), [&note[..], line.as_bytes()].concat()).unwrap();
    let key = scene.restore(1, &[], false);
    let mut report = scene.verify(&key, &[]);
    let policy = TlogPolicy::parse(format!("witness w {public}\nquorum w\n").as_bytes()).unwrap();
    report.ask_for_witnesses(&key.parse().unwrap(), &policy, Timestamp::from_seconds(1_000));
    assert!(report.holds(Class::Integrity));
    assert_eq!(report.witnessed.map(|it| it.checkpoint.size), Some(600));
}

#[test]
fn what_nobody_needs_or_what_is_no_older_copy_is_not_restored_and_nothing_changes() {
    let scene = Scene::new();
    let before = fs::read(scene.path("log/checkpoint")).unwrap();
    let refused = |heads: &[&[u8]]| scene.begin(1, heads, false).err().unwrap();
    assert!(matches!(refused(&[]), RestoreError::NotNeeded(700)));
    assert!(matches!(refused(&[&scene.newest]), RestoreError::NotNeeded(700)));
    assert!(matches!(refused(&[b"garbage"]), RestoreError::Head { number: 1, .. }));
    let theirs = CheckpointKey::from_seed(&[9; 32]);
    let line = theirs.verifier("acme.example/audit").unwrap();
    let forged = theirs.sign(&ledger::Checkpoint::unverified(&before).unwrap(), &line);
    assert!(matches!(
        refused(&[&scene.newest, forged.as_bytes()]),
        RestoreError::Head { number: 2, .. }
    ));
    let own: VerifierKey = scene.key.parse().unwrap();
    let origin = own.name().to_owned();
    let fork = ledger::Checkpoint { origin, size: 650, root: model::Digest([9; 32]) };
    let fork = CheckpointKey::from_seed(&SIGNING).sign(&fork, &own);
    assert!(matches!(refused(&[fork.as_bytes()]), RestoreError::Forked(650)));
    let log = open(scene.place.path());
    assert_eq!(log.verifier_key(), scene.key, "it opens as before");
    let in_use = scene.begin(1, &[], true).err().unwrap();
    assert!(matches!(in_use, RestoreError::Open(OpenError::InUse(_))), "{in_use}");
    drop(log);
    let nothing =
        Scene { place: tempfile::tempdir().unwrap(), newest: Vec::new(), key: String::new() };
    assert!(matches!(nothing.begin(1, &[], true).err().unwrap(), RestoreError::NoLog));

    // A damaged copy is none.
    scene.put_back("copy");
    let bundle = scene.path("log/tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[500] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    assert!(matches!(refused(&[]), RestoreError::Open(OpenError::Forked(600))));
    assert!(!scene.path("log/restoring").exists());
}

#[test]
fn a_loss_that_only_others_show_or_nobody_is_restored_when_somebody_says_so() {
    let scene = Scene::new();
    scene.put_back("copy");
    scene.forget();
    assert!(matches!(scene.begin(1, &[], false).err().unwrap(), RestoreError::NotNeeded(600)));
    copy(&scene.path("log"), &scene.path("again"));
    let key = scene.restore(1, &[&scene.newest], false);
    assert_eq!(findings(&scene.verify(&key, &[])), [LOST]);

    scene.put_back("again");
    scene.forget();
    let key = scene.restore(2, &[], true);
    let unknown = "completeness: entry 600: entries from 600 on are lost, nobody knows how many: the log was restored from an older copy";
    assert_eq!(findings(&scene.verify(&key, &[])), [unknown]);
}

#[test]
fn a_second_restore_has_the_next_name_also_from_a_copy_of_before_the_first() {
    let scene = Scene::new();
    scene.put_back("copy");
    scene.restore(1, &[], false);
    copy(&scene.path("log"), &scene.path("copy-of-r1"));
    let log = open(scene.place.path());
    append_all(&log, 20_000..20_010);
    log.close().unwrap();
    drop(log);
    let of_r1 = fs::read(scene.path("log/checkpoint")).unwrap();

    // From a copy of the restored log.
    scene.put_back("copy-of-r1");
    let key = scene.restore(2, &[], false);
    assert!(key.starts_with("acme.example/audit/r2+"), "{key}");
    let second = "completeness: entry 651: entries 651 to 660 were signed for and are lost: the log was restored from an older copy";
    assert_eq!(findings(&scene.verify(&key, &[])), [LOST, second]);

    // A head of a later name is none of an earlier log.
    let later = fs::read(scene.path("log/checkpoint")).unwrap();
    let former = tempfile::tempdir().unwrap();
    export(&scene.path("copy-of-r1"), former.path(), HeadFile::Newest).unwrap();
    let r1 = CheckpointKey::from_seed(&SIGNING).verifier("acme.example/audit/r1").unwrap();
    let report = verify::pack(former.path(), &r1.to_string(), &[&later], None);
    assert!(!report.holds(Class::Integrity), "{:?}", findings(&report));

    // From the copy of before; the lock remembers the later names.
    scene.put_back("copy");
    let refused = Log::open(config(scene.place.path()), keys()).err().unwrap();
    assert!(matches!(refused, OpenError::Note { file: "checkpoint", .. }), "{refused}");
    let key = scene.restore(3, &[], false);
    assert!(key.starts_with("acme.example/audit/r3+"), "{key}");
    let report = scene.verify(&key, &[&of_r1]);
    assert_eq!(report.truncations.len(), 1);
    assert!(
        report.holds(Class::Integrity) && !report.holds(Class::Completeness),
        "{:?}",
        findings(&report)
    );
}

#[test]
fn a_restore_that_was_cut_goes_on_and_says_what_is_lost_once() {
    let scene = Scene::new();
    scene.put_back("copy");
    let begun = scene.begin(1, &[], false).unwrap();
    let key = begun.verifier_key();
    drop(begun);
    let refused = Log::open(config(scene.place.path()), keys()).err().unwrap();
    assert!(matches!(refused, OpenError::Restoring), "{refused}");
    let mark = fs::read(scene.path("log/restoring")).unwrap();
    // Begun again, by another id: what was begun is what is done.
    scene.begin(2, &[], false).unwrap().finish(b"why").unwrap();
    assert_eq!(findings(&scene.verify(&key, &[])), [LOST]);
    // As if it had been cut just before its end.
    fs::write(scene.path("log/restoring"), &mark).unwrap();
    scene.begin(3, &[], false).unwrap().finish(b"why").unwrap();
    let report = scene.verify(&key, &[]);
    assert_eq!(findings(&report), [LOST]);
    assert_eq!(report.checkpoint.unwrap().size, 601);

    fs::write(scene.path("log/restoring"), &mark[1..]).unwrap();
    let damaged = scene.begin(4, &[], false).err().unwrap();
    assert!(matches!(damaged, RestoreError::Open(OpenError::Damaged { .. })), "{damaged}");
}

#[test]
fn a_power_cut_at_any_step_of_a_restore_leaves_one_that_can_be_ended() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    append_all(&log, 0..300);
    log.close().unwrap();
    drop(log);
    let copy = disk.as_it_is();
    let log = open_on(&disk, &lock);
    append_all(&log, 300..310);
    log.close().unwrap();
    drop(log);
    let restore = |disk: &Disk, lock: &Disk, number: u64| {
        let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
        let id = EntryId::compose(AT, 7, number);
        let loss = Loss { heads: &[], is_certain: false, id, at: AT };
        Restore::begin_on(config(Path::new("")), keys(), media, &loss)?.finish(b"why")
    };
    let (mut steps, mut is_over) = (0, false);
    while !is_over {
        let (cut, cut_lock, left) =
            (copy.as_it_is(), lock.as_it_is(), Arc::new(AtomicUsize::new(steps)));
        for disk in [&cut, &cut_lock] {
            let left = Arc::clone(&left);
            disk.hook(move |_, _| {
                let count = |left: usize| left.checked_sub(1);
                match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(std::io::Error::from_raw_os_error(5)),
                }
            });
        }
        is_over = restore(&cut, &cut_lock, 1).is_ok();
        let (cut, cut_lock) =
            (cut.after_power_cut(|_| Fate::Lost), cut_lock.after_power_cut(|_| Fate::Lost));
        if !is_over {
            assert!(
                try_open_on(&cut.as_it_is(), &cut_lock.as_it_is()).is_err(),
                "{steps}: nobody goes on before"
            );
        }
        match restore(&cut, &cut_lock, 2) {
            Ok(()) => {}
            Err(RestoreError::NotNeeded(301)) => assert!(is_over, "{steps}"),
            Err(other) => panic!("{steps}: {other}"),
        }
        let log = open_on(&cut, &cut_lock);
        assert!(log.verifier_key().starts_with("acme.example/audit/r1+"), "{steps}");
        let said = entries(&log).into_iter().filter(|entry| entry.leaf.kind == TRUNCATED);
        assert_eq!(said.map(|entry| entry.index).collect::<Vec<_>>(), [300], "{steps}");
        log.close().unwrap();
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn a_log_that_says_of_a_restore_what_may_not_be_is_found() {
    let scene = Scene::new();
    let key = CheckpointKey::from_seed(&SIGNING);
    let told = |body: &str, name: &str, kind: Option<&str>| {
        scene.put_back("copy");
        scene.forget();
        let log = open(scene.place.path());
        if let Some(kind) = kind {
            let mut before = draft(4_000_000);
            before.kind = kind.to_owned();
            let body = serde_json::json!({ "causes": ["failed"], "from": 1, "n": 1, "to": 2 });
            before.body = Canonical::of(&body).unwrap();
            log.append(log.seal(before).unwrap()).wait().unwrap();
        }
        let mut draft = draft(5_000_000);
        draft.kind = TRUNCATED.to_owned();
        draft.body =
            Canonical::of(&serde_json::from_str::<serde_json::Value>(body).unwrap()).unwrap();
        log.append(log.seal(draft).unwrap()).wait().unwrap();
        log.close().unwrap();
        let pack = tempfile::tempdir().unwrap();
        export(&scene.path("log"), pack.path(), HeadFile::Newest).unwrap();
        let line = key.verifier(name).unwrap();
        let note = fs::read(pack.path().join("checkpoint")).unwrap();
        let head = ledger::Checkpoint::unverified(&note).unwrap();
        let head = ledger::Checkpoint { origin: name.to_owned(), ..head };
        fs::write(pack.path().join("checkpoint"), key.sign(&head, &line)).unwrap();
        findings(&verify::pack(pack.path(), &line.to_string(), &[], None))
    };
    let restored = "acme.example/audit/r1";
    let says = |body: &str, name: &str, what: &str| {
        let found = told(body, name, None);
        assert!(found.iter().any(|it| it.contains(what)), "{body}: {found:?}");
    };
    says("{}", restored, "neither what was kept nor the log's name since");
    says(
        r#"{"kept":7,"name":"acme.example/audit/r1"}"#,
        restored,
        "it says that 7 entries were kept, and is not the next",
    );
    says(r#"{"kept":600,"name":"other/r1"}"#, restored, "`other/r1` is no later name of this log");
    says(r#"{"kept":600,"name":"acme.example/audit"}"#, restored, "is no later name");
    says(
        r#"{"kept":600,"name":"acme.example/audit/r2"}"#,
        restored,
        "no entry says what was lost when the log became `acme.example/audit/r1`",
    );
    says(
        r#"{"kept":600,"name":"acme.example/audit/r1"}"#,
        "acme.example/audit",
        "no entry says what was lost when",
    );
    // A gap that was open before comes before it, and nothing else may.
    let kept = r#"{"kept":600,"name":"acme.example/audit/r1"}"#;
    assert_eq!(told(kept, restored, Some("gap")).len(), 1, "the loss alone");
    let found = told(kept, restored, Some("decision"));
    assert!(found.iter().any(|it| it.contains("and is not the next")), "{found:?}");
}
