use std::{
    io::{Error, ErrorKind},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ledger::{AppendError, Health, Medium, OpenError, verify};

use super::*;
use crate::disk::{Fate, Op};

/// Keeps a log from publishing, so that everything stays in the write-ahead log.
fn hold_back_publishing(disk: &Disk) {
    disk.hook(|op, _| if op == Op::Put { Err(ErrorKind::StorageFull.into()) } else { Ok(()) });
}

/// A log of so many batches of one record each, none published; and where its records start.
fn unpublished(batches: u64) -> (Disk, Disk, String, Vec<usize>) {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    hold_back_publishing(&disk);
    for number in 0..batches {
        append(&log, number);
    }
    let (disk, lock) = (disk.as_it_is(), lock.as_it_is());
    let segment = disk.files("wal/").remove(0);
    (disk, lock, segment, (0..batches as usize).map(|batch| batch * 4096).collect())
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_what_was_not_acknowledged() {
    let (disk, lock, segment, starts) = unpublished(3);
    let mut length = 0;
    disk.tamper(&segment, |bytes| {
        length = bytes[starts[2]..].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    });
    for torn in 0..=length {
        let disk = disk.as_it_is();
        disk.tamper(&segment, |bytes| bytes[starts[2] + torn..].fill(0));
        let log = open_on(&disk, &lock.as_it_is());
        let expected: &[&str] = if torn < length { &["0", "1"] } else { &["0", "1", "2"] };
        assert_eq!(story(&log), expected, "torn at byte {torn} of {length}");
    }
}

#[test]
fn a_segment_that_is_cut_short_is_a_torn_tail_too() {
    let (disk, lock, segment, starts) = unpublished(3);
    disk.tamper(&segment, |bytes| bytes.truncate(starts[2] + 50));
    let log = open_on(&disk, &lock);
    append(&log, 9);
    assert_eq!(story(&log), ["0", "1", "9"]);
}

#[test]
fn damage_with_later_batches_behind_it_is_no_torn_tail_and_is_located() {
    for bit in (0..1800).step_by(225) {
        let (disk, lock, segment, starts) = unpublished(3);
        disk.tamper(&segment, |bytes| bytes[starts[1] + bit / 8] ^= 1 << (bit % 8));
        match try_open_on(&disk, &lock).err() {
            Some(OpenError::Damaged { file, index }) => assert_eq!((file, index), (segment, 1)),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn a_tail_that_was_signed_for_cannot_be_taken_for_a_torn_one() {
    let (disk, lock, segment, starts) = unpublished(3);
    let signed = lock.as_it_is();
    open_on(&disk.as_it_is(), &signed).close().unwrap();
    disk.tamper(&segment, |bytes| bytes[starts[2]..].fill(0));
    let refused = try_open_on(&disk, &signed).err();
    assert!(matches!(refused, Some(OpenError::Behind { size: 2, lock: 3 })), "{refused:?}");
    assert!(try_open_on(&disk, &lock).is_ok(), "without the newer lock it is a torn tail");
}

/// A log of 301 records, the first alone and the others in one batch, of which the first tile is published.
fn published_within_a_batch() -> (Disk, Disk) {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let syncs = Arc::new(AtomicUsize::new(0));
    let (held, begun) = (Arc::clone(&gate), Arc::clone(&syncs));
    disk.hook(move |op, path| {
        // The segment that is written to, not those that are made ready.
        if op == Op::Sync && path.ends_with("00") {
            begun.fetch_add(1, Ordering::SeqCst);
            drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
        }
        Ok(())
    });
    let caller = log.clone();
    let first = std::thread::spawn(move || caller.append(sealed(&caller, 0)).wait());
    while syncs.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let others: Vec<_> = (1..301).map(|number| log.append(sealed(&log, number))).collect();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert!(
        first.join().unwrap().is_ok()
            && others.into_iter().all(|appending| appending.wait().is_ok())
    );
    while log.head().size < 256 {
        std::thread::yield_now();
    }
    (disk.as_it_is(), lock.as_it_is())
}

#[test]
fn a_batch_that_is_published_in_part_is_recovered_whole() {
    let (disk, lock) = published_within_a_batch();
    let log = open_on(&disk, &lock);
    let numbers: Vec<String> = (0..301).map(|number: u64| number.to_string()).collect();
    assert_eq!((story(&log), log.head().size), (numbers, 301));
}

#[test]
fn damage_in_a_batch_that_is_published_in_part_is_no_torn_tail() {
    let (disk, lock) = published_within_a_batch();
    let segment = disk.files("wal/").remove(0);
    disk.tamper(&segment, |bytes| {
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[last] ^= 1;
    });
    match try_open_on(&disk, &lock).err() {
        Some(OpenError::Damaged { file, index }) => assert_eq!((file, index), (segment, 300)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_head_that_somebody_else_puts_there_meanwhile_is_not_written_over() {
    for is_lock in [true, false] {
        let (disk, lock) = <(Disk, Disk)>::default();
        let log = open_on(&disk, &lock);
        append(&log, 0);
        until(|| log.head().size == 1);
        let (place, name) = if is_lock { (&lock, "head") } else { (&disk, "checkpoint") };
        let other = b"another head".to_vec();
        place.tamper(name, |note| note.clone_from(&other));
        append(&log, 1);
        until(|| matches!(log.health(), Health::Failed(_)));
        assert_eq!(place.read(name).unwrap(), other);
        assert_eq!(log.append(sealed(&log, 2)).wait(), Err(AppendError::Failed));
    }
}

#[test]
fn an_older_copy_of_the_log_or_of_its_lock_is_refused() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    append(&log, 0);
    log.close().unwrap();
    let (old_disk, old_lock) = (disk.as_it_is(), lock.as_it_is());
    drop(log);
    let log = open_on(&disk, &lock);
    append(&log, 1);
    log.close().unwrap();
    drop(log);
    let refused = try_open_on(&old_disk, &lock).err();
    assert!(matches!(refused, Some(OpenError::Behind { size: 1, lock: 2 })), "{refused:?}");
    let refused = try_open_on(&disk, &old_lock).err();
    assert!(matches!(refused, Some(OpenError::LockBehind { size: 2, lock: 1 })), "{refused:?}");
    let refused = try_open_on(&disk, &Disk::default()).err();
    assert!(matches!(refused, Some(OpenError::NoLock)), "{refused:?}");
}

#[test]
fn a_log_of_other_entries_is_refused() {
    let build = |numbers: std::ops::Range<u64>| {
        let (disk, lock) = <(Disk, Disk)>::default();
        let log = open_on(&disk, &lock);
        append_all(&log, numbers);
        log.close().unwrap();
        (disk.as_it_is(), lock.as_it_is())
    };
    let ((disk, _), (_, lock)) = (build(0..3), build(10..13));
    let refused = try_open_on(&disk, &lock).err();
    assert!(matches!(refused, Some(OpenError::Forked(3))), "{refused:?}");

    let (disk, lock) = build(0..3);
    disk.tamper("tile/entries/000.p/3", |bytes| bytes[20] ^= 1);
    let refused = try_open_on(&disk, &lock).err();
    assert!(matches!(refused, Some(OpenError::Forked(3))), "{refused:?}");

    let (disk, lock) = build(0..3);
    disk.tamper("checkpoint", |bytes| bytes[0] ^= 1);
    let refused = try_open_on(&disk, &lock).err();
    assert!(matches!(refused, Some(OpenError::Note { file: "checkpoint", .. })), "{refused:?}");
}

#[test]
fn what_a_dead_process_had_not_synced_is_durable_before_a_head_is_signed_over_it() {
    let (disk, lock) = <(Disk, Disk)>::default();
    let log = open_on(&disk, &lock);
    disk.hook(|op, path| match op {
        Op::Sync if path.ends_with("00") => Err(Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    assert_eq!(log.append(sealed(&log, 0)).wait(), Err(AppendError::Failed));
    drop(log);
    disk.unhook();
    // The next one finds it in the system's memory. The power is cut when its head is in the lock and not shown yet.
    disk.hook(|op, path| match (op, path) {
        (Op::Put, "checkpoint") => Err(Error::other("the power is off")),
        _ => Ok(()),
    });
    assert!(try_open_on(&disk, &lock).is_err());
    let cut = |_| Fate::Lost;
    let log = open_on(&disk.after_power_cut(cut), &lock.after_power_cut(cut));
    assert_eq!(story(&log), ["0"]);
}

/// A small generator, so that a failing run can be run again from its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Runs a short life of a log until the power is cut before its `cut`-th operation; says which numbers were acknowledged
/// and how the disks are after that. Of what was not synced, chance decides what has reached them.
fn life(cut: usize, images: (Disk, Disk), first: u64) -> (Vec<u64>, Disk, Disk) {
    let done = Arc::new(AtomicUsize::new(0));
    let (disk, lock) = images;
    for part in [&disk, &lock] {
        let done = Arc::clone(&done);
        part.hook(move |_, _| {
            let on = done.fetch_add(1, Ordering::SeqCst) < cut;
            if on { Ok(()) } else { Err(Error::other("the power is off")) }
        });
    }
    let mut acknowledged = Vec::new();
    if let Ok(log) = try_open_on(&disk, &lock) {
        for number in first..first + 12 {
            let appending = [number * 2, number * 2 + 1].map(|n| (n, log.append(sealed(&log, n))));
            for (number, appending) in appending {
                if appending.wait().is_ok() {
                    acknowledged.push(number);
                }
            }
        }
        // Enough at once to fill a tile.
        let many = (first + 1000)..(first + 1000 + 300 * (first / 100));
        let many: Vec<_> = many.map(|number| (number, log.append(sealed(&log, number)))).collect();
        let waited = many
            .into_iter()
            .filter_map(|(number, appending)| appending.wait().is_ok().then_some(number));
        acknowledged.extend(waited);
        let _ = log.close();
    }
    let mut dice = Dice(cut as u64 * 7919 + first);
    let mut fate = |length: usize| match dice.roll(3) {
        0 => Fate::Lost,
        1 => Fate::Kept,
        _ => Fate::First(dice.roll(length + 1)),
    };
    let disk = disk.after_power_cut(&mut fate);
    (acknowledged, disk, lock.after_power_cut(fate))
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
    let mut lives = 0;
    for cut in 0..100 {
        let (first, disk, lock) = life(cut, <(Disk, Disk)>::default(), 0);
        let (second, disk, lock) = life(cut % 97, (disk, lock), 100);
        let log = match try_open_on(&disk, &lock) {
            Ok(log) => log,
            Err(error) => panic!("after a cut at {cut}: {error}"),
        };
        let story = story(&log);
        let kept: HashSet<u64> = story.iter().filter_map(|entry| entry.parse().ok()).collect();
        assert_eq!(kept.len(), story.len(), "cut {cut}: twice or neither: {story:?}");
        for number in first.iter().chain(&second) {
            assert!(kept.contains(number), "cut {cut} lost {number}: {story:?}");
        }
        log.close().unwrap();
        let place = tempfile::tempdir().unwrap();
        ["checkpoint", "tile/"].iter().for_each(|part| disk.write_to(part, place.path()));
        let report = verify::tree(place.path(), &log.verifier_key(), &[]);
        assert!(report.is_clean(), "cut {cut}: {:?}", report.findings);
        assert_eq!(report.uncovered, 0, "cut {cut}");
        lives += usize::from(!first.is_empty());
    }
    assert!(lives > 60, "most cuts come after the first acknowledgement, {lives} did");
}
