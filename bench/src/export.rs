//! `ledger-export`: a pack, beside one file with the same bytes, written from start to end. Both are durable at the end.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use ledger::{HeadFile, export};

use crate::{
    actions::Actions,
    clock::now,
    figure::{Figure, Report, median},
};

/// How many entries are exported when nobody says.
const ENTRIES: u64 = 200_000;
/// How often each side is measured.
const ROUNDS: usize = 5;
/// How much is written at a time.
const PART: usize = 1024 * 1024;

/// Exports, and says how many bytes an action takes that says a kibibyte.
pub(crate) fn run(report: &mut Report, entries: Option<u64>) -> anyhow::Result<()> {
    let Actions { folder, actions, .. } = Actions::record(entries.unwrap_or(ENTRIES))?;
    let (ledger, pack) = (folder.path().join("ledger"), folder.path().join("pack"));
    let (mut exported, mut written, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let start = now();
        export(&ledger, &pack, HeadFile::Newest)?;
        exported.push(start.elapsed().as_secs_f64());
        bytes = bytes_below(&pack)?;
        fs::remove_dir_all(&pack)?;
        let start = now();
        write(&folder.path().join("plain"), bytes)?;
        written.push(start.elapsed().as_secs_f64());
    }
    let megabytes = bytes as f64 / 1e6;
    let [exported, written] = [exported, written].map(|times| megabytes / median(times));
    report.add(&Figure::rate("ledger-export", exported, "MB/s", written));
    report.add(&Figure::alone("ledger-export/action", bytes as f64 / actions as f64, "bytes"));
    Ok(())
}

fn write(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let (mut file, part) = (File::create(path)?, vec![b'.'; PART]);
    let mut left = usize::try_from(bytes)?;
    while left > 0 {
        let now = left.min(PART);
        file.write_all(&part[..now])?;
        left -= now;
    }
    file.sync_all()?;
    Ok(fs::remove_file(path)?)
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
