//! Opening a log: everything that was published is read and hashed again, everything that was acknowledged and not yet
//! published is recovered from the write-ahead log and published, and only then is anything appended.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, OnceLock, atomic::AtomicBool},
};

use model::{Digest, EntryId};

use crate::{
    erasure::{self, Erased},
    gap::Gaps,
    keys::{KeysError, SubjectKeys},
    leaf::Leaf,
    locked,
    log::{Config, Head, Keys, Media, Receipt, Shared, Span, Tail},
    medium::{Medium, read_exact_at, read_if_there, write_all_at},
    merkle::{Edge, TILE, leaf_hash},
    note::{Checkpoint, NoteError, VerifierKey},
    payload::{MAX_PAYLOAD, OVERHEAD},
    publish::{Growth, LOCK, PayloadEnd, Publisher},
    queue::Queue,
    restore,
    seal::is_found_again,
    segments::{self, Pool, Segment},
    sequence::Sequencer,
    tile::{self, CHECKPOINT, Kind},
    wal,
};

/// The shortest segment: room for the longest batch.
const MIN_SEGMENT: u64 = 2 * 1024 * 1024;
/// The longest segment: a batch's place in it and recovery in memory stay cheap.
const MAX_SEGMENT: u64 = 256 * 1024 * 1024;

/// Why a log did not open. Except for the first three, somebody should look before anything is repaired.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot be used.
    #[error("the ledger's configuration cannot be used: {0}")]
    Config(&'static str),
    /// Another process has the log.
    #[error("the ledger in `{0}` is in use by another process")]
    InUse(PathBuf),
    /// The medium could not be read or written.
    #[error("the ledger could not be read or written")]
    Io(#[source] io::Error),
    /// There is a log, but nothing that remembers its head.
    #[error(
        "the ledger has entries but the lock folder remembers no head: the folder is not the right one, or its file `head` was removed"
    )]
    NoLock,
    /// The lock or the checkpoint is not one that this log's key has signed.
    #[error("the file `{file}` is not a checkpoint of this ledger")]
    Note {
        /// `checkpoint`, or the lock's `head`.
        file: &'static str,
        /// What is wrong with it.
        source: NoteError,
    },
    /// A restore was begun and is not over.
    #[error("a restore of the ledger was begun and is not over")]
    Restoring,
    /// Entries that were acknowledged are missing: a copy was restored, or the tail was cut off.
    #[error(
        "the ledger ends at {size} entries, but {lock} were signed: it was restored or cut off"
    )]
    Behind {
        /// How many entries there are.
        size: u64,
        /// How many the lock remembers.
        lock: u64,
    },
    /// The log's own head is newer than the one remembered: the lock was restored from a copy.
    #[error(
        "the lock remembers {lock} entries, but {size} were published: an old lock was put back"
    )]
    LockBehind {
        /// How many entries were published.
        size: u64,
        /// How many the lock remembers.
        lock: u64,
    },
    /// Keys that were erased may still be there.
    #[error("what was erased could not be destroyed again")]
    Keys(#[source] KeysError),
    /// The entries are not the ones that were signed.
    #[error("the first {0} entries are not the ones that were signed; `verify` says which differ")]
    Forked(u64),
    /// A file is damaged or missing.
    #[error("`{file}` is damaged or missing, first at entry {index}")]
    Damaged {
        /// Which file.
        file: String,
        /// The first entry that is affected.
        index: u64,
    },
}

/// A log that is ready to run.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sequencer: Sequencer,
    pub(crate) publisher: Publisher,
}

