//! A ledger in a folder, entries of all sorts in it, and an oracle that reads every leaf as plain JSON.

use std::{path::PathBuf, sync::Arc};

use insight::{Index, Query};
use ledger::{AgentMark, CheckpointKey, Config, Draft, Keys, KeysInMemory, Log};
use model::{EntryId, Realm, Timestamp, ijson::Canonical};
use serde_json::{Value, json};
use tempfile::TempDir;

/// When the first entry was made.
pub(crate) const START: i64 = 1_790_000_000_000;

pub(crate) struct House {
    folder: TempDir,
    pub(crate) log: Log,
    pub(crate) index: Arc<Index>,
}

/// One entry as a stranger reads it.
pub(crate) struct Read {
    pub(crate) index: u64,
    pub(crate) hash: String,
    pub(crate) leaf: Value,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::of("acme/audit", TempDir::new().unwrap())
    }

    pub(crate) fn of(origin: &str, folder: TempDir) -> Self {
        let log = open(origin, &folder);
        let index = Index::new(log.clone(), &folder.path().join("ledger"), &file(&folder));
        Self { folder, log, index }
    }

    /// Ends, and leaves its folder.
    pub(crate) fn close(self) -> TempDir {
        let Self { folder, log, index } = self;
        drop(index);
        log.close().unwrap();
        folder
    }

    pub(crate) fn file(&self) -> PathBuf {
        file(&self.folder)
    }

    /// Appends entries from `from` up to `to` of the one endless series.
    pub(crate) fn fill(&self, from: u64, to: u64) {
        self.append((from..to).map(entry));
    }

    /// Appends entries, of which each third names the one before as its parent, and waits for the last.
    pub(crate) fn append(&self, drafts: impl IntoIterator<Item = Draft>) {
        let (mut before, mut last) = (None, None);
        for (number, mut draft) in drafts.into_iter().enumerate() {
            draft.parents.extend(before.filter(|_| number % 3 == 0));
            let sealed = self.log.seal(draft).unwrap();
            before = Some(sealed.hash());
            let appending = self.log.append(sealed);
            match last.replace(appending) {
                // So many wait at once as the queue surely takes.
                Some(waiting) if number % 256 == 0 => drop(waiting.wait().unwrap()),
                _ => {}
            }
        }
        last.map(|last| last.wait().unwrap());
    }

    /// Every entry, by its bytes alone.
    pub(crate) fn all(&self) -> Vec<Read> {
        let read = |entry: ledger::Entry| Read {
            index: entry.index,
            hash: entry.hash.to_string(),
            leaf: serde_json::from_slice(&entry.bytes).unwrap(),
        };
        self.log.entries(0).map(|entry| read(entry.unwrap())).collect()
    }

    /// What a search finds, page by page.
    pub(crate) fn find(&self, query: &Query, limit: usize) -> Vec<u64> {
        let (mut found, mut at_most) = (Vec::new(), None);
        loop {
            let insight::Page { found: page, indexed, size } =
                self.index.search(query, at_most, limit).unwrap();
            assert!(page.entries.len() <= limit);
            assert_eq!((indexed, size), (self.log.acknowledged(), self.log.acknowledged()));
            found.extend(page.entries.iter().map(|entry| entry.index));
            at_most = page.rest;
            if at_most.is_none() {
                return found;
            }
        }
    }

    /// What somebody finds who looks at every leaf.
    pub(crate) fn oracle(&self, fits: impl Fn(&Read) -> bool) -> Vec<u64> {
        self.all().iter().rev().filter(|entry| fits(entry)).map(|entry| entry.index).collect()
    }
}

/// One entry of a series in which everything occurs, some things often and others hardly ever.
pub(crate) fn entry(number: u64) -> Draft {
    // A generator of 64 bits (SplitMix64), so that the series is the same each time.
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut draw = |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) % below;
        // Of many, small ones are common.
        if below > 7 { drawn * drawn / below } else { drawn }
    };
    let kind = ["decision", "outcome", "token", "task", "governance", "start"][draw(6) as usize];
    // Moments are not quite in order.
    let at = Timestamp::from_millis(START + 10 * number as i64 - draw(500) as i64);
    let body = match kind {
        "decision" => json!({
            "effects": (0..draw(3)).map(|_| json!({ "id": format!("{:032x}", draw(40)), "kind": "Order", "verb": "read" })).collect::<Vec<_>>(),
            "system": format!("system-{}", draw(3)),
            "tool": format!("tool-{}", draw(30)),
        }),
        "governance" => json!({
            "digest": "00".repeat(32),
            "key": format!("agent/bot-{}", draw(20)),
            "object": if draw(2) == 0 { "agent" } else { "grant" },
            "version": number,
            "widens": false,
        }),
        "task" => json!({ "agent": format!("agent/bot-{}", draw(20)), "purpose": "support" }),
        "token" => json!({ "key": "thumbprint", "use_as": "task" }),
        _ => json!({}),
    };
    let mut draft = Draft::new(EntryId::from_bits(u128::from(number) + 1), kind, at);
    draft.body = Canonical::of(&body).unwrap();
    draft.person = Some(format!("person/p{}", draw(8)).parse().unwrap());
    if kind != "governance" && draw(4) < 3 {
        let id = format!("agent/bot-{}", draw(20)).parse().unwrap();
        draft.agent = Some(AgentMark { id, instance: None, version: None });
    }
    draft.task = (draw(3) > 0).then(|| model::Id::from_bits(u128::from(draw(50))));
    draft.action = Some(model::Id::from_bits(u128::from(number / 2)));
    if kind == "decision" {
        draft.verdict = Some(["permit", "deny", "hold"][draw(3) as usize].to_owned());
    }
    if number.is_multiple_of(5) {
        draft.payload = Some(format!("{{\"prompt\":\"Order {number} for Mara\"}}").into_bytes());
    }
    draft
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("search.sqlite")
}

fn open(origin: &str, folder: &TempDir) -> Log {
    let realm =
        Realm { org: "acme".parse().unwrap(), environment: "test".parse().unwrap(), node: 1 };
    let config = Config {
        dir: folder.path().join("ledger"),
        lock: folder.path().join("head"),
        realm,
        origin: origin.to_owned(),
        segment_bytes: 4 * 1024 * 1024,
        reserve_bytes: 0,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: Arc::new(KeysInMemory::default()),
    };
    Log::open(config, keys).unwrap()
}
