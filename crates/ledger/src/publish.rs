//! The publisher: one thread, never on the append path, that moves acknowledged batches into tiles, bundles and payload
//! files, signs the head, and gives the segments back.
//!
//! The order is what makes a crash harmless: tiles are durable before the head that covers them is remembered in the lock,
//! the lock before the checkpoint shows it, the checkpoint before a segment is used again.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use model::Digest;

use crate::{
    locked,
    log::{Head, Shared, Span, Tail},
    medium::{
        Medium, displaced, is_full, open_or_create, read_exact_at, read_if_there, write_all_at,
    },
    merkle::{Edge, TILE, leaf_hash},
    note::Checkpoint,
    tile::{self, CHECKPOINT, Kind},
    wal::{self, Frame},
};

/// The file in the lock's folder that remembers the last signed head.
pub(crate) const LOCK: &str = "head";
/// So many entries are published without waiting for more.
pub(crate) const PUBLISH_AT: u64 = 256;
/// Fewer are published after this time; also how long until a full medium is tried again.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The least time between two publications that leave nothing behind: each has a dozen syncs, which crowd out those of
/// appends, and makes narrow tiles that the next one outgrows.
const PUBLISH_SPACING: Duration = Duration::from_millis(250);
/// A file that holds room on the medium, which publishing takes when there is no other: what is published gives segments back.
pub(crate) const SPARE: &str = "spare";
/// How much of the write-ahead log is published at a time, unless one batch is longer.
const PUBLISH_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct Publisher {
    shared: Arc<Shared>,
    growth: Growth,
    /// The size of the head that the lock remembered at the start: no smaller one is signed.
    remembered: u64,
    /// Whether room is set aside for a full medium.
    has_spare: bool,
}

/// What became of one attempt to publish.
pub(crate) enum Turn {
    /// It went well, and so many entries are left.
    Left(u64),
    /// The medium was full, and the room that was set aside is given up.
    MadeRoom,
    /// The medium is full.
    Full,
    /// The log has failed.
    Failed,
}

/// The part of the published log that is still growing.
#[derive(Clone, Default)]
pub(crate) struct Growth {
    pub(crate) edge: Edge,
    /// The entries of the bundle that is not full.
    pub(crate) bundle: Vec<u8>,
    /// Where the payload file of that bundle goes on.
    pub(crate) payloads: PayloadEnd,
}

/// How far a payload file is written. It holds one record for each entry, a length and the sealed bytes, up to the last
/// entry that has a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PayloadEnd {
    pub(crate) bytes: u64,
    pub(crate) records: usize,
}