pub(crate) fn open(config: Config, keys: Keys, media: Media) -> Result<Opened, OpenError> {
    let medium = &*media.log;
    let read = |medium, file| read_if_there(medium, file).map_err(OpenError::Io);
    let signed = [read(&*media.lock, LOCK)?, read(medium, CHECKPOINT)?];
    let verifier = check(&config, &keys)?;
    // What was remembered last says under which name the log goes on.
    let verifier = signed[0].as_ref().map_or(verifier.clone(), |note| verifier.of_log(note));
    let (published, lock) = read_heads(medium, &signed, &verifier)?;
    let mut known = reread(medium, published.size, HashMap::new())?;
    if known.growth.edge.root() != published.root {
        return Err(OpenError::Forked(published.size));
    }
    let (segments, spans) = recover(medium, &mut known, &lock)?;
    settle(&spans).map_err(OpenError::Io)?;
    let size = spans.back().map_or(published.size, |span| span.first + u64::from(span.count));

    let gaps = Gaps::new(config.realm.node);
    if let Some(gap) = gaps.open_file(medium).map_err(OpenError::Io)? {
        if known.positions.contains_key(&gap.id) { gaps.clear() } else { gaps.put(gap) }
    }
    let tail = Tail {
        acknowledged: size,
        published: Head { size: published.size, root: published.root },
        spans,
        segments: VecDeque::new(),
        closing: false,
    };
    let pool = Pool::new(Arc::clone(&media.log), config.segment_bytes, config.reserve_bytes);
    let shared = Arc::new(Shared {
        realm: config.realm,
        checkpoint_key: keys.checkpoint,
        subjects: SubjectKeys::new(keys.subjects),
        erased: Mutex::new(known.erased),
        unfinished: Mutex::default(),
        verifier,
        medium: media.log,
        lock: media.lock,
        signed: Mutex::new(signed),
        queue: Queue::default(),
        gaps,
        pool,
        tail: Mutex::new(tail),
        grown: Condvar::new(),
        positions: Mutex::new(known.positions),
        failed: OnceLock::new(),
        append_full: AtomicBool::new(false),
        sparing: AtomicBool::new(false),
        publish_full: AtomicBool::new(false),
    });
    let publisher = Publisher::new(Arc::clone(&shared), known.growth, lock.size);
    discard_uncovered(&*shared.medium, published.size, size).map_err(OpenError::Io)?;
    let opened = start(shared, publisher, segments, lock.size == 0).map_err(OpenError::Io)?;
    opened.shared.finish_erasures()?;
    Ok(opened)
}

/// Removes narrower tiles that a publication left which did not come to its end: no head covers them, and a power cut may
/// have left anything in them. Whatever else it left is written again, or goes once its tile is full.
fn discard_uncovered(medium: &dyn Medium, published: u64, recovered: u64) -> io::Result<()> {
    for level in 0..8 {
        let index = |size: u64| size.checked_shr(8 * (level + 1)).unwrap_or(0);
        let width = (published >> (8 * level)) % TILE as u64;
        let edges = [(index(published), width), (index(recovered), 0)];
        let moved = index(published) != index(recovered);
        for (index, width) in edges.into_iter().take(1 + usize::from(moved)) {
            let entries = (level == 0).then_some(Kind::Entries);
            for kind in entries.into_iter().chain([Kind::Hashes(level as usize)]) {
                discard_wider(medium, &tile::partials(kind, index), width)?;
            }
        }
    }
    Ok(())
}

fn discard_wider(medium: &dyn Medium, folder: &str, width: u64) -> io::Result<()> {
    let names = medium.list(folder)?;
    let covered = |name: &&String| name.parse::<u64>().is_ok_and(|narrower| narrower <= width);
    let mut wider = names.iter().filter(|name| !covered(name)).peekable();
    if wider.peek().is_none() {
        return Ok(());
    }
    wider.try_for_each(|name| medium.remove(&format!("{folder}/{name}")))?;
    medium.sync_folder(folder)
}

/// Publishes what was recovered, so that no later read depends on bytes whose sync nobody saw; then takes the old
/// segments over and starts a fresh one.
fn start(
    shared: Arc<Shared>,
    mut publisher: Publisher,
    old: Vec<Arc<Segment>>,
    new: bool,
) -> io::Result<Opened> {
    if new {
        let head = locked(&shared.tail).published;
        shared.sign(head)?;
    }
    publisher.publish_all()?;
    shared.pool.adopt(old)?;
    let full = |_| io::Error::from(ErrorKind::StorageFull);
    let segment = shared.pool.take().map_err(full)?;
    let mut tail = locked(&shared.tail);
    tail.segments.push_back(Arc::clone(&segment));
    let size = tail.acknowledged;
    drop(tail);
    let sequencer = Sequencer::new(Arc::clone(&shared), segment, size);
    Ok(Opened { shared, sequencer, publisher })
}

/// The key that checks a log's signatures, under the name that it has before any restore.
pub(crate) fn check(config: &Config, keys: &Keys) -> Result<VerifierKey, OpenError> {
    let rest = config.origin.strip_prefix(config.realm.org.as_str());
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(OpenError::Config("the origin is not the organization, alone or with `/…`"));
    }
    if restore::generation(&config.origin) > 0 {
        return Err(OpenError::Config("an origin ends with `/r` and a number only by a restore"));
    }
    if !(MIN_SEGMENT..=MAX_SEGMENT).contains(&config.segment_bytes) {
        return Err(OpenError::Config("a segment has 2 to 256 MiB"));
    }
    let verifier = keys.checkpoint.verifier(&config.origin);
    verifier.map_err(|_| OpenError::Config("the origin has a space, a plus or a control character"))
}

