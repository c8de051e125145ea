//! The write-ahead log's form: frames in batches, batches in segments.
//!
//! A batch is what one write and one sync make durable: a head, then frames. It starts on a multiple of [`ALIGN`], so that
//! bytes once acknowledged are never written again, and it names its segment, so that what a recycled file still holds of
//! an earlier life is told apart. The next batch is written only after the sync of the one before: a damaged batch with
//! anything behind it was acknowledged, one with nothing behind it was torn.

use crc32c::{crc32c, crc32c_append};

use model::Digest;

use crate::{leaf::MAX_LEAF, merkle::sha256_of};

/// Batches start on a multiple of this many bytes: a page, which is what storage writes at once.
pub(crate) const ALIGN: u64 = 4096;
/// The most records of one batch.
pub(crate) const BATCH_RECORDS: usize = 4096;
/// The most bytes of one batch, unless a single record is longer.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;

const MAGIC: [u8; 4] = *b"\x00bw\x01";
const HEAD: usize = 36;
const FRAME_HEAD: usize = 12;
/// How much room a leaf is given at first, in bytes: few are longer.
const USUAL_LEAF: usize = 1024;

/// A frame: checksum, two lengths, leaf, sealed payload; with it the hash of the leaf, which `leaf` writes. It does not
/// say where it stands, so callers make it in parallel.
pub(crate) fn frame<E>(
    payload: &[u8],
    leaf: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(Vec<u8>, Digest), E> {
    let mut frame = Vec::with_capacity(FRAME_HEAD + USUAL_LEAF + payload.len());
    frame.resize(FRAME_HEAD, 0);
    leaf(&mut frame)?;
    // The hash is over a zero byte and the leaf, and the byte in front of the leaf is zero still.
    let hash = sha256_of(&frame[FRAME_HEAD - 1..]);
    let lengths = [length(&frame[FRAME_HEAD..]), length(payload)].map(u32::to_le_bytes);
    frame[4..FRAME_HEAD].copy_from_slice(lengths.as_flattened());
    frame.extend_from_slice(payload);
    let checksum = crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&checksum.to_le_bytes());
    Ok((frame, hash))
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("leaves and payloads are bounded before they are framed")
}

/// A batch under construction, in a buffer that is used again.
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: u32,
    checksums: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEAD], count: 0, checksums: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEAD);
        (self.count, self.checksums) = (0, 0);
    }

    /// Whether a frame of this length may still join.
    pub(crate) fn has_room(&self, frame: usize) -> bool {
        let count = self.count as usize;
        count == 0 || (count < BATCH_RECORDS && self.bytes.len() + frame <= BATCH_BYTES)
    }

    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.count += 1;
        self.checksums = crc32c_append(self.checksums, &frame[..4]);
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes to write: the head in front of the frames.
    pub(crate) fn finish(&mut self, segment: u64, first: u64) -> &[u8] {
        let bytes = length(&self.bytes);
        let head = &mut self.bytes[..HEAD];
        head[4..8].copy_from_slice(&MAGIC);
        head[8..16].copy_from_slice(&segment.to_le_bytes());
        head[16..24].copy_from_slice(&first.to_le_bytes());
        head[24..28].copy_from_slice(&self.count.to_le_bytes());
        head[28..32].copy_from_slice(&bytes.to_le_bytes());
        head[32..36].copy_from_slice(&self.checksums.to_le_bytes());
        let checksum = crc32c(&head[4..]);
        head[..4].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

/// A batch's head, checked by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) bytes: u32,
    checksums: u32,
}

/// One record as it lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) leaf: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Reads a head that belongs to this segment; `None` for anything else.
pub(crate) fn head(bytes: &[u8], segment: u64) -> Option<BatchHead> {
    let (head, _) = bytes.split_first_chunk::<HEAD>()?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let good = head[4..8] == MAGIC && u32_at(0) == crc32c(&head[4..]) && u64_at(8) == segment;
    good.then(|| BatchHead {
        first: u64_at(16),
        count: u32_at(24),
        bytes: u32_at(28),
        checksums: u32_at(32),
    })
}

