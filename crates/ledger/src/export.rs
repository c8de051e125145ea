//! Packs: a copy of a log's published part, for an auditor to check without us.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    anchor::{self, HeadFile},
    erasure::{self, Erased},
    handover,
    merkle::TILE,
    note::{Checkpoint, NoteError},
    tile::{self, CHECKPOINT, Kind, README},
};

/// Why a pack was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log's checkpoint is not of the known form.
    #[error("the log's checkpoint cannot be read")]
    Checkpoint(#[source] NoteError),
    /// The target holds something already.
    #[error("`{0}` is not empty; a pack needs a folder of its own")]
    NotEmpty(PathBuf),
    /// A file of the log is missing or has fewer entries than the checkpoint covers.
    #[error("`{0}` is missing or cut short; `verify` on the log says what else is wrong")]
    Damaged(String),
    /// A payload was erased by an entry behind the head, so that the pack could not say why it is gone.
    #[error(
        "the payload of entry {0} was erased, and the head at hand does not cover the entry that says so"
    )]
    Erased(u64),
    /// Reading or writing failed.
    #[error("`{file}` could not be copied")]
    Io {
        /// Which file.
        file: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// What the pack says of itself. The key is deliberately not in it.
const ABOUT: &str = "\
This folder is a copy of a tamper-evident log, in open formats:

  checkpoint      the signed head: C2SP tlog-checkpoint, a C2SP signed note with Ed25519; where witnesses
                  have cosigned it, with their lines (C2SP tlog-cosignature)
  anchor/         an older head that witnesses have cosigned, where `checkpoint` is ahead of it; in stamped/
                  heads by their sizes, each with the timestamp of an authority over it (RFC 3161), which
                  `openssl ts -verify -data HEAD -in HEAD.tsr -CAfile CERTIFICATE` checks; in handover/ heads
                  that the log's former key signed for the entry of that position, which names the next key
  tile/entries/   the entries: C2SP tlog-tiles bundles; each entry is JSON in the form of RFC 8785
  tile/0, 1, ...  the hashes of the Merkle tree of RFC 6962, 256 to a tile
  payload/        sealed payloads, one file for each bundle: for each entry a length of four bytes,
                  big end first, and so many bytes; zero where the entry has none. Where they are all
                  zero an entry of kind `erasure` names the key `payload.key` that was destroyed

Check it with `bailiwick verify`, or with any program that reads C2SP tlog-tiles. The key to check it
with is not in here: a pack that brought its own key could be made by anybody. Get it from whoever
runs the log, by another way, once; and keep every checkpoint you have seen: a log that does not
contain an older one of its own checkpoints has been rewritten.

The entry's member `payload.ciphertext` is the SHA-256 of its sealed payload, and `payload.commit` is
the SHA-256 of `payload/v1`, 32 bytes of salt, and the payload; who is given payload and salt can
check it without any key.
";

/// Copies the published part of the log in `dir`, live or not, into the empty folder `out`, as far as one of its heads covers
/// it; gives the checkpoint that the copy is of. It judges nothing: checking the pack is what [`crate::verify`] does, with the key.
///
/// # Errors
/// The target is not empty, the log is damaged, or copying failed.
pub fn export(dir: &Path, out: &Path, head: HeadFile) -> Result<Checkpoint, ExportError> {
    let mut pack = Pack { dir, out, erased: Erased::default(), gone: Vec::new() };
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ExportError::NotEmpty(out.to_owned()));
    }
    // First: in a live log it would else be newer than the newest.
    let witnessed = match head {
        HeadFile::Newest => pack.read(HeadFile::Witnessed.name())?,
        HeadFile::Witnessed => None,
    };
    let note = pack.read(head.name())?.ok_or(ExportError::Damaged(head.name().to_owned()))?;
    let checkpoint = Checkpoint::unverified(&note).map_err(ExportError::Checkpoint)?;
    let mut level = 0;
    let mut hashes = checkpoint.size;
    while hashes > 0 {
        for index in 0..hashes.div_ceil(TILE as u64) {
            let width = (hashes - index * TILE as u64).min(TILE as u64) as usize;
            pack.copy(Kind::Hashes(level), index, width)?;
            if level == 0 {
                let bundle = pack.copy(Kind::Entries, index, width)?;
                pack.copy_payloads(index, width, &bundle)?;
            }
        }
        (level, hashes) = (level + 1, hashes / TILE as u64);
    }
    if let Some((index, _)) = pack.gone.iter().find(|(_, key)| pack.erased.by(key).is_none()) {
        return Err(ExportError::Erased(*index));
    }
    pack.copy_stamped(checkpoint.size)?;
    pack.copy_handovers(checkpoint.size)?;
    pack.write(README, ABOUT.as_bytes())?;
    if let Some(witnessed) = witnessed {
        pack.write(HeadFile::Witnessed.name(), &witnessed)?;
    }
    // One sync for all files costs a hundredth of one for each. What has a checkpoint is whole.
    pack.sync()?;
    pack.write(CHECKPOINT, &note)?;
    pack.sync()?;
    Ok(checkpoint)
}