/// The published head and the remembered one. A medium without either is a new log.
fn read_heads(
    medium: &dyn Medium,
    [lock, checkpoint]: &[Option<Vec<u8>>; 2],
    verifier: &VerifierKey,
) -> Result<(Checkpoint, Checkpoint), OpenError> {
    let read = |note: &Option<Vec<u8>>, file: &'static str| {
        let note = note.as_ref().map(|note| verifier.open(note)).transpose();
        note.map_err(|source| OpenError::Note { file, source })
    };
    let empty =
        || Checkpoint { origin: verifier.name().to_owned(), size: 0, root: Edge::default().root() };
    let published = read(checkpoint, CHECKPOINT)?;
    let remembered = match read(lock, LOCK)? {
        Some(remembered) => remembered,
        None if published.is_none() && is_empty(medium).map_err(OpenError::Io)? => empty(),
        None => return Err(OpenError::NoLock),
    };
    let published = published.unwrap_or_else(empty);
    if remembered.size < published.size {
        let (size, lock) = (published.size, remembered.size);
        return Err(OpenError::LockBehind { size, lock });
    }
    Ok((published, remembered))
}

fn is_empty(medium: &dyn Medium) -> io::Result<bool> {
    Ok(medium.list("tile")?.is_empty() && medium.list(segments::FOLDER)?.is_empty())
}

/// What reading the log again gives.
#[derive(Default)]
struct Known {
    growth: Growth,
    positions: HashMap<EntryId, Receipt>,
    erased: Erased,
    /// The root over so many entries, where somebody asks for it.
    roots: HashMap<u64, Option<Digest>>,
}

impl Known {
    fn see(&mut self, entry: &[u8]) {
        let index = self.growth.edge.size();
        let hash = leaf_hash(entry);
        if erasure::kind(entry).is_some_and(is_found_again)
            && let Ok(leaf) = Leaf::parse(entry)
        {
            self.positions.insert(leaf.id, Receipt { index, hash });
        }
        self.erased.note_entry(entry, index);
        self.growth.edge.push(hash, |_| ());
        if let Some(root) = self.roots.get_mut(&(index + 1)) {
            *root = Some(self.growth.edge.root());
        }
    }
}

/// How many entries there are, published under this head or behind it in the write-ahead log, and the roots over so many of
/// them as are asked for, where there are as many.
pub(crate) fn roots(
    medium: &dyn Medium,
    published: &Checkpoint,
    sizes: impl Iterator<Item = u64>,
) -> Result<(u64, HashMap<u64, Digest>), OpenError> {
    let roots = sizes.map(|size| (size, (size == 0).then(|| Edge::default().root()))).collect();
    let mut known = reread(medium, published.size, roots)?;
    if known.growth.edge.root() != published.root {
        return Err(OpenError::Forked(published.size));
    }
    let (_, spans) = recover(medium, &mut known, published)?;
    let size = spans.back().map_or(published.size, |span| span.first + u64::from(span.count));
    Ok((size, known.roots.into_iter().filter_map(|(size, root)| Some((size, root?))).collect()))
}

/// Reads and hashes the published entries.
fn reread(
    medium: &dyn Medium,
    size: u64,
    roots: HashMap<u64, Option<Digest>>,
) -> Result<Known, OpenError> {
    let mut known = Known { roots, ..Known::default() };
    let tile_len = TILE as u64;
    for index in 0..size.div_ceil(tile_len) {
        let width = (size - index * tile_len).min(tile_len) as usize;
        let file = tile::path(Kind::Entries, index, width);
        let damaged = |index| OpenError::Damaged { file: file.clone(), index };
        let bundle = read_if_there(medium, &file).map_err(OpenError::Io)?;
        let bundle = bundle.ok_or_else(|| damaged(index * tile_len))?;
        let mut rest = bundle.as_slice();
        for _ in 0..width {
            let entry = tile::take_entry(&mut rest);
            known.see(entry.ok_or_else(|| damaged(known.growth.edge.size()))?);
        }
        if !rest.is_empty() {
            return Err(damaged(known.growth.edge.size() - 1));
        }
        if width < TILE {
            known.growth.bundle = bundle;
            known.growth.payloads = payload_end(medium, index, width).map_err(OpenError::Io)?;
        }
    }
    Ok(known)
}

