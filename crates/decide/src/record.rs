//! What grants waits for its record, at most 250 ms; what takes away never waits.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ledger::{
    AppendError, Draft, KeysError, MAX_PAYLOAD, PayloadClass, Receipt, SealError, SealedFor,
};
use model::{ActionId, Digest, EntryId, IdentityId, Money, Name, TaskId, ijson::Json};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::OwnedSemaphorePermit,
    task::JoinHandle,
};

use crate::{
    authenticate::{Caller, NotAuthenticated},
    engine::Engine,
    entries::{self, Decision, Lapsed},
    refusal::{Code, Refusal},
    tally::{Counted, Counts, Ready},
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

/// What a caller or a server said, of which a leaf holds what stands for it: equal things of one subject look equal, and once
/// the subject's key is gone nobody can find out by trying what it was.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    /// The canonical arguments of a call.
    Call,
    /// The canonical answers to what a server asked.
    Inputs,
    /// SHA-256 over the bytes of a result.
    Result,
}

impl Said {
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Inputs => "inputs",
            Self::Result => "result",
        }
    }
}

/// What an entry is to say, and how much was spent by what it tells of.
pub(crate) struct Told {
    pub(crate) draft: Draft,
    pub(crate) spent: Option<Money>,
}

impl From<Draft> for Told {
    fn from(draft: Draft) -> Self {
        Self { draft, spent: None }
    }
}

/// The record of a grant on its way to the disk. Dropped before it arrived, because it is late or because a request was
/// given up, it lapses by itself.
struct Recording<Undo: FnOnce(&Engine) + Send + 'static> {
    action: ActionId,
    hash: Digest,
    task: Option<TaskId>,
    rest: Option<(Arc<Engine>, Counted, Undo)>,
}

impl<Undo: FnOnce(&Engine) + Send + 'static> Recording<Undo> {
    /// What became of the record, and how to undo what it was for.
    async fn appended(&mut self) -> (Result<Receipt, AppendError>, Undo) {
        let (_, appending, _) = self.rest.as_mut().expect("a record is waited for once");
        let appended = appending.done().await;
        let (_, _, undo) = self.rest.take().expect("seen two lines above");
        (appended, undo)
    }
}

impl<Undo: FnOnce(&Engine) + Send + 'static> Drop for Recording<Undo> {
    fn drop(&mut self) {
        let Some((engine, mut appending, undo)) = self.rest.take() else { return };
        let (action, hash, task) = (self.action, self.hash, self.task);
        // Outside of a runtime, as at the very end of a process, the next start finds the grant unsettled.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if appending.done().await.is_ok() {
                    engine.note_lapsed(action, task, hash, Code::LedgerSlow);
                }
                undo(&engine);
            });
        }
    }
}

impl Engine {
    /// Seals a draft. Our own drafts fit; one that does not is a defect and refuses what it was for.
    pub(crate) fn seal(&self, told: impl Into<Told>) -> Result<Ready, NotRecorded> {
        self.ready(told.into()).map_err(|why| NotRecorded::Unavailable(why.to_string()))
    }

    /// Seals what somebody said or did, without the secrets in it. A governed object has another way: what is kept of it is
    /// what its row is compared with, byte for byte (`governance.rs`).
    fn ready(&self, mut told: Told) -> Result<Ready, SealError> {
        let (task, counts) = (told.draft.task, Counts::of_told(&told));
        let agent = told.draft.agent.as_ref().map(|agent| agent.id.clone());
        told.draft.payload = told.draft.payload.map(without_secrets);
        Ok(Ready { sealed: self.log.seal(told.draft)?, task, agent, counts })
    }

    /// Has the keys in memory that seal these, so that nothing on a call's way blocks for where they are kept. Nearly always
    /// they are.
    pub(crate) async fn keys_at_hand(
        &self,
        wanted: impl IntoIterator<Item = SealedFor>,
    ) -> Result<(), NotRecorded> {
        let away = wanted.into_iter().filter(|whose| !self.log.has_key(whose));
        let away: BTreeSet<SealedFor> = away.collect();
        if away.is_empty() {
            return Ok(());
        }
        let unavailable = |why: &dyn std::fmt::Display| NotRecorded::Unavailable(why.to_string());
        let reading = async {
            // A store that hangs takes one thread, however many ask for it.
            let turn =
                self.at_keys.clone().acquire_owned().await.map_err(|why| unavailable(&why))?;
            let read = self.read_keys(away, turn).await.map_err(|why| unavailable(&why))?;
            read.map_err(|why| unavailable(&why))
        };
        tokio::time::timeout(RECORD_BOUND, reading).await.unwrap_or(Err(NotRecorded::Slow))
    }

