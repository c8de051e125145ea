//! Where a log's bytes lie. One real implementation, [`Files`]; the trait is there so that tests can break things.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, FlockOperation},
    io::Errno,
};

/// From this many files on, one sync of the whole file system is cheaper than one for each.
const MANY_FILES: usize = 24;

/// A place for files. Paths are relative, with `/` between the parts; folders appear as they are needed.
///
/// Nothing is durable before [`Medium::flush`], [`Medium::sync_folder`] or [`Extent::sync`] says so.
pub trait Medium: Send + Sync + 'static {
    /// The names of what lies in a folder; none where the folder does not exist.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// A whole file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none; or it cannot be read.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Writes a whole file. Only for names that nobody relies on yet: before it is flushed, there may be anything under the
    /// name.
    ///
    /// # Errors
    /// It cannot be written; [`ErrorKind::StorageFull`] when there is no space.
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Replaces a whole file, durably: at any moment, also after a power cut, there is all of it or of the one before.
    ///
    /// # Errors
    /// As [`Medium::put`].
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Opens a file for reading and writing in place.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none; or it cannot be opened.
    fn open(&self, path: &str) -> io::Result<Box<dyn Extent>>;

    /// Makes a file of this many bytes, all allocated.
    ///
    /// # Errors
    /// There is one already, or no space ([`ErrorKind::StorageFull`]).
    fn create(&self, path: &str, bytes: u64) -> io::Result<Box<dyn Extent>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// The file system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; none there is no error.
    ///
    /// # Errors
    /// The file system refuses.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a folder with the files in it; none there is no error.
    ///
    /// # Errors
    /// The file system refuses.
    fn remove_folder(&self, folder: &str) -> io::Result<()>;

    /// Makes these files durable, with their names.
    ///
    /// # Errors
    /// Something could not be written; what is on the medium is then unknown.
    fn flush(&self, paths: &[String]) -> io::Result<()>;

    /// Makes the names in a folder durable: what was added, renamed or removed there.
    ///
    /// # Errors
    /// They could not be written.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Which file lies under a name, and how long it is in bytes; `None` where there is none.
    ///
    /// # Errors
    /// The file system refuses.
    fn find(&self, path: &str) -> io::Result<Option<(FileId, u64)>>;

    /// Whether the folder of it all is still found where it was; where it is not, new files would go somewhere else.
    ///
    /// # Errors
    /// The file system refuses.
    fn in_place(&self) -> io::Result<bool>;
}

/// What a file is, whatever it is called: the numbers of its device and of its inode.
pub type FileId = (u64, u64);

/// An open file that is read and written in place.
#[expect(clippy::len_without_is_empty, reason = "a file's length, not a collection's")]
pub trait Extent: Send + Sync {
    /// How long it is, in bytes.
    ///
    /// # Errors
    /// The file system refuses.
    fn len(&self) -> io::Result<u64>;

    /// Reads at a position; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// It cannot be read.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes at a position; says how many bytes were taken, which may be fewer than given.
    ///
    /// # Errors
    /// It cannot be written; how much was is then unknown.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Cuts or extends it to this many bytes.
    ///
    /// # Errors
    /// The file system refuses.
    fn resize(&self, bytes: u64) -> io::Result<()>;

    /// Which file this is.
    ///
    /// # Errors
    /// The file system refuses.
    fn id(&self) -> io::Result<FileId>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Something could not be written. The sync must not be tried again: the system forgets what it failed to write.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all bytes.
pub(crate) fn write_all_at(extent: &dyn Extent, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = extent.write_at(bytes, at)?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        at += written as u64;
    }
    Ok(())
}

/// Reads exactly this many bytes.
pub(crate) fn read_exact_at(extent: &dyn Extent, bytes: usize, at: u64) -> io::Result<Vec<u8>> {
    let mut into = vec![0; bytes];
    if extent.read_at(&mut into, at)? < bytes {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(into)
}

/// Whether an open file is the one that lies under this name, with at least this many bytes. What is written to one that was
/// moved, removed, replaced or cut off is not found again, whatever its sync says.
pub(crate) fn lies_at(
    medium: &dyn Medium,
    path: &str,
    extent: &dyn Extent,
    bytes: u64,
) -> io::Result<bool> {
    let found = medium.find(path)?;
    let id = extent.id()?;
    Ok(found.is_some_and(|(there, length)| there == id && length >= bytes))
}

/// Opens a file, or makes one of this many bytes.
pub(crate) fn open_or_create(
    medium: &dyn Medium,
    path: &str,
    bytes: u64,
) -> io::Result<Box<dyn Extent>> {
    match medium.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => medium.create(path, bytes),
        opened => opened,
    }
}