/// Where the payload file of the last bundle ends for the entries that are published.
fn payload_end(medium: &dyn Medium, index: u64, width: usize) -> io::Result<PayloadEnd> {
    let file = match medium.open(&tile::payloads(index)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PayloadEnd::default()),
        file => file?,
    };
    let (length, mut end) = (file.len()?, PayloadEnd::default());
    while end.records < width && end.bytes + 4 <= length {
        let record = read_exact_at(&*file, 4, end.bytes)?;
        let bytes = u32::from_be_bytes([record[0], record[1], record[2], record[3]]);
        let next = end.bytes + 4 + u64::from(bytes);
        if bytes as usize > MAX_PAYLOAD + OVERHEAD || next > length {
            break;
        }
        end = PayloadEnd { bytes: next, records: end.records + 1 };
    }
    Ok(end)
}

/// Finds the batches behind the published entries and checks them against the remembered head.
fn recover(
    medium: &dyn Medium,
    known: &mut Known,
    lock: &Checkpoint,
) -> Result<(Vec<Arc<Segment>>, VecDeque<Span>), OpenError> {
    let published = known.growth.edge.size();
    let roots = std::mem::take(&mut known.roots);
    let mut ahead = Known { growth: known.growth.clone(), roots, ..Known::default() };
    let mut same = published == lock.size && ahead.growth.edge.root() == lock.root;
    let (mut segments, mut spans) = (Vec::new(), VecDeque::new());
    let mut torn: Option<OpenError> = None;
    for number in segment_numbers(medium).map_err(OpenError::Io)? {
        let (segment, bytes) = read_segment(medium, number).map_err(OpenError::Io)?;
        for found in wal::scan(&bytes, number) {
            let (first, end) = (found.head.first, found.head.first + u64::from(found.head.count));
            if end <= published {
                continue;
            }
            let damaged = |index| OpenError::Damaged { file: segments::path(number), index };
            // A batch is written only after the one before it is durable: damage with anything behind it is no torn write.
            if let Some(torn) = torn {
                return Err(torn);
            }
            let known = published.saturating_sub(first);
            if first + known != ahead.growth.edge.size() {
                return Err(damaged(ahead.growth.edge.size()));
            }
            if let Some(frame) = found.damaged {
                let damage = damaged(first + u64::from(frame));
                // Nor is damage in a batch whose front is published.
                if known > 0 {
                    return Err(damage);
                }
                torn = Some(damage);
                continue;
            }
            let frames = wal::frames(&bytes[found.at as usize..], &found.head);
            let frames = frames.map_err(|frame| damaged(first + u64::from(frame)))?;
            for frame in frames.iter().skip(known as usize) {
                ahead.see(frame.leaf);
                same |=
                    ahead.growth.edge.size() == lock.size && ahead.growth.edge.root() == lock.root;
            }
            let segment = Arc::clone(&segment);
            let (count, at, bytes) = (found.head.count, found.at, found.head.bytes);
            let hashes = Arc::default();
            spans.push_back(Span { first, count, segment, at, bytes, hashes });
        }
        segments.push(segment);
    }
    let size = ahead.growth.edge.size();
    if size < lock.size {
        return Err(OpenError::Behind { size, lock: lock.size });
    }
    if !same {
        return Err(OpenError::Forked(lock.size));
    }
    known.positions.extend(ahead.positions);
    known.erased.extend(ahead.erased);
    known.roots = ahead.roots;
    Ok((segments, spans))
}

/// Writes what was recovered once more, and syncs it. Who wrote it may have died before its sync or seen it fail, so that only
/// the system's memory has it; and a head that is signed over it must not outlive it.
fn settle(spans: &VecDeque<Span>) -> io::Result<()> {
    for (span, next) in spans.iter().zip(1..) {
        let Span { segment, at, bytes, .. } = span;
        let batch = read_exact_at(&*segment.extent, *bytes as usize, *at)?;
        write_all_at(&*segment.extent, &batch, *at)?;
        if spans.get(next).is_none_or(|next| next.segment.number != segment.number) {
            segment.extent.sync()?;
        }
    }
    Ok(())
}

fn segment_numbers(medium: &dyn Medium) -> io::Result<Vec<u64>> {
    let names = medium.list(segments::FOLDER)?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| u64::from_str_radix(name, 16).ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_segment(medium: &dyn Medium, number: u64) -> io::Result<(Arc<Segment>, Vec<u8>)> {
    let extent = medium.open(&segments::path(number))?;
    let bytes = extent.len()?;
    if bytes > MAX_SEGMENT {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let content = read_exact_at(&*extent, bytes as usize, 0)?;
    Ok((Arc::new(Segment { number, bytes, extent }), content))
}