/// What one publication writes, as it comes. Nobody relies on any of it before a head covers it.
struct Files<'a> {
    medium: &'a dyn Medium,
    /// What was written.
    names: Vec<String>,
    /// The records that are still to be added to the payload file of the current bundle.
    payloads: Vec<u8>,
    /// Folders of narrower tiles that have become full.
    outgrown: Vec<String>,
    /// The highest level that has a new hash.
    top: usize,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, growth: Growth, remembered: u64) -> Self {
        Self { shared, growth, remembered, has_spare: false }
    }

    /// Publishes until the log closes, and then what is left. A full medium is tried again; any other error fails the log.
    pub(crate) fn run(mut self) {
        loop {
            let closing = self.await_work();
            match self.turn() {
                Turn::Left(0) if closing => return,
                // What did not fit is not left waiting: segments must come back as fast as they fill.
                Turn::Left(left) if left < PUBLISH_AT => self.pause(PUBLISH_SPACING),
                Turn::Left(_) | Turn::MadeRoom => {}
                Turn::Full if closing => return,
                Turn::Full => self.pause(PUBLISH_EVERY),
                Turn::Failed => return,
            }
        }
    }

    /// Publishes a part of what is acknowledged, or makes room for it.
    pub(crate) fn turn(&mut self) -> Turn {
        match self.publish() {
            Ok(left) => {
                self.shared.publish_full.store(false, Ordering::Relaxed);
                self.keep_spare();
                Turn::Left(left)
            }
            Err(error) if is_full(&error) && self.use_spare() => Turn::MadeRoom,
            Err(error) if is_full(&error) => {
                self.shared.publish_full.store(true, Ordering::Relaxed);
                Turn::Full
            }
            Err(error) => {
                self.shared.fail(format!("entries could not be published: {error}"));
                Turn::Failed
            }
        }
    }

    /// Publishes everything that is acknowledged now, on a full medium in the room that an earlier run had set aside.
    pub(crate) fn publish_all(&mut self) -> io::Result<()> {
        loop {
            match self.publish() {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_full(&error) && self.use_spare() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets room aside, as soon as there is some.
    fn keep_spare(&mut self) {
        let bytes = self.shared.pool.for_refusals();
        if !self.has_spare && bytes > 0 && self.shared.pool.is_ready() {
            self.has_spare = match self.shared.medium.create(SPARE, bytes) {
                Ok(_) => true,
                // Kept from an earlier run.
                Err(error) => error.kind() == ErrorKind::AlreadyExists,
            };
        }
    }

    /// Gives the room that was set aside to what is to be published. False where there is none.
    fn use_spare(&mut self) -> bool {
        self.has_spare = false;
        let medium = &self.shared.medium;
        medium.open(SPARE).is_ok() && medium.remove(SPARE).is_ok()
    }

    /// Waits for the first entry, then for enough of them or for the time to be up. Says whether the log is closing.
    fn await_work(&self) -> bool {
        let grown = &self.shared.grown;
        let idle = |tail: &mut Tail| tail.spans.is_empty() && !tail.closing;
        let tail = locked(&self.shared.tail);
        let tail = grown.wait_while(tail, idle).unwrap_or_else(PoisonError::into_inner);
        let few =
            |tail: &mut Tail| tail.acknowledged - tail.published.size < PUBLISH_AT && !tail.closing;
        let waited = grown.wait_timeout_while(tail, PUBLISH_EVERY, few);
        waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// Waits, unless the log closes.
    fn pause(&self, time: Duration) {
        let tail = locked(&self.shared.tail);
        let open = |tail: &mut Tail| !tail.closing;
        drop(self.shared.grown.wait_timeout_while(tail, time, open));
    }

    /// Publishes a bounded part of what is acknowledged; says how many entries are left. After an error nothing has changed
    /// and everything can be tried again.
    fn publish(&mut self) -> io::Result<u64> {
        let (spans, end) = self.next_spans();
        let published = self.growth.edge.size();
        if end == published {
            return Ok(0);
        }
        // Otherwise a second log would begin to grow where the first one was.
        if !self.shared.medium.in_place()? {
            return Err(displaced("its folder"));
        }
        let (mut growth, mut files) = (self.growth.clone(), Files::new(&*self.shared.medium));
        for span in &spans {
            let bytes = read_exact_at(&*span.segment.extent, span.bytes as usize, span.at)?;
            let frames = wal::head(&bytes, span.segment.number)
                .and_then(|head| wal::frames(&bytes, &head).ok())
                .ok_or_else(|| {
                    io::Error::other(format!("the batch of entry {} has changed", span.first))
                })?;
            for (index, frame) in (span.first..end).zip(&frames) {
                // The front of the batch may be published already.
                if index >= published {
                    let hash = span.hashes.get((index - span.first) as usize).copied();
                    let hash = hash.unwrap_or_else(|| leaf_hash(frame.leaf));
                    growth.add(frame, hash, &mut files)?;
                }
            }
        }
        growth.add_partial_tiles(&mut files)?;
        files.medium.flush(&files.names)?;
        let outgrown = files.outgrown;
        let head = Head { size: end, root: growth.edge.root() };
        self.shared.sign(head)?;
        self.growth = growth;
        let left = self.finish(head);
        for folder in &outgrown {
            // What stays behind by accident is never read again.
            let _ = self.shared.medium.remove_folder(folder);
        }
        Ok(left)
    }

    /// The batches to publish next, and behind which entry to end. Where that makes a tile full it ends with one: narrower
    /// tiles are written to be removed again, and a file system that has just removed many files makes new ones slowly.
    fn next_spans(&self) -> (Vec<Span>, u64) {
        let tail = locked(&self.shared.tail);
        let mut bytes = 0;
        let part = tail.spans.iter().take_while(|span| {
            let first = bytes == 0;
            bytes += u64::from(span.bytes);
            first || bytes <= PUBLISH_BYTES || span.first < self.remembered
        });
        let spans: Vec<Span> = part.cloned().collect();
        let size = tail.published.size;
        let end = spans.last().map_or(size, |span| span.first + u64::from(span.count));
        let full = end - end % TILE as u64;
        (spans, if full > size.max(self.remembered) { full } else { end })
    }

    /// Shows the new head and retires segments that hold nothing unpublished; says how many entries are left.
    fn finish(&self, head: Head) -> u64 {
        let mut tail = locked(&self.shared.tail);
        tail.published = head;
        let done = |span: &Span| span.first + u64::from(span.count) <= head.size;
        let spans = tail.spans.partition_point(done);
        drop(tail.spans.drain(..spans));
        let left = tail.acknowledged - head.size;
        let kept = tail.spans.front().map(|span| span.segment.number);
        let mut retired = Vec::new();
        while tail.segments.len() > 1
            && kept.is_none_or(|kept| tail.segments[0].number < kept)
            && let Some(segment) = tail.segments.pop_front()
        {
            retired.push(segment);
        }
        drop(tail);
        // Whoever erases waits for it, too.
        self.shared.grown.notify_all();
        retired.into_iter().for_each(|segment| self.shared.pool.retire(segment));
        left
    }
}

impl<'a> Files<'a> {
    fn new(medium: &'a dyn Medium) -> Self {
        let (names, payloads, outgrown) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
        Self { medium, names, payloads, outgrown, top: 0 }
    }

    fn put(&mut self, name: String, bytes: &[u8]) -> io::Result<()> {
        self.medium.put(&name, bytes)?;
        self.names.push(name);
        Ok(())
    }

    /// Adds the records at hand to the payload file of a bundle, which then ends here.
    fn put_payloads(&mut self, index: u64, end: PayloadEnd) -> io::Result<()> {
        if self.payloads.is_empty() {
            return Ok(());
        }
        let (name, at) = (tile::payloads(index), end.bytes - self.payloads.len() as u64);
        let bytes = std::mem::take(&mut self.payloads);
        if at == 0 {
            self.put(name, &bytes)?;
        } else {
            let file = open_or_create(self.medium, &name, 0)?;
            // Behind the end may stand what a publication wrote that did not come to its end.
            if file.len()? > at {
                file.resize(at)?;
            }
            write_all_at(&*file, &bytes, at)?;
            self.names.push(name);
        }
        self.payloads = bytes;
        self.payloads.clear();
        Ok(())
    }
}

impl Growth {
    /// Adds an entry; whatever it makes full goes into `files`.
    fn add(&mut self, frame: &Frame<'_>, hash: Digest, files: &mut Files<'_>) -> io::Result<()> {
        let index = self.edge.size() / TILE as u64;
        let slot = (self.edge.size() % TILE as u64) as usize;
        if !frame.payload.is_empty() {
            self.add_payload(slot, frame.payload, &mut files.payloads);
        }
        tile::push_entry(&mut self.bundle, frame.leaf);
        let mut full = Vec::new();
        self.edge.push(hash, |tile| full.push(tile));
        for tile in full {
            let kind = Kind::Hashes(tile.level);
            let bytes = tile::hashes_to_bytes(&tile.hashes);
            files.put(tile::path(kind, tile.index, TILE), &bytes)?;
            files.outgrown.push(tile::partials(kind, tile.index));
            files.top = files.top.max(tile.level + 1);
        }
        if slot + 1 == TILE {
            files.put(tile::path(Kind::Entries, index, TILE), &self.bundle)?;
            files.outgrown.push(tile::partials(Kind::Entries, index));
            files.put_payloads(index, self.payloads)?;
            self.bundle.clear();
            self.payloads = PayloadEnd::default();
        }
        Ok(())
    }

    fn add_payload(&mut self, slot: usize, payload: &[u8], records: &mut Vec<u8>) {
        let before = records.len();
        records.resize(before + 4 * (slot - self.payloads.records), 0);
        records.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        records.extend_from_slice(payload);
        self.payloads.bytes += (records.len() - before) as u64;
        self.payloads.records = slot + 1;
    }

    /// The tiles and the bundle that have grown and are not full, under the names of their width. Each name is new: a file
    /// that a published head covers is never written again.
    fn add_partial_tiles(&self, files: &mut Files<'_>) -> io::Result<()> {
        let top = files.top;
        for (level, index, hashes) in self.edge.partial().filter(|(level, ..)| *level <= top) {
            let name = |kind| tile::path(kind, index, hashes.len());
            files.put(name(Kind::Hashes(level)), &tile::hashes_to_bytes(hashes))?;
            if level == 0 {
                files.put(name(Kind::Entries), &self.bundle)?;
            }
        }
        files.put_payloads(self.edge.size() / TILE as u64, self.payloads)
    }
}

impl Shared {
    /// Signs a head, remembers it in the lock, then shows it; neither where somebody else has put another head there since.
    pub(crate) fn sign(&self, head: Head) -> io::Result<()> {
        let origin = self.verifier.name().to_owned();
        let checkpoint = Checkpoint { origin, size: head.size, root: head.root };
        let note = self.checkpoint_key.sign(&checkpoint, &self.verifier);
        let places = [(&self.lock, LOCK), (&self.medium, CHECKPOINT)];
        for ((medium, name), last) in places.into_iter().zip(&mut *locked(&self.signed)) {
            if read_if_there(&**medium, name)? != *last {
                return Err(displaced(&format!("its signed head `{name}`")));
            }
            if let Err(error) = medium.replace(name, note.as_bytes()) {
                // One that has its name and failed later is seen by readers: what it covers must not be written again.
                let took_place = read_if_there(&**medium, name)? != *last;
                let unknown = || io::Error::other(format!("whether `{name}` is durable: {error}"));
                return Err(if took_place { unknown() } else { error });
            }
            *last = Some(note.clone().into_bytes());
        }
        Ok(())
    }
}
