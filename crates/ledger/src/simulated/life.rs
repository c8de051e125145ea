//! One life of a log, from its opening to its end, and what must be true after it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use crc32c::crc32c;
use model::{
    Digest, EntryId, Realm, Timestamp,
    ijson::{Canonical, Json},
};

use super::{
    Tally,
    disk::{Disk, Lie},
    faults::{Dice, Faults, befall},
};
use crate::{
    Appending, Checkpoint, CheckpointKey, Config, Draft, Health, Keys, KeysInMemory, Leaf, Log,
    Media, Medium as _, ORGANIZATION, Sealed,
    merkle::{Edge, TILE, leaf_hash},
    payload::OVERHEAD,
    publish::{Publisher, Turn},
    sequence::Sequencer,
    tile,
};

/// How long a segment is: the shortest that a log takes, so that it changes them often.
const SEGMENT: u64 = 2 * 1024 * 1024;
/// One segment.
const RESERVE: u64 = SEGMENT;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// In order.
    Closed,
    /// The process died, or could not go on. What the system has in memory stays.
    Killed,
    /// With the power.
    PowerCut,
}

/// Two disks, for the log and for its lock, and what is known of them.
pub(super) struct World {
    disk: Disk,
    lock: Disk,
    dice: Dice,
    /// The number of the next record.
    next: u64,
    /// What was sent, by leaf hash: the checksum of its sealed payload.
    sent: HashMap<Digest, u32>,
    /// What was acknowledged, by position.
    acknowledged: BTreeMap<u64, Digest>,
    /// What was ever signed.
    signed: Vec<Checkpoint>,
    operations: u64,
    pub(super) tally: Tally,
}

/// A log that is open, and what its threads would run.
struct Running {
    log: Log,
    sequencer: Sequencer,
    /// `None` once it has failed: its thread has ended then.
    publisher: Option<Publisher>,
}

impl Running {
    /// One attempt to publish. Says whether another one may get on.
    fn publish(&mut self) -> bool {
        match self.publisher.as_mut().map(Publisher::turn) {
            Some(Turn::Left(left)) => left > 0,
            Some(Turn::MadeRoom) => true,
            Some(Turn::Full) | None => false,
            Some(Turn::Failed) => {
                self.publisher = None;
                false
            }
        }
    }
}

fn open(disk: &Disk, lock: &Disk) -> Result<Running, String> {
    let config = Config {
        dir: "".into(),
        lock: "".into(),
        realm: Realm {
            org: "acme.example".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            node: 7,
        },
        origin: "acme.example/audit".to_owned(),
        segment_bytes: SEGMENT,
        reserve_bytes: RESERVE,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: Arc::new(KeysInMemory::with(ORGANIZATION, "k1", [2; 32])),
    };
    let media = Media { log: Arc::new(disk.clone()), lock: Arc::new(lock.clone()) };
    let opened = Log::at_rest(config, keys, media);
    let (log, sequencer, publisher) =
        opened.map_err(|error| format!("it opens no more: {error:?}"))?;
    Ok(Running { log, sequencer, publisher: Some(publisher) })
}

