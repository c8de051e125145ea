//! Readers of the ledger's files, for `cargo xtask fuzz`, which alone builds this.

use crate::{Checkpoint, tile, wal};

/// What a checkpoint says, whoever signed it; `None` where it has another form.
pub fn checkpoint(note: &[u8]) -> Option<Checkpoint> {
    Checkpoint::unverified(note).ok()
}

/// The entries of a bundle, and the same bundle written from them; `None` where it ends inside an entry.
pub fn bundle(mut bytes: &[u8]) -> Option<(Vec<&[u8]>, Vec<u8>)> {
    let (mut entries, mut again) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let entry = tile::take_entry(&mut bytes)?;
        tile::push_entry(&mut again, entry);
        entries.push(entry);
    }
    Some((entries, again))
}

/// A tile of hashes, written from what was read of it; `None` where it holds no whole number of them.
pub fn hashes(bytes: &[u8]) -> Option<Vec<u8>> {
    tile::hashes_from_bytes(bytes).map(|hashes| tile::hashes_to_bytes(&hashes))
}

/// The batches of a segment: where each starts, and the leaves of those that are whole.
pub fn segment(bytes: &[u8], number: u64) -> Vec<(u64, Option<Vec<&[u8]>>)> {
    let found = wal::scan(bytes, number).into_iter();
    let leaves = |found: wal::Found| {
        let at = usize::try_from(found.at).ok()?;
        let frames = wal::frames(bytes.get(at..)?, &found.head).ok()?;
        Some((found.at, frames.into_iter().map(|frame| frame.leaf).collect::<Vec<_>>()))
    };
    found
        .map(|found| match leaves(found) {
            Some((at, leaves)) => (at, Some(leaves)),
            None => (found.at, None),
        })
        .collect()
}

/// A segment with one batch of these records, each a leaf and a payload.
pub fn batch(number: u64, first: u64, records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut builder = wal::Builder::new();
    for (leaf, payload) in records {
        let framed = wal::frame(payload, |out| {
            out.extend_from_slice(leaf);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok((frame, _)) = framed;
        builder.push(&frame);
    }
    builder.finish(number, first).to_vec()
}
