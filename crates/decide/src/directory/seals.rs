//! What the ledger says about rows, and what a row is worth by it.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use model::Digest;
use store::{Governed, RawRow};

use crate::records::PersonRecord;

/// What became of a row that the feed brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is in force.
    InForce,
    /// Its entry is not in the ledger yet.
    Pending,
    /// It is not what its entry says: it grants nothing.
    Tampered,
}

/// An object's kind and key.
type Object = (String, String);
/// A version of an object, and the digest of its body.
type Version = (u64, Digest);

/// The version of every object that the ledger tells of, that this process stored, and that is in force.
#[derive(Default)]
pub(crate) struct Seals {
    sealed: DashMap<Object, Version>,
    /// How many persons the ledger has ever told of.
    persons: AtomicUsize,
    /// What this process stored itself and the ledger may not hold yet.
    own: DashMap<Object, Version>,
    in_force: DashMap<Object, Version>,
    tampered: DashMap<Object, ()>,
}

impl Seals {
    /// Notes what the ledger says about an object.
    pub(crate) fn sealed(&self, kind: &str, key: &str, version: u64, digest: Digest) {
        let object = object(kind, key);
        let mut held = self.sealed.entry(object.clone()).or_insert_with(|| {
            if kind == PersonRecord::KIND {
                self.persons.fetch_add(1, Ordering::Relaxed);
            }
            (version, digest)
        });
        if version >= held.0 {
            *held = (version, digest);
        }
        self.own.remove_if(&object, |_, own| own.0 <= version);
    }

    /// Notes what this process stored itself.
    pub(crate) fn stored(&self, kind: &str, key: &str, version: u64, digest: Digest) {
        self.own.insert(object(kind, key), (version, digest));
    }

    /// Notes that a row is in force.
    pub(crate) fn applied(&self, row: &RawRow) {
        let object = object(&row.kind, &row.key);
        self.tampered.remove(&object);
        self.in_force.insert(object, (row.version, row.digest));
    }

    /// Notes that a row is not what its entry says.
    pub(crate) fn differs(&self, row: &RawRow) {
        self.tampered.insert(object(&row.kind, &row.key), ());
        tracing::error!(
            code = "BW-1001",
            kind = row.kind,
            key = row.key,
            "a row differs from its ledger entry and grants nothing"
        );
    }

    /// What a row is worth by what the ledger says.
    pub(crate) fn judge(&self, row: &RawRow) -> Admission {
        let sealed = version(&self.sealed, &row.kind, &row.key);
        match (row.intact, row.sealed, sealed) {
            (false, ..) => Admission::Tampered,
            // Older than what this process itself stored, whatever became of its record.
            _ if self.is_rolled_back(row) => Admission::Tampered,
            (_, _, Some((version, digest))) if version == row.version && digest == row.digest => {
                Admission::InForce
            }
            // An older version than the ledger's, or one that claims an entry the ledger does not hold.
            (_, Some(_), _) => Admission::Tampered,
            (_, None, Some((version, _))) if row.version <= version => Admission::Tampered,
            (_, None, _) => Admission::Pending,
        }
    }

    fn is_rolled_back(&self, row: &RawRow) -> bool {
        let own = version(&self.own, &row.kind, &row.key);
        own.is_some_and(|own| row.version <= own.0 && row.digest != own.1)
    }

    /// Whether a row is what the ledger says, or what this process stored itself: nothing else is changed further, or a
    /// change would put its seal under what somebody else wrote.
    pub(crate) fn is_genuine(&self, kind: &str, key: &str, row: u64, digest: Digest) -> bool {
        let is = |known| version(known, kind, key) == Some((row, digest));
        is(&self.sealed) || is(&self.own)
    }

    /// Whether the object's row was found tampered with.
    pub(crate) fn is_tampered(&self, kind: &str, key: &str) -> bool {
        !self.tampered.is_empty() && self.tampered.contains_key(&object(kind, key))
    }

    /// The rows that grant nothing because they differ from their ledger entries.
    pub(crate) fn tampered(&self) -> Vec<Object> {
        self.tampered.iter().map(|row| row.key().clone()).collect()
    }

    /// The keys of all objects of a kind that the ledger has told of.
    pub(crate) fn keys_of(&self, kind: &str) -> Vec<String> {
        let of_kind = self.sealed.iter().filter(|object| object.key().0 == kind);
        of_kind.map(|object| object.key().1.clone()).collect()
    }

    /// Whether the ledger has ever told of an object of this kind.
    pub(crate) fn ever_held(&self, kind: &str) -> bool {
        self.sealed.iter().any(|object| object.key().0 == kind)
    }

    /// How many persons the ledger has ever told of.
    pub(crate) fn persons(&self) -> usize {
        self.persons.load(Ordering::Relaxed)
    }

    /// Whether the ledger tells of this version of an object, or a newer one.
    pub(crate) fn is_sealed(&self, kind: &str, key: &str, asked: u64) -> bool {
        version(&self.sealed, kind, key).is_some_and(|sealed| sealed.0 >= asked)
    }

    /// Whether this version of an object, or a newer one, is in force here.
    pub(crate) fn is_applied(&self, kind: &str, key: &str, asked: u64, digest: Digest) -> bool {
        let applied = version(&self.in_force, kind, key);
        applied.is_some_and(|applied| applied == (asked, digest) || applied.0 > asked)
    }
}

fn object(kind: &str, key: &str) -> Object {
    (kind.to_owned(), key.to_owned())
}

fn version(known: &DashMap<Object, Version>, kind: &str, key: &str) -> Option<Version> {
    known.get(&object(kind, key)).map(|version| *version)
}