struct Pack<'a> {
    dir: &'a Path,
    out: &'a Path,
    erased: Erased,
    /// Entries whose payloads were written over, with the names of their keys.
    gone: Vec<(u64, String)>,
}

impl Pack<'_> {
    /// One tile or bundle. Where a live log has grown past this width, the narrower one is the start of the full one.
    fn copy(&self, kind: Kind, index: u64, width: usize) -> Result<Vec<u8>, ExportError> {
        let name = tile::path(kind, index, width);
        let bytes = match self.read(&name)? {
            Some(bytes) => Some(bytes),
            None => {
                self.read(&tile::path(kind, index, TILE))?.and_then(|full| start(kind, full, width))
            }
        };
        let bytes = bytes.ok_or(ExportError::Damaged(name.clone()))?;
        self.write(&name, &bytes)?;
        Ok(bytes)
    }

    /// The payload file of a bundle, where it has one, up to the last payload of an entry that the checkpoint covers.
    fn copy_payloads(
        &mut self,
        index: u64,
        width: usize,
        mut bundle: &[u8],
    ) -> Result<(), ExportError> {
        let entries: Vec<_> = std::iter::from_fn(|| tile::take_entry(&mut bundle)).collect();
        for (entry, at) in entries.iter().zip(index * TILE as u64..) {
            self.erased.note_entry(entry, at);
        }
        let name = tile::payloads(index);
        let Some(bytes) = self.read(&name)? else { return Ok(()) };
        let (mut rest, mut end) = (bytes.as_slice(), 0);
        for slot in 0..width {
            let Some((length, record)) = rest.split_first_chunk::<4>() else { break };
            let length = u32::from_be_bytes(*length) as usize;
            let Some((record, next)) = record.split_at_checked(length) else { break };
            rest = next;
            let key = entries.get(slot).and_then(|entry| erasure::key(entry));
            if let Some(key) = key.filter(|_| erasure::is_written_over(record)) {
                self.gone.push((index * TILE as u64 + slot as u64, key.to_owned()));
            }
            if length > 0 {
                end = bytes.len() - rest.len();
            }
        }
        if end == 0 { Ok(()) } else { self.write(&name, &bytes[..end]) }
    }

    /// The stamped heads that the checkpoint covers, with their timestamps.
    fn copy_stamped(&self, size: u64) -> Result<(), ExportError> {
        let unreadable = |source| ExportError::Io { file: anchor::stamped(size), source };
        let sizes = anchor::stamped_sizes(self.dir).map_err(unreadable)?;
        for size in sizes.into_iter().filter(|stamped| *stamped <= size) {
            let name = anchor::stamped(size);
            let timestamp = anchor::timestamp_of(&name);
            // A live log may thin them out meanwhile.
            if let (Some(note), Some(token)) = (self.read(&name)?, self.read(&timestamp)?) {
                self.write(&timestamp, &token)?;
                self.write(&name, &note)?;
            }
        }
        Ok(())
    }

    /// The heads that lead from one key to another, as far as the checkpoint covers them.
    fn copy_handovers(&self, size: u64) -> Result<(), ExportError> {
        let unreadable = |source| ExportError::Io { file: handover::FOLDER.to_owned(), source };
        for index in handover::handovers(self.dir).map_err(unreadable)? {
            let name = handover::handover(index);
            let Some(note) = self.read(&name)? else { continue };
            if Checkpoint::unverified(&note).is_ok_and(|head| head.size <= size) {
                self.write(&name, &note)?;
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ExportError> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ExportError::Io { file: name.to_owned(), source }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.out.join(name);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(self.out))?;
            fs::File::create_new(&path)?.write_all(bytes)
        };
        write().map_err(|source| ExportError::Io { file: name.to_owned(), source })
    }

    /// Makes everything durable that was written, with its names.
    fn sync(&self) -> Result<(), ExportError> {
        let sync = || Ok(rustix::fs::syncfs(fs::File::open(self.out)?)?);
        sync().map_err(|source| ExportError::Io { file: self.out.display().to_string(), source })
    }
}

/// The first hashes or entries of a full tile or bundle.
fn start(kind: Kind, mut full: Vec<u8>, width: usize) -> Option<Vec<u8>> {
    let length = match kind {
        Kind::Hashes(_) => width * 32,
        Kind::Entries => {
            let mut rest = full.as_slice();
            for _ in 0..width {
                tile::take_entry(&mut rest)?;
            }
            full.len() - rest.len()
        }
    };
    full.truncate(length);
    Some(full)
}