    /// Has keys in memory some time later; blocks a thread of its own.
    fn read_keys(
        &self,
        wanted: BTreeSet<SealedFor>,
        turn: OwnedSemaphorePermit,
    ) -> JoinHandle<Result<(), KeysError>> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            log.prepare_keys(&wanted)
        })
    }

    /// What a caller says now: in whose name it is done, and of which class it is.
    pub(crate) fn said_by(&self, caller: &Caller, class: PayloadClass) -> SealedFor {
        SealedFor::new(caller.person.to_string(), class, self.context.now())
    }

    /// What stands in a leaf for what was said in a caller's call, under the key that the action's payload is sealed under.
    pub(crate) fn blinded(
        &self,
        caller: &Caller,
        said: Said,
        bytes: &[u8],
    ) -> Result<Digest, NotRecorded> {
        let whose = self.said_by(caller, PayloadClass::Calls);
        let blinded = self.log.blind(&whose, said.purpose(), bytes);
        blinded.map_err(|why| NotRecorded::Unavailable(why.to_string()))
    }

    /// Appends the record of a grant and waits until it is durable, or the bound is over.
    ///
    /// `undo` gives back what was set aside for the grant. It runs at once when the record failed. When the record was
    /// only late, or its maker went away meanwhile, it runs after the record arrived and was followed by `lapsed`, so that
    /// the ledger never shows a right that was both given and given back.
    pub(crate) async fn record(
        self: &Arc<Self>,
        sealed: Ready,
        action: ActionId,
        undo: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Receipt, NotRecorded> {
        self.record_by(sealed, action, Self::append, undo).await
    }

    /// The same for a person's own session, for which the ledger keeps room: on a full disk, too, somebody can order a stop. It
    /// grants nothing by itself, since each act in it is decided and recorded.
    pub(crate) async fn record_session(
        self: &Arc<Self>,
        sealed: Ready,
        action: ActionId,
    ) -> Result<Receipt, NotRecorded> {
        self.record_by(sealed, action, Self::append_admission, |_| ()).await
    }

    async fn record_by(
        self: &Arc<Self>,
        sealed: Ready,
        action: ActionId,
        append: fn(&Self, Ready) -> Counted,
        undo: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Receipt, NotRecorded> {
        let (hash, task) = (sealed.hash(), sealed.task);
        let rest = Some((self.clone(), append(self, sealed), undo));
        let mut recording = Recording { action, hash, task, rest };
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
    pub(crate) fn note(&self, told: impl Into<Told>) {
        if let Some(ready) = self.seal_or_gap(told) {
            self.note_ready(ready);
        }
    }

    /// A draft of what takes away or says no: it waits for no key. Nearly always the key is in memory, since whoever asks was
    /// given a token or had an attempt decided; where it is not, what would be sealed is left out, and the next such entry
    /// finds it there.
    pub(crate) fn bare_without_key(&self, draft: &mut Draft) {
        if draft.payload.is_none() || self.log.has_key(&draft.whose()) {
            return;
        }
        tracing::warn!(code = "BW-1202", entry = %draft.id, "an entry is recorded without what would be sealed with it, since its key is not at hand");
        draft.payload = None;
        if let (Ok(_), Ok(turn)) = (Handle::try_current(), self.at_keys.clone().try_acquire_owned())
        {
            drop(self.read_keys(BTreeSet::from([draft.whose()]), turn));
        }
    }

    /// Seals what takes away; where no entry can be made of it, that is a gap.
    pub(crate) fn seal_or_gap(&self, told: impl Into<Told>) -> Option<Ready> {
        let mut told = told.into();
        self.bare_without_key(&mut told.draft);
        let at = told.draft.at;
        let ready = self.ready(told);
        if let Err(why) = &ready {
            tracing::error!(code = "BW-1201", %why, "an entry could not be sealed");
            self.log.note_unsealed(at);
        }
        ready.ok()
    }

    /// The same, of what is sealed already.
    pub(crate) fn note_ready(&self, ready: Ready) {
        self.enqueue(ready, false, |sealed| self.log.note(sealed));
    }

    /// Records that what was given by an entry in the ledger, such as a permit or a task, was not used.
    pub(crate) fn note_lapsed(
        &self,
        action: ActionId,
        task: Option<TaskId>,
        given: Digest,
        code: Code,
    ) {
        let body = Lapsed { code: code.text().to_owned() };
        let mut draft = entries::draft(self.context.id(), self.context.now(), &body);
        draft.task = task;
        self.note(entries::of_action(draft, action, vec![given]));
    }

    /// Records a refusal. What it is about may be of any length: what is too long to keep is left out, and its length said.
    pub(crate) fn note_refusal(
        &self,
        caller: &Caller,
        refusal: &Refusal,
        body: Decision,
        shown: Option<Shown>,
    ) {
        let too_long = shown.as_ref().map(|shown| shown.bytes.len());
        let too_long = too_long.filter(|length| *length > MAX_PAYLOAD);
        let body = Decision {
            code: Some(refusal.code.text().to_owned()),
            not_kept: too_long.map(|length| length as u64),
            ..body
        };
        let mut draft = self.decision(caller, refusal.action, &body);
        if let Some(Shown { about, class, bytes }) = shown.filter(|_| too_long.is_none()) {
            draft.subject = about;
            draft.class = class;
            draft.payload = Some(bytes);
        }
        draft.approval = refusal.approval;
        self.note_refused(caller.agents.last().unwrap_or(&caller.person), draft, refusal);
    }

    /// Records that somebody was refused something. In the ledger's reserve, one such entry a second is all they get.
    pub(crate) fn note_refused(&self, whose: &IdentityId, mut draft: Draft, refusal: &Refusal) {
        draft.verdict = Some(refusal.verdict().to_owned());
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        if self.log.is_sparing() && !self.spared.is_first(whose, draft.at) {
            self.log.leave_out(draft.at);
        } else if let Some(ready) = self.seal_or_gap(draft) {
            self.enqueue(ready, false, |sealed| self.log.note_refusal(sealed));
        }
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
        let bytes = Json::String(refusal.reason.clone()).canonical();
        let shown = Shown { about: None, class: PayloadClass::Calls, bytes };
        self.note_refusal(caller, &refusal, body, Some(shown));
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
        let body = Decision { code: Some(code.text().to_owned()), ..Decision::default() };
        let mut draft = self.decision(caller, refusal.action, &body);
        if code == Code::NotIssued {
            // It follows from nothing in this ledger, whatever it claims.
            (draft.parents, draft.chain, draft.task) = (Vec::new(), Vec::new(), None);
        }
        self.note_refused(caller.agents.last().unwrap_or(&caller.person), draft, &refusal);
    }

    /// The draft of a decision about a caller's action.
    pub(crate) fn decision(&self, caller: &Caller, action: ActionId, body: &Decision) -> Draft {
        let mut draft = self.about(caller, body, self.context.id());
        draft.action = Some(action);
        draft.class = PayloadClass::Calls;
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

/// What is kept of something refused, sealed.
pub(crate) struct Shown {
    /// Under whose key, where that is not the caller.
    pub(crate) about: Option<String>,
    pub(crate) class: PayloadClass,
    pub(crate) bytes: Vec<u8>,
}

/// A payload as it is kept. What was sent, approved and hashed is the call itself.
fn without_secrets(payload: Vec<u8>) -> Vec<u8> {
    let look = || scrub::bytes(&payload);
    match if payload.len() > BRIEF { aside(look) } else { look() } {
        Cow::Borrowed(_) => payload,
        // Marks may be longer than what they stand for; what no longer fits is not worth refusing a call for.
        Cow::Owned(scrubbed) if scrubbed.len() > MAX_PAYLOAD => TOO_MANY.to_vec(),
        Cow::Owned(scrubbed) => scrubbed,
    }
}

/// Looks for secrets in a long text. That takes a while, in which others of this thread, such as a stop, go on elsewhere.
pub(crate) fn aside<T>(look: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(look)
    } else {
        look()
    }
}

/// So many bytes are looked through in less than a millisecond, whatever they are.
const BRIEF: usize = 4096;

/// Stands for a payload of which nothing is kept: without its secrets it is longer than the longest payload.
const TOO_MANY: &[u8] = b"\"[secret:too-many]\"";

#[cfg(test)]
mod tests {
    use super::{MAX_PAYLOAD, TOO_MANY, without_secrets};

    #[test]
    fn a_payload_that_its_marks_make_too_long_is_not_kept() {
        let call =
            |count: usize| format!("{{\"pwd\":[{}]}}", vec!["1"; count].join(",")).into_bytes();
        assert_eq!(without_secrets(call(1)), b"{\"pwd\":[\"[secret:named]\"]}");
        let long = call(MAX_PAYLOAD / 2 - 10);
        assert!(long.len() <= MAX_PAYLOAD);
        assert_eq!(without_secrets(long), TOO_MANY);
        assert_eq!(without_secrets(b"[1,2]".to_vec()), b"[1,2]");
    }
}
