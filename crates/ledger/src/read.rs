//! Reading back everything that is acknowledged: bundles as far as published, the write-ahead log behind.

use std::{collections::VecDeque, io, io::ErrorKind, sync::Arc};

use model::Digest;

use crate::{
    leaf::{Leaf, LeafError},
    locked,
    log::{Log, Shared, Span},
    medium::{Extent, read_exact_at},
    merkle::{TILE, leaf_hash},
    payload::{MAX_PAYLOAD, OVERHEAD, PayloadError},
    tile::{self, Kind},
    wal,
};

/// One entry as it is in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its position, counted from zero.
    pub index: u64,
    /// Its leaf hash.
    pub hash: Digest,
    /// What it says.
    pub leaf: Leaf,
    /// The leaf's bytes, which the hash is over.
    pub bytes: Vec<u8>,
}

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes could not be read, or are cut short.
    #[error("entry {index} could not be read")]
    Io {
        /// Which entry.
        index: u64,
        /// What the medium said.
        #[source]
        source: io::Error,
    },
    /// The bytes are not a leaf.
    #[error("entry {index} is not a leaf")]
    Leaf {
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: LeafError,
    },
}

/// The entries from one position on, as far as acknowledged when this was made.
pub struct Entries {
    shared: Arc<Shared>,
    next: u64,
    end: u64,
    /// The bytes of entries that are read already, the next one first.
    read: VecDeque<Vec<u8>>,
}

/// Reads entries here and there. It holds the bundle that it read last, a few hundred kilobytes, because what is asked for
/// together often lies together.
pub struct Reader {
    shared: Arc<Shared>,
    held: Option<Bundle>,
}

/// The entries of a bundle, as they lie in its file.
struct Bundle {
    number: u64,
    /// How many of them a head covers.
    width: usize,
    bytes: Vec<u8>,
}

impl Log {
    /// All entries that are acknowledged now, from this position on.
    pub fn entries(&self, from: u64) -> Entries {
        let end = self.acknowledged();
        Entries { shared: Arc::clone(&self.shared), next: from, end, read: VecDeque::new() }
    }

    /// The entry at this position; `None` where the log has none yet. Who asks for many takes a [`Reader`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn entry(&self, index: u64) -> Result<Option<Entry>, ReadError> {
        self.reader().entry(index)
    }

    /// Reads entries here and there.
    pub fn reader(&self) -> Reader {
        Reader { shared: Arc::clone(&self.shared), held: None }
    }

    /// Opens the payload of an entry; `None` where it has none.
    ///
    /// # Errors
    /// It was erased, is gone or damaged, or its key is out of reach.
    pub fn open_payload(&self, entry: &Entry) -> Result<Option<Vec<u8>>, PayloadError> {
        let Some(mark) = &entry.leaf.payload else { return Ok(None) };
        if let Some(by) = locked(&self.shared.erased).by(&mark.key) {
            let (index, expired) = (by.index, by.until.is_some());
            let gone = if expired { PayloadError::Expired } else { PayloadError::Erased };
            return Err(gone(index));
        }
        let key = self.shared.subjects.by_id(&mark.key)?;
        let key = key.ok_or_else(|| PayloadError::NoKey(mark.key.clone()))?;
        let sealed = self.shared.sealed_payload(entry.index).map_err(PayloadError::Io)?;
        let sealed = sealed.ok_or(PayloadError::Gone(entry.index))?;
        key.open(entry.leaf.id, mark, sealed).map(Some)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, ReadError>;

    /// After an error the iteration is over: what follows cannot be told from what was lost.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next;
        let entry = self.read_next().and_then(|bytes| Entry::parse(index, bytes));
        self.next = if entry.is_ok() { index + 1 } else { self.end };
        Some(entry)
    }
}

impl Entries {
    fn read_next(&mut self) -> Result<Vec<u8>, ReadError> {
        let index = self.next;
        if self.read.is_empty() {
            let read = self.shared.read_from(index, self.end - index);
            self.read = read.map_err(|source| ReadError::Io { index, source })?;
        }
        let cut_short = || ReadError::Io { index, source: ErrorKind::UnexpectedEof.into() };
        self.read.pop_front().ok_or_else(cut_short)
    }
}

impl Entry {
    fn parse(index: u64, bytes: Vec<u8>) -> Result<Self, ReadError> {
        // Opening the log has hashed it all against the signed head; what came since, this process has sealed.
        let leaf = Leaf::parse_sealed(&bytes);
        let leaf = leaf.map_err(|source| ReadError::Leaf { index, source })?;
        Ok(Self { index, hash: leaf_hash(&bytes), leaf, bytes })
    }
}

