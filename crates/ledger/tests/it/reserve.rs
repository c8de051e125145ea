//! The room that is kept for when the disk is full.

use std::io::ErrorKind;

use ledger::{AppendError, Health};

use super::*;
use crate::disk::Op;

const MIB: u64 = 1024 * 1024;
/// Three segments, of which one is for refusals.
const RESERVE: u64 = 6 * MIB;
/// How many records of half a mebibyte a segment holds.
const A_SEGMENT: u64 = 3;

/// A log whose reserve is made, on a disk that is full from now on; nothing can be published either.
fn full() -> (Disk, Disk, Log) {
    let (disk, lock) = <(Disk, Disk)>::default();
    let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
    let config = Config { reserve_bytes: RESERVE, ..config(Path::new("")) };
    let log = Log::open_on(config, keys(), media).unwrap();
    append(&log, 0);
    // The one that is written to, two that stand ready, and three of the reserve.
    until(|| disk.files("wal/").len() == 6);
    until(|| log.head().size == 1 && disk.files("spare").len() == 1);
    disk.hook(|op, path| match op {
        Op::Create | Op::Put if path.starts_with("wal/") || path.starts_with("tile/") => {
            Err(ErrorKind::StorageFull.into())
        }
        Op::Create if path == "spare" => Err(ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let mut number = 1;
    while log.append(large(&log, number)).wait().is_ok() {
        number += 1;
        assert!(number < 100, "segments appear without space");
    }
    assert_eq!(log.health(), Health::NoSpace);
    (disk, lock, log)
}

#[test]
fn on_a_full_disk_nothing_is_granted_while_refusals_and_what_takes_away_are_recorded() {
    let (disk, lock, log) = full();
    for number in 100..102 {
        log.note_refusal(sealed(&log, number));
        log.note(sealed(&log, 100 + number));
        assert!(log.append_end(sealed(&log, 200 + number)).wait().is_ok(), "what ends is recorded");
        assert_eq!(log.append(sealed(&log, number)).wait(), Err(AppendError::NoSpace));
    }
    until(|| {
        let after_death = story(&open_on(&disk.as_it_is(), &lock.as_it_is()));
        ["100", "101", "200", "201", "300", "301"]
            .iter()
            .all(|it| after_death.contains(&(*it).to_owned()))
    });
    assert_eq!(log.health(), Health::NoSpace, "what the reserve takes makes no room");
    drop(log);
}

#[test]
fn a_flood_of_refusals_leaves_the_rest_of_the_reserve_to_what_takes_away() {
    let (disk, lock, log) = full();
    for number in 100..120 {
        log.note_refusal(large(&log, number));
    }
    // After them, so that each has found its place or none.
    assert_eq!(log.append(sealed(&log, 1)).wait(), Err(AppendError::NoSpace));
    for number in 200..220 {
        log.note(large(&log, number));
    }
    // The first is answered behind them, the second when what was lost with the first is counted on the disk.
    for _ in 0..2 {
        assert_eq!(log.append(sealed(&log, 1)).wait(), Err(AppendError::NoSpace));
    }
    let copy = open_on(&disk.as_it_is(), &lock.as_it_is());
    append(&copy, 300);
    let kept = story(&copy);
    let count = |from: u64, to: u64| {
        let numbers = kept.iter().filter_map(|text| text.parse().ok());
        numbers.filter(|number: &u64| (from..to).contains(number)).count() as u64
    };
    assert_eq!(count(100, 120), A_SEGMENT, "refusals may take a third");
    assert_eq!(count(200, 220), 2 * A_SEGMENT, "what takes away has the rest");
    let gaps: Vec<_> = kept.iter().filter(|text| text.starts_with("gap")).collect();
    let lost = |text: &str| text.contains(r#""n":17"#) || text.contains(r#""n":14"#);
    assert!(gaps.iter().all(|gap| lost(gap)) && gaps.len() == 2, "{gaps:?}");

    // It goes on by itself once there is room, and has a reserve again.
    disk.unhook();
    until(|| log.append(sealed(&log, 300)).wait().is_ok());
    until(|| log.health() == Health::Healthy);
    let told = story(&log);
    assert!(
        told.ends_with(&["300".to_owned()]) && told[told.len() - 2].starts_with("gap"),
        "{told:?}"
    );
    log.close().unwrap();
}

#[test]
fn a_full_disk_gives_publishing_the_room_that_was_set_aside() {
    let (disk, _lock, log) = full();
    let unpublished = log.head().size;
    let there = disk.clone();
    disk.hook(move |op, path| {
        let room = there.files("spare").is_empty();
        let takes = matches!(op, Op::Create | Op::Put) && !path.starts_with("wal/");
        let fails =
            path == "spare" || (takes && !room) || (op == Op::Create && path.starts_with("wal/"));
        if fails && op != Op::Remove { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    until(|| log.head().size > unpublished);
    // What is published gives its segments back, and appending goes on in them.
    until(|| log.append(sealed(&log, 300)).wait().is_ok());
    log.close().unwrap();
}

#[test]
fn a_reserve_outlives_the_process_and_is_not_made_a_second_time() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let open = || {
        let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
        let config = Config { reserve_bytes: RESERVE, ..config(Path::new("")) };
        Log::open_on(config, keys(), media).unwrap()
    };
    let log = open();
    append(&log, 0);
    until(|| disk.files("wal/").len() == 6);
    log.close().unwrap();
    drop(log);
    disk.hook(|op, _| if op == Op::Create { Err(ErrorKind::StorageFull.into()) } else { Ok(()) });
    let log = open();
    append(&log, 1);
    assert_eq!(disk.files("wal/").len(), 6);
    log.close().unwrap();
}

#[test]
fn what_was_left_out_is_told_by_the_next_process_when_this_one_may_not_write_it() {
    let (disk, lock, log) = full();
    assert!(log.is_sparing());
    for number in 0..3 {
        log.leave_out(Timestamp::from_millis(1_000 + number));
    }
    drop(log);
    disk.unhook();
    let log = open_on(&disk, &lock);
    append(&log, 300);
    let told = story(&log);
    let gaps: Vec<_> = told.iter().filter(|text| text.starts_with("gap")).collect();
    assert!(gaps.len() == 1 && gaps[0].contains(r#""n":3"#), "{told:?}");
}

#[test]
fn a_log_opens_on_a_full_disk_with_the_room_that_was_set_aside() {
    let (disk, lock, log) = full();
    let acknowledged = log.acknowledged();
    assert!(log.head().size < acknowledged, "something is left to publish");
    drop(log);
    let there = disk.clone();
    disk.hook(move |op, path| {
        let room = there.files("spare").is_empty();
        let takes = op == Op::Create || (op == Op::Put && path.starts_with("tile/"));
        if takes && !room { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let log = open_on(&disk, &lock);
    assert_eq!(log.head().size, acknowledged);
}

#[test]
fn a_disk_on_which_nothing_can_be_published_is_no_reason_to_leave_refusals_out() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    disk.hook(|op, path| match op {
        Op::Put if path.starts_with("tile/") => Err(ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    append(&log, 0);
    until(|| log.health() == Health::NoSpace);
    append(&log, 1);
    assert!(!log.is_sparing());
    disk.unhook();
    log.close().unwrap();
}

#[test]
fn the_reserve_is_made_whole_before_anything_is_granted_again() {
    let (disk, _lock, log) = full();
    let segments = disk.files("wal/").len();
    let there = disk.clone();
    disk.hook(move |op, path| {
        let room = there.files("wal/").len() <= segments;
        let fails = path.starts_with("tile/") || (path.starts_with("wal/") && !room);
        if fails && matches!(op, Op::Create | Op::Put) {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    });
    until(|| disk.files("wal/").len() > segments);
    assert_eq!(log.append(sealed(&log, 300)).wait(), Err(AppendError::NoSpace));
    assert!(log.is_sparing());
    disk.unhook();
    until(|| log.append(sealed(&log, 301)).wait().is_ok());
    assert!(!log.is_sparing());
    log.close().unwrap();
}
