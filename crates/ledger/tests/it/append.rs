use std::{
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    thread,
};

use ledger::{AppendError, CloseError, Health, OpenError, SealError, verify};

use super::*;
use crate::disk::Op;

#[test]
fn a_record_reads_back_with_its_payload_before_and_after_it_is_published() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut draft = draft(1);
    draft.payload = Some(b"refund order 4711".to_vec());
    let sealed = log.seal(draft).unwrap();
    let hash = sealed.hash();
    let receipt = log.append(sealed).wait().unwrap();
    assert_eq!((receipt.index, receipt.hash), (0, hash));
    let payload = |log: &Log| {
        let entry = log.entry(0).unwrap().unwrap();
        assert_eq!(entry.hash, hash);
        log.open_payload(&entry).unwrap().unwrap()
    };
    assert_eq!(payload(&log), b"refund order 4711");
    assert_eq!(log.entry(1).unwrap(), None);
    log.close().unwrap();
    assert_eq!(log.head().size, 1);
    assert_eq!(payload(&log), b"refund order 4711");
    drop(log);
    assert_eq!(payload(&open(place.path())), b"refund order 4711");
}

#[test]
fn many_threads_get_dense_indexes_and_each_its_own() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let receipts: Vec<Receipt> = thread::scope(|scope| {
        let run = |caller: u64| {
            let log = &log;
            scope.spawn(move || {
                (0..20).map(|turn| append(log, caller * 1000 + turn)).collect::<Vec<_>>()
            })
        };
        let callers: Vec<_> = (0..64).map(run).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(distinct(receipts.iter().map(|receipt| receipt.index)), 64 * 20);
    assert_eq!(log.acknowledged(), 64 * 20);
    for receipt in &receipts {
        let entry = log.entry(receipt.index).unwrap().unwrap();
        assert_eq!(entry.hash, receipt.hash);
    }
    log.close().unwrap();
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &[], None);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn appending_can_be_awaited_on_any_runtime() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipt = runtime.block_on(log.append(sealed(&log, 5)));
    assert_eq!(receipt.map(|receipt| receipt.index), Ok(0));
}

#[test]
fn a_record_is_written_however_early_its_caller_goes_away() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let mut context = Context::from_waker(Waker::noop());
    for polls in 0..3 {
        let mut appending = log.append(sealed(&log, polls));
        for _ in 0..polls {
            let _ = Pin::new(&mut appending).poll(&mut context);
        }
        drop(appending);
        until(|| log.acknowledged() == polls + 1);
    }
}

#[test]
fn what_is_ready_to_append_joins_the_batch_of_the_record_that_rouses_the_writer() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    disk.hook(move |op, path| {
        if op == Op::Sync && path.starts_with("wal/") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The writer may not be asleep yet when a round begins; then it takes the first record by itself.
    until(|| {
        let before = syncs.load(Ordering::SeqCst);
        let appended = runtime.block_on(async {
            let tasks: Vec<_> =
                (0..8).map(|number| tokio::spawn(log.append(sealed(&log, number)))).collect();
            let mut appended = 0;
            for task in tasks {
                appended += usize::from(task.await.unwrap().is_ok());
            }
            appended
        });
        assert_eq!(appended, 8);
        syncs.load(Ordering::SeqCst) == before + 1
    });
}

#[test]
fn a_log_that_is_opened_again_continues_the_same_tree() {
    let place = tempfile::tempdir().unwrap();
    let mut older = Vec::new();
    for round in 0..4_u64 {
        let log = open(place.path());
        append_all(&log, round * 150..round * 150 + 150);
        log.close().unwrap();
        older.push(std::fs::read(place.path().join("log/checkpoint")).unwrap());
    }
    let log = open(place.path());
    let numbers: Vec<String> = (0..600).map(|number: u64| number.to_string()).collect();
    assert_eq!(story(&log), numbers);
    let older: Vec<&[u8]> = older.iter().map(Vec::as_slice).collect();
    let report = verify::log(&place.path().join("log"), &log.verifier_key(), &older, None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.entries, log.head().size), (600, 600));
}

