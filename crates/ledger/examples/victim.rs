//! A writer that is meant to die: it appends to the ledger in a folder, and says on standard output where each record is as
//! soon as the ledger says so. Tests kill it, fail its calls, and compare what it has said with what is there.
//!
//! `victim FOLDER COUNT`. It ends with 0 when the count is reached, 1 when the ledger refused a record, 2 when it did not open.
#![expect(clippy::unwrap_used, reason = "its tests see how it ends")]

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use ledger::{CheckpointKey, Config, Draft, Keys, KeysInMemory, Log, ORGANIZATION};
use model::{EntryId, Realm, Timestamp};

/// How many records are under way at once.
const AT_ONCE: u64 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, count] = arguments.as_slice() else { return ExitCode::from(64) };
    let folder = Path::new(folder);
    let config = Config {
        dir: folder.join("log"),
        lock: folder.join("lock"),
        realm: Realm {
            org: "acme.example".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            node: 7,
        },
        origin: "acme.example/audit".to_owned(),
        segment_bytes: 2 * 1024 * 1024,
        reserve_bytes: 0,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: Arc::new(KeysInMemory::with(ORGANIZATION, "k1", [2; 32])),
    };
    let Ok(log) = Log::open(config, keys) else { return ExitCode::from(2) };
    let first = log.acknowledged();
    let mut next = first;
    while next < first + count.parse::<u64>().unwrap() {
        let under_way: Vec<_> = (next..next + AT_ONCE).map(|number| append(&log, number)).collect();
        next += AT_ONCE;
        for appending in under_way {
            let Ok(receipt) = appending.wait() else { return ExitCode::from(1) };
            let line = format!("{} {}\n", receipt.index, receipt.hash);
            // By one call, so that whoever listens has a line or none of it.
            io::stdout().write_all(line.as_bytes()).unwrap();
        }
    }
    match log.close() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

fn append(log: &Log, number: u64) -> ledger::Appending {
    let at = Timestamp::from_millis(number as i64);
    let mut draft = Draft::new(EntryId::compose(at, 7, number), "start", at);
    // Of different lengths: some fill a page, some several.
    draft.payload = Some(vec![b'x'; (number % 7 * 1_500) as usize]);
    log.append(log.seal(draft).unwrap())
}
