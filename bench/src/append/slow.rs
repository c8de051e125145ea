//! A disk whose syncs take longer: most disks answer in a millisecond or more, and some virtual ones in next to nothing.

use std::{io, time::Duration};

use ledger::{Extent, FileId, Files, Medium};

use crate::clock;

/// Real files, and a pause behind each sync of the write-ahead log.
pub(super) struct Slow {
    pub(super) files: Files,
    pub(super) pause: Duration,
}

struct SlowExtent {
    file: Box<dyn Extent>,
    pause: Duration,
}

impl Slow {
    fn slowly(&self, file: Box<dyn Extent>) -> Box<dyn Extent> {
        Box::new(SlowExtent { file, pause: self.pause })
    }
}

impl Medium for Slow {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.files.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.read(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.put(path, bytes)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.replace(path, bytes)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Extent>> {
        Ok(self.slowly(self.files.open(path)?))
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Box<dyn Extent>> {
        Ok(self.slowly(self.files.create(path, bytes)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files.remove(path)
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        self.files.remove_folder(folder)
    }

    fn flush(&self, paths: &[String]) -> io::Result<()> {
        self.files.flush(paths)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.files.sync_folder(folder)
    }

    fn find(&self, path: &str) -> io::Result<Option<(FileId, u64)>> {
        self.files.find(path)
    }

    fn in_place(&self) -> io::Result<bool> {
        self.files.in_place()
    }
}

impl Extent for SlowExtent {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.file.write_at(bytes, at)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.file.resize(bytes)
    }

    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        clock::pause(self.pause);
        Ok(())
    }
}
