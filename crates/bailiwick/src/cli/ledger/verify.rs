//! `ledger verify`, which is `verify`, too.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use ledger::VerifierKey;
use model::Foreign;

use super::Place;
use crate::{
    client::now,
    failure::{Exit, Failure, Result},
    files, keys,
    output::Answer,
    witness::read_policy,
};

/// Check a ledger or a pack.
#[derive(Args)]
pub(crate) struct Verify {
    /// An exported pack; the installation's own ledger when left out.
    pack: Option<PathBuf>,
    /// The verifier key, `name+id+key`, or a file with it. Never take it from the pack.
    #[arg(long, value_name = "LINE|FILE")]
    key: Option<String>,
    /// A signed checkpoint that you have kept from before; may be repeated.
    #[arg(long = "older", value_name = "FILE")]
    older: Vec<PathBuf>,
    /// A C2SP tlog-policy: the witnesses that you trust, and how many must have cosigned a head.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Answer> {
        let folder = match &self.pack {
            Some(pack) => found(pack)?,
            None => self.place.ledger()?,
        };
        let key = match (&self.key, &self.pack) {
            (Some(key), _) => given_key(key)?.to_string(),
            (None, None) => self.place.key()?,
            (None, Some(_)) => {
                return Err(Failure::new("key_not_given", "a pack is checked with a key that you already hold")
                    .why("a key from inside the pack would fit whatever is in it")
                    .next("say `--key LINE`; whoever runs the ledger prints it with `bailiwick ledger key`")
                    .exit(Exit::Usage));
            }
        };
        let older = self.older.iter().map(|file| files::read(file)).collect::<Result<Vec<_>>>()?;
        let older: Vec<&[u8]> = older.iter().map(Vec::as_slice).collect();
        let keys = self.subject_keys()?;
        let check = if self.pack.is_some() { ledger::verify::pack } else { ledger::verify::log };
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let mut report = check(&folder, &key, &older, keys.as_ref());
        if let (Some(policy), Ok(key)) = (&policy, key.parse()) {
            report.ask_for_witnesses(&key, policy, now());
        }
        let exit = if report.is_clean() { Exit::Done } else { Exit::No };
        Ok(Answer::new(report.document(), report.to_string()).exit(exit))
    }

    /// Whoever checks their own ledger with its configuration at hand has commitments checked, too.
    fn subject_keys(&self) -> Result<Option<ledger::SubjectKeys>> {
        if self.pack.is_some() || self.place.data.is_some() {
            return Ok(None);
        }
        let config = self.place.load()?;
        let master = keys::master(&config.master_key, &config.keys_dir())?;
        let book = keys::subjects(&config.subject_keys, master)?;
        Ok(Some(ledger::SubjectKeys::new(Arc::new(book))))
    }
}

/// The folder of a pack. What is no pack gets no verdict: nothing was read that could be right or wrong.
fn found(pack: &Path) -> Result<PathBuf> {
    let missing = |why: &str| {
        Failure::new("pack_missing", format!("there is no pack in `{}`", pack.display()))
            .why(why)
            .next("name the folder that `bailiwick ledger export` made")
            .exit(Exit::NotFound)
    };
    if pack.is_file() {
        return Err(missing("it is a file, and a pack is a folder"));
    }
    if !pack.is_dir() {
        return Err(missing("there is no such folder"));
    }
    match pack.join("checkpoint").metadata() {
        Ok(_) => Ok(pack.to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(
            "it has no signed head, `checkpoint`, without which nothing can be checked",
        )),
        Err(error) => Err(files::unreadable(&pack.join("checkpoint"), &error)),
    }
}

/// A verifier key that was given as a line or as a file with one.
pub(in crate::cli) fn given_key(given: &str) -> Result<VerifierKey> {
    let file = Path::new(given).is_file();
    let line =
        if file { files::read_text(Path::new(given))?.trim().to_owned() } else { given.to_owned() };
    line.parse::<VerifierKey>().map_err(|error| {
        let what = if file { "the file holds no verifier key" } else { "this is no verifier key, and no file with one" };
        Failure::new("key_invalid", format!("{what}: `{}`", Foreign::new(shortened(given))))
            .because(&error)
            .next("say `--key LINE` or `--key FILE`; whoever runs the ledger prints the line with `bailiwick ledger key`")
            .exit(Exit::Usage)
    })
}

/// As much of a text as fits into a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
