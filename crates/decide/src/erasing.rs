//! Erasing what is sealed for a person or an agent: allowed like any act of governance, recorded, and then done. What remains is
//! the proof that something was said, and who had it erased.

use std::{collections::BTreeSet, sync::Arc};

use ledger::{AppendError, EraseError, Log, Receipt};
use model::{Name, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    engine::{Engine, to_the_end},
    entries::{self, Erased, to_json},
    holding::kept,
    subject::Subject,
};

/// Erases everything that is sealed for a subject so far.
#[derive(Debug, Clone)]
pub struct EraseSubject {
    /// Whose.
    pub subject: Subject,
    /// Why, and on which legal basis.
    pub reason: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The entry that says so.
    pub entry: u64,
    /// The names of the keys that are destroyed.
    pub keys: Vec<String>,
    /// How many payloads were sealed under them.
    pub payloads: u64,
}

/// Why something was not erased, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum NotErased {
    /// A hold keeps it.
    #[error("`{0}` is under a legal hold, and nothing of what is held is erased")]
    Held(Subject),
    /// A hold keeps something that is sealed with it.
    #[error(
        "`{kept}` is under a legal hold, and what was done there for `{subject}` is sealed with everything else of `{subject}`; nothing was erased"
    )]
    KeptWith {
        /// Who was to be erased.
        subject: Subject,
        /// Whom or what the hold names.
        kept: Subject,
    },
    /// There is nothing.
    #[error("nothing is sealed for `{0}`")]
    Nothing(Subject),
    /// Its keys are out of reach; nothing was recorded.
    #[error("nothing was erased: {0}")]
    OutOfReach(#[source] EraseError),
    /// The ledger does not take the record.
    #[error("the erasure cannot be recorded, so nothing was erased: {0}")]
    NotRecorded(String),
    /// The ledger failed while it took the record.
    #[error(
        "the ledger failed while it recorded the erasure; the next start finds out whether it is recorded, and then erases: look there for an entry of kind `erasure`, and ask again where there is none"
    )]
    Unknown,
    /// It is recorded, and nobody reads any of it here; the rest is tried again each minute, and by the next start.
    #[error("entry {entry} says that it is erased, and this is not done to the end: {why}")]
    Unfinished {
        /// The entry.
        entry: u64,
        /// What is not done.
        #[source]
        why: EraseError,
    },
}

/// The word under which the ledger seals what is said about a person who has no id yet.
pub fn subject_by_handle(handle: &Name) -> String {
    Subject::Handle(handle.clone()).to_string()
}

impl Act for EraseSubject {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", self.subject.to_string())
    }

    /// Who has no pseudonym is named by what is shown.
    fn about(&self) -> Option<String> {
        matches!(self.subject, Subject::Handle(_)).then(|| self.subject.to_string())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("reason", Json::String(self.reason.clone())),
            ("subject", to_json(&self.subject)),
        ])
    }
}

impl Engine {
    /// Whether what is sealed for a subject may be erased at all, so that nobody is asked to approve what cannot be done.
    ///
    /// # Errors
    /// [`NotErased::Held`]
    pub fn check_erasure(&self, subject: &Subject) -> Result<(), NotErased> {
        match self.directory.is_held(subject) {
            true => Err(NotErased::Held(subject.clone())),
            false => Ok(()),
        }
    }

    /// Whether anything is sealed for a subject. Asking for an erasure by handle seals something itself, so this comes before.
    ///
    /// # Errors
    /// [`NotErased::Nothing`], or the keys are out of reach.
    pub async fn check_sealed(&self, subject: &Subject) -> Result<(), NotErased> {
        let (log, words) = (self.log.clone(), self.subjects_of(subject));
        let any = move || {
            let ids = words.iter().map(|word| log.keys_of(word)).collect::<Result<Vec<_>, _>>()?;
            Ok(ids.iter().any(|ids| !ids.is_empty()))
        };
        match blocking(any).await.map_err(NotErased::OutOfReach)? {
            true => Ok(()),
            false => Err(NotErased::Nothing(subject.clone())),
        }
    }

    /// The words under which the ledger seals what tells of somebody: their id, and for a person the handle, since whoever
    /// enrols them says their name before they have an id.
    fn subjects_of(&self, subject: &Subject) -> Vec<String> {
        let handle = match subject {
            Subject::Identity(id) => self.directory.person(id),
            Subject::Handle(_) => None,
            Subject::Task(_) => return Vec::new(),
        };
        let handle = handle.map(|entry| subject_by_handle(&entry.person.handle));
        std::iter::once(subject.to_string()).chain(handle).collect()
    }

