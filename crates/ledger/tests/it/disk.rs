//! A disk in memory that forgets what was not synced, and fails when told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    path::Path,
    sync::{Arc, Mutex},
};

use ledger::{Extent, FileId, Medium};

/// What is about to be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Put,
    Write,
    Sync,
    Flush,
    Rename,
    Remove,
    Resize,
}

/// What the power cut does to something that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    Kept,
    /// So many bytes of it have reached the disk.
    First(usize),
    /// Of its sectors those have reached the disk whose bit is set, from the first on and again after 64.
    Sectors(u64),
}

impl Fate {
    /// Whether what can only happen whole has happened.
    fn happens(self) -> bool {
        !matches!(self, Self::Lost | Self::First(0))
    }
}

/// What a disk only claims to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// To have synced what was written in place.
    Sync,
    /// To have flushed whole files.
    Flush,
    /// To have synced the names in a folder.
    Folder,
    /// To have replaced a file durably.
    Replace,
}

/// How many bytes a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Fails what is about to be done, or says how many bytes a write may take.
type Hook = Box<dyn Fn(Op, &str) -> io::Result<usize> + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Arc<Hook>>>>,
    lie: Option<Lie>,
    /// All that was ever to replace a file.
    replaced: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[derive(Default, Clone)]
struct State {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    files: Vec<FileState>,
}

#[derive(Default, Clone)]
struct FileState {
    now: Content,
    durable: Content,
    /// What was done since the last sync.
    pending: Vec<Change>,
}

/// What the system calls a failing device.
pub(crate) const EIO: i32 = 5;

/// A file's bytes. Zeros at the end are not kept: segments are mostly that, and tests copy disks a lot.
#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    length: usize,
}

impl Content {
    fn write(&mut self, at: usize, part: &[u8]) {
        let end = at + part.len();
        self.length = self.length.max(end);
        // By slices, here and below: tests are not optimized, and segments are filled with zeros.
        let zeros = |part: &[u8]| *part == [0; SECTOR][..part.len()];
        if at >= self.bytes.len() && part.chunks(SECTOR).all(zeros) {
            return;
        }
        if end > self.bytes.len() {
            self.bytes.extend_from_slice(&vec![0; end - self.bytes.len()]);
        }
        self.bytes[at..end].copy_from_slice(part);
    }

    fn resize(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.length = length;
    }

    fn whole(&self) -> Vec<u8> {
        let mut whole = self.bytes.clone();
        whole.resize(self.length, 0);
        whole
    }
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(at, part) => content.write(*at as usize, part),
            Self::Resize(length) => content.resize(*length as usize),
        }
    }
}

impl FileState {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that failed: what was to be written may be forgotten, and a later one does not bring it to the disk.
    fn fail_sync(&mut self, error: &io::Error) {
        if error.raw_os_error() == Some(EIO) {
            self.pending.clear();
        }
    }
}

impl Disk {
    /// A disk that only claims to do this.
    pub(crate) fn lying(lie: Lie) -> Self {
        Self { lie: Some(lie), ..Self::default() }
    }

    /// From now on, asks this before everything that changes something.
    pub(crate) fn hook(&self, hook: impl Fn(Op, &str) -> io::Result<()> + Send + Sync + 'static) {
        self.hook_short(move |op, path| hook(op, path).map(|()| usize::MAX));
    }

    /// The same, and it says how many bytes a write may take.
    pub(crate) fn hook_short(
        &self,
        hook: impl Fn(Op, &str) -> io::Result<usize> + Send + Sync + 'static,
    ) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    pub(crate) fn unhook(&self) {
        *self.hook.lock().unwrap() = None;
    }

