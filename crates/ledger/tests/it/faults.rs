use std::{
    io::{Error, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ledger::{AppendError, CloseError, Health};

use super::*;
use crate::disk::Op;

/// Whether an operation is one of the write-ahead log.
fn wal(path: &str) -> bool {
    path.starts_with("wal/")
}

/// Fails the write-ahead log at one kind of operation; says how often that was tried.
fn fail_at(disk: &Disk, failing: Op) -> Arc<AtomicUsize> {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    disk.hook(move |op, path| {
        if op == failing && wal(path) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(Error::from_raw_os_error(5));
        }
        Ok(())
    });
    tries
}

#[test]
fn a_failed_write_or_sync_fails_the_log_for_good_and_is_not_tried_again() {
    for failing in [Op::Write, Op::Sync] {
        let (disk, lock) = <(Disk, Disk)>::default();
        let log = open_on(&disk, &lock);
        append_all(&log, 0..5);
        let tries = fail_at(&disk, failing);
        assert_eq!(log.append(sealed(&log, 5)).wait(), Err(AppendError::Failed));
        disk.unhook();
        assert_eq!(log.append(sealed(&log, 6)).wait(), Err(AppendError::Failed));
        let segments_made_ready = 8 * 2;
        assert!(tries.load(Ordering::SeqCst) <= 1 + segments_made_ready, "{failing:?} was retried");
        assert!(matches!(log.health(), Health::Failed(_)));
        assert!(matches!(log.close(), Err(CloseError::Failed(_))));
        drop(log);
        // Whether the record whose sync failed has reached the disk is unknown; nothing before it is lost.
        let log = open_on(&disk, &lock);
        let story = story(&log);
        assert_eq!(story[..5], ["0", "1", "2", "3", "4"]);
        assert!(story.len() <= 6, "{story:?}");
        append(&log, 7);
    }
}

#[test]
fn what_a_failed_log_could_not_note_is_the_first_entry_after_it_is_opened_again() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    append_all(&log, 0..2);
    fail_at(&disk, Op::Write);
    for number in 10..13 {
        log.note(sealed(&log, number));
    }
    assert!(log.close().is_err());
    drop(log);
    disk.unhook();
    let gap = r#"gap {"causes":["failed"],"from":10,"n":3,"to":12}"#;
    for _ in 0..2 {
        let log = open_on(&disk, &lock);
        log.close().unwrap();
        assert_eq!(story(&log), ["0", "1", gap], "a gap is written once");
    }
}

#[test]
fn without_space_or_file_descriptors_appending_is_refused_until_there_is_room_again() {
    refused_until_there_is_room(|| ErrorKind::StorageFull.into());
    // EMFILE: another part of the process may have taken them all.
    refused_until_there_is_room(|| std::io::Error::from_raw_os_error(24));
}

fn refused_until_there_is_room(none: fn() -> std::io::Error) {
    let (disk, lock) = <(Disk, Disk)>::default();
    let full = |disk: &Disk| {
        disk.hook(move |op, path| match op {
            Op::Create if wal(path) => Err(none()),
            // Publishing would make room by giving segments back.
            Op::Put => Err(none()),
            _ => Ok(()),
        });
    };
    drop(open_on(&disk, &lock));
    for segment in disk.files("wal/").into_iter().skip(1) {
        disk.delete(&segment);
    }
    let filling = disk.as_it_is();
    let opening = Arc::new(AtomicUsize::new(0));
    filling.hook(move |op, path| match op {
        Op::Create if wal(path) => Err(none()),
        Op::Put if opening.fetch_add(1, Ordering::SeqCst) > 0 => Err(none()),
        _ => Ok(()),
    });
    let log = open_on(&filling, &lock);
    full(&filling);
    let mut accepted = 0;
    while log.append(large(&log, accepted)).wait().is_ok() {
        accepted += 1;
        assert!(accepted < 100, "segments appear without space");
    }
    assert_eq!(accepted, 3, "one segment holds three");
    assert_eq!(log.append(large(&log, 50)).wait(), Err(AppendError::NoSpace));
    assert_eq!(log.health(), Health::NoSpace);
    log.note(large(&log, 60));
    log.note(large(&log, 61));
    assert_eq!(log.append(large(&log, 62)).wait(), Err(AppendError::NoSpace));

    // A process that dies now leaves the count behind.
    let gap = r#"gap {"causes":["no_space"],"from":60,"n":2,"to":61}"#;
    let after_death = open_on(&filling.as_it_is(), &lock.as_it_is());
    append(&after_death, 70);
    assert_eq!(story(&after_death), ["0", "1", "2", gap, "70"]);

    // The same process recovers by itself once there is room.
    filling.unhook();
    append(&log, 71);
    assert_eq!(story(&log), ["0", "1", "2", gap, "71"]);
    log.close().unwrap();
    assert_eq!(log.health(), Health::Healthy);
}

#[test]
fn without_space_to_publish_nothing_is_lost_and_the_next_start_publishes() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    disk.hook(|op, _| if op == Op::Put { Err(ErrorKind::StorageFull.into()) } else { Ok(()) });
    append_all(&log, 0..3);
    let unpublished = CloseError::Unpublished { acknowledged: 3, published: 0 };
    assert_eq!(log.close(), Err(unpublished));
    assert_eq!(log.health(), Health::NoSpace);
    drop(log);
    disk.unhook();
    let log = open_on(&disk, &lock);
    assert_eq!((story(&log).len(), log.head().size), (3, 3));
}

#[test]
fn an_error_while_publishing_fails_the_log_and_the_next_start_publishes() {
    for failing in [Op::Put, Op::Flush] {
        let (disk, lock) = <(Disk, Disk)>::default();
        let log = open_on(&disk, &lock);
        disk.hook(move |op, path| {
            let fails = op == failing && path.starts_with("tile/");
            if fails { Err(Error::from_raw_os_error(5)) } else { Ok(()) }
        });
        append_all(&log, 0..3);
        assert!(matches!(log.close(), Err(CloseError::Failed(_))));
        drop(log);
        disk.unhook();
        let log = open_on(&disk, &lock);
        assert_eq!((story(&log).len(), log.head().size), (3, 3));
    }
}

#[test]
fn a_head_that_is_shown_but_not_surely_durable_is_not_published_a_second_time() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    append(&log, 0);
    until(|| log.head().size == 1);
    // Not a head that finds no room before it has its name: that is tried again.
    disk.hook(|op, path| match (op, path) {
        (Op::Flush, "checkpoint") => Err(ErrorKind::StorageFull.into()),
        // What would be written again, over what the head covers, is cut short here.
        (Op::Write, path) if path.starts_with("payload/") => Err(Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    let mut draft = draft(1);
    draft.payload = Some(b"said".to_vec());
    log.append(log.seal(draft).unwrap()).wait().unwrap();
    until(|| matches!(log.health(), Health::Failed(_)));
    drop(log);
    disk.unhook();
    let log = open_on(&disk, &lock);
    let entry = log.entry(1).unwrap().unwrap();
    assert_eq!(log.open_payload(&entry).unwrap().unwrap(), b"said");
}

#[test]
fn writes_that_take_a_few_bytes_at_a_time_are_completed() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    disk.hook_short(|_, _| Ok(100));
    append_all(&log, 0..20);
    let log = open_on(&disk.as_it_is(), &lock.as_it_is());
    assert_eq!(story(&log).len(), 20);
}
