//! Going on with a log that was brought back from a copy older than what was signed for.
//!
//! Heads of the log that cover more than there is are in other hands. Whatever is appended under its name contradicts them,
//! so the log goes on under another one, `…/rN`: N is the second of the restore, so that a copy which is restored twice gets
//! two names, and grows from one restore to the next. Its first entry says what
//! is lost. Nothing is appended before it, and a log whose restore was begun does not open otherwise.

use std::sync::Arc;

use model::{
    Digest, EntryId, Timestamp,
    ijson::{Canonical, Json},
};
use serde::{Deserialize, Serialize};

use crate::{
    keys::ORGANIZATION,
    leaf::Draft,
    log::{AppendError, CloseError, Config, Keys, Log, Media},
    medium::{Medium, read_if_there},
    note::{Checkpoint, NoteError, VerifierKey},
    open::{self, OpenError},
    publish::LOCK,
    seal::SealError,
    tile::CHECKPOINT,
};

/// The kind of the entry that says what is lost.
pub const TRUNCATED: &str = "truncated";
/// The file that says that a restore was begun and is not over, and as what.
pub(crate) const BEGUN: &str = "restoring";

/// Why a log was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log is not one that could go on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no log.
    #[error("there is no ledger to go on with: it has no `checkpoint`")]
    NoLog,
    /// A head that was given is none of this log.
    #[error("head {number} that was given is none of this ledger")]
    Head {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: NoteError,
    },
    /// A head that was given covers what is there, and says something else of it.
    #[error(
        "a head of {0} entries is signed by this ledger's key, and the entries that are there are others: it is not an older copy, but another history"
    )]
    Forked(u64),
    /// Nobody shows that anything is missing.
    #[error(
        "nothing is missing: no head that is known covers more than the {0} entries that are there"
    )]
    NotNeeded(u64),
    /// The entry could not be made.
    #[error("the entry that says what is lost could not be made")]
    Seal(#[source] SealError),
    /// The entry could not be written.
    #[error("the entry that says what is lost could not be written")]
    Append(#[source] AppendError),
    /// Not everything is published.
    #[error("the ledger did not close in order")]
    Close(#[source] CloseError),
}

/// What somebody knows who restores a log.
pub struct Loss<'a> {
    /// Signed heads of the log that witnesses or auditors have kept.
    pub heads: &'a [Vec<u8>],
    /// Whether entries are missing although no head shows it.
    pub is_certain: bool,
    /// The id and moment of the entry that will say so.
    pub id: EntryId,
    /// See [`Loss::id`].
    pub at: Timestamp,
}

/// A restore that was begun: it is durable that it was, and what it will say.
pub struct Restore {
    config: Config,
    media: Media,
    keys: Keys,
    begun: Begun,
    verifier: VerifierKey,
}

/// What a restore comes to, as it is kept until it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    /// The log's name from now on.
    name: String,
    /// How many entries are there, published or not.
    kept: u64,
    /// The newest head that is known of what was signed for; `None` where nobody has one.
    head: Option<KnownHead>,
    id: EntryId,
    at: Timestamp,
}

/// The newest head of what is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownHead {
    /// The log's name when it was signed.
    pub name: String,
    /// How many entries it covers.
    pub size: u64,
    /// Their root.
    pub root: Digest,
}

impl Restore {
    /// Finds out what is lost, and makes it durable that the log will say so; or takes up a restore that was begun before,
    /// whatever is known of the loss now. The log must not be open anywhere.
    ///
    /// # Errors
    /// Nothing is missing, what is there is no beginning of what was signed for, or it is damaged.
    pub fn begin(config: Config, keys: Keys, loss: &Loss<'_>) -> Result<Self, RestoreError> {
        let media = Media::take(&config)?;
        Self::begin_on(config, keys, media, loss)
    }

    /// The same on other media; the folders of the configuration are not looked at.
    ///
    /// # Errors
    /// As [`Restore::begin`].
    pub fn begin_on(
        config: Config,
        keys: Keys,
        media: Media,
        loss: &Loss<'_>,
    ) -> Result<Self, RestoreError> {
        let begun = match read(&*media.log, BEGUN)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| OpenError::Damaged { file: BEGUN.to_owned(), index: 0 })?,
            None => {
                let begun = find_out(&config, &keys, &media, loss)?;
                let bytes =
                    serde_json::to_vec(&begun).expect("it has only members that JSON can hold");
                media.log.replace(BEGUN, &bytes).map_err(OpenError::Io)?;
                begun
            }
        };
        let verifier = open::check(&config, &keys)?.renamed(&begun.name);
        let verifier =
            verifier.map_err(|_| OpenError::Damaged { file: BEGUN.to_owned(), index: 0 })?;
        Ok(Self { config, media, keys, begun, verifier })
    }

    /// How many entries are kept.
    pub const fn kept(&self) -> u64 {
        self.begun.kept
    }

    /// The newest head that is known of what is lost.
    pub const fn lost(&self) -> Option<&KnownHead> {
        self.begun.head.as_ref()
    }

    /// What checks the log's signatures from now on: as [`Log::verifier_key`].
    pub fn verifier_key(&self) -> String {
        self.verifier.to_string()
    }

    /// Signs the log's head under its new name, writes the entry that says what is lost, with `why` sealed for the
    /// organization, and ends the restore. A process may end at any step: a restore that is begun again does the rest.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn finish(self, why: &[u8]) -> Result<(), RestoreError> {
        let Self { config, media, keys, begun, verifier } = self;
        let note = read(&*media.log, CHECKPOINT)?.ok_or(RestoreError::NoLog)?;
        let head = verifier.of_earlier(&note).open(&note);
        let head = head.map_err(|source| OpenError::Note { file: CHECKPOINT, source })?;
        let signed = Checkpoint { origin: verifier.name().to_owned(), ..head };
        let signed = keys.checkpoint.sign(&signed, &verifier);
        for (medium, file) in [(&media.lock, LOCK), (&media.log, CHECKPOINT)] {
            medium.replace(file, signed.as_bytes()).map_err(OpenError::Io)?;
        }
        let medium = Arc::clone(&media.log);
        let log = Log::open_restored(config, keys, media)?;
        if log.position_of(begun.id).is_none() {
            let sealed = log.seal(begun.draft(why)).map_err(RestoreError::Seal)?;
            log.append(sealed).wait().map_err(RestoreError::Append)?;
        }
        log.close().map_err(RestoreError::Close)?;
        medium.remove(BEGUN).and_then(|()| medium.sync_folder("")).map_err(OpenError::Io)?;
        Ok(())
    }
}