    /// All that was to replace a file since this was last asked.
    pub(crate) fn take_replaced(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.replaced.lock().unwrap())
    }

    /// The disk after a power cut: what was synced is there; of the rest, `fate` says of each write how much of its bytes,
    /// and of each name whether it has reached it.
    pub(crate) fn after_power_cut(&self, mut fate: impl FnMut(usize) -> Fate) -> Self {
        let mut state = self.state.lock().unwrap().clone();
        for file in &mut state.files {
            for change in std::mem::take(&mut file.pending) {
                match change {
                    Change::Write(at, part) => tear(at, part, &mut fate, &mut file.durable),
                    resize @ Change::Resize(_) if fate(1).happens() => {
                        resize.apply(&mut file.durable);
                    }
                    Change::Resize(_) => {}
                }
            }
            file.now = file.durable.clone();
        }
        let names: BTreeSet<String> =
            state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in names {
            let (now, durable) = (state.names.get(&name), state.durable_names.get(&name));
            if now != durable && fate(1).happens() {
                match now.copied() {
                    Some(file) => state.durable_names.insert(name, file),
                    None => state.durable_names.remove(&name),
                };
            }
        }
        state.names = state.durable_names.clone();
        Self { state: Arc::new(Mutex::new(state)), lie: self.lie, ..Self::default() }
    }

    /// The disk as another process would find it now: nothing is lost.
    pub(crate) fn as_it_is(&self) -> Self {
        self.after_power_cut(|_| Fate::Kept)
    }

    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.names.keys().filter(|name| name.starts_with(folder)).cloned().collect()
    }

    /// Changes a file as an intruder would.
    pub(crate) fn tamper(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock().unwrap();
        let file = state.names[path];
        let file = &mut state.files[file];
        let mut whole = file.now.whole();
        change(&mut whole);
        file.now = Content { length: whole.len(), bytes: whole };
        file.durable = file.now.clone();
    }

    pub(crate) fn delete(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Writes all files below a folder into a real one, for programs that read files.
    pub(crate) fn write_to(&self, folder: &str, place: &Path) {
        for name in self.files(folder) {
            let path = place.join(&name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, self.read(&name).unwrap()).unwrap();
        }
    }

    fn before(&self, op: Op, path: &str) -> io::Result<usize> {
        let hook = self.hook.lock().unwrap().clone();
        hook.map_or(Ok(usize::MAX), |hook| hook(op, path))
    }

    fn extent(&self, path: &str) -> Box<dyn Extent> {
        let file = self.state.lock().unwrap().names[path];
        Box::new(Open { disk: self.clone(), file, path: path.to_owned() })
    }

    fn flush_one(&self, path: &str) -> io::Result<()> {
        let allowed = self.before(Op::Flush, path);
        let mut state = self.state.lock().unwrap();
        let file = *state.names.get(path).ok_or_else(missing)?;
        allowed.inspect_err(|error| state.files[file].fail_sync(error))?;
        state.files[file].sync();
        state.durable_names.insert(path.to_owned(), file);
        Ok(())
    }

    fn new_file(&self, path: &str, change: Change) {
        let mut state = self.state.lock().unwrap();
        let number = state.files.len();
        let mut file = FileState::default();
        file.change(change);
        state.files.push(file);
        state.names.insert(path.to_owned(), number);
    }
}

