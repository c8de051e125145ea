//! What a witness keeps: its key, wrapped; the public line; the book of what it has cosigned.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ledger::{CheckpointKey, Head, VerifierKey, WitnessKey};
use model::Timestamp;
use store::{Seen, WitnessBook};
use token::MasterKey;

use crate::{
    failure::{Exit, Failure, Result, TELL_US},
    files, keys, random,
    told::Told,
};

/// What the key is wrapped as.
const PURPOSE: &str = "witness";

/// The folder of a witness.
pub(crate) struct Folder {
    dir: PathBuf,
    master_key: PathBuf,
}

/// A witness that can cosign.
pub(crate) struct Witness {
    pub(crate) key: CheckpointKey,
    pub(crate) public: WitnessKey,
    pub(crate) book: WitnessBook,
    /// What was told of each log.
    pub(crate) told: Mutex<HashMap<String, Told>>,
}

impl Folder {
    /// A folder, whose key is wrapped by the master key in another file where that is said.
    pub(crate) fn new(dir: PathBuf, master_key: Option<PathBuf>) -> Self {
        let master_key = master_key.unwrap_or_else(|| dir.join("master.key"));
        Self { dir, master_key }
    }

    /// Makes a new witness of this name; nothing is overwritten.
    pub(crate) fn create(&self, name: &str) -> Result<WitnessKey> {
        let seed = random::bytes::<32>()?;
        let public = CheckpointKey::from_seed(&seed).witness(name).map_err(|error| {
            Failure::new("name_invalid", format!("a witness cannot be named `{name}`"))
                .because(&error)
                .next("choose a name like a URL without its scheme: `witness.example.org/1`")
                .exit(Exit::Usage)
        })?;
        files::make_private_dir(&self.dir)?;
        for path in [&self.master_key, &self.key(), &self.public(), &self.book()] {
            if path.symlink_metadata().is_ok() {
                return Err(Failure::new("already_initialized", format!("`{}` is there already", path.display()))
                    .why("a witness is never overwritten: a new one knows nothing of what this one has cosigned")
                    .next("choose another folder, or remove this one yourself")
                    .exit(Exit::Conflict));
            }
        }
        let master = keys::new_master()?;
        files::write_new_secret(&self.master_key, &[master.to_base64().expose(), b"\n"].concat())?;
        let wrapped = master.wrap(PURPOSE, &seed).map_err(|error| {
            Failure::new("key_not_wrapped", "the witness's key could not be wrapped")
                .because(&error)
                .next(TELL_US)
        })?;
        files::write_new_secret(&self.key(), &wrapped)?;
        WitnessBook::create(&self.book()).map_err(|error| self.no_book(&error))?;
        files::write_new(&self.public(), format!("{public}\n").as_bytes())?;
        Ok(public)
    }

    /// Lets the witness cosign heads of one more log. `false` where it does already.
    pub(crate) fn add(&self, key: &VerifierKey, now: Timestamp) -> Result<bool> {
        self.read_public()?;
        let book = self.open_book()?;
        let Head { size, root } = Head::empty();
        let (origin, key) = (key.name().to_owned(), key.to_string());
        let seen = Seen { origin, key, size, root, note: Vec::new(), at: now };
        if book.add(&seen).map_err(|error| self.no_book(&error))? {
            return Ok(true);
        }
        let known = book.log(&seen.origin).map_err(|error| self.no_book(&error))?;
        if known.is_some_and(|known| known.key == seen.key) {
            return Ok(false);
        }
        Err(Failure::new("log_known", format!("`{}` is known with another key", seen.origin))
            .why("who has another key for the name of a log may be somebody else, and its past is lost with the old one")
            .next("ask whoever runs the log; where it has named another key, say `--in-place-of` with the former key line")
            .exit(Exit::Conflict))
    }

    /// Has another key check the heads of a log from now on, of which it remembers what it has seen.
    pub(crate) fn replace(&self, former: &VerifierKey, key: &VerifierKey) -> Result<()> {
        self.read_public()?;
        let book = self.open_book()?;
        let [line, new] = [former, key].map(ToString::to_string);
        let is_one_log = former.name() == key.name();
        if is_one_log
            && book.replace_key(key.name(), &line, &new).map_err(|error| self.no_book(&error))?
        {
            return Ok(());
        }
        Err(Failure::new(
            "log_unknown",
            format!("`{}` is not known by that former key", key.name()),
        )
        .why("a key takes the place of the one that checks heads of this log now, and of no other")
        .next("look at `witness status`; a log of another name is added without `--in-place-of`")
        .exit(Exit::Conflict))
    }

    /// The public line, and every log that the witness cosigns for.
    pub(crate) fn status(&self) -> Result<(String, Vec<Seen>)> {
        let public = self.read_public()?.to_string();
        let logs = self.open_book()?.logs().map_err(|error| self.no_book(&error))?;
        Ok((public, logs))
    }

    /// Opens key and book.
    pub(crate) fn open(&self) -> Result<Witness> {
        let public = self.read_public()?;
        let master = files::read_secret(&self.master_key)?;
        let master = MasterKey::from_base64(master.expose_text().unwrap_or_default());
        let master = master.map_err(|error| closed(&self.master_key, &error))?;
        let wrapped = files::read_secret(&self.key())?;
        let seed = master.unwrap(PURPOSE, wrapped.expose());
        let seed = seed.map_err(|error| closed(&self.key(), &error))?;
        let seed: [u8; 32] =
            seed.expose().try_into().map_err(|error| closed(&self.key(), &error))?;
        let key = CheckpointKey::from_seed(&seed);
        if key.witness(public.name()).ok().as_ref() != Some(&public) {
            let what = format!("`{}` is not the public half of this key", self.public().display());
            return Err(Failure::new("key_invalid", what)
                .why("whoever relies on this witness would not accept what it signs")
                .next("bring key and public line back from one backup"));
        }
        Ok(Witness { key, public, book: self.open_book()?, told: Mutex::default() })
    }

    fn open_book(&self) -> Result<WitnessBook> {
        WitnessBook::open(&self.book()).map_err(|error| self.no_book(&error))
    }

    fn read_public(&self) -> Result<WitnessKey> {
        let line = files::read_text(&self.public())?;
        line.trim().parse().map_err(|error| closed(&self.public(), &error))
    }

    fn no_book(&self, error: &dyn std::error::Error) -> Failure {
        let what = format!("the book of the witness, `{}`, cannot be used", self.book().display());
        Failure::new("book_not_opened", what)
            .because(error)
            .next("see that it is there and writable; a lost one is not made anew, because the witness would cosign what it forgot: make a new witness")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("witness.key")
    }

    fn public(&self) -> PathBuf {
        self.dir.join("witness.pub")
    }

    fn book(&self) -> PathBuf {
        self.dir.join("witness.sqlite")
    }
}

fn closed(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new("key_invalid", format!("`{}` cannot be used", path.display()))
        .because(error)
        .next("see that the files of the witness and its master key belong together, or bring them back from a backup")
}