    /// Records an erasure, then destroys the subject's keys and writes over what is sealed under them. What the subject says
    /// from now on is sealed under a new key.
    ///
    /// Once it is recorded it is carried out, whoever goes away and whatever ends: by the next start, if not by this process.
    ///
    /// # Errors
    /// [`NotErased`]
    pub async fn erase(
        self: &Arc<Self>,
        allowed: Allowed<EraseSubject>,
    ) -> Result<Erasure, NotErased> {
        let engine = self.clone();
        to_the_end(async move { engine.erase_to_the_end(&allowed).await }).await
    }

    async fn erase_to_the_end(
        &self,
        allowed: &Allowed<EraseSubject>,
    ) -> Result<Erasure, NotErased> {
        let subject = &allowed.act().subject;
        let (log, words) = (self.log.clone(), self.subjects_of(subject));
        let keys = blocking(move || end_keys(&log, &words)).await.map_err(NotErased::OutOfReach)?;
        if keys.is_empty() {
            return Err(NotErased::Nothing(subject.clone()));
        }
        // Looking takes as long as reading all entries; a hold that comes meanwhile is looked at, too.
        loop {
            let held = self.directory.under_hold();
            self.check_kept_with(subject, &keys, held.clone()).await?;
            // The last moment at which it can still be kept.
            self.check_erasure(subject)?;
            if self.directory.under_hold() == held {
                break;
            }
        }
        let Receipt { index: entry, .. } = self.record_erasure(allowed, &keys).await?;
        let (log, ids) = (self.log.clone(), keys.clone());
        let done = blocking(move || log.erase(entry, &ids)).await;
        let payloads = done.map_err(|why| NotErased::Unfinished { entry, why })?;
        Ok(Erasure { entry, keys, payloads })
    }

    /// Whether something is sealed under these keys that a hold on an agent or a task keeps. Whatever is sealed under them has its
    /// place in the log.
    async fn check_kept_with(
        &self,
        subject: &Subject,
        keys: &[String],
        held: BTreeSet<Subject>,
    ) -> Result<(), NotErased> {
        let log = self.log.clone();
        let kept = blocking(move || kept(&log, &held).map_err(unread)).await;
        let kept = kept.map_err(NotErased::OutOfReach)?;
        match keys.iter().find_map(|key| kept.get(key)) {
            Some(kept) => Err(NotErased::KeptWith { subject: subject.clone(), kept: kept.clone() }),
            None => Ok(()),
        }
    }

    /// Waits for as long as it takes: a record of it that came too late could not be taken back.
    async fn record_erasure(
        &self,
        allowed: &Allowed<EraseSubject>,
        keys: &[String],
    ) -> Result<Receipt, NotErased> {
        let EraseSubject { subject, .. } = allowed.act();
        let identity = match subject {
            Subject::Identity(id) => Some(id.clone()),
            // A handle tells who it is.
            Subject::Handle(_) | Subject::Task(_) => None,
        };
        let body = Erased { keys: keys.to_vec(), subject: identity };
        let draft = self.about(allowed.caller(), &body, self.context.id());
        let mut draft = entries::of_action(draft, allowed.action(), vec![allowed.decision()]);
        draft.approval = allowed.approval();
        draft.subject = allowed.act().about();
        draft.payload = Some(allowed.act().shown().canonical());
        let not_recorded = |why: &dyn std::fmt::Display| NotErased::NotRecorded(why.to_string());
        // Whoever erases themselves, or a handle, has just lost the key for this.
        self.keys_at_hand([draft.whose()]).await.map_err(|why| not_recorded(&why))?;
        let sealed = self.seal(draft).map_err(|why| not_recorded(&why))?;
        self.append_end(sealed).done().await.map_err(|why| match why {
            AppendError::Failed => NotErased::Unknown,
            why => not_recorded(&why),
        })
    }

    /// Does what is left of erasures that were not done to the end.
    pub(crate) async fn finish_erasures(&self) {
        if !self.log.has_unfinished_erasures() {
            return;
        }
        let log = self.log.clone();
        if let Err(why) = blocking(move || log.finish_erasures()).await {
            tracing::warn!(code = "BW-1204", %why, "an erasure is not done to the end");
        }
    }
}

fn end_keys(log: &Log, words: &[String]) -> Result<Vec<String>, EraseError> {
    let mut keys = Vec::new();
    for word in words {
        keys.extend(log.end_keys(word)?);
    }
    Ok(keys)
}

pub(crate) fn unread(why: ledger::ReadError) -> EraseError {
    EraseError::Io(std::io::Error::other(why))
}

/// Waits for disks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EraseError> + Send + 'static,
) -> Result<T, EraseError> {
    let panicked = |why| EraseError::Io(std::io::Error::other(why));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|why| Err(panicked(why)))
}
