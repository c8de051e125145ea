//! Secrets by reference: `env:NAME` or `file:PATH`, as this node sees them. None of this program's own.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use token::Secret;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::upstreams::DiscoverError;

/// The longest secret that a reference may lead to, in bytes.
const MAX_SECRET: u64 = 16 * 1024;
/// How long a secret is waited for: a file system that hangs must not hold up calls, or stops.
pub(crate) const SECRET_BOUND: Duration = Duration::from_secs(3);

/// Where this program's own secrets are. No reference leads there: a server's credential is sent away.
#[derive(Debug, Clone, Default)]
pub struct OwnSecrets {
    /// Files, and folders with all that is in them.
    pub files: Vec<PathBuf>,
    /// Names of environment variables, or how they begin.
    pub variables: Vec<String>,
}

/// Reads secrets on threads that may block. One reader for each reference: a file that cannot be read to its end takes one
/// thread, not one a call, and holds up nobody who needs another.
pub(crate) struct Secrets {
    own: OwnSecrets,
    readers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Secrets {
    /// Reads whatever is not `own`.
    pub(crate) fn new(own: OwnSecrets) -> Arc<Self> {
        Arc::new(Self { own, readers: Mutex::default() })
    }

    /// Reads a secret, and waits a bounded time for a turn and for the secret.
    ///
    /// # Errors
    /// [`DiscoverError::Secret`]
    pub(crate) async fn read(self: &Arc<Self>, reference: &str) -> Result<Secret, DiscoverError> {
        let turn = self.turn(reference).await?;
        Ok(self.read_in(reference, turn).await?.0)
    }

    /// The turn to read a secret, where nobody reads it.
    pub(crate) fn try_turn(&self, reference: &str) -> Option<OwnedSemaphorePermit> {
        self.reader(reference).try_acquire_owned().ok()
    }

    /// The turn to read a secret, waited for a bounded time.
    ///
    /// # Errors
    /// [`DiscoverError::Secret`]: whoever has it does not come to an end.
    pub(crate) async fn turn(
        &self,
        reference: &str,
    ) -> Result<OwnedSemaphorePermit, DiscoverError> {
        let turn = timeout(SECRET_BOUND, self.reader(reference).acquire_owned()).await;
        Ok(turn.map_err(|_| late(reference))?.expect("the semaphore is never closed"))
    }

    /// Reads a secret, and waits for it a bounded time; a read that hangs keeps its turn.
    ///
    /// # Errors
    /// [`DiscoverError::Secret`]
    pub(crate) async fn read_in(
        self: &Arc<Self>,
        reference: &str,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Secret, OwnedSemaphorePermit), DiscoverError> {
        let (secrets, whose) = (self.clone(), reference.to_owned());
        let read = tokio::task::spawn_blocking(move || (secrets.own.resolve(&whose), turn));
        match timeout(SECRET_BOUND, read).await {
            Ok(Ok((read, turn))) => Ok((read?, turn)),
            Ok(Err(why)) => {
                Err(DiscoverError::Secret { reference: reference.to_owned(), why: why.to_string() })
            }
            Err(_) => Err(late(reference)),
        }
    }

    fn reader(&self, reference: &str) -> Arc<Semaphore> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = readers.entry(reference.to_owned());
        reader.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }
}

fn late(reference: &str) -> DiscoverError {
    let why = format!("it did not come within {} s", SECRET_BOUND.as_secs());
    DiscoverError::Secret { reference: reference.to_owned(), why }
}

impl OwnSecrets {
    /// Reads a secret where its reference says: `env:NAME` or `file:PATH`.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Secret, DiscoverError> {
        let wrong = |why: String| DiscoverError::Secret { reference: reference.to_owned(), why };
        let text = if let Some(name) = reference.strip_prefix("env:") {
            if self.variables.iter().any(|own| name.starts_with(own.as_str())) {
                return Err(wrong("it is this program's own".to_owned()));
            }
            std::env::var(name).map_err(|why| wrong(why.to_string()))?
        } else if let Some(path) = reference.strip_prefix("file:") {
            // Links and `..` are followed before the path is judged.
            let path = std::fs::canonicalize(path).map_err(|why| wrong(why.to_string()))?;
            if self.covers(&path) {
                return Err(wrong("it is this program's own".to_owned()));
            }
            read_secret(&path).map_err(|why| wrong(why.to_string()))?
        } else {
            return Err(wrong("a reference starts with `env:` or `file:`".to_owned()));
        };
        Ok(Secret::new(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec()))
    }

    fn covers(&self, path: &Path) -> bool {
        let own = self.files.iter().filter_map(|own| std::fs::canonicalize(own).ok());
        own.into_iter().any(|own| path.starts_with(own))
    }
}

/// Reads a file of a bounded length. Opening a pipe waits for a writer, and some devices have no end.
fn read_secret(path: &Path) -> std::io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::other("the file is too long for a secret"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reference_leads_to_a_secret_of_this_program() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("data")).unwrap();
        for name in ["master.key", "data/token.key", "theirs"] {
            std::fs::write(path(name), "secret").unwrap();
        }
        std::os::unix::fs::symlink(path("master.key"), path("link")).unwrap();
        let own = OwnSecrets {
            files: vec![path("master.key"), path("data")],
            variables: vec!["BAILIWICK_".to_owned()],
        };
        let reads = |reference: String| own.resolve(&reference).is_ok();
        assert!(reads(format!("file:{}", path("theirs").display())));
        for name in ["master.key", "data/token.key", "data/../master.key", "link", "nothing"] {
            assert!(!reads(format!("file:{}", path(name).display())), "{name}");
        }
        assert!(!reads("env:BAILIWICK_MASTER_KEY".to_owned()));
        assert!(!reads("master.key".to_owned()));
    }

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_a_secret() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("longest"), "x".repeat(MAX_SECRET as usize)).unwrap();
        std::fs::write(path("longer"), "x".repeat(MAX_SECRET as usize + 1)).unwrap();
        std::fs::write(path("bytes"), b"\xff").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        let own = OwnSecrets::default();
        let said = |path: &Path| {
            own.resolve(&format!("file:{}", path.display()))
                .map(|_| "read")
                .map_err(|why| why.to_string())
        };
        assert_eq!(said(&path("longest")), Ok("read"));
        for (name, why) in [
            ("longer", "too long"),
            ("bytes", "UTF-8"),
            ("folder", "not a regular file"),
            ("pipe", "not a regular file"),
            ("link", "not a regular file"),
        ] {
            let said = said(&path(name)).unwrap_err();
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(said(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
    }
}
