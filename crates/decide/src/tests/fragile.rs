//! A disk that breaks on command.

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ledger::{Extent, FileId, Files, Medium};

/// What is broken right now.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) writes_fail: AtomicBool,
    pub(super) syncs_fail: AtomicBool,
    pub(super) full: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    /// Syncs wait until they are released.
    pub(super) fn hold_syncs(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.released.notify_all();
    }

    fn sync(&self) -> io::Result<()> {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
        if self.syncs_fail.load(Ordering::SeqCst) { Err(io::Error::other("EIO")) } else { Ok(()) }
    }
}

/// Real files behind breakable calls. No test pulls the plug, so nothing is synced for real: a busy disk would be slower
/// than a grant waits for its record, and look like one that is broken.
pub(super) struct Fragile {
    files: Files,
    faults: Arc<Faults>,
}

impl Fragile {
    pub(super) fn new(root: &Path, faults: Arc<Faults>) -> Self {
        Self { files: Files::take(root).unwrap(), faults }
    }
}

impl Medium for Fragile {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.files.list(folder)
    }
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.read(path)
    }
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.files.put(path, bytes)
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.put(path, bytes)
    }
    fn open(&self, path: &str) -> io::Result<Box<dyn Extent>> {
        Ok(Box::new(FragileExtent { extent: self.files.open(path)?, faults: self.faults.clone() }))
    }
    fn create(&self, path: &str, bytes: u64) -> io::Result<Box<dyn Extent>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(Box::new(FragileExtent {
            extent: self.files.create(path, bytes)?,
            faults: self.faults.clone(),
        }))
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
    fn flush(&self, _: &[String]) -> io::Result<()> {
        Ok(())
    }
    fn sync_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn find(&self, path: &str) -> io::Result<Option<(FileId, u64)>> {
        self.files.find(path)
    }
    fn in_place(&self) -> io::Result<bool> {
        self.files.in_place()
    }
}

struct FragileExtent {
    extent: Box<dyn Extent>,
    faults: Arc<Faults>,
}

impl Extent for FragileExtent {
    fn len(&self) -> io::Result<u64> {
        self.extent.len()
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.extent.read_at(into, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        if self.faults.writes_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("EIO"));
        }
        self.extent.write_at(bytes, at)
    }
    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.extent.resize(bytes)
    }
    fn id(&self) -> io::Result<FileId> {
        self.extent.id()
    }
    fn sync(&self) -> io::Result<()> {
        self.faults.sync()
    }
}
