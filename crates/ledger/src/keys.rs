//! The keys of subjects. Each is random and kept outside of the ledger, so that destroying it leaves nothing to derive it from;
//! the ones in use are in memory, and whoever seals under one of those waits for nobody.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, Weak},
};

use aws_lc_rs::rand;
use model::Timestamp;
use zeroize::Zeroizing;

use crate::{Log, locked, payload::SubjectKey};

/// Seals what is nobody's in particular.
pub const ORGANIZATION: &str = "organization";
/// The most keys that are in memory, but for those that are in use this moment: some 16 MB.
const MAX_KNOWN: usize = 16_384;
/// How many keys are made ready for a period at a time, by one sync.
const PREPARED: usize = 256;
/// How long one key seals: 30 days, counted from 1970. What is kept for a time goes at most so much later.
pub const PERIOD_MILLIS: i64 = 30 * 24 * 3_600_000;

/// What is sealed, as far as it may be kept for different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadClass {
    /// What was said in calls, permitted or refused.
    Calls,
    /// What tasks are for: intents and prompts.
    Prompts,
    /// Requests for approval, with what approvers saw and answered.
    Approvals,
    /// What governance said: objects as they were, acts and their reasons.
    Governance,
}

/// A period in which one key seals payloads of one class, for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Of which class.
    pub class: PayloadClass,
    /// The period's number, counted from 1970.
    pub period: i64,
}

/// What is sealed under one key: that of a subject, in a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedFor {
    /// The subject.
    pub subject: String,
    /// Which of its payloads.
    pub slot: Slot,
}

impl PayloadClass {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Calls, Self::Prompts, Self::Approvals, Self::Governance];

    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Prompts => "prompts",
            Self::Approvals => "approvals",
            Self::Governance => "governance",
        }
    }
}

impl Slot {
    /// The slot of a moment.
    pub const fn of(class: PayloadClass, at: Timestamp) -> Self {
        Self { class, period: at.millis().div_euclid(PERIOD_MILLIS) }
    }

    /// When its period begins.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.period.saturating_mul(PERIOD_MILLIS))
    }
}

impl SealedFor {
    /// What a subject says at a moment.
    pub fn new(subject: impl Into<String>, class: PayloadClass, at: Timestamp) -> Self {
        Self { subject: subject.into(), slot: Slot::of(class, at) }
    }
}

/// A key as it is kept: a random name that tells nothing of its subject, and 32 random bytes.
pub struct StoredKey {
    /// Names the key in leaves.
    pub id: String,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

/// A key whose period is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastKey {
    /// Its name.
    pub id: String,
    /// SealedFor it is.
    pub subject: String,
}

/// Where the keys of subjects are kept. A subject is a word to it; it may have several keys, of which the newest of a slot seals.
pub trait KeyStore: Send + Sync + 'static {
    /// The newest key that seals this; `None` where there is none, or where it is damaged: nothing could be opened again that is
    /// sealed under such a key, so another one is drawn.
    ///
    /// # Errors
    /// It cannot be read.
    fn newest(&self, whose: &SealedFor) -> Result<Option<StoredKey>, KeysError>;

    /// The key of this name.
    ///
    /// # Errors
    /// It cannot be read, or does not open.
    fn by_id(&self, id: &str) -> Result<Option<StoredKey>, KeysError>;

    /// The names of all keys of a subject.
    ///
    /// # Errors
    /// They cannot be read.
    fn ids(&self, subject: &str) -> Result<Vec<String>, KeysError>;

    /// Keys of a class and of periods before this one, by name, from behind a name on, up to so many.
    ///
    /// # Errors
    /// They cannot be read.
    fn past(&self, before: Slot, after: &str, most: usize) -> Result<Vec<PastKey>, KeysError>;

    /// Keeps new keys, each for what it seals, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// They cannot be written.
    fn keep(&self, keys: &[(SealedFor, StoredKey)]) -> Result<(), KeysError>;

    /// Destroys the keys of these names, as many of them as there are: when this returns, they are nowhere in the store's
    /// files any more, all or none.
    ///
    /// # Errors
    /// They cannot be destroyed.
    fn destroy(&self, ids: &[String]) -> Result<(), KeysError>;
}

