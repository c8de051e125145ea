//! Names and contents of the files of [C2SP tlog-tiles](https://c2sp.org/tlog-tiles), and of payload files beside them.

use model::Digest;

use crate::merkle::TILE;

/// The file of the signed tree head.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The file in which a pack says what it is.
pub(crate) const README: &str = "README";

/// What a file under `tile/` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Hashes of this level.
    Hashes(usize),
    /// Entries.
    Entries,
}

/// The name of a tile or entry bundle; a narrower one than full has its width in the name.
pub(crate) fn path(kind: Kind, index: u64, width: usize) -> String {
    let whole = folder_path(kind, index);
    if width == TILE { whole } else { format!("{whole}.p/{width}") }
}

/// The folder of a tile's narrower versions.
pub(crate) fn partials(kind: Kind, index: u64) -> String {
    folder_path(kind, index) + ".p"
}

/// The name of the payloads that belong to an entry bundle.
pub(crate) fn payloads(index: u64) -> String {
    format!("payload/{}", digits(index))
}

/// The hashes of a tile as its file holds them.
pub(crate) fn hashes_to_bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().map(|hash| hash.0).collect::<Vec<_>>().into_flattened()
}

/// The hashes that a tile's file holds; `None` where it is not a whole number of them.
pub(crate) fn hashes_from_bytes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().copied().map(Digest).collect())
}

/// Adds an entry to a bundle. An entry is at most [`crate::MAX_LEAF`] bytes, which is what its length field can say.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("no leaf longer than 65,535 bytes is sealed");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Cuts the first entry off a bundle; `None` where the bundle ends before it.
pub(crate) fn take_entry<'a>(bundle: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bundle = rest;
    Some(entry)
}

/// An index in groups of three digits, all but the last marked: `x001/x234/067`.
fn digits(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

fn folder_path(kind: Kind, index: u64) -> String {
    match kind {
        Kind::Hashes(level) => format!("tile/{level}/{}", digits(index)),
        Kind::Entries => format!("tile/entries/{}", digits(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_specification_names_them() {
        assert_eq!(path(Kind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Kind::Hashes(2), 0, 1), "tile/2/000.p/1");
        assert_eq!(path(Kind::Entries, 273, 255), "tile/entries/273.p/255");
        assert_eq!(payloads(1000), "payload/x001/000");
    }

    #[test]
    fn an_entry_that_the_bundle_cuts_short_is_not_read() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"one");
        push_entry(&mut bundle, b"");
        let mut rest = bundle.as_slice();
        assert_eq!(take_entry(&mut rest), Some(&b"one"[..]));
        assert_eq!(take_entry(&mut rest), Some(&b""[..]));
        assert_eq!(take_entry(&mut rest), None);
        assert_eq!(take_entry(&mut &bundle[..4]), None);
    }
}
