//! The log as a whole: appending, failing, crashing, publishing, and being checked by ourselves and by strangers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics, its helpers too")]

mod alone;
mod append;
mod crash;
#[expect(dead_code, reason = "the simulation in `src` uses the rest of it")]
mod disk;
mod displaced;
mod dying;
mod erasing;
mod faults;
mod forgetful;
mod handing_over;
mod levels;
mod meaning;
mod reserve;
mod restoring;
mod stamped;
mod tamper;
mod tampering;
mod tiles;
mod witnessed;

use std::{collections::HashSet, path::Path, sync::Arc};

use ledger::{
    Appending, CheckpointKey, Config, Draft, Entry, KeyStore, Keys, KeysInMemory, Log, Media,
    ORGANIZATION, OpenError, Receipt, Sealed, SubjectKeys,
};
use model::{
    EntryId, Realm, Timestamp,
    ijson::{Canonical, Json},
};

use crate::disk::Disk;

/// The key that the tests' logs sign with.
const SIGNING: [u8; 32] = [1; 32];

/// Keys that are the same in each process: those of whom the drafts below are about.
fn key_store() -> Arc<dyn KeyStore> {
    Arc::new(KeysInMemory::with(ORGANIZATION, "k1", [2; 32]))
}

fn subject_keys() -> SubjectKeys {
    SubjectKeys::new(key_store())
}

fn config(place: &Path) -> Config {
    Config {
        dir: place.join("log"),
        lock: place.join("lock"),
        realm: Realm {
            org: "acme.example".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            node: 7,
        },
        origin: "acme.example/audit".to_owned(),
        segment_bytes: 2 * 1024 * 1024,
        reserve_bytes: 0,
    }
}

fn keys() -> Keys {
    Keys { checkpoint: CheckpointKey::from_seed(&SIGNING), subjects: key_store() }
}

fn open(place: &Path) -> Log {
    Log::open(config(place), keys()).unwrap()
}

/// Opens the log that lies on simulated disks, one for the log and one for its lock.
fn try_open_on(disk: &Disk, lock: &Disk) -> Result<Log, OpenError> {
    let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
    Log::open_on(config(Path::new("")), keys(), media)
}

fn open_on(disk: &Disk, lock: &Disk) -> Log {
    try_open_on(disk, lock).unwrap()
}

fn entry_id(number: u64) -> EntryId {
    EntryId::compose(Timestamp::from_millis(number as i64), 7, number)
}

/// A draft that is told from others by its number; also its moment.
fn draft(number: u64) -> Draft {
    let at = Timestamp::from_millis(number as i64);
    let mut draft = Draft::new(entry_id(number), "start", at);
    draft.body = Canonical::of(&Json::object([("number", Json::Integer(number as i64))])).unwrap();
    draft
}

fn sealed(log: &Log, number: u64) -> Sealed {
    log.seal(draft(number)).unwrap()
}

fn append(log: &Log, number: u64) -> Receipt {
    log.append(sealed(log, number)).wait().unwrap()
}

/// Appends a range, all of it under way at once.
fn append_all(log: &Log, numbers: std::ops::Range<u64>) {
    let under_way: Vec<Appending> = numbers.map(|number| log.append(sealed(log, number))).collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
}

fn entries(log: &Log) -> Vec<Entry> {
    log.entries(0).collect::<Result<_, _>>().unwrap()
}

/// What each entry is: its number, or for a gap its whole body.
fn story(log: &Log) -> Vec<String> {
    let tell = |entry: Entry| match entry.leaf.body.member("number").and_then(Json::as_integer) {
        Some(number) => number.to_string(),
        None => format!("{} {}", entry.leaf.kind, text(&entry.leaf.body)),
    };
    entries(log).into_iter().map(tell).collect()
}

fn text(json: &Json) -> String {
    String::from_utf8(json.canonical()).unwrap()
}

/// A record of half a mebibyte: four of them do not fit one segment.
fn large(log: &Log, number: u64) -> Sealed {
    let mut draft = draft(number);
    draft.payload = Some(vec![b'x'; 512 * 1024]);
    log.seal(draft).unwrap()
}

fn distinct<T: std::hash::Hash + Eq>(items: impl IntoIterator<Item = T>) -> usize {
    items.into_iter().collect::<HashSet<T>>().len()
}

/// Waits until something is so, for ten seconds at most.
#[expect(clippy::disallowed_methods, reason = "a test that waits in vain has to end")]
fn until(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 10, "waited in vain");
        std::thread::yield_now();
    }
}
