//! A sink that is a file: a line for each entry, synced before the cursor moves.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use insight::{Event, Shape};
use rustix::fs::OFlags;

use super::{Taken, post::NotTaken};

const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// A file of lines. It is opened for each batch, so that whoever moves or empties it meanwhile is in nobody's way.
pub(super) struct JsonLines {
    file: PathBuf,
    shape: Shape,
}

impl JsonLines {
    pub(super) const fn new(file: PathBuf, shape: Shape) -> Self {
        Self { file, shape }
    }

    pub(super) async fn deliver(&self, events: &[Event<'_>]) -> Result<Taken, NotTaken> {
        let lines: Vec<u8> = events.iter().flat_map(|event| event.line(self.shape)).collect();
        let file = self.file.clone();
        let added = tokio::task::spawn_blocking(move || add(&file, &lines)).await;
        added.map_err(io::Error::other)??;
        Ok(Taken::default())
    }
}

fn add(path: &Path, lines: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    // Readable for the group of whoever ships it on; it holds what leaves hold, and no payload. A link is not followed: whoever may
    // write to its folder could have lines added to what they may not write to.
    options.read(true).append(true).create(true).mode(0o640).custom_flags(NOFOLLOW);
    let mut file = options.open(path)?;
    if ends_within_a_line(&mut file)? {
        // A write was cut off. What is there stays; the entry comes again, whole.
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_data()?;
    match path.parent() {
        Some(folder) if is_new => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
