//! Governed objects: one table, one road in, whatever their kind.

use aws_lc_rs::digest::{Context, SHA256};
use model::{
    Digest, EntryId,
    ijson::{self, Json},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Tx, View,
    db::{Columns, integer, storable},
};

/// The longest body, in bytes of canonical JSON: room for a large policy source, not for a file.
pub const MAX_BODY: usize = 1024 * 1024;

/// How many rows one page holds at most.
pub const MAX_PAGE: u32 = 1000;

/// A type whose values are governed: each has a key, versions and a ledger entry for every change.
pub trait Governed: Serialize + DeserializeOwned {
    /// The kind, one word, never changed: it stands in digests and in the ledger.
    const KIND: &'static str;

    /// The key, unique within the kind: 1 to 512 bytes without control characters.
    fn key(&self) -> String;
}

/// What a change expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the object is new.
    New,
    /// The version that the change was made from.
    Version(u64),
    /// Whatever there is.
    Any,
}

/// Why and how an object changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The ledger entry that records it.
    pub entry: EntryId,
    /// Whether it widens a right: then it is in force only once its entry is sealed.
    pub widens: bool,
}

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The new version; the first is 1.
    pub version: u64,
    /// The digest of the new version, for its ledger entry.
    pub digest: Digest,
    /// Its position in the feed: a reader of the feed that has reached it has seen this change.
    pub changed: u64,
}

/// Why a change was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Somebody else changed the object first.
    #[error("version {expected} was to be changed, but {}: read it again", found_now(*.found))]
    Stale {
        /// The version that the change was made from.
        expected: u64,
        /// The version there is, if any.
        found: Option<u64>,
    },
    /// The object was to be new.
    #[error("it exists already, at version {found}")]
    Exists {
        /// The version there is.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Where the ledger put an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The index of the entry's leaf.
    pub index: u64,
    /// The hash of the leaf.
    pub leaf: Digest,
}

/// One object as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    /// The object.
    pub value: T,
    /// Its version.
    pub version: u64,
    /// The digest that was stored with it.
    pub digest: Digest,
    /// Whether the digest is still that of kind, key, version and body. A row that is not intact was changed behind
    /// this program's back: it grants nothing and is a finding.
    pub intact: bool,
    /// Whether its last change widened a right.
    pub widens: bool,
    /// The entry that records its last change.
    pub entry: EntryId,
    /// Where the ledger put that entry, once it has.
    pub sealed: Option<Receipt>,
    /// The position of its last change in the feed.
    pub changed: u64,
}

/// One object of any kind, its body unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// Its kind.
    pub kind: String,
    /// Its key within the kind.
    pub key: String,
    /// Its version.
    pub version: u64,
    /// Its canonical JSON.
    pub body: String,
    /// As in [`Row`].
    pub digest: Digest,
    /// As in [`Row`].
    pub intact: bool,
    /// As in [`Row`].
    pub widens: bool,
    /// As in [`Row`].
    pub entry: EntryId,
    /// As in [`Row`].
    pub sealed: Option<Receipt>,
    /// As in [`Row`].
    pub changed: u64,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, by key.
    pub rows: Vec<Row<T>>,
    /// Where the next part begins, where there is one: the `after` of the next call.
    pub next: Option<String>,
}

/// The one text that selects objects, so that [`RawRow::read_from`] always finds its columns.
macro_rules! select_object {
    ($which:literal) => {
        concat!(
            "SELECT kind, key, version, body, digest, widens, entry, ledger_index, leaf, changed ",
            "FROM object ",
            $which
        )
    };
}
pub(crate) use select_object;

impl View<'_> {
    /// The object, or `None`: absence is an answer, not an error.
    ///
    /// # Errors
    /// The database fails, or the row cannot be read as a `T`.
    pub fn get<T: Governed>(&mut self, key: &str) -> Result<Option<Row<T>>, Error> {
        self.object(T::KIND, key)?.map(|row| row.read()).transpose()
    }

    /// The object, its body unread.
    ///
    /// # Errors
    /// The database fails.
    pub fn object(&mut self, kind: &str, key: &str) -> Result<Option<RawRow>, Error> {
        if storable(kind).and(storable(key)).is_err() {
            return Ok(None); // what cannot be stored is not there
        }
        let sql = select_object!("WHERE kind = $1 AND key = $2");
        self.row(sql, &[&kind, &key], RawRow::read_from)
    }

    /// The objects of a kind after a key, in the order of the keys' bytes, at most [`MAX_PAGE`] of them.
    ///
    /// # Errors
    /// The database fails, a row cannot be read as a `T`, or `after` is no key.
    pub fn list<T: Governed>(&mut self, after: Option<&str>, limit: u32) -> Result<Page<T>, Error> {
        after.map_or(Ok(()), storable)?;
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let sql = select_object!("WHERE kind = $1 AND key > $2 ORDER BY key LIMIT $3");
        let params: &[&dyn crate::db::Param] =
            &[&T::KIND, &after.unwrap_or_default(), &(limit as i64 + 1)];
        let mut found = self.rows(sql, params, RawRow::read_from)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|row| row.key.clone());
        let rows = found.into_iter().map(|row| row.read()).collect::<Result<_, _>>()?;
        Ok(Page { rows, next })
    }

    /// How many objects of a kind there are.
    ///
    /// # Errors
    /// The database fails.
    pub fn count(&mut self, kind: &str) -> Result<u64, Error> {
        let sql = "SELECT COUNT(*) FROM object WHERE kind = $1";
        Ok(self.row(sql, &[&kind], |row| row.natural(0))?.unwrap_or(0))
    }
}