/// Keys cannot be read, opened, drawn or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of subjects cannot be used: {0}")]
pub struct KeysError(String);

impl KeysError {
    /// What went wrong, with all that caused it.
    pub fn because(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self(text)
    }
}

/// The keys of subjects, as a log uses them.
pub struct SubjectKeys {
    store: Arc<dyn KeyStore>,
    known: Mutex<Known>,
    /// Whoever holds it may give a subject a key: so that none gets two at once.
    giving: Mutex<()>,
}

/// What is in memory, in two generations: when the younger one has half of the room, the older one is forgotten.
#[derive(Default)]
struct Known {
    young: HashMap<SealedFor, Arc<SubjectKey>>,
    old: HashMap<SealedFor, Arc<SubjectKey>>,
    /// Keys by name that seal nothing any more and are not destroyed, as long as records under them may be on their way.
    ended: HashMap<String, Weak<SubjectKey>>,
}

/// Keys that seal nothing any more, and are there until they are destroyed.
pub struct Ended {
    /// Their names.
    pub ids: Vec<String>,
    in_use: Vec<Weak<SubjectKey>>,
}

impl Ended {
    /// Whether a record that was sealed under one of them is still on its way into the log.
    pub fn is_in_use(&self) -> bool {
        self.in_use.iter().any(|key| key.strong_count() > 0)
    }
}

impl SubjectKeys {
    /// The keys of a store.
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store, known: Mutex::default(), giving: Mutex::default() }
    }

    /// The key that seals this. One that is not in memory is read; where there is none, it is drawn, and durable when this
    /// returns.
    ///
    /// # Errors
    /// The store fails, or there is no randomness.
    pub fn of(&self, whose: &SealedFor) -> Result<Arc<SubjectKey>, KeysError> {
        loop {
            if let Some(key) = locked(&self.known).find(whose) {
                return Ok(key);
            }
            self.prepare(&BTreeSet::from([whose.clone()]))?;
        }
    }

    /// Whether the key that seals this is in memory.
    pub(crate) fn has(&self, whose: &SealedFor) -> bool {
        locked(&self.known).find(whose).is_some()
    }

    /// Has the keys in memory that seal these. Those that are not there are drawn together.
    pub(crate) fn prepare(&self, wanted: &BTreeSet<SealedFor>) -> Result<(), KeysError> {
        // Whoever has what they need waits for nobody who is at the store.
        if wanted.iter().all(|whose| self.has(whose)) {
            return Ok(());
        }
        let _giving = locked(&self.giving);
        let (mut kept, mut drawn) = (Vec::new(), Vec::new());
        for whose in wanted.iter().filter(|whose| !self.has(whose)) {
            let newest = self.store.newest(whose)?;
            match newest.filter(|key| !locked(&self.known).ended.contains_key(&key.id)) {
                Some(key) => kept.push((whose.clone(), key)),
                None => drawn.push((whose.clone(), draw()?)),
            }
        }
        if !drawn.is_empty() {
            self.store.keep(&drawn)?;
        }
        let mut known = locked(&self.known);
        for (whose, key) in kept.into_iter().chain(drawn) {
            known.put(whose, Arc::new(SubjectKey::of(&key)));
        }
        Ok(())
    }

    /// Has a key in memory for the period behind this one, of whatever has one for this period.
    pub(crate) fn prepare_next(&self, period: i64) -> Result<(), KeysError> {
        let next: Vec<SealedFor> = locked(&self.known).of_period(period).map(next_of).collect();
        // In parts, so that nobody who needs another key waits for all of it.
        next.chunks(PREPARED).try_for_each(|part| self.prepare(&part.iter().cloned().collect()))
    }

    /// The key of this name; `None` where there is none, or none any more.
    ///
    /// # Errors
    /// The store fails.
    pub fn by_id(&self, id: &str) -> Result<Option<SubjectKey>, KeysError> {
        Ok(self.store.by_id(id)?.as_ref().map(SubjectKey::of))
    }

    /// The names of all keys of a subject.
    pub(crate) fn ids(&self, subject: &str) -> Result<Vec<String>, KeysError> {
        self.store.ids(subject)
    }

    /// Keys whose periods are over: see [`KeyStore::past`].
    pub(crate) fn past(
        &self,
        before: Slot,
        after: &str,
        most: usize,
    ) -> Result<Vec<PastKey>, KeysError> {
        self.store.past(before, after, most)
    }

    /// Has all keys of a subject seal nothing any more: whatever is sealed for it from now on has a new key.
    pub(crate) fn end(&self, subject: &str) -> Result<Ended, KeysError> {
        let _giving = locked(&self.giving);
        Ok(self.end_in_memory(self.store.ids(subject)?))
    }

    /// The same of the keys of these names.
    pub(crate) fn end_these(&self, ids: Vec<String>) -> Ended {
        let _giving = locked(&self.giving);
        self.end_in_memory(ids)
    }

    fn end_in_memory(&self, ids: Vec<String>) -> Ended {
        let mut known = locked(&self.known);
        known.forget(&ids.iter().map(String::as_str).collect());
        for id in &ids {
            known.ended.entry(id.clone()).or_default();
        }
        let in_use = ids.iter().filter_map(|id| known.ended.get(id).cloned()).collect();
        Ended { ids, in_use }
    }

    pub(crate) fn destroy(&self, ids: &[String]) -> Result<(), KeysError> {
        self.store.destroy(ids)?;
        let mut known = locked(&self.known);
        for id in ids {
            known.ended.remove(id);
        }
        Ok(())
    }
}

