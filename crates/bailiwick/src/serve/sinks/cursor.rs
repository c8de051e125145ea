//! How far a sink is, kept in a file of its own.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ledger::{Entry, Log, ReadError};
use model::{Digest, Name};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Exit, Result},
    files,
};

/// How far a sink is. The leaf hash says in which log: no two have the same entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The position of the first entry that was not acknowledged.
    pub(super) next: u64,
    /// The leaf hash of the one before; zeros where there is none.
    last: Digest,
}

impl Cursor {
    /// Behind an entry.
    pub(super) fn behind(entry: &Entry) -> Self {
        Self { next: entry.index + 1, last: entry.hash }
    }
}

/// The file of a cursor.
#[derive(Debug, Clone)]
pub(super) struct CursorFile(PathBuf);

impl CursorFile {
    /// The file of a sink of that name; its folder is made at need.
    pub(super) fn new(folder: &Path, sink: &Name) -> Result<Self> {
        files::make_private_dir(folder)?;
        Ok(Self(folder.join(format!("{sink}.json"))))
    }

    /// Where a sink goes on in a log, and why that is not where an earlier run was. Blocks.
    pub(super) fn take_up(
        &self,
        log: &Log,
    ) -> std::result::Result<(Cursor, Option<String>), ReadError> {
        let start = Cursor { next: 0, last: Digest::default() };
        let kept = match files::read(&self.0) {
            Err(failure) if failure.exit == Exit::NotFound => return Ok((start, None)),
            Err(failure) => return Ok((start, Some(failure.line()))),
            Ok(kept) => kept,
        };
        let Ok(kept) = serde_json::from_slice::<Cursor>(&kept) else {
            return Ok((start, Some(format!("`{}` cannot be read", self.0.display()))));
        };
        let last = match kept.next.checked_sub(1) {
            None => Some(Digest::default()),
            Some(last) => log.entry(last)?.map(|entry| entry.hash),
        };
        if last != Some(kept.last) {
            let why = "the last entry that it was sent is not in this ledger: it was set back, or is another one";
            return Ok((start, Some(why.to_owned())));
        }
        Ok((kept, None))
    }

    /// Keeps a cursor, in one step; what a process that died in the middle left is written over. Blocks.
    pub(super) fn keep(&self, cursor: &Cursor) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        serde_json::to_writer(&mut file, cursor)?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)
    }
}
