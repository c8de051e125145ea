//! A file system that has what was not synced in memory alone, as every system does, and forgets it when told to. A killed
//! process leaves the page cache behind; this takes that away, too. It needs `/dev/fuse` and the right to mount.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// Nothing that the kernel is told may be remembered by it.
const NO_TIME: Duration = Duration::ZERO;

/// The disk; a mount is a view of it.
#[derive(Clone)]
pub(crate) struct Forgetful {
    nodes: Arc<Mutex<Vec<Node>>>,
    /// It claims to sync, and does not.
    lies: bool,
}

#[derive(Default, Clone)]
struct Node {
    now: Kind,
    durable: Kind,
}

#[derive(Clone)]
enum Kind {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::File(Vec::new())
    }
}

impl Forgetful {
    pub(crate) fn new(lies: bool) -> Self {
        let folder = || Kind::Folder(BTreeMap::new());
        // The kernel's numbers start with 1, the root's.
        let nodes = vec![Node::default(), Node { now: folder(), durable: folder() }];
        Self { nodes: Arc::new(Mutex::new(nodes)), lies }
    }

    pub(crate) fn mount(&self, place: &Path) -> BackgroundSession {
        let mounted = fuser::spawn_mount(self.clone(), place, &fuser::Config::default());
        mounted.expect("`/dev/fuse` is there, and who runs this may mount, or `fusermount3` does")
    }

    /// Ends a mount, and with it what the kernel remembers of it.
    pub(crate) fn unmount(mounted: BackgroundSession) {
        match mounted.umount_and_join() {
            // The session may take its end for a connection that was cut.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            ended => ended.unwrap(),
        }
    }

    /// Only what was synced is left.
    pub(crate) fn forget(&self) {
        for node in &mut *self.nodes.lock().unwrap() {
            node.now = node.durable.clone();
        }
    }

    fn with<T>(&self, number: INodeNo, run: impl FnOnce(&mut Node) -> T) -> T {
        run(&mut self.nodes.lock().unwrap()[number.0 as usize])
    }

    /// Changes what lies in a folder.
    fn in_folder<T>(
        &self,
        folder: INodeNo,
        run: impl FnOnce(&mut BTreeMap<OsString, u64>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.with(folder, |node| match &mut node.now {
            Kind::Folder(names) => run(names),
            Kind::File(_) => Err(Errno::ENOTDIR),
        })
    }

    fn attributes(&self, number: INodeNo) -> FileAttr {
        let (kind, size) = self.with(number, |node| match &node.now {
            Kind::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Kind::Folder(_) => (FileType::Directory, 0),
        });
        let (time, owner) = (SystemTime::UNIX_EPOCH, rustix::process::getuid().as_raw());
        FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: owner,
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn make(&self, folder: INodeNo, name: &OsStr, kind: Kind) -> Result<FileAttr, Errno> {
        let mut nodes = self.nodes.lock().unwrap();
        let number = nodes.len() as u64;
        // A folder that nothing was synced in is an empty one, a file an empty file.
        let durable = match kind {
            Kind::File(_) => Kind::File(Vec::new()),
            Kind::Folder(_) => Kind::Folder(BTreeMap::new()),
        };
        nodes.push(Node { now: kind, durable });
        drop(nodes);
        self.in_folder(folder, |names| match names.contains_key(name) {
            true => Err(Errno::EEXIST),
            false => Ok(names.insert(name.to_owned(), number)),
        })?;
        Ok(self.attributes(INodeNo(number)))
    }

    fn remove(&self, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.in_folder(folder, |names| names.remove(name).ok_or(Errno::ENOENT));
        answer(removed.err(), reply);
    }

    fn sync(&self, number: INodeNo, reply: ReplyEmpty) {
        if !self.lies {
            self.with(number, |node| node.durable = node.now.clone());
        }
        reply.ok();
    }
}

fn answer(failed: Option<Errno>, reply: ReplyEmpty) {
    match failed {
        None => reply.ok(),
        Some(error) => reply.error(error),
    }
}

impl Filesystem for Forgetful {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.in_folder(parent, |names| names.get(name).copied().ok_or(Errno::ENOENT)) {
            Ok(found) => reply.entry(&NO_TIME, &self.attributes(INodeNo(found)), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&NO_TIME, &self.attributes(number));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(size) = size {
            self.with(number, |node| {
                if let Kind::File(bytes) = &mut node.now {
                    bytes.truncate(size as usize);
                    let grows = vec![0; size as usize - bytes.len()];
                    bytes.extend_from_slice(&grows);
                }
            });
        }
        reply.attr(&NO_TIME, &self.attributes(number));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.make(parent, name, Kind::Folder(BTreeMap::new())) {
            Ok(made) => reply.entry(&NO_TIME, &made, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let (handle, flags) = (FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        match self.make(parent, name, Kind::File(Vec::new())) {
            Ok(made) => reply.created(&NO_TIME, &made, Generation(0), handle, flags),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let taken = self.in_folder(parent, |names| names.remove(name).ok_or(Errno::ENOENT));
        let put = |number| {
            self.in_folder(to_parent, |names| Ok(names.insert(to_name.to_owned(), number)))
        };
        answer(taken.and_then(put).err(), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.with(number, |node| match &node.now {
            Kind::File(bytes) => {
                let from = bytes.get(offset as usize..).unwrap_or_default();
                reply.data(&from[..from.len().min(size as usize)]);
            }
            Kind::Folder(_) => reply.error(Errno::EISDIR),
        });
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.with(number, |node| match &mut node.now {
            Kind::File(bytes) => {
                let (from, end) = (offset as usize, offset as usize + data.len());
                if end > bytes.len() {
                    let grows = vec![0; end - bytes.len()];
                    bytes.extend_from_slice(&grows);
                }
                bytes[from..end].copy_from_slice(data);
                reply.written(data.len() as u32);
            }
            Kind::Folder(_) => reply.error(Errno::EISDIR),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file says nothing of its being durable.
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(number, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(number, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.in_folder(number, |names| Ok(names.clone())).unwrap_or_default();
        for (at, (name, number)) in (1..).zip(names).skip(offset as usize) {
            let kind = self.attributes(INodeNo(number)).kind;
            if reply.add(INodeNo(number), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