impl Tx<'_> {
    /// Stores a new version of an object, where what it expects is what there is.
    ///
    /// # Errors
    /// [`PutError::Stale`] and [`PutError::Exists`] when it is not; [`Error::Invalid`] for a key or body that cannot
    /// be stored.
    pub fn put<T: Governed>(
        &mut self,
        value: &T,
        expect: Expect,
        change: Change,
    ) -> Result<Put, PutError> {
        let (kind, key, body) = (T::KIND, value.key(), body_of(value)?);
        storable(&key)?;
        let sql = "SELECT version FROM object WHERE kind = $1 AND key = $2";
        let found = self.row(sql, &[&kind, &key], |row| row.natural(0))?;
        match (expect, found) {
            (Expect::New, Some(found)) => return Err(PutError::Exists { found }),
            (Expect::Version(expected), found) if found != Some(expected) => {
                return Err(PutError::Stale { expected, found });
            }
            _ => {}
        }
        let version = found.unwrap_or(0) + 1;
        let digest = digest(kind, &key, version, &body);
        let changed = self.next_position()?;
        let sql = "INSERT INTO object (kind, key, version, body, digest, widens, entry, changed) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, key) DO UPDATE SET \
            version = $3, body = $4, digest = $5, widens = $6, entry = $7, changed = $8, \
            ledger_index = NULL, leaf = NULL";
        let entry = change.entry.to_string();
        self.execute(
            sql,
            &[
                &kind,
                &key,
                &integer(version)?,
                &body,
                &&digest.0[..],
                &change.widens,
                &entry,
                &changed,
            ],
        )?;
        Ok(Put { version, digest, changed: changed.unsigned_abs() })
    }
}

impl RawRow {
    /// Reads the body as a `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is none: the row was tampered with, or written by another version of this program.
    pub fn read<T: Governed>(self) -> Result<Row<T>, Error> {
        let value = serde_json::from_str(&self.body).map_err(|why| {
            Error::corrupt(format!("`{}` of kind `{}`: {why}", self.key, self.kind))
        })?;
        let Self { version, digest, intact, widens, entry, sealed, changed, .. } = self;
        Ok(Row { value, version, digest, intact, widens, entry, sealed, changed })
    }

    pub(crate) fn read_from(row: &Columns<'_>) -> Result<Self, Error> {
        let (kind, key, body): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let version = row.natural(2)?;
        let stored = row.digest(4)?.ok_or_else(|| Error::corrupt("an object without a digest"))?;
        let sealed = match (row.get::<Option<i64>>(7)?, row.digest(8)?) {
            (Some(_), Some(leaf)) => Some(Receipt { index: row.natural(7)?, leaf }),
            _ => None,
        };
        Ok(Self {
            intact: digest(&kind, &key, version, &body) == stored,
            kind,
            key,
            version,
            body,
            digest: stored,
            widens: row.get(5)?,
            entry: row.id(6)?,
            sealed,
            changed: row.natural(9)?,
        })
    }
}

fn body_of<T: Serialize>(value: &T) -> Result<String, Error> {
    let body =
        ijson::Canonical::of(value).map_err(|why| Error::Invalid(why.to_string()))?.into_bytes();
    if body.len() > MAX_BODY {
        return Err(Error::Invalid(format!("a body is at most {MAX_BODY} bytes of JSON")));
    }
    String::from_utf8(body).map_err(|why| Error::Invalid(why.to_string()))
}

/// SHA-256 over the canonical JSON of `{"body":…,"key":…,"kind":…,"version":…}`. The body is canonical already and
/// the names are in order, so that putting the parts together is the canonical form.
fn digest(kind: &str, key: &str, version: u64, body: &str) -> Digest {
    let text = |text: &str| Json::String(text.to_owned()).canonical();
    let mut hash = Context::new(&SHA256);
    hash.update(b"{\"body\":");
    hash.update(body.as_bytes());
    hash.update(b",\"key\":");
    hash.update(&text(key));
    hash.update(b",\"kind\":");
    hash.update(&text(kind));
    hash.update(format!(",\"version\":{version}}}").as_bytes());
    let mut digest = Digest::default();
    digest.0.copy_from_slice(hash.finish().as_ref());
    digest
}

fn found_now(found: Option<u64>) -> String {
    found.map_or_else(|| "there is none".to_owned(), |found| format!("there is version {found}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_digest_is_that_of_the_canonical_form(key: String, text: String, number: i32, version in 1_u32..) {
            let body = Json::object([("text", Json::String(text)), ("number", Json::Integer(number.into()))]);
            let whole = Json::object([
                ("version", Json::Integer(version.into())),
                ("kind", Json::String("thing".to_owned())),
                ("key", Json::String(key.clone())),
                ("body", body.clone()),
            ]);
            let expected = aws_lc_rs::digest::digest(&SHA256, &whole.canonical());
            let body = String::from_utf8(body.canonical()).unwrap();
            prop_assert_eq!(&digest("thing", &key, version.into(), &body).0[..], expected.as_ref());
        }
    }
}