/// Whether an error says that there is no room now, on the medium or for another open file, rather than that the medium is
/// broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let files = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        || files.contains(&error.raw_os_error())
}

/// What is written somewhere does not lie there any more.
pub(crate) fn displaced(what: &str) -> io::Error {
    io::Error::other(format!("{what} was moved, removed, replaced or cut off meanwhile"))
}

/// A file that may be missing.
pub(crate) fn read_if_there(medium: &dyn Medium, path: &str) -> io::Result<Option<Vec<u8>>> {
    match medium.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Files in a folder of the file system, readable by their owner only. One process at a time has it.
pub struct Files {
    root: PathBuf,
    folder: File,
}

impl Files {
    /// Takes a folder for this process, making it where there is none.
    ///
    /// # Errors
    /// It cannot be made or opened; [`ErrorKind::ResourceBusy`] while another process has it.
    pub fn take(root: &Path) -> io::Result<Self> {
        let new = root.ancestors().take_while(|folder| !folder.exists()).count();
        private_folders(root)?;
        // The names of the folder and of those above it that are new; its own also where an earlier start died before this.
        for named in root.ancestors().take(new.max(1)) {
            let above = named.parent().filter(|above| *above != Path::new(""));
            File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let folder = File::open(root)?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root: root.to_owned(), folder }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(ErrorKind::ResourceBusy.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = self.writable(path, options.create(true).truncate(true))?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }

    fn writable(&self, path: &str, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.at(path);
        options.write(true).mode(0o600);
        match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                private_folders(path.parent().unwrap_or(&self.root))?;
                options.open(&path)
            }
            opened => opened,
        }
    }
}

/// Where a file is written before it takes its name.
fn beside(path: &str) -> String {
    format!("{path}.new")
}

fn private_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Turns "there was none" into success.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl Medium for Files {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.at(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.at(path))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(path, bytes).map(drop)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(&beside(path), bytes)?.sync_data()?;
        self.rename(&beside(path), path)?;
        let folder = self.at(path);
        File::open(folder.parent().unwrap_or(&self.root))?.sync_all()
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Extent>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.at(path))?))
    }

    fn create(&self, path: &str, bytes: u64) -> io::Result<Box<dyn Extent>> {
        let mut options = OpenOptions::new();
        let file = self.writable(path, options.read(true).create_new(true))?;
        if bytes == 0 {
            return Ok(Box::new(file));
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(Box::new(file)),
            // Who makes a segment fills it with zeros too, which allocates where the file system cannot be asked to.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes).map(|()| Box::new(file) as _),
            Err(error) => {
                self.remove(path)?;
                Err(error.into())
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        gone_is_fine(std::fs::remove_file(self.at(path)))
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        gone_is_fine(std::fs::remove_dir_all(self.at(folder)))
    }

    fn flush(&self, paths: &[String]) -> io::Result<()> {
        if paths.len() >= MANY_FILES {
            return Ok(rustix::fs::syncfs(&self.folder)?);
        }
        let mut folders = BTreeSet::from([Path::new("")]);
        for path in paths {
            File::open(self.at(path))?.sync_data()?;
            folders.extend(Path::new(path).ancestors().skip(1));
        }
        folders.into_iter().try_for_each(|folder| File::open(self.root.join(folder))?.sync_all())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.at(folder))?.sync_all()
    }

    fn find(&self, path: &str) -> io::Result<Option<(FileId, u64)>> {
        match std::fs::symlink_metadata(self.at(path)) {
            Ok(found) => Ok(Some((file_id(&found), found.len()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn in_place(&self) -> io::Result<bool> {
        let found = self.find("")?;
        let folder = file_id(&self.folder.metadata()?);
        Ok(found.is_some_and(|(there, _)| there == folder))
    }
}

impl Extent for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        loop {
            match FileExt::write_at(self, bytes, at) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn id(&self) -> io::Result<FileId> {
        Ok(file_id(&self.metadata()?))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
