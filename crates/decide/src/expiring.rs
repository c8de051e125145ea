//! What is past its time expires: its keys are destroyed, and what they seal is written over. The proofs stay, and an entry says
//! what went, and by which rule. Nobody waits for it, and what a legal hold keeps is passed over until that ends.

use std::collections::BTreeSet;

use ledger::{EraseError, PastKey, PayloadClass, Slot};
use model::Timestamp;

use crate::{
    engine::Engine,
    entries::{self, Expired},
    erasing::{blocking, unread},
    holding::{Kept, kept},
    subject::Subject,
};

/// How many keys one entry lets expire: their names fill half a leaf.
const STEP: usize = 1_000;
const DAY_MILLIS: i64 = 86_400_000;
/// How long before a new period its keys are made ready.
const PREPARE_MILLIS: u64 = 2 * 3_600_000;

/// How many days payloads are kept, by class; always, where no number is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// What was said in calls.
    pub calls: Option<u32>,
    /// What tasks are for.
    pub prompts: Option<u32>,
    /// Requests for approval.
    pub approvals: Option<u32>,
    /// What governance said.
    pub governance: Option<u32>,
}

/// What is past its time: payloads of a class from before a slot, that is from before `until`.
#[derive(Clone, Copy)]
struct Past {
    before: Slot,
    days: u32,
    until: Timestamp,
}

/// Why something that is past its time is still there; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotExpired {
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error("the ledger does not take the record: {0}")]
    NotRecorded(String),
    #[error("legal holds have changed meanwhile")]
    HoldsChanged,
}

impl Retention {
    const fn days(self, class: PayloadClass) -> Option<u32> {
        match class {
            PayloadClass::Calls => self.calls,
            PayloadClass::Prompts => self.prompts,
            PayloadClass::Approvals => self.approvals,
            PayloadClass::Governance => self.governance,
        }
    }

    /// What of a class is past its time: a key goes when the last of what it may seal does.
    fn past(self, class: PayloadClass, now: Timestamp) -> Option<Past> {
        let days = self.days(class)?;
        let kept = now.millis().saturating_sub(i64::from(days) * DAY_MILLIS);
        let before = Slot::of(class, Timestamp::from_millis(kept));
        Some(Past { before, days, until: before.start() })
    }
}

impl Engine {
    /// Before a period of keys is over, has those of the next one at hand: otherwise everybody would want a new one at once.
    pub(crate) async fn prepare_keys(&self) -> Result<(), EraseError> {
        let now = self.context.now();
        let Slot { class, period } = Slot::of(PayloadClass::Calls, now);
        let end = Slot { class, period: period + 1 }.start();
        if end.millis_since(now) > PREPARE_MILLIS {
            return Ok(());
        }
        let log = self.log.clone();
        blocking(move || Ok(log.prepare_next_period(now)?)).await
    }

    /// Lets everything expire that is past its time, and says how many keys that were.
    pub(crate) async fn expire(&self) -> Result<usize, NotExpired> {
        let now = self.context.now();
        let past = PayloadClass::ALL.map(|class| self.retention.past(class, now));
        let (log, held) = (self.log.clone(), self.directory.under_hold());
        let mut count = 0;
        let mut kept_by_others = None;
        for past in past.into_iter().flatten() {
            let mut after = String::new();
            loop {
                let (log, from) = (log.clone(), after);
                let page = blocking(move || Ok(log.past_keys(past.before, &from, STEP)?)).await?;
                let Some(last) = page.last() else { break };
                after = last.id.clone();
                // Not before there is something to be kept: it takes as long as reading all entries.
                let kept = match &kept_by_others {
                    Some(kept) => kept,
                    None => kept_by_others.insert(self.kept_by_others(&held).await?),
                };
                count += self.expire_page(past, page, &held, kept).await?;
            }
        }
        self.finish_erasures().await;
        Ok(count)
    }

    async fn kept_by_others(&self, held: &BTreeSet<Subject>) -> Result<Kept, EraseError> {
        let (log, held) = (self.log.clone(), held.clone());
        blocking(move || kept(&log, &held).map_err(unread)).await
    }

    /// Lets those keys of a page expire that no hold keeps.
    async fn expire_page(
        &self,
        past: Past,
        page: Vec<PastKey>,
        held: &BTreeSet<Subject>,
        kept: &Kept,
    ) -> Result<usize, NotExpired> {
        let is_held = |key: &PastKey| {
            let subject = key.subject.parse::<Subject>();
            kept.contains_key(&key.id) || subject.is_ok_and(|it| self.directory.is_held(&it))
        };
        let keys: Vec<String> =
            page.into_iter().filter(|key| !is_held(key)).map(|key| key.id).collect();
        if keys.is_empty() {
            return Ok(0);
        }
        let (log, ids) = (self.log.clone(), keys.clone());
        blocking(move || log.end_these_keys(ids)).await?;
        // The last moment at which it can still be kept.
        if self.directory.under_hold() != *held {
            return Err(NotExpired::HoldsChanged);
        }
        let body = Expired {
            class: past.before.class.name().to_owned(),
            days: past.days,
            keys: keys.clone(),
            until: past.until,
        };
        let draft = entries::draft(self.context.id(), self.context.now(), &body);
        let not_recorded = |why: &dyn std::fmt::Display| NotExpired::NotRecorded(why.to_string());
        let sealed = self.seal(draft).map_err(|why| not_recorded(&why))?;
        let receipt = self.append_end(sealed).done().await.map_err(|why| not_recorded(&why))?;
        let (log, count) = (self.log.clone(), keys.len());
        blocking(move || log.expire(receipt.index, past.until, &keys)).await?;
        Ok(count)
    }
}