impl Reader {
    /// The entry at this position; `None` where the log has none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn entry(&mut self, index: u64) -> Result<Option<Entry>, ReadError> {
        if index >= locked(&self.shared.tail).acknowledged {
            return Ok(None);
        }
        let bytes = self.bytes(index).map_err(|source| ReadError::Io { index, source })?;
        Entry::parse(index, bytes).map(Some)
    }

    fn bytes(&mut self, index: u64) -> io::Result<Vec<u8>> {
        if !self.held.as_ref().is_some_and(|held| held.has(index)) {
            self.held = match self.shared.place(index)? {
                Place::Bundle(size) => Some(self.shared.bundle(index, size)?),
                Place::Batch(span) => {
                    let entry = self.shared.read_batch(&span, index, 1)?.pop_front();
                    return entry.ok_or_else(|| ErrorKind::UnexpectedEof.into());
                }
            };
        }
        let slot = (index % TILE as u64) as usize;
        let entry = self.held.as_ref().and_then(|held| held.entries().nth(slot));
        entry.map(<[u8]>::to_vec).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

impl Bundle {
    fn has(&self, index: u64) -> bool {
        let (number, slot) = (index / TILE as u64, (index % TILE as u64) as usize);
        number == self.number && slot < self.width
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || tile::take_entry(&mut rest)).take(self.width)
    }
}

/// Where an entry is right now.
enum Place {
    /// Published, in a log of this size.
    Bundle(u64),
    /// In the write-ahead log. The span keeps its segment from being used again.
    Batch(Span),
}

impl Shared {
    /// The entry at this position and, up to so many, those that lie behind it in the same bundle or batch.
    fn read_from(&self, index: u64, most: u64) -> io::Result<VecDeque<Vec<u8>>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.place(index)? {
            Place::Bundle(size) => self.read_bundle(index, size, most),
            Place::Batch(span) => self.read_batch(&span, index, most),
        }
    }

    /// Entries of a batch, from one on, up to so many.
    fn read_batch(&self, span: &Span, index: u64, most: usize) -> io::Result<VecDeque<Vec<u8>>> {
        let bytes = read_exact_at(&*span.segment.extent, span.bytes as usize, span.at)?;
        let skipped = (index - span.first) as usize;
        let frames = frames(&bytes, span)?;
        Ok(frames.iter().skip(skipped).take(most).map(|frame| frame.leaf.to_vec()).collect())
    }

    fn place(&self, index: u64) -> io::Result<Place> {
        let tail = locked(&self.tail);
        if index < tail.published.size {
            return Ok(Place::Bundle(tail.published.size));
        }
        let at = tail.spans.partition_point(|span| span.first + u64::from(span.count) <= index);
        let span = tail.spans.get(at).cloned().map(Place::Batch);
        span.ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Entries of a bundle of a log of this size, from one on, up to so many.
    pub(crate) fn read_bundle(
        &self,
        index: u64,
        size: u64,
        most: usize,
    ) -> io::Result<VecDeque<Vec<u8>>> {
        let slot = (index % TILE as u64) as usize;
        let bundle = self.bundle(index, size)?;
        Ok(bundle.entries().skip(slot).take(most).map(<[u8]>::to_vec).collect())
    }

    /// The bundle of an entry, in a log of this size.
    fn bundle(&self, index: u64, size: u64) -> io::Result<Bundle> {
        let number = index / TILE as u64;
        let width = (size - number * TILE as u64).min(TILE as u64) as usize;
        let bytes = match self.medium.read(&tile::path(Kind::Entries, number, width)) {
            // It may have become full since, and then the narrower file goes.
            Err(error) if error.kind() == ErrorKind::NotFound && width < TILE => {
                self.medium.read(&tile::path(Kind::Entries, number, TILE))?
            }
            bytes => bytes?,
        };
        Ok(Bundle { number, width, bytes })
    }

    /// The sealed payload of an entry, from wherever it is.
    fn sealed_payload(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let Place::Batch(span) = self.place(index)? else {
            return self.payload_record(index);
        };
        let bytes = read_exact_at(&*span.segment.extent, span.bytes as usize, span.at)?;
        let frames = frames(&bytes, &span)?;
        let payload = frames.get((index - span.first) as usize).map(|frame| frame.payload);
        Ok(payload.filter(|payload| !payload.is_empty()).map(<[u8]>::to_vec))
    }

    fn payload_record(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.medium.open(&tile::payloads(index / TILE as u64)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match payload_place(&*file, index)? {
            Some((at, bytes)) => read_exact_at(&*file, bytes, at).map(Some),
            None => Ok(None),
        }
    }
}

/// Where a payload file has the sealed bytes of an entry, and how many: walks the records up to its own. `None` where it has
/// none.
pub(crate) fn payload_place(file: &dyn Extent, index: u64) -> io::Result<Option<(u64, usize)>> {
    let (end, mut at) = (file.len()?, 0);
    for slot in 0..=index % TILE as u64 {
        if at + 4 > end {
            return Ok(None);
        }
        let record = read_exact_at(file, 4, at)?;
        let bytes = u32::from_be_bytes([record[0], record[1], record[2], record[3]]) as usize;
        if bytes > MAX_PAYLOAD + OVERHEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        if slot == index % TILE as u64 && bytes > 0 {
            return Ok(Some((at + 4, bytes)));
        }
        at += 4 + bytes as u64;
    }
    Ok(None)
}

fn frames<'a>(bytes: &'a [u8], span: &Span) -> io::Result<Vec<wal::Frame<'a>>> {
    let frames = wal::head(bytes, span.segment.number)
        .and_then(|head| wal::frames(bytes, &head).ok())
        .filter(|frames| frames.len() == span.count as usize);
    frames.ok_or_else(|| ErrorKind::InvalidData.into())
}
