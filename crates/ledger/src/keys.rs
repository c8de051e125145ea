//! The keys of subjects. Each is random and kept outside of the ledger, so that destroying it leaves nothing to derive it from;
//! the ones in use are in memory, and whoever seals under one of those waits for nobody.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, Weak},
};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::{locked, payload::SubjectKey};

/// Seals what is nobody's in particular.
pub const ORGANIZATION: &str = "organization";
/// The most subjects whose keys are in memory, but for those that are in use this moment: some 16 MB.
const MAX_KNOWN: usize = 16_384;

/// A key as it is kept: a random name that tells nothing of its subject, and 32 random bytes.
pub struct StoredKey {
    /// Names the key in leaves.
    pub id: String,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

/// Where the keys of subjects are kept. A subject is a word to it; it may have several keys, of which the newest seals.
pub trait KeyStore: Send + Sync + 'static {
    /// The newest key of a subject.
    ///
    /// # Errors
    /// It cannot be read, or does not open.
    fn newest(&self, subject: &str) -> Result<Option<StoredKey>, KeysError>;

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

    /// Keeps new keys, each of a subject, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// They cannot be written.
    fn keep(&self, keys: &[(String, StoredKey)]) -> Result<(), KeysError>;

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
    young: HashMap<String, Arc<SubjectKey>>,
    old: HashMap<String, Arc<SubjectKey>>,
    /// Subjects whose keys seal nothing any more, so that they need a new one.
    ended: HashSet<String>,
}

/// Keys of a subject that seal nothing any more, and are there until they are destroyed.
pub struct Ended {
    /// Their names.
    pub ids: Vec<String>,
    in_use: Weak<SubjectKey>,
}

impl Ended {
    /// Whether a record that was sealed under one of them is still on its way into the log.
    pub fn is_in_use(&self) -> bool {
        self.in_use.strong_count() > 0
    }
}

impl SubjectKeys {
    /// The keys of a store.
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store, known: Mutex::default(), giving: Mutex::default() }
    }

    /// The key that seals for a subject. One that is not in memory is read; where there is none, it is drawn, and durable
    /// when this returns.
    ///
    /// # Errors
    /// The store fails, or there is no randomness.
    pub fn of(&self, subject: &str) -> Result<Arc<SubjectKey>, KeysError> {
        loop {
            if let Some(key) = locked(&self.known).find(subject) {
                return Ok(key);
            }
            self.prepare(&BTreeSet::from([subject.to_owned()]))?;
        }
    }

    /// Whether a subject's key is in memory.
    pub(crate) fn has(&self, subject: &str) -> bool {
        locked(&self.known).find(subject).is_some()
    }

    /// Has the keys of these subjects in memory. Those that are not there are drawn together.
    pub(crate) fn prepare(&self, subjects: &BTreeSet<String>) -> Result<(), KeysError> {
        // Whoever has what they need waits for nobody who is at the store.
        if subjects.iter().all(|subject| self.has(subject)) {
            return Ok(());
        }
        let _giving = locked(&self.giving);
        let (mut kept, mut drawn) = (Vec::new(), Vec::new());
        for subject in subjects {
            let (has, ended) = {
                let mut known = locked(&self.known);
                (known.find(subject).is_some(), known.ended.contains(subject))
            };
            if has {
                continue;
            }
            match if ended { None } else { self.store.newest(subject)? } {
                Some(key) => kept.push((subject.clone(), key)),
                None => drawn.push((subject.clone(), draw()?)),
            }
        }
        if !drawn.is_empty() {
            self.store.keep(&drawn)?;
        }
        let mut known = locked(&self.known);
        for (subject, key) in kept.into_iter().chain(drawn) {
            known.remember(subject, Arc::new(SubjectKey::of(&key)));
        }
        Ok(())
    }

    /// The key of this name; `None` where there is none, or none any more.
    ///
    /// # Errors
    /// The store fails.
    pub fn by_id(&self, id: &str) -> Result<Option<SubjectKey>, KeysError> {
        Ok(self.store.by_id(id)?.as_ref().map(SubjectKey::of))
    }

    /// Has a subject's keys seal nothing any more: whatever is sealed for it from now on has a new key.
    pub(crate) fn end(&self, subject: &str) -> Result<Ended, KeysError> {
        let _giving = locked(&self.giving);
        let ids = self.store.ids(subject)?;
        let mut known = locked(&self.known);
        let key = known.forget(subject);
        if !ids.is_empty() {
            known.ended.insert(subject.to_owned());
        }
        Ok(Ended { ids, in_use: key.as_ref().map(Arc::downgrade).unwrap_or_default() })
    }

    pub(crate) fn destroy(&self, ids: &[String]) -> Result<(), KeysError> {
        self.store.destroy(ids)
    }
}