/// Reads all frames of a batch, whose bytes start with its head.
///
/// # Errors
/// The number within the batch of the first frame that is damaged.
pub(crate) fn frames<'a>(bytes: &'a [u8], head: &BatchHead) -> Result<Vec<Frame<'a>>, u32> {
    let end = bytes.len().min(head.bytes as usize);
    let mut rest = bytes.get(HEAD..end).unwrap_or_default();
    let mut frames = Vec::new();
    let mut checksums = 0;
    for number in 0..head.count {
        let (frame, checksum) = take_frame(&mut rest).ok_or(number)?;
        checksums = crc32c_append(checksums, &checksum);
        frames.push(frame);
    }
    // A frame of a recycled file's earlier life can be whole by itself; together they must be this batch's.
    if checksums == head.checksums && rest.is_empty() { Ok(frames) } else { Err(0) }
}

fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<(Frame<'a>, [u8; 4])> {
    let (head, body) = rest.split_first_chunk::<FRAME_HEAD>()?;
    let checksum = [head[0], head[1], head[2], head[3]];
    let leaf = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let payload = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let (body, after) = body.split_at_checked(leaf.checked_add(payload)?)?;
    let whole = &rest[4..FRAME_HEAD + body.len()];
    if leaf > MAX_LEAF || crc32c(whole) != u32::from_le_bytes(checksum) {
        return None;
    }
    *rest = after;
    let (leaf, payload) = body.split_at(leaf);
    Some((Frame { leaf, payload }, checksum))
}

/// A batch found while a segment is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) head: BatchHead,
    /// Where it starts in the segment.
    pub(crate) at: u64,
    /// The number of its first damaged frame, where it has one.
    pub(crate) damaged: Option<u32>,
}

/// Every batch of this segment, also those behind damage.
pub(crate) fn scan(bytes: &[u8], segment: u64) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at as usize..).filter(|rest| !rest.is_empty()) {
        at += match head(rest, segment) {
            Some(head) => {
                found.push(Found { head, at, damaged: frames(rest, &head).err() });
                u64::from(head.bytes.max(1)).next_multiple_of(ALIGN)
            }
            None => ALIGN,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(leaf: &[u8], payload: &[u8]) -> Vec<u8> {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(leaf);
            Ok::<_, ()>(())
        };
        let (frame, hash) = super::frame(payload, write).unwrap();
        assert_eq!(hash, crate::leaf_hash(leaf));
        frame
    }

    fn batch(segment: u64, first: u64, leaves: &[&[u8]]) -> Vec<u8> {
        let mut builder = Builder::new();
        leaves.iter().for_each(|leaf| builder.push(&frame(leaf, b"sealed")));
        builder.finish(segment, first).to_vec()
    }

    #[test]
    fn a_batch_reads_back_and_any_flipped_bit_is_noticed() {
        let bytes = batch(3, 70, &[b"one", b"two"]);
        let good = head(&bytes, 3).unwrap();
        assert_eq!(frames(&bytes, &good).unwrap()[1], Frame { leaf: b"two", payload: b"sealed" });
        assert_eq!(head(&bytes, 4), None, "a batch of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = head(&changed, 3).is_some_and(|head| frames(&changed, &head).is_ok());
            assert!(!read, "bit {bit}");
        }
        for length in 0..bytes.len() {
            let short = &bytes[..length];
            assert!(head(short, 3).is_none_or(|head| frames(short, &head).is_err()), "{length}");
        }
    }

    #[test]
    fn whole_frames_of_an_earlier_life_do_not_complete_a_batch() {
        let (new, old) = (batch(3, 70, &[b"new", b"end"]), batch(2, 10, &[b"new", b"old"]));
        let mut torn = new;
        let second = HEAD + FRAME_HEAD + b"newsealed".len();
        torn[second..].copy_from_slice(&old[second..]);
        assert_eq!(frames(&torn, &head(&torn, 3).unwrap()), Err(0));
    }

    #[test]
    fn a_scan_finds_what_stands_behind_damage() {
        let mut segment = vec![0; 4 * ALIGN as usize];
        for (page, first) in [(0, 5), (1, 6), (2, 7)] {
            let bytes = batch(9, first, &[b"leaf"]);
            segment[page * ALIGN as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        segment[ALIGN as usize] ^= 1;
        segment[2 * ALIGN as usize + HEAD] ^= 1;
        let found: Vec<_> =
            scan(&segment, 9).iter().map(|found| (found.head.first, found.damaged)).collect();
        assert_eq!(found, [(5, None), (7, Some(0))]);
    }
}