impl Log {
    /// Has keys in memory for the period behind that of a moment, of whatever has one in it: so that what is said first in it
    /// waits for nobody. Blocks.
    ///
    /// # Errors
    /// The keys are out of reach.
    pub fn prepare_next_period(&self, at: Timestamp) -> Result<(), KeysError> {
        self.shared.subjects.prepare_next(Slot::of(PayloadClass::Calls, at).period)
    }

    /// The names of all keys of a subject. Blocks.
    ///
    /// # Errors
    /// The keys are out of reach.
    pub fn keys_of(&self, subject: &str) -> Result<Vec<String>, KeysError> {
        self.shared.subjects.ids(subject)
    }

    /// Keys of a class and of periods before this one, by name, from behind a name on, up to so many. Blocks.
    ///
    /// # Errors
    /// The keys are out of reach.
    pub fn past_keys(
        &self,
        before: Slot,
        after: &str,
        most: usize,
    ) -> Result<Vec<PastKey>, KeysError> {
        self.shared.subjects.past(before, after, most)
    }
}

impl Known {
    fn find(&mut self, whose: &SealedFor) -> Option<Arc<SubjectKey>> {
        if let Some(key) = self.young.get(whose) {
            return Some(Arc::clone(key));
        }
        let (whose, key) = self.old.remove_entry(whose)?;
        self.put(whose, Arc::clone(&key));
        Some(key)
    }

    fn put(&mut self, whose: SealedFor, key: Arc<SubjectKey>) {
        self.young.insert(whose, key);
        if self.young.len() >= MAX_KNOWN / 2 {
            // What is in use stays: whoever ends a key has to find it here.
            self.old.retain(|_, key| Arc::strong_count(key) > 1);
            self.old.extend(std::mem::take(&mut self.young));
        }
    }

    fn of_period(&self, period: i64) -> impl Iterator<Item = &SealedFor> {
        let all = self.young.keys().chain(self.old.keys());
        all.filter(move |whose| whose.slot.period == period)
    }

    /// Has these keys seal nothing any more, and remembers which records still hold one.
    fn forget(&mut self, ids: &HashSet<&str>) {
        let Self { young, old, ended } = self;
        for generation in [young, old] {
            for (_, key) in generation.extract_if(|_, key| ids.contains(key.id())) {
                ended.insert(key.id().to_owned(), Arc::downgrade(&key));
            }
        }
    }
}

fn next_of(whose: &SealedFor) -> SealedFor {
    let slot = Slot { period: whose.slot.period + 1, ..whose.slot };
    SealedFor { slot, ..whose.clone() }
}

fn draw() -> Result<StoredKey, KeysError> {
    let (mut id, mut secret) = ([0; 16], Zeroizing::new([0; 32]));
    rand::fill(&mut id)
        .and_then(|()| rand::fill(&mut *secret))
        .map_err(|_| KeysError("the system gave no randomness".to_owned()))?;
    Ok(StoredKey { id: format!("{:032x}", u128::from_be_bytes(id)), secret })
}