impl Known {
    fn find(&mut self, subject: &str) -> Option<Arc<SubjectKey>> {
        if let Some(key) = self.young.get(subject) {
            return Some(Arc::clone(key));
        }
        let (subject, key) = self.old.remove_entry(subject)?;
        self.put(subject, Arc::clone(&key));
        Some(key)
    }

    fn remember(&mut self, subject: String, key: Arc<SubjectKey>) {
        self.ended.remove(&subject);
        self.put(subject, key);
    }

    fn put(&mut self, subject: String, key: Arc<SubjectKey>) {
        self.young.insert(subject, key);
        if self.young.len() >= MAX_KNOWN / 2 {
            // What is in use stays: whoever ends a key has to find it here.
            self.old.retain(|_, key| Arc::strong_count(key) > 1);
            self.old.extend(std::mem::take(&mut self.young));
        }
    }

    fn forget(&mut self, subject: &str) -> Option<Arc<SubjectKey>> {
        self.young.remove(subject).or_else(|| self.old.remove(subject))
    }
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
pub struct KeysInMemory(Mutex<Vec<(String, StoredKey)>>);

impl KeysInMemory {
    /// A store in which a subject has this key from the start.
    pub fn with(subject: &str, id: &str, secret: [u8; 32]) -> Self {
        let key = StoredKey { id: id.to_owned(), secret: Zeroizing::new(secret) };
        Self(Mutex::new(vec![(subject.to_owned(), key)]))
    }

    fn last(&self, wanted: impl Fn(&str, &StoredKey) -> bool) -> Option<StoredKey> {
        let keys = locked(&self.0);
        let (_, key) = keys.iter().rfind(|(subject, key)| wanted(subject, key))?;
        Some(key.copy())
    }
}

impl StoredKey {
    fn copy(&self) -> Self {
        Self { id: self.id.clone(), secret: self.secret.clone() }
    }
}

impl KeyStore for KeysInMemory {
    fn newest(&self, subject: &str) -> Result<Option<StoredKey>, KeysError> {
        Ok(self.last(|of, _| of == subject))
    }

    fn by_id(&self, id: &str) -> Result<Option<StoredKey>, KeysError> {
        Ok(self.last(|_, key| key.id == id))
    }

    fn ids(&self, subject: &str) -> Result<Vec<String>, KeysError> {
        let keys = locked(&self.0);
        Ok(keys.iter().filter(|(of, _)| of == subject).map(|(_, key)| key.id.clone()).collect())
    }

    fn keep(&self, keys: &[(String, StoredKey)]) -> Result<(), KeysError> {
        locked(&self.0).extend(keys.iter().map(|(subject, key)| (subject.clone(), key.copy())));
        Ok(())
    }

    fn destroy(&self, ids: &[String]) -> Result<(), KeysError> {
        locked(&self.0).retain(|(_, key)| !ids.contains(&key.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> SubjectKeys {
        SubjectKeys::new(Arc::new(KeysInMemory::default()))
    }

    #[test]
    fn a_subject_keeps_its_key_and_no_other_has_it() {
        let keys = keys();
        let id = |subject: &str| keys.of(subject).unwrap().id().to_owned();
        assert_eq!(id("person/a"), id("person/a"));
        assert_ne!(id("person/a"), id("person/b"));
        assert_eq!(id("person/a").len(), 32);
        let again = SubjectKeys::new(Arc::clone(&keys.store));
        assert_eq!(again.of("person/a").unwrap().id(), id("person/a"));
    }

    #[test]
    fn a_subject_whose_keys_have_ended_gets_a_new_one_and_the_old_ones_are_named_until_they_are_destroyed()
     {
        let keys = keys();
        let first = keys.of("person/a").unwrap();
        let ended = keys.end("person/a").unwrap();
        assert_eq!((ended.ids.as_slice(), ended.is_in_use()), (&[first.id().to_owned()][..], true));
        let second = keys.of("person/a").unwrap();
        assert_ne!(first.id(), second.id());
        drop(first);
        assert!(!ended.is_in_use());
        assert_eq!(keys.end("person/a").unwrap().ids.len(), 2);
        keys.destroy(&ended.ids).unwrap();
        assert!(keys.by_id(&ended.ids[0]).unwrap().is_none());
        assert!(keys.by_id(second.id()).unwrap().is_some());
        assert!(keys.end("person/nobody").unwrap().ids.is_empty());
    }

    #[test]
    fn of_many_subjects_the_ones_in_use_stay_in_memory() {
        let keys = keys();
        let used = keys.of("person/a").unwrap();
        for number in 0..2 * MAX_KNOWN {
            locked(&keys.known).put(number.to_string(), Arc::new(SubjectKey::new("k", &[0; 32])));
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
