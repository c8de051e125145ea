//! Erasing what is sealed for a person or an agent: allowed like any act of governance, recorded, and then done. What remains is
//! the proof that something was said, and who had it erased.

use std::sync::Arc;

use ledger::{EraseError, Log, Receipt};
use model::{IdentityId, Name, Verb, ijson::Json};

use crate::{
    allow::{Act, Allowed},
    engine::{Engine, to_the_end},
    entries::{self, Erased, to_json},
};

/// Erases everything that is sealed for a subject so far.
#[derive(Debug, Clone)]
pub struct EraseSubject {
    /// Whose.
    pub subject: IdentityId,
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
    Held(IdentityId),
    /// There is nothing.
    #[error("nothing is sealed for `{0}`")]
    Nothing(IdentityId),
    /// Its keys are out of reach; nothing was recorded.
    #[error("nothing was erased: {0}")]
    OutOfReach(#[source] EraseError),
    /// The ledger does not take the record.
    #[error("the erasure cannot be recorded, so nothing was erased: {0}")]
    NotRecorded(String),
    /// It is recorded, and nobody reads any of it here; the rest is done by the next start.
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
    format!("handle/{handle}")
}

impl Act for EraseSubject {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", self.subject.to_string())
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
    pub fn check_erasure(&self, subject: &IdentityId) -> Result<(), NotErased> {
        match self.directory.is_held(subject) {
            true => Err(NotErased::Held(subject.clone())),
            false => Ok(()),
        }
    }

    /// The words under which the ledger seals what tells of somebody: their id, and for a person the handle, since whoever
    /// enrols them says their name before they have an id.
    fn subjects_of(&self, subject: &IdentityId) -> Vec<String> {
        let person = self.directory.person(subject);
        let handle = person.map(|entry| subject_by_handle(&entry.person.handle));
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
        // The last moment at which it can still be kept.
        self.check_erasure(subject)?;
        let Receipt { index: entry, .. } = self.record_erasure(allowed, &keys).await?;
        let (log, ids) = (self.log.clone(), keys.clone());
        let done = blocking(move || log.erase(entry, &ids)).await;
        let payloads = done.map_err(|why| NotErased::Unfinished { entry, why })?;
        Ok(Erasure { entry, keys, payloads })
    }

    /// Waits for as long as it takes: a record of it that came too late could not be taken back.
    async fn record_erasure(
        &self,
        allowed: &Allowed<EraseSubject>,
        keys: &[String],
    ) -> Result<Receipt, NotErased> {
        let EraseSubject { subject, .. } = allowed.act();
        let body = Erased { keys: keys.to_vec(), subject: Some(subject.clone()) };
        let draft = self.about(allowed.caller(), &body, self.context.id());
        let mut draft = entries::of_action(draft, allowed.action(), vec![allowed.decision()]);
        draft.approval = allowed.approval();
        draft.payload = Some(allowed.act().shown().canonical());
        let sealed = self.seal(draft).map_err(|why| NotErased::NotRecorded(why.to_string()))?;
        let recorded = self.append_end(sealed).done().await;
        recorded.map_err(|why| NotErased::NotRecorded(why.to_string()))
    }
}

fn end_keys(log: &Log, words: &[String]) -> Result<Vec<String>, EraseError> {
    let mut keys = Vec::new();
    for word in words {
        keys.extend(log.end_keys(word)?);
    }
    Ok(keys)
}

/// Waits for disks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EraseError> + Send + 'static,
) -> Result<T, EraseError> {
    let panicked = |why| EraseError::Io(std::io::Error::other(why));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|why| Err(panicked(why)))
}
