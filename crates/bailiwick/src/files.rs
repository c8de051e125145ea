//! Files: read within a bound, written once, secrets for their owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use token::Secret;

use crate::failure::{Exit, Failure, Result};

/// The longest file of ours that is read whole: policies of a large organization.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// A path without links and detours, as far as it exists: two ways to write one place are equal.
pub(crate) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if !folder.as_os_str().is_empty() => real(folder).join(name),
        _ => path.to_owned(),
    }
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        Failure::new("file_not_text", format!("`{}` is no text", path.display()))
            .because(&error.utf8_error())
            .next("name another file, or save this one as UTF-8")
    })
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if length as u64 > MAX_FILE {
        let what = format!("`{}` is longer than {} MiB", path.display(), MAX_FILE >> 20);
        return Err(Failure::new("file_too_long", what)
            .why("no file of ours is longer, so it is most likely another file")
            .next("name another file"));
    }
    Ok(bytes)
}

/// Reads a secret, which nobody but its owner may be able to read.
pub(crate) fn read_secret(path: &Path) -> Result<Secret> {
    check_private(path)?;
    read(path).map(Secret::new)
}

/// Whether nobody but its owner can read a file.
pub(crate) fn check_private(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).map_err(|error| unreadable(path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!("`{}` can be read by others", path.display());
        return Err(Failure::new("secret_open_to_others", what)
            .why(format!("its mode is {:03o}; a secret is for its owner alone", mode & 0o777))
            .next(format!("chmod 600 {}", path.display())));
    }
    Ok(())
}

/// Writes a new file that anybody may read.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path, bytes, 0o644)
}

/// Writes new files that anybody may read: all of them, or none.
pub(crate) fn write_all_new(files: &[(&Path, &[u8])]) -> Result<()> {
    for (at, (path, bytes)) in files.iter().enumerate() {
        if let Err(failure) = write_new(path, bytes) {
            for (written, _) in &files[..at] {
                // Whoever cannot remove what they just made sees it in the folder.
                let _ = fs::remove_file(written);
            }
            return Err(failure);
        }
    }
    Ok(())
}

/// Writes a new file that its owner alone may read.
pub(crate) fn write_new_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path, bytes, 0o600)
}

/// A new file for a secret that is not there yet; unless it is filled, it is removed again.
pub(crate) struct Reserved {
    path: PathBuf,
    file: Option<File>,
}

impl Reserved {
    /// Makes the file, empty and for its owner alone.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the secret; the file stays.
    pub(crate) fn fill(mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.file.is_some() {
            // An empty file that stays is in nobody's way but its owner's.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Puts a file in place of the one before, in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    // Of a process that was killed here and had this one's number.
    let _ = fs::remove_file(&beside);
    create(&beside, bytes, 0o600)?;
    fs::rename(&beside, path).map_err(|error| unwritable(path, &error))
}

/// Removes a file, where it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, &error)),
        _ => Ok(()),
    }
}

/// Whether [`replace`] could write here now.
pub(crate) fn replaceable(path: &Path) -> Result<()> {
    Reserved::new(&beside(path)).map(drop)
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension(format!("new-{}", std::process::id()))
}

/// Makes a folder for its owner alone, and those above it.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| unwritable(path, &error))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| unwritable(path, &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is in the way of whoever tries again.
        let _ = fs::remove_file(path);
        unwritable(path, &error)
    })
}

/// A file or folder that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new("file_unreadable", format!("`{}` cannot be read", path.display()));
    let failure = failure.because(error);
    match error.kind() {
        io::ErrorKind::NotFound => {
            failure.next("check the path, and the folder that you are in").exit(Exit::NotFound)
        }
        io::ErrorKind::PermissionDenied => failure.next("run this as the user whose file it is"),
        _ => failure.next("name a file that can be read"),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Failure::new("file_exists", format!("`{}` is there already", path.display()))
            .why("nothing is overwritten")
            .next("choose another place, or remove it yourself")
            .exit(Exit::Conflict);
    }
    Failure::new("file_unwritable", format!("`{}` cannot be written", path.display()))
        .because(error)
        .next("see that its folder is there and yours to write to, and that the disk has room")
}
