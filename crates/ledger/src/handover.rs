//! Another key for a log's heads. The former one signs for an entry that names the new one, and the head that it signs is kept:
//! whoever knows either key is led to the other by it. Both sign, one line each, until the former one is destroyed.

use std::{io, path::Path, sync::Arc};

use model::{
    EntryId, Timestamp,
    ijson::{Canonical, Json},
};

use crate::{
    anchor,
    leaf::{Draft, Leaf},
    log::{AppendError, CloseError, Config, Keys, Log, Media},
    medium::{Medium, read_if_there},
    note::{CheckpointKey, VerifierKey},
    open::OpenError,
    publish::LOCK,
    read::ReadError,
    seal::SealError,
    tile::CHECKPOINT,
};

/// The kind of the entry that names another key.
pub(crate) const KIND: &str = "checkpoint_key";
/// Where heads that lead to another key lie, each called by the position of the entry that names it.
pub(crate) const FOLDER: &str = "anchor/handover";
/// The most handovers of one log: more than one each week for nineteen years. A verifier reads no more.
pub(crate) const MAX: usize = 1000;

/// Why no other key was named.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The log does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its entries cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Verifiers would not follow.
    #[error("this ledger has had {MAX} keys, and verifiers follow no more")]
    TooMany,
    /// The entry could not be made.
    #[error("the entry that names the new key could not be made")]
    Seal(#[from] SealError),
    /// The entry could not be written.
    #[error("the entry that names the new key could not be written")]
    Append(#[from] AppendError),
    /// Not everything is published.
    #[error("the ledger did not close in order")]
    Close(#[from] CloseError),
}

/// Names another key in a log that is open nowhere, and signs its head by both; gives what checks the new one's signatures.
/// Done again for the same key, it does what is left of it.
///
/// # Errors
/// The log does not open, or something could not be written.
pub fn hand_over(
    config: Config,
    keys: Keys,
    new: CheckpointKey,
    (id, at): (EntryId, Timestamp),
) -> Result<String, HandOverError> {
    if handovers(&config.dir).unwrap_or_default().len() >= MAX {
        return Err(HandOverError::TooMany);
    }
    let media = Media::take(&config)?;
    let (medium, lock) = (Arc::clone(&media.log), Arc::clone(&media.lock));
    let former = keys.checkpoint.clone();
    let log = Log::open_on(config, keys, media)?;
    let former_line: VerifierKey = log.shared.verifier.clone();
    let line = new
        .verifier(former_line.name())
        .map_err(|source| OpenError::Note { file: CHECKPOINT, source })?;
    if line == former_line {
        // The new key has taken the place of the former one already, and what is left is no business of the log.
        log.close()?;
        return Ok(line.to_string());
    }
    let named = Named { former: former_line.clone(), key: line.clone() };
    let index = match position(&log, &named)? {
        Some(index) => index,
        None => log.append(log.seal(named.draft(id, at))?).wait()?.index,
    };
    log.close()?;
    drop(log);
    let read = |medium: &dyn Medium, file| read_if_there(medium, file).map_err(OpenError::Io);
    let note = read(&*medium, CHECKPOINT)?.unwrap_or_default();
    let head = former_line.open(&note);
    let head = head.map_err(|source| OpenError::Note { file: CHECKPOINT, source })?;
    let keep = || {
        medium.replace(&handover(index), &note)?;
        let both = new.beside(former).sign(&head, &line);
        lock.replace(LOCK, both.as_bytes())?;
        medium.replace(CHECKPOINT, both.as_bytes())
    };
    keep().map_err(OpenError::Io)?;
    Ok(line.to_string())
}

/// Where the log names this key, if it does already.
fn position(log: &Log, named: &Named) -> Result<Option<u64>, ReadError> {
    for entry in log.entries(0) {
        let entry = entry?;
        if Named::of(&entry.leaf).as_ref() == Some(named) {
            return Ok(Some(entry.index));
        }
    }
    Ok(None)
}

/// What the entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) former: VerifierKey,
    pub(crate) key: VerifierKey,
}

impl Named {
    /// What an entry says, if it is one that names another key.
    pub(crate) fn of(leaf: &Leaf) -> Option<Self> {
        let line = |member| leaf.body.member(member).and_then(Json::as_str)?.parse().ok();
        if leaf.kind != KIND {
            return None;
        }
        Some(Self { former: line("former")?, key: line("key")? })
    }

    fn draft(&self, id: EntryId, at: Timestamp) -> Draft {
        let line = |key: &VerifierKey| Json::String(key.to_string());
        let body = Json::object([("former", line(&self.former)), ("key", line(&self.key))]);
        let mut draft = Draft::new(id, KIND, at);
        draft.body = Canonical::of(&body).expect("it has texts only");
        draft
    }
}

/// The file of the head that the former key signed for the entry at this position.
pub(crate) fn handover(index: u64) -> String {
    format!("{FOLDER}/{index}")
}

/// The positions of the entries that lead to another key, by the heads that lie in a log's folder.
pub(crate) fn handovers(log: &Path) -> io::Result<Vec<u64>> {
    anchor::numbers_in(&log.join(FOLDER))
}