#[test]
fn what_an_outbox_moves_is_found_again_by_its_id() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let mut granted = draft(1);
    granted.kind = "governance.grant".to_owned();
    let mut talks_of_it = draft(2);
    talks_of_it.body =
        Canonical::of(&Json::object([("kind", Json::String("governance".to_owned()))])).unwrap();
    let (granted, other) = (log.seal(granted).unwrap(), log.seal(talks_of_it).unwrap());
    let ids = [granted.id(), other.id()];
    let receipt = log.append(granted).wait().unwrap();
    log.append(other).wait().unwrap();
    for log in [log.clone(), open_on(&disk.as_it_is(), &lock.as_it_is())] {
        assert_eq!(ids.map(|id| log.position_of(id)), [Some(receipt), None]);
    }
    log.close().unwrap();
    let log = open_on(&disk, &lock);
    assert_eq!(ids.map(|id| log.position_of(id)), [Some(receipt), None]);
}

#[test]
fn one_process_at_a_time_has_the_log() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let second = Log::open(config(place.path()), keys()).err();
    assert!(matches!(second, Some(OpenError::InUse(_))), "{second:?}");
    drop(log);
    open(place.path());
}

#[test]
fn a_configuration_that_verifiers_could_not_follow_is_refused() {
    let place = tempfile::tempdir().unwrap();
    for (origin, segment_bytes) in [
        ("other.example/audit", 2 << 20),
        ("acme.example.evil", 2 << 20),
        ("acme.example/with space", 2 << 20),
        ("acme.example/audit", 1 << 20),
    ] {
        let config = Config { origin: origin.to_owned(), segment_bytes, ..config(place.path()) };
        let refused = Log::open(config, keys()).err();
        assert!(matches!(refused, Some(OpenError::Config(_))), "{origin} {segment_bytes}");
    }
}

#[test]
fn a_payload_beyond_its_limit_is_not_sealed() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let mut draft = draft(1);
    draft.payload = Some(vec![0; ledger::MAX_PAYLOAD + 1]);
    assert_eq!(log.seal(draft).err(), Some(SealError::PayloadTooLong(ledger::MAX_PAYLOAD + 1)));
}

#[test]
fn a_closed_log_takes_nothing_more() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    assert_eq!(log.close(), Ok::<(), CloseError>(()));
    let late = sealed(&log, 1);
    assert_eq!(log.append(late).wait(), Err(AppendError::Closed));
    assert_eq!(log.health(), Health::Healthy);
}

#[test]
fn the_longest_records_roll_over_segments_that_are_used_again() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    for number in 0..20 {
        let mut draft = draft(number);
        draft.payload = Some(vec![number as u8; ledger::MAX_PAYLOAD]);
        let pad = ledger::MAX_LEAF - 1000;
        draft.body =
            Canonical::of(&Json::object([("pad", Json::String("x".repeat(pad)))])).unwrap();
        log.append(log.seal(draft).unwrap()).wait().unwrap();
    }
    for (number, entry) in entries(&log).iter().enumerate() {
        let payload = log.open_payload(entry).unwrap().unwrap();
        assert!(payload.len() == ledger::MAX_PAYLOAD && payload.iter().all(|b| *b == number as u8));
    }
    log.close().unwrap();
    drop(log);
    let log = open_on(&disk, &lock);
    assert_eq!(entries(&log).len(), 20);
    log.close().unwrap();
    let segments = disk.files("wal/").len();
    assert!(segments <= 6, "{segments} segments are kept");
}

#[test]
fn while_a_sync_is_slow_more_waits_up_to_a_limit_and_what_is_refused_is_counted() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Arc::clone(&gate);
    disk.hook(move |op, path| {
        if op == Op::Sync && path.starts_with("wal/") {
            drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
        }
        Ok(())
    });
    let mut under_way: Vec<Appending> = Vec::new();
    let refused = loop {
        let number = under_way.len() as u64;
        assert!(number < 100_000, "the queue has no limit");
        log.note(sealed(&log, 1_000_000 + number));
        let mut appending = log.append(sealed(&log, number));
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut appending).poll(&mut context) {
            std::task::Poll::Pending => under_way.push(appending),
            std::task::Poll::Ready(answer) => break answer,
        }
    };
    assert_eq!(refused, Err(AppendError::Full));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let appended = under_way.len();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
    append(&log, 999_999);
    let story = story(&log);
    let gap = story.iter().find(|entry| entry.starts_with("gap")).unwrap();
    assert!(gap.contains(r#""causes":["queue_full"]"#), "{gap}");
    let lost: usize =
        gap.split("\"n\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    // Every append that was accepted, every note that was not counted as lost, the gap, and the last one.
    assert_eq!(story.len(), appended + (appended + 1 - lost) + 1 + 1);
}