/// Keys that end with the process: for tests and benches, whose logs nobody erases anything from later.
#[derive(Default)]
pub struct KeysInMemory(Mutex<Vec<InMemory>>);

struct InMemory {
    subject: String,
    /// Of what it seals; where none is said, it seals all.
    slot: Option<Slot>,
    key: StoredKey,
}

impl KeysInMemory {
    /// A store in which a subject has this key from the start, for everything.
    pub fn with(subject: &str, id: &str, secret: [u8; 32]) -> Self {
        let key = StoredKey { id: id.to_owned(), secret: Zeroizing::new(secret) };
        Self(Mutex::new(vec![InMemory { subject: subject.to_owned(), slot: None, key }]))
    }

    fn last(&self, wanted: impl Fn(&InMemory) -> bool) -> Option<StoredKey> {
        let keys = locked(&self.0);
        keys.iter().rfind(|kept| wanted(kept)).map(|kept| kept.key.copy())
    }
}

impl StoredKey {
    fn copy(&self) -> Self {
        Self { id: self.id.clone(), secret: self.secret.clone() }
    }
}

impl KeyStore for KeysInMemory {
    fn newest(&self, whose: &SealedFor) -> Result<Option<StoredKey>, KeysError> {
        let of = |kept: &InMemory| kept.slot.is_none_or(|slot| slot == whose.slot);
        Ok(self.last(|kept| kept.subject == whose.subject && of(kept)))
    }

    fn by_id(&self, id: &str) -> Result<Option<StoredKey>, KeysError> {
        Ok(self.last(|kept| kept.key.id == id))
    }

    fn ids(&self, subject: &str) -> Result<Vec<String>, KeysError> {
        let keys = locked(&self.0);
        let of = keys.iter().filter(|kept| kept.subject == subject);
        Ok(of.map(|kept| kept.key.id.clone()).collect())
    }

    fn past(&self, before: Slot, after: &str, most: usize) -> Result<Vec<PastKey>, KeysError> {
        let keys = locked(&self.0);
        let over = |slot: Slot| slot.class == before.class && slot.period < before.period;
        let past = keys.iter().filter(|kept| kept.slot.is_some_and(over));
        let past = past.filter(|kept| kept.key.id.as_str() > after);
        let past =
            past.map(|kept| PastKey { id: kept.key.id.clone(), subject: kept.subject.clone() });
        let mut past: Vec<PastKey> = past.collect();
        past.sort_by(|one, other| one.id.cmp(&other.id));
        past.truncate(most);
        Ok(past)
    }

    fn keep(&self, keys: &[(SealedFor, StoredKey)]) -> Result<(), KeysError> {
        let kept = keys.iter().map(|(whose, key)| InMemory {
            subject: whose.subject.clone(),
            slot: Some(whose.slot),
            key: key.copy(),
        });
        locked(&self.0).extend(kept);
        Ok(())
    }

