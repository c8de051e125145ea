//! What grants waits for its record, at most 250 ms; what takes away never waits.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ledger::{AppendError, Appending, Draft, MAX_PAYLOAD, Receipt, Sealed};
use model::{ActionId, Digest, EntryId, Name, ijson::Json};
use tokio::runtime::Handle;

use crate::{
    authenticate::{Caller, NotAuthenticated},
    engine::Engine,
    entries::{self, Decision, Lapsed},
    refusal::{Code, Refusal},
};

/// How long a grant waits for its record before it is refused.
pub const RECORD_BOUND: Duration = Duration::from_millis(250);

/// A grant whose record is not durable: it must not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRecorded {
    #[error("the ledger did not confirm within {} ms", RECORD_BOUND.as_millis())]
    Slow,
    #[error("the ledger cannot write: {0}")]
    Unavailable(String),
}

impl NotRecorded {
    pub(crate) fn refusal(&self, action: ActionId) -> Refusal {
        let code = match self {
            Self::Slow => Code::LedgerSlow,
            Self::Unavailable(_) => Code::LedgerUnavailable,
        };
        Refusal::new(action, code, self.to_string())
    }
}

/// The record of a grant on its way to the disk. Dropped before it arrived, because it is late or because a request was
/// given up, it lapses by itself.
struct Recording<Undo: FnOnce(&Engine) + Send + 'static> {
    action: ActionId,
    hash: Digest,
    rest: Option<(Arc<Engine>, Appending, Undo)>,
}

impl<Undo: FnOnce(&Engine) + Send + 'static> Recording<Undo> {
    /// What became of the record, and how to undo what it was for.
    async fn appended(&mut self) -> (Result<Receipt, AppendError>, Undo) {
        let (_, appending, _) = self.rest.as_mut().expect("a record is waited for once");
        let appended = appending.await;
        let (_, _, undo) = self.rest.take().expect("seen two lines above");
        (appended, undo)
    }
}

impl<Undo: FnOnce(&Engine) + Send + 'static> Drop for Recording<Undo> {
    fn drop(&mut self) {
        let Some((engine, appending, undo)) = self.rest.take() else { return };
        let (action, hash) = (self.action, self.hash);
        // Outside of a runtime, as at the very end of a process, the next start finds the grant unsettled.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if appending.await.is_ok() {
                    engine.note_lapsed(action, hash, Code::LedgerSlow);
                }
                undo(&engine);
            });
        }
    }
}

impl Engine {
    /// Seals a draft. Our own drafts fit; one that does not is a defect and refuses what it was for.
    pub(crate) fn seal(&self, draft: Draft) -> Result<Sealed, NotRecorded> {
        self.log.seal(draft).map_err(|why| NotRecorded::Unavailable(why.to_string()))
    }

    /// Appends the record of a grant and waits until it is durable, or the bound is over.
    ///
    /// `undo` gives back what was set aside for the grant. It runs at once when the record failed. When the record was
    /// only late, or its maker went away meanwhile, it runs after the record arrived and was followed by `lapsed`, so that
    /// the ledger never shows a right that was both given and given back.
    pub(crate) async fn record(
        self: &Arc<Self>,
        sealed: Sealed,
        action: ActionId,
        undo: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Receipt, NotRecorded> {
        let hash = sealed.hash();
        let rest = Some((self.clone(), self.log.append(sealed), undo));
        let mut recording = Recording { action, hash, rest };
        match tokio::time::timeout(RECORD_BOUND, recording.appended()).await {
            Ok((Ok(receipt), _)) => Ok(receipt),
            Ok((Err(why), undo)) => {
                undo(self);
                Err(NotRecorded::Unavailable(why.to_string()))
            }
            Err(_) => Err(NotRecorded::Slow),
        }
    }

    /// Records what takes away, without waiting. What no entry can be made of leaves a gap.
    pub(crate) fn note(&self, draft: Draft) {
        let at = draft.at;
        match self.log.seal(draft) {
            Ok(sealed) => self.log.note(sealed),
            Err(why) => {
                tracing::error!(code = "BW-1201", %why, "an entry could not be sealed");
                self.log.note_unsealed(at);
            }
        }
    }

    /// Records that a permit which is in the ledger was not used.
    pub(crate) fn note_lapsed(&self, action: ActionId, decision: Digest, code: Code) {
        let body = Lapsed { code: code.text().to_owned() };
        let draft = entries::draft(self.context.id(), self.context.now(), &body);
        self.note(entries::of_action(draft, action, vec![decision]));
    }

    /// Records a refusal. What it is about may be of any length: what is too long to keep is left out, and its length said.
    pub(crate) fn note_refusal(
        &self,
        caller: &Caller,
        refusal: &Refusal,
        body: Decision,
        shown: Option<Vec<u8>>,
    ) {
        let too_long = shown.as_ref().map(Vec::len).filter(|length| *length > MAX_PAYLOAD);
        let body = Decision {
            code: Some(refusal.code.text().to_owned()),
            not_kept: too_long.map(|length| length as u64),
            ..body
        };
        let mut draft = self.decision(caller, refusal.action, &body);
        draft.verdict = Some(refusal.verdict().to_owned());
        draft.payload = shown.filter(|_| too_long.is_none());
        draft.approval = refusal.approval;
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        self.note(draft);
    }

    /// Refuses, and records the refusal of, something that never became an attempt: a message that is malformed, or a
    /// method that nobody mapped.
    pub fn refuse(
        &self,
        caller: &Caller,
        system: Option<&Name>,
        code: Code,
        reason: impl Into<String>,
    ) -> Refusal {
        let refusal = Refusal::new(self.context.id(), code, reason);
        let body = Decision { system: system.cloned(), ..Decision::default() };
        self.note_refusal(
            caller,
            &refusal,
            body,
            Some(Json::String(refusal.reason.clone()).canonical()),
        );
        refusal
    }

    /// Records that somebody presented a known identity's token and could not prove to hold its key.
    pub(crate) fn note_unproven(&self, caller: &Caller, why: &NotAuthenticated) {
        let code = if *why == NotAuthenticated::NotIssued {
            Code::NotIssued
        } else {
            Code::Unauthenticated
        };
        let refusal = Refusal::new(self.context.id(), code, why.to_string());
        self.note_refusal(caller, &refusal, Decision::default(), None);
    }

    /// The draft of a decision about a caller's action.
    pub(crate) fn decision(&self, caller: &Caller, action: ActionId, body: &Decision) -> Draft {
        let mut draft = self.about(caller, body, self.context.id());
        draft.action = Some(action);
        // What a call follows from is the issuance of the token that it presents, which follows from the task.
        draft.parents = vec![caller.claims.entry];
        draft
    }

    /// The draft of an entry about a caller.
    pub(crate) fn about<B: entries::Body>(&self, caller: &Caller, body: &B, id: EntryId) -> Draft {
        let mut draft = entries::draft(id, self.context.now(), body);
        draft.person = Some(caller.person.clone());
        draft.task = caller.claims.task;
        draft.chain = caller.claims.links.iter().map(|link| link.id).collect();
        draft.agent = caller.agents.last().map(|agent| ledger::AgentMark {
            id: agent.clone(),
            instance: caller.claims.cnf.map(|bound| bound.jkt.to_string()),
            version: caller.claims.version,
        });
        draft
    }
}
