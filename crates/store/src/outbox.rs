use model::{Digest, EntryId};

use crate::{
    Error, Tx, View,
    db::{Columns, integer, storable},
    object::MAX_PAGE,
};

/// The longest draft, in bytes: a ledger header with its payload before it is sealed.
pub const MAX_DRAFT: usize = 1024 * 1024;

/// How many entries may wait for the ledger before nothing more is granted: minutes of heavy change.
pub const MAX_BACKLOG: usize = 10_000;

/// The draft of a ledger entry, stored with the change that it records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id: the ledger takes each id once.
    pub entry: EntryId,
    /// What it made or changed.
    pub object: Option<ObjectVersion>,
    /// Bytes that the ledger understands.
    pub draft: Vec<u8>,
    /// Whether it only takes rights away: such an entry is never refused for want of room.
    pub takes_away: bool,
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// Its kind.
    pub kind: String,
    /// Its key within the kind.
    pub key: String,
    /// The version.
    pub version: u64,
}

impl View<'_> {
    /// The entries that wait for the ledger, oldest first, at most [`MAX_PAGE`] of them.
    ///
    /// # Errors
    /// The database fails, or a row cannot be read.
    pub fn outbox(&mut self, limit: u32) -> Result<Vec<OutboxRow>, Error> {
        let sql = "SELECT entry, kind, key, version, draft, takes_away FROM outbox \
            ORDER BY position LIMIT $1";
        self.rows(sql, &[&i64::from(limit.min(MAX_PAGE))], |row| {
            Ok(OutboxRow {
                entry: row.id(0)?,
                object: object_version(row)?,
                draft: row.get(4)?,
                takes_away: row.get(5)?,
            })
        })
    }
}

impl Tx<'_> {
    /// Leaves an entry for the ledger. The sequencer moves it there after the commit.
    ///
    /// # Errors
    /// [`Error::Backlog`] when too many wait and this one does not take away; [`Error::Invalid`] when it is too long.
    pub fn enqueue(&mut self, row: OutboxRow) -> Result<(), Error> {
        if row.draft.len() > MAX_DRAFT {
            return Err(Error::Invalid(format!("a draft is at most {MAX_DRAFT} bytes")));
        }
        let (mut kind, mut key, mut version) = (None, None, None);
        if let Some(object) = row.object {
            storable(&object.kind)?;
            storable(&object.key)?;
            version = Some(integer(object.version)?);
            (kind, key) = (Some(object.kind), Some(object.key));
        }
        let full = "SELECT position FROM outbox ORDER BY position LIMIT 1 OFFSET $1";
        let last = MAX_BACKLOG as i64 - 1;
        if !row.takes_away && self.row(full, &[&last], |row| row.get::<i64>(0))?.is_some() {
            return Err(Error::Backlog);
        }
        let position = self.next_position()?;
        let sql = "INSERT INTO outbox (position, entry, kind, key, version, draft, takes_away) \
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let entry = row.entry.to_string();
        self.execute(
            sql,
            &[&position, &entry, &kind, &key, &version, &row.draft, &row.takes_away],
        )?;
        Ok(())
    }

    /// Notes where the ledger put an entry: on every object whose last change it records, so that the feed brings
    /// them again, and by clearing the outbox. An object that has changed since waits for its own entry. The same
    /// entry a second time changes nothing.
    ///
    /// # Errors
    /// The database fails.
    pub fn sealed(&mut self, entry: EntryId, index: u64, leaf: Digest) -> Result<(), Error> {
        let (entry, index) = (entry.to_string(), integer(index)?);
        self.execute("DELETE FROM outbox WHERE entry = $1", &[&entry])?;
        let sql = "SELECT kind, key FROM object WHERE entry = $1 AND ledger_index IS NULL \
            ORDER BY kind, key";
        let objects =
            self.rows(sql, &[&entry], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))?;
        for (kind, key) in objects {
            let position = self.next_position()?;
            let sql = "UPDATE object SET ledger_index = $3, leaf = $4, changed = $5 \
                WHERE kind = $1 AND key = $2";
            self.execute(sql, &[&kind, &key, &index, &&leaf.0[..], &position])?;
        }
        Ok(())
    }
}

fn object_version(row: &Columns<'_>) -> Result<Option<ObjectVersion>, Error> {
    let kind: Option<String> = row.get(1)?;
    let key: Option<String> = row.get(2)?;
    match (kind, key) {
        (Some(kind), Some(key)) => Ok(Some(ObjectVersion { kind, key, version: row.natural(3)? })),
        _ => Ok(None),
    }
}