    fn destroy(&self, ids: &[String]) -> Result<(), KeysError> {
        locked(&self.0).retain(|kept| !ids.contains(&kept.key.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> SubjectKeys {
        SubjectKeys::new(Arc::new(KeysInMemory::default()))
    }

    fn calls(subject: &str, period: i64) -> SealedFor {
        let slot = Slot { class: PayloadClass::Calls, period };
        SealedFor { subject: subject.to_owned(), slot }
    }

    #[test]
    fn a_subject_keeps_its_key_and_no_other_has_it() {
        let keys = keys();
        let id = |subject: &str| keys.of(&calls(subject, 0)).unwrap().id().to_owned();
        assert_eq!(id("person/a"), id("person/a"));
        assert_ne!(id("person/a"), id("person/b"));
        assert_eq!(id("person/a").len(), 32);
        let again = SubjectKeys::new(Arc::clone(&keys.store));
        assert_eq!(again.of(&calls("person/a", 0)).unwrap().id(), id("person/a"));
    }

    #[test]
    fn each_class_and_each_period_of_a_subject_has_a_key_of_its_own() {
        let (keys, start) = (keys(), Timestamp::from_millis(3 * PERIOD_MILLIS));
        let id =
            |class, at| keys.of(&SealedFor::new("person/a", class, at)).unwrap().id().to_owned();
        let ids: HashSet<String> =
            PayloadClass::ALL.into_iter().map(|class| id(class, start)).collect();
        assert_eq!(ids.len(), PayloadClass::ALL.len());
        let at = |millis| id(PayloadClass::Calls, Timestamp::from_millis(millis));
        assert_eq!(at(3 * PERIOD_MILLIS), at(4 * PERIOD_MILLIS - 1));
        assert_ne!(at(3 * PERIOD_MILLIS), at(4 * PERIOD_MILLIS));
        assert_ne!(at(-1), at(0), "a clock that is far off meets nobody else's key either");
        let before = |period| Slot { class: PayloadClass::Calls, period };
        let past = |period| keys.past(before(period), "", 9).unwrap().len();
        assert_eq!((past(3), past(4), past(5)), (2, 3, 4));
        let first = keys.past(before(5), "", 1).unwrap();
        let rest = keys.past(before(5), &first[0].id, 9).unwrap();
        assert_eq!((rest.len(), rest.contains(&first[0])), (3, false));
    }

    #[test]
    fn whoever_has_a_key_gets_the_next_periods_before_it_begins_and_nobody_else_does() {
        let keys = keys();
        let many: Vec<String> =
            (0..PREPARED + 1).map(|number| format!("person/{number}")).collect();
        for subject in &many {
            keys.of(&calls(subject, 7)).unwrap();
        }
        keys.of(&calls("person/past", 6)).unwrap();
        keys.prepare_next(7).unwrap();
        keys.prepare_next(7).unwrap();
        assert!(many.iter().all(|subject| keys.has(&calls(subject, 8))));
        assert!(!keys.has(&calls("person/past", 8)) && !keys.has(&calls("person/past", 7)));
        assert_eq!(keys.ids("person/0").unwrap().len(), 2, "each once");
    }

    #[test]
    fn a_subject_whose_keys_have_ended_gets_new_ones_and_the_old_ones_are_named_until_they_are_destroyed()
     {
        let keys = keys();
        let (first, other) =
            (keys.of(&calls("person/a", 0)).unwrap(), keys.of(&calls("person/a", 1)).unwrap());
        let ids = [first.id().to_owned(), other.id().to_owned()];
        let ended = keys.end("person/a").unwrap();
        assert_eq!((ended.ids.as_slice(), ended.is_in_use()), (&ids[..], true));
        let second = keys.of(&calls("person/a", 0)).unwrap();
        let third = keys.of(&calls("person/a", 1)).unwrap();
        assert!(!ids.contains(&second.id().to_owned()) && !ids.contains(&third.id().to_owned()));
        drop(first);
        assert!(ended.is_in_use(), "by the other one");
        drop(other);
        assert!(!ended.is_in_use());
        assert_eq!(keys.end("person/a").unwrap().ids.len(), 4);
        keys.destroy(&ended.ids).unwrap();
        assert!(keys.by_id(&ended.ids[0]).unwrap().is_none());
        assert!(keys.by_id(second.id()).unwrap().is_some());
        assert!(keys.end("person/nobody").unwrap().ids.is_empty());
    }

    #[test]
    fn who_ends_keys_a_second_time_is_told_again_that_they_are_in_use() {
        let keys = keys();
        let key = keys.of(&calls("person/a", 0)).unwrap();
        assert!(keys.end("person/a").unwrap().is_in_use());
        let again = keys.end("person/a").unwrap();
        assert!(again.is_in_use());
        assert!(keys.end_these(again.ids.clone()).is_in_use());
        drop(key);
        assert!(!again.is_in_use());
    }

    #[test]
    fn of_many_subjects_the_ones_in_use_stay_in_memory() {
        let keys = keys();
        let used = keys.of(&calls("person/a", 0)).unwrap();
        for number in 0..2 * MAX_KNOWN {
            let whose = calls(&number.to_string(), 0);
            locked(&keys.known).put(whose, Arc::new(SubjectKey::new("k", &[0; 32])));
        }
        let known = locked(&keys.known);
        assert!(known.young.len() + known.old.len() <= MAX_KNOWN);
        drop(known);
        let ended = keys.end("person/a").unwrap();
        assert!(ended.is_in_use());
        drop(used);
        assert!(!ended.is_in_use());
    }
}