impl World {
    pub(super) fn new(seed: u64, lie: Option<Lie>) -> Self {
        let disk = || lie.map_or_else(Disk::default, Disk::lying);
        Self {
            disk: disk(),
            lock: disk(),
            dice: Dice(seed),
            next: 0,
            sent: HashMap::new(),
            acknowledged: BTreeMap::new(),
            signed: Vec::new(),
            operations: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn draw_faults(&mut self) -> Faults {
        Faults::any(&mut self.dice)
    }

    /// How many operations the last life had.
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// Opens the log and does this and that until it is closed, dies, or the power is cut.
    pub(super) fn life(&mut self, faults: Faults) -> Ended {
        let faults = Arc::new(Mutex::new(faults));
        befall(&self.disk, &faults);
        befall(&self.lock, &faults);
        let ended = match open(&self.disk, &self.lock) {
            Ok(running) => self.steps(running, &faults),
            Err(_) => Ended::Killed,
        };
        self.disk.unhook();
        self.lock.unhook();
        let notes = [&self.lock, &self.disk].map(Disk::take_replaced).into_iter().flatten();
        let heads = notes.filter_map(|note| Checkpoint::unverified(&note).ok());
        self.signed.extend(heads);
        let faults = faults.lock().unwrap();
        self.operations = faults.operations;
        self.tally.faults += faults.happened;
        self.tally.course = self.tally.course.rotate_left(1) ^ faults.course;
        self.tally.signed = self.signed.len() as u64;
        if faults.off { Ended::PowerCut } else { ended }
    }

    fn steps(&mut self, mut running: Running, faults: &Mutex<Faults>) -> Ended {
        for _ in 0..8 + self.dice.below(24) {
            match self.dice.below(12) {
                0..6 => self.append(&mut running),
                6..9 => {
                    running.publish();
                }
                9 | 10 => {
                    running.log.shared.pool.step();
                }
                _ if self.dice.one_in(3) => {
                    let mut faults = faults.lock().unwrap();
                    // A full disk has room again some time.
                    faults.full = !faults.full && self.dice.one_in(3);
                }
                _ => {}
            }
            let failed = matches!(running.log.health(), Health::Failed(_));
            if failed && self.dice.one_in(3) {
                return Ended::Killed;
            }
        }
        if self.dice.one_in(2) {
            return Ended::Killed;
        }
        faults.lock().unwrap().full = false;
        while running.publish() {}
        Ended::Closed
    }

    /// Hands a few records in at once, or so many that they fill a tile, and has them written.
    fn append(&mut self, running: &mut Running) {
        let count = if self.dice.one_in(120) { 300 } else { 1 + self.dice.below(4) };
        let large = count < 5 && self.dice.one_in(30);
        let mut under_way: Vec<(Digest, Appending)> = Vec::new();
        let mut waiting = VecDeque::new();
        for _ in 0..count {
            let record = self.record(&running.log, large);
            match self.dice.below(12) {
                0 => running.log.note(record),
                1 => running.log.note_refusal(record),
                2 => under_way.push((record.hash(), running.log.append_end(record))),
                _ => under_way.push((record.hash(), running.log.append(record))),
            }
        }
        // One note at least, so that something waits for the sequencer also when the log has failed.
        let record = self.record(&running.log, false);
        running.log.note(record);
        running.log.shared.queue.take(&mut waiting);
        running.sequencer.write_all(&mut waiting);
        for (hash, appending) in under_way {
            match appending.wait() {
                Ok(receipt) => {
                    assert_eq!(receipt.hash, hash);
                    self.acknowledged.insert(receipt.index, hash);
                    self.tally.acknowledged += 1;
                }
                Err(_) => self.tally.refused += 1,
            }
        }
    }

    fn record(&mut self, log: &Log, large: bool) -> Sealed {
        let number = self.next;
        self.next += 1;
        let at = Timestamp::from_millis(number as i64);
        let mut draft = Draft::new(EntryId::compose(at, 7, number), "decision", at);
        let body = Json::object([("number", Json::Integer(number as i64))]);
        draft.body = Canonical::of(&body).unwrap();
        let bytes = match self.dice.below(3) {
            _ if large => 200_000 + self.dice.below(800_000),
            0 => 1 + self.dice.below(6_000),
            _ => 0,
        };
        let fill = [number as u8; 1_000].repeat(1 + bytes as usize / 1_000);
        draft.payload = (bytes > 0).then(|| fill[..bytes as usize].to_vec());
        let sealed = log.seal(draft).unwrap();
        let payload = if bytes > 0 { bytes as usize + OVERHEAD } else { 0 };
        let checksum = crc32c(&sealed.frame[sealed.frame.len() - payload..]);
        self.sent.insert(sealed.hash(), checksum);
        sealed
    }

    /// The disks as the next life finds them.
    pub(super) fn go_on_after(&mut self, ended: Ended) {
        if ended == Ended::PowerCut || self.dice.one_in(3) {
            self.tally.cuts += 1;
            let fate = |length| self.dice.fate(length);
            self.disk = self.disk.after_power_cut(fate);
            self.lock = self.lock.after_power_cut(|length| self.dice.fate(length));
        }
    }

    /// Opens a copy of the log, on disks that work, and says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let (disk, lock) = (self.disk.as_it_is(), self.lock.as_it_is());
        let running = open(&disk, &lock)?;
        let head = running.log.head();
        if head.size != running.log.acknowledged() {
            return Err(format!("opening has published {} of it", head.size));
        }
        let (mut edge, mut hashes) = (Edge::default(), Vec::new());
        let mut unseen: HashMap<u64, HashSet<Digest>> = HashMap::new();
        for signed in &self.signed {
            unseen.entry(signed.size).or_default().insert(signed.root);
        }
        let mut see = |edge: &Edge| {
            if let Some(roots) = unseen.get_mut(&edge.size()) {
                roots.remove(&edge.root());
            }
        };
        see(&edge);
        for bundle in 0..head.size.div_ceil(TILE as u64) {
            let first = bundle * TILE as u64;
            let leaves = running.log.shared.read_bundle(first, head.size, TILE);
            let leaves = leaves.map_err(|error| format!("bundle {bundle}: {error}"))?;
            let payloads = payloads(&disk, bundle);
            for (slot, leaf) in leaves.iter().enumerate() {
                let hash = leaf_hash(leaf);
                let payload = payloads.get(slot).copied().unwrap_or(crc32c(&[]));
                match self.sent.get(&hash) {
                    Some(checksum) if *checksum == payload => {}
                    Some(_) => return Err(format!("the payload of {hash} is another one or gone")),
                    None if is_gap(leaf) => {}
                    None => return Err(format!("nobody has sent entry {}", hashes.len())),
                }
                edge.push(hash, |_| ());
                see(&edge);
                hashes.push(hash);
            }
        }
        let missing =
            self.acknowledged.iter().find(|(at, hash)| hashes.get(**at as usize) != Some(hash));
        if let Some((index, hash)) = missing {
            let there = hashes.get(*index as usize);
            return Err(format!("{hash} was acknowledged at {index}, where {there:?} is"));
        }
        if let Some((size, _)) = unseen.iter().find(|(_, roots)| !roots.is_empty()) {
            return Err(format!(
                "a head of {size} was signed; of {} entries it is none",
                head.size
            ));
        }
        let mut once = hashes.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() < hashes.len() { Err("an entry is there twice".to_owned()) } else { Ok(()) }
    }
}

fn is_gap(leaf: &[u8]) -> bool {
    Leaf::parse(leaf).is_ok_and(|leaf| leaf.kind == "gap")
}

/// The checksums of the sealed payloads of a bundle, one for each entry up to the last that has one.
fn payloads(disk: &Disk, bundle: u64) -> Vec<u32> {
    let file = disk.read(&tile::payloads(bundle)).unwrap_or_default();
    let (mut rest, mut checksums) = (file.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<4>()
        && let Some((payload, behind)) =
            behind.split_at_checked(u32::from_be_bytes(*length) as usize)
    {
        checksums.push(crc32c(payload));
        rest = behind;
    }
    checksums
}