/// What a power cut leaves of a write.
fn tear(at: u64, mut part: Vec<u8>, fate: &mut impl FnMut(usize) -> Fate, durable: &mut Content) {
    let at = at as usize;
    match fate(part.len()) {
        Fate::Lost => part.clear(),
        Fate::Kept => {}
        Fate::First(bytes) => part.truncate(bytes),
        Fate::Sectors(bits) => {
            let kept = |sector: &(usize, &[u8])| bits >> (sector.0 % 64) & 1 == 1;
            for (number, sector) in part.chunks(SECTOR).enumerate().filter(kept) {
                durable.write(at + number * SECTOR, sector);
            }
            return;
        }
    }
    durable.write(at, &part);
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Medium for Disk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let below = format!("{folder}/");
        let names = self.files(&below);
        let first = |name: &String| name[below.len()..].split('/').next().map(str::to_owned);
        Ok(names.iter().filter_map(first).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let state = self.state.lock().unwrap();
        let file = state.names.get(path).ok_or_else(missing)?;
        Ok(state.files[*file].now.whole())
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.before(Op::Put, path)?;
        self.new_file(path, Change::Write(0, bytes.to_vec()));
        Ok(())
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.replaced.lock().unwrap().push(bytes.to_vec());
        self.put(path, bytes)?;
        if self.lie == Some(Lie::Replace) {
            return Ok(());
        }
        // The content reaches the disk before the name does.
        let mut state = self.state.lock().unwrap();
        let file = state.names[path];
        state.files[file].sync();
        drop(state);
        self.flush_one(path)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Extent>> {
        let there = self.state.lock().unwrap().names.contains_key(path);
        if there { Ok(self.extent(path)) } else { Err(missing()) }
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Box<dyn Extent>> {
        self.before(Op::Create, path)?;
        if self.state.lock().unwrap().names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.new_file(path, Change::Resize(bytes));
        Ok(self.extent(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.before(Op::Rename, from)?;
        let mut state = self.state.lock().unwrap();
        let file = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.before(Op::Remove, path)?;
        self.state.lock().unwrap().names.remove(path);
        Ok(())
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        self.before(Op::Remove, folder)?;
        let below = format!("{folder}/");
        self.state.lock().unwrap().names.retain(|name, _| !name.starts_with(&below));
        Ok(())
    }

    fn flush(&self, paths: &[String]) -> io::Result<()> {
        match self.lie {
            Some(Lie::Flush) => Ok(()),
            _ => paths.iter().try_for_each(|path| self.flush_one(path)),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.before(Op::Flush, folder)?;
        if self.lie == Some(Lie::Folder) {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        let parent = |name: &str| name.rsplit_once('/').map_or("", |(parent, _)| parent) == folder;
        let State { names, durable_names, .. } = &mut *state;
        durable_names.retain(|name, _| !parent(name));
        durable_names.extend(
            names.iter().filter(|(name, _)| parent(name)).map(|(name, file)| (name.clone(), *file)),
        );
        Ok(())
    }

    fn find(&self, path: &str) -> io::Result<Option<(FileId, u64)>> {
        let state = self.state.lock().unwrap();
        let number = state.names.get(path).copied();
        Ok(number.map(|number| ((0, number as u64), state.files[number].now.length as u64)))
    }

    fn in_place(&self) -> io::Result<bool> {
        Ok(true)
    }
}

struct Open {
    disk: Disk,
    file: usize,
    path: String,
}

impl Open {
    fn with<T>(&self, run: impl FnOnce(&mut FileState) -> T) -> T {
        run(&mut self.disk.state.lock().unwrap().files[self.file])
    }
}

impl Extent for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.now.length as u64))
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|file| {
            let length = file.now.length.saturating_sub(at as usize).min(into.len());
            let from = file.now.bytes.get(at as usize..).unwrap_or_default();
            let kept = from.len().min(length);
            into[..kept].copy_from_slice(&from[..kept]);
            into[kept..length].fill(0);
            Ok(length)
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let length = self.disk.before(Op::Write, &self.path)?.min(bytes.len());
        self.with(|file| file.change(Change::Write(at, bytes[..length].to_vec())));
        Ok(length)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.disk.before(Op::Resize, &self.path)?;
        self.with(|file| file.change(Change::Resize(bytes)));
        Ok(())
    }

    fn id(&self) -> io::Result<FileId> {
        Ok((0, self.file as u64))
    }

    fn sync(&self) -> io::Result<()> {
        let allowed = self.disk.before(Op::Sync, &self.path);
        self.with(|file| match allowed {
            Err(error) => {
                file.fail_sync(&error);
                Err(error)
            }
            Ok(_) if self.disk.lie == Some(Lie::Sync) => Ok(()),
            Ok(_) => {
                file.sync();
                Ok(())
            }
        })
    }
}