impl Begun {
    fn draft(&self, why: &[u8]) -> Draft {
        let exact = |size: u64| Json::Integer(i64::try_from(size).unwrap_or(i64::MAX));
        let mut members =
            vec![("kept", exact(self.kept)), ("name", Json::String(self.name.clone()))];
        if let Some(KnownHead { name, size, root }) = &self.head {
            let head = [
                ("name", Json::String(name.clone())),
                ("root", Json::String(root.to_string())),
                ("size", exact(*size)),
            ];
            members.push(("head", Json::object(head)));
        }
        let mut draft = Draft::new(self.id, TRUNCATED, self.at);
        draft.body = Canonical::of(&Json::object(members)).expect("sizes of logs are exact");
        draft.payload = Some(why.to_vec());
        draft.subject = Some(ORGANIZATION.to_owned());
        draft
    }
}

/// What is there, held against every head that is known.
fn find_out(
    config: &Config,
    keys: &Keys,
    media: &Media,
    loss: &Loss<'_>,
) -> Result<Begun, RestoreError> {
    let verifier = open::check(config, keys)?;
    let note = read(&*media.log, CHECKPOINT)?.ok_or(RestoreError::NoLog)?;
    let own = verifier.of_log(&note).open(&note);
    let own = own.map_err(|source| OpenError::Note { file: CHECKPOINT, source })?;
    let mut heads = Vec::new();
    if let Some(note) = read(&*media.lock, LOCK)? {
        let head = verifier.of_log(&note).open(&note);
        heads.push(head.map_err(|source| OpenError::Note { file: LOCK, source })?);
    }
    for (number, note) in (1..).zip(loss.heads) {
        let head = verifier.of_log(note).open(note);
        heads.push(head.map_err(|source| RestoreError::Head { number, source })?);
    }
    let sizes = heads.iter().map(|head| head.size);
    let (kept, roots) = open::roots(&*media.log, &own, sizes)?;
    let now = generation(&own.origin);
    for head in heads.iter().filter(|head| generation(&head.origin) == now) {
        if roots.get(&head.size).is_some_and(|root| *root != head.root) {
            return Err(RestoreError::Forked(head.size));
        }
    }
    // What was signed under a later name is lost, however much there was of it.
    let is_lost = |head: &&Checkpoint| match generation(&head.origin) {
        later if later > now => true,
        same => same == now && head.size > kept,
    };
    let newest =
        heads.iter().filter(is_lost).max_by_key(|head| (generation(&head.origin), head.size));
    if newest.is_none() && !loss.is_certain {
        return Err(RestoreError::NotNeeded(kept));
    }
    let last = heads.iter().map(|head| generation(&head.origin)).fold(now, u32::max);
    // What became of this copy when it was restored before, nothing here has to know.
    let second = u32::try_from(loss.at.seconds()).unwrap_or_default();
    let name = format!("{}/r{}", config.origin, last.saturating_add(1).max(second));
    let head = newest.map(|Checkpoint { origin, size, root }| KnownHead {
        name: origin.clone(),
        size: *size,
        root: *root,
    });
    Ok(Begun { name, kept, head, id: loss.id, at: loss.at })
}

fn read(medium: &dyn Medium, file: &str) -> Result<Option<Vec<u8>>, OpenError> {
    read_if_there(medium, file).map_err(OpenError::Io)
}

/// What a log is called before any restore.
pub(crate) fn base(name: &str) -> &str {
    split(name).map_or(name, |(base, _)| base)
}

/// Which restore the log of this name comes from: a later one has a larger number, and a log that was never restored none.
pub(crate) fn generation(name: &str) -> u32 {
    split(name).map_or(0, |(_, number)| number)
}

fn split(name: &str) -> Option<(&str, u32)> {
    let (base, number) = name.rsplit_once("/r")?;
    let restored = number.parse().ok().filter(|it: &u32| *it > 0 && it.to_string() == number)?;
    Some((base, restored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_often_its_log_was_restored() {
        for (name, expected) in [
            ("acme/prod/1", ("acme/prod/1", 0)),
            ("acme/prod/1/r1", ("acme/prod/1", 1)),
            ("acme/prod/1/r20", ("acme/prod/1", 20)),
            ("acme/prod/1/r0", ("acme/prod/1/r0", 0)),
            ("acme/prod/1/r01", ("acme/prod/1/r01", 0)),
            ("acme/prod/1/r", ("acme/prod/1/r", 0)),
            ("acme/prod/1/r1/x", ("acme/prod/1/r1/x", 0)),
        ] {
            assert_eq!((base(name), generation(name)), expected);
        }
    }
}
