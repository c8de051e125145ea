//! What is sealed for a subject can be erased: the key is destroyed, the bytes are written over, the proofs stay.

use std::{fs, io::ErrorKind, sync::atomic::Ordering::Relaxed};

use ledger::{
    ExportError, HeadFile, PayloadError, SealedFor, TlogProof, export,
    verify::{self, Erasure, Report},
};

use super::*;
use crate::disk::Fate;

const OLIVIA: &str = "person/olivia";
const PETER: &str = "person/peter";

fn said(number: u64, subject: &str) -> Draft {
    let mut draft = draft(number);
    draft.subject = Some(subject.to_owned());
    draft.payload = Some(format!("{subject} said {number}").into_bytes());
    draft
}

/// What a subject says in these tests.
fn whose(subject: &str) -> SealedFor {
    let said = said(0, subject);
    SealedFor::new(subject, said.class, said.at)
}

/// The entry that erases these keys.
fn erasure(log: &Log, number: u64, keys: &[String]) -> Receipt {
    gone(log, "erasure", number, keys)
}

/// An entry of this kind that says that what these keys seal is gone: all of it is older than the entry.
fn gone(log: &Log, kind: &str, number: u64, keys: &[String]) -> Receipt {
    let mut draft = draft(number);
    draft.kind = kind.to_owned();
    let keys = keys.iter().cloned().map(Json::String).collect();
    let until = Json::Integer(draft.at.millis());
    let body = Json::object([("keys", Json::Array(keys)), ("until", until)]);
    draft.body = Canonical::of(&body).unwrap();
    log.append(log.seal(draft).unwrap()).wait().unwrap()
}

/// A log in which both have said something 300 times, one after the other; entries with an even index are Olivia's.
fn conversation(log: &Log) {
    let under_way: Vec<_> = (0..600)
        .map(|number| said(number, if number % 2 == 0 { OLIVIA } else { PETER }))
        .map(|draft| log.append(log.seal(draft).unwrap()))
        .collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
}

fn store() -> Arc<KeysInMemory> {
    Arc::default()
}

fn open_with(place: &Path, store: &Arc<KeysInMemory>) -> Log {
    let subjects: Arc<dyn KeyStore> = store.clone();
    Log::open(config(place), Keys { checkpoint: CheckpointKey::from_seed(&SIGNING), subjects })
        .unwrap()
}

fn checked(place: &Path, key: &str, store: &Arc<KeysInMemory>) -> Report {
    let keys = SubjectKeys::new(store.clone());
    verify::log(&place.join("log"), key, &[], Some(&keys))
}

fn opened(log: &Log, index: u64) -> Result<String, PayloadError> {
    let payload = log.open_payload(&log.entry(index).unwrap().unwrap())?;
    Ok(String::from_utf8(payload.unwrap()).unwrap())
}

fn findings(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_erased_is_gone_and_everything_else_is_as_it_was() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    conversation(&log);
    let before = opened(&log, 599).unwrap();
    let ids = log.end_keys(OLIVIA).unwrap();
    assert_eq!(ids.len(), 1);
    let receipt = erasure(&log, 600, &ids);
    assert_eq!(log.erase(receipt.index, &ids).unwrap(), 300);

    assert!(matches!(opened(&log, 0), Err(PayloadError::Erased(600))));
    assert_eq!(
        (before, opened(&log, 599).unwrap()),
        (opened(&log, 599).unwrap(), "person/peter said 599".to_owned())
    );
    // What she says from now on has a key that nobody erased.
    let later = log.append(log.seal(said(601, OLIVIA)).unwrap()).wait().unwrap();
    assert_eq!(opened(&log, later.index).unwrap(), "person/olivia said 601");
    log.close().unwrap();

    let key = log.verifier_key();
    let report = checked(place.path(), &key, &store);
    assert_eq!(findings(&report), [""; 0]);
    assert_eq!((report.entries, report.payloads, report.commitments), (602, 301, 301));
    assert_eq!(
        (report.erased, &*report.erasures),
        (300, &[Erasure { index: 600, payloads: 300, expired: false }][..])
    );
    let pack = place.path().join("pack");
    export(&place.path().join("log"), &pack, HeadFile::Newest).unwrap();
    let report = verify::pack(&pack, &key, &[], None);
    assert!(report.is_clean() && report.erased == 300, "{report:?}");
    let note = fs::read(place.path().join("log/checkpoint")).unwrap();
    assert!(TlogProof::make(&place.path().join("log"), &note, 0).is_ok());
}

