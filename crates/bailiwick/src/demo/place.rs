//! The demo's own folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Exit, Failure, Result},
    files, random,
};

/// A folder in which everything of one demo lies. A temporary one is removed when it is dropped.
pub(super) struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    /// A fresh folder that goes with the demo.
    pub(super) fn temporary() -> Result<Self> {
        let name = random::name()?;
        let dir = std::env::temp_dir().join(format!("bailiwick-demo-{}", &name[..8]));
        files::make_private_dir(&dir)?;
        Self { dir, temporary: true }.with_folders()
    }

    /// A folder that stays. Nothing that is there already is touched.
    pub(super) fn kept(dir: &Path) -> Result<Self> {
        files::make_private_dir(dir)?;
        let unreadable = |error: std::io::Error| {
            Failure::new("file_unreadable", format!("`{}` cannot be read", dir.display()))
                .because(&error)
                .next("name another folder, one that you may read and write")
        };
        let dir = dir.canonicalize().map_err(unreadable)?;
        if fs::read_dir(&dir).map_err(unreadable)?.next().is_some() {
            return Err(Failure::new(
                "folder_not_empty",
                format!("`{}` is not empty", dir.display()),
            )
            .why("a demo plays in a folder of its own")
            .next("name a new or an empty folder")
            .exit(Exit::Conflict));
        }
        Self { dir, temporary: false }.with_folders()
    }

    /// A path inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether it outlives the demo.
    pub(super) fn is_kept(&self) -> bool {
        !self.temporary
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn with_folders(self) -> Result<Self> {
        for folder in ["people", "desk", "input", "logs"] {
            files::make_private_dir(&self.dir.join(folder))?;
        }
        Ok(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // Nobody is left to tell; the system clears its temporary folder.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
