//! Heads that others have a hand in, beside the newest head, which may be ahead of them: the newest that witnesses have
//! cosigned, and those that an authority has stamped.

use std::{fs, io, path::Path};

use model::Timestamp;

use crate::{log::Log, tile::CHECKPOINT, timestamp};

/// Where stamped heads lie: each is called by its size, its timestamp the same with `.tsr`.
pub(crate) const STAMPED: &str = "anchor/stamped";
/// So many stamped heads are kept. Above it the older half is thinned out, so that they reach back to the first, ever sparser.
const MAX_STAMPED: usize = 32;

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

    /// Keeps a head of this size with the timestamp that an authority gave it; nothing is judged here.
    ///
    /// # Errors
    /// It could not be written, or an older one not be removed.
    pub fn keep_stamped(&self, size: u64, note: &[u8], timestamp: &[u8]) -> io::Result<()> {
        let medium = &self.shared.medium;
        let name = stamped(size);
        // A head that is there has its timestamp.
        medium.replace(&timestamp_of(&name), timestamp)?;
        medium.replace(&name, note)?;
        let sizes = numbers(&medium.list(STAMPED)?);
        if sizes.len() > MAX_STAMPED {
            for size in sizes[..MAX_STAMPED / 2].iter().skip(1).step_by(2) {
                let name = stamped(*size);
                medium.remove(&name)?;
                medium.remove(&timestamp_of(&name))?;
            }
        }
        Ok(())
    }
}

/// The file of a stamped head of this size.
pub(crate) fn stamped(size: u64) -> String {
    format!("{STAMPED}/{size}")
}

/// The file of a stamped head's timestamp.
pub(crate) fn timestamp_of(stamped: &str) -> String {
    format!("{stamped}.tsr")
}

/// The sizes of the stamped heads that lie in a log's folder, the smallest first.
///
/// # Errors
/// The folder cannot be read.
pub fn stamped_sizes(log: &Path) -> io::Result<Vec<u64>> {
    numbers_in(&log.join(STAMPED))
}

/// The numbers that files in a folder are called by, the smallest first; none where there is no such folder.
pub(crate) fn numbers_in(folder: &Path) -> io::Result<Vec<u64>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let names = entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<io::Result<Vec<_>>>().map(|names| numbers(&names))
        }
    }
}

/// The time that a log's stamped head of this size has, by its token's own word.
///
/// # Errors
/// Head or token cannot be read, or the token is none for this head.
pub fn stamped_at(log: &Path, size: u64) -> io::Result<Timestamp> {
    let name = stamped(size);
    let (note, token) = (fs::read(log.join(&name))?, fs::read(log.join(timestamp_of(&name)))?);
    timestamp::of_head(&note, &token).map_err(io::Error::other)
}

fn numbers(names: &[String]) -> Vec<u64> {
    let number =
        |name: &String| name.parse().ok().filter(|number: &u64| number.to_string() == *name);
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