#[test]
fn a_process_that_ends_between_the_steps_is_followed_by_one_that_does_the_rest() {
    for (step, kind) in [("entry", "erasure"), ("key", "erasure"), ("entry", "expiry")] {
        let (place, store) = (tempfile::tempdir().unwrap(), store());
        let log = open_with(place.path(), &store);
        conversation(&log);
        let ids = log.end_keys(OLIVIA).unwrap();
        gone(&log, kind, 600, &ids);
        if step == "key" {
            store.destroy(&ids).unwrap();
        }
        drop(log);
        let log = open_with(place.path(), &store);
        let by = match opened(&log, 0).unwrap_err() {
            PayloadError::Erased(by) if kind == "erasure" => by,
            PayloadError::Expired(by) if kind == "expiry" => by,
            other => panic!("{step} of {kind}: {other}"),
        };
        assert_eq!(by, 600);
        assert!(store.by_id(&ids[0]).unwrap().is_none(), "{step}");
        let payloads = fs::read(place.path().join("log/payload/000")).unwrap();
        let length = u32::from_be_bytes(*payloads.first_chunk().unwrap()) as usize;
        assert!(payloads[4..4 + length].iter().all(|byte| *byte == 0), "{step}");
        log.close().unwrap();
        let report = checked(place.path(), &log.verifier_key(), &store);
        assert_eq!((findings(&report).len(), report.erased), (0, 300), "{step}");
    }
}

#[test]
fn an_old_store_of_keys_that_was_put_back_is_noticed_and_gives_nothing_back() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    conversation(&log);
    let ids = log.end_keys(OLIVIA).unwrap();
    let old = store.by_id(&ids[0]).unwrap().unwrap();
    let receipt = erasure(&log, 600, &ids);
    log.erase(receipt.index, &ids).unwrap();
    let key = log.verifier_key();
    drop(log);

    store.keep(&[(whose(OLIVIA), old)]).unwrap();
    let report = checked(place.path(), &key, &store);
    let what =
        format!("correctness: entry 600: it erased the key `{}`, which is there again", ids[0]);
    assert_eq!(findings(&report), [what]);
    let log = open_with(place.path(), &store);
    assert!(store.by_id(&ids[0]).unwrap().is_none());
    assert!(matches!(opened(&log, 0), Err(PayloadError::Erased(600))));
}

#[test]
fn a_payload_that_is_gone_and_that_no_entry_erased_is_a_finding() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    conversation(&log);
    let key = log.verifier_key();
    drop(log);
    let ids = store.ids(OLIVIA).unwrap();
    store.destroy(&ids).unwrap();
    let report = checked(place.path(), &key, &store);
    assert_eq!(report.findings.len(), 300);
    assert!(findings(&report)[0].contains("is gone, and no entry erased it"));
    let payloads = place.path().join("log/payload/000");
    let mut bytes = fs::read(&payloads).unwrap();
    bytes[4..40].fill(0);
    fs::write(&payloads, bytes).unwrap();
    let report = verify::log(&place.path().join("log"), &key, &[], None);
    let what = "integrity: entry 0: its payload in payload/000 is not the one it names";
    assert_eq!(findings(&report), [what]);
    let log = open_with(place.path(), &store);
    assert!(matches!(opened(&log, 0), Err(PayloadError::NoKey(_))));
}

#[test]
fn nothing_is_sealed_under_a_key_behind_the_entry_that_erased_it() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    let late = log.seal(said(0, OLIVIA)).unwrap();
    let ids = store.ids(OLIVIA).unwrap();
    assert!(matches!(log.end_keys(OLIVIA), Err(ledger::EraseError::InUse)));
    erasure(&log, 1, &ids);
    log.append(late).wait().unwrap();
    log.close().unwrap();
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &[], None);
    let what = "correctness: entry 1: its payload has a key that entry 0 had erased before";
    assert_eq!(findings(&report), [what]);
}

#[test]
fn one_subjects_key_opens_nothing_of_another() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    conversation(&log);
    // Peter's key under the name of Olivia's.
    let (hers, his) = (store.ids(OLIVIA).unwrap(), store.ids(PETER).unwrap());
    let mut his = store.by_id(&his[0]).unwrap().unwrap();
    store.destroy(&hers).unwrap();
    his.id.clone_from(&hers[0]);
    store.keep(&[(whose(OLIVIA), his)]).unwrap();
    assert!(matches!(opened(&log, 0), Err(PayloadError::Differs("key or seal"))));
    assert!(opened(&log, 1).is_ok());
    assert_ne!(
        log.blind(&whose(OLIVIA), "call", b"yes").unwrap(),
        log.blind(&whose(PETER), "call", b"yes").unwrap()
    );
}

#[test]
fn a_pack_under_a_head_that_does_not_say_what_was_erased_is_not_made() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    conversation(&log);
    drop(log);
    let dir = place.path().join("log");
    fs::create_dir(dir.join("anchor")).unwrap();
    fs::copy(dir.join("checkpoint"), dir.join(HeadFile::Witnessed.name())).unwrap();
    let log = open_with(place.path(), &store);
    let ids = log.end_keys(PETER).unwrap();
    let receipt = erasure(&log, 600, &ids);
    log.erase(receipt.index, &ids).unwrap();
    let export_to = |pack: &str, head| export(&dir, &place.path().join(pack), head);
    assert!(matches!(export_to("old", HeadFile::Witnessed), Err(ExportError::Erased(1))));
    assert_eq!(export_to("new", HeadFile::Newest).unwrap().size, 601);
}

