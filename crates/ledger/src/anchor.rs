//! The newest head that witnesses have cosigned, beside the newest head, which may be ahead of it.

use std::io;

use crate::{log::Log, tile::CHECKPOINT};

/// Which head of a log is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFile {
    /// The newest that the log has signed: what it goes on from.
    Newest,
    /// The newest that as many witnesses have cosigned as its policy wants, with their lines.
    Witnessed,
}

impl HeadFile {
    /// The file that it is in, below the log's folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Newest => CHECKPOINT,
            Self::Witnessed => "anchor/witnessed",
        }
    }
}

impl Log {
    /// Keeps a head that witnesses have cosigned in place of the one before; nothing is judged here.
    ///
    /// # Errors
    /// It could not be written. The one before is still there.
    pub fn keep_witnessed(&self, note: &[u8]) -> io::Result<()> {
        self.shared.medium.replace(HeadFile::Witnessed.name(), note)
    }
}