/// A log on simulated disks.
fn said_on(disk: &Disk, lock: &Disk, store: &Arc<KeysInMemory>) -> Log {
    let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
    let subjects: Arc<dyn KeyStore> = store.clone();
    let keys = Keys { checkpoint: CheckpointKey::from_seed(&SIGNING), subjects };
    Log::open_on(config(Path::new("")), keys, media).unwrap()
}

#[test]
fn a_disk_that_fails_and_loses_power_at_any_step_of_an_erasure_keeps_nothing_of_it() {
    let mut cuts = 0;
    loop {
        let ((disk, lock), store) = (<(Disk, Disk)>::default(), store());
        let log = said_on(&disk, &lock, &store);
        for (number, subject) in [(0, OLIVIA), (1, PETER), (2, OLIVIA), (3, OLIVIA)] {
            log.append(log.seal(said(number, subject)).unwrap()).wait().unwrap();
        }
        let ids = log.end_keys(OLIVIA).unwrap();
        let receipt = erasure(&log, 4, &ids);
        // From some change on, nothing that touches payloads works any more; half of what was not synced is kept.
        let left = std::sync::atomic::AtomicUsize::new(cuts);
        disk.hook(move |_, path| {
            let enough = !path.starts_with("payload/")
                || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            if enough { Ok(()) } else { Err(ErrorKind::Other.into()) }
        });
        let done = log.erase(receipt.index, &ids);
        assert!(store.by_id(&ids[0]).unwrap().is_none(), "its key goes first");
        let (disk, lock) = (disk.after_power_cut(|all| Fate::First(all / 2)), lock.as_it_is());
        drop(log);

        let log = said_on(&disk, &lock, &store);
        assert!(matches!(opened(&log, 0), Err(PayloadError::Erased(4))), "after {cuts} changes");
        assert_eq!(opened(&log, 1).unwrap(), "person/peter said 1");
        log.close().unwrap();
        let place = tempfile::tempdir().unwrap();
        disk.write_to("", &place.path().join("log"));
        let report = checked(place.path(), &log.verifier_key(), &store);
        assert_eq!((findings(&report), report.erased), (Vec::new(), 3), "after {cuts} changes");
        let payloads = fs::read(place.path().join("log/payload/000")).unwrap();
        let zeros = payloads.split(|byte| *byte != 0).filter(|zeros| zeros.len() > 40).count();
        assert_eq!(zeros, 3, "after {cuts} changes");
        if done.is_ok() {
            return assert!(cuts > 3, "nothing failed");
        }
        cuts += 1;
    }
}

#[test]
fn an_erasure_that_was_not_done_to_the_end_is_done_by_the_next_try_without_a_restart() {
    let ((disk, lock), store) = (<(Disk, Disk)>::default(), store());
    let log = said_on(&disk, &lock, &store);
    log.append(log.seal(said(0, OLIVIA)).unwrap()).wait().unwrap();
    let ids = log.end_keys(OLIVIA).unwrap();
    let receipt = erasure(&log, 1, &ids);
    // What breaks is not the log itself.
    while log.head().size <= receipt.index {
        std::thread::yield_now();
    }
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    disk.hook(move |_, path| match path.starts_with("payload/") && breaks.load(Relaxed) {
        true => Err(ErrorKind::Other.into()),
        false => Ok(()),
    });
    assert!(log.erase(receipt.index, &ids).is_err() && log.has_unfinished_erasures());
    assert!(log.finish_erasures().is_err() && log.has_unfinished_erasures());
    broken.store(false, Relaxed);
    assert_eq!(log.finish_erasures().unwrap(), 1);
    assert!(!log.has_unfinished_erasures());
    assert_eq!(log.finish_erasures().unwrap(), 0, "there is nothing left");
}

#[test]
fn who_tries_again_to_erase_what_was_in_use_waits_for_it_again() {
    let (place, store) = (tempfile::tempdir().unwrap(), store());
    let log = open_with(place.path(), &store);
    let late = log.seal(said(0, OLIVIA)).unwrap();
    for _ in 0..2 {
        assert!(matches!(log.end_keys(OLIVIA), Err(ledger::EraseError::InUse)));
    }
    log.append(late).wait().unwrap();
    let ids = log.end_keys(OLIVIA).unwrap();
    let receipt = erasure(&log, 1, &ids);
    assert_eq!(log.erase(receipt.index, &ids).unwrap(), 1);
    log.close().unwrap();
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &[], None);
    assert!(report.is_clean(), "{:?}", report.findings);
}
