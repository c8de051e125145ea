//! What a witness has cosigned: for each log that it knows, the newest head. A file of its own, never part of a node's database.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use model::{Digest, Timestamp};

use crate::{
    Error,
    db::{Columns, Param, storable},
    sqlite::Session,
};

const TABLE: &str = "CREATE TABLE log (origin TEXT PRIMARY KEY, key TEXT NOT NULL, size BIGINT NOT NULL, \
     root BLOB NOT NULL, note BLOB NOT NULL, at BIGINT NOT NULL)";

/// The book that a witness keeps. What it has forgotten it would cosign again, so it is never made anew by opening it.
pub struct WitnessBook {
    session: Mutex<Session>,
}

/// A log that a witness knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The log's name.
    pub origin: String,
    /// The line that its signatures are checked with.
    pub key: String,
    /// How many entries the newest cosigned head covers; zero before the first.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// That head as the log signed it; empty before the first.
    pub note: Vec<u8>,
    /// When it was cosigned, or when the log was added.
    pub at: Timestamp,
}

impl WitnessBook {
    /// Begins a book.
    ///
    /// # Errors
    /// There is one already, or the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let session = Session::open(Some(path))?;
        Self::over(session, TABLE)
    }

    /// Opens the book that is there.
    ///
    /// # Errors
    /// There is none, or it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Err(why) = path.metadata() {
            return Err(Error::unavailable(why));
        }
        // Whatever else the file is, it has no such table.
        Self::over(Session::open(Some(path))?, "UPDATE log SET size = size WHERE 0")
    }

    fn over(mut session: Session, first: &str) -> Result<Self, Error> {
        session.run(first)?;
        Ok(Self { session: Mutex::new(session) })
    }

    /// Adds a log, of which nothing was seen; `false` where one of its name is known, which stays as it is.
    ///
    /// # Errors
    /// The database fails.
    pub fn add(&self, seen: &Seen) -> Result<bool, Error> {
        storable(&seen.origin)?;
        let sql = "INSERT INTO log (origin, key, size, root, note, at) VALUES ($1, $2, $3, $4, $5, $6) \
            ON CONFLICT (origin) DO NOTHING";
        let (size, root, at) = (signed(seen.size)?, &seen.root.0[..], seen.at.millis());
        let params: [&dyn Param; 6] = [&seen.origin, &seen.key, &size, &root, &seen.note, &at];
        self.with(|session| session.execute(sql, &params)).map(|added| added == 1)
    }

    /// Every log that the witness knows, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn logs(&self) -> Result<Vec<Seen>, Error> {
        let sql = "SELECT origin, key, size, root, note, at FROM log ORDER BY origin";
        self.with(|session| session.rows(sql, &[], seen))
    }

    /// One log; `None` where the witness does not know it.
    ///
    /// # Errors
    /// The database fails.
    pub fn log(&self, origin: &str) -> Result<Option<Seen>, Error> {
        let sql = "SELECT origin, key, size, root, note, at FROM log WHERE origin = $1";
        let found = self.with(|session| session.rows(sql, &[&origin], seen))?;
        Ok(found.into_iter().next())
    }

    /// Has another key check the heads of a log from now on; `false` where it is not the former one that does so far, and
    /// nothing was changed.
    ///
    /// # Errors
    /// The database fails.
    pub fn replace_key(&self, origin: &str, former: &str, key: &str) -> Result<bool, Error> {
        let sql = "UPDATE log SET key = $1 WHERE origin = $2 AND key = $3";
        let changed = self.with(|session| session.execute(sql, &[&key, &origin, &former]))?;
        Ok(changed == 1)
    }

    /// Puts a newer head in place of the one that it was checked against, and answers once that is durable; `false` where
    /// another has come meanwhile, and nothing was changed.
    ///
    /// # Errors
    /// The database fails, and whether it was changed is unknown.
    pub fn advance(&self, from: &Seen, to: &Seen) -> Result<bool, Error> {
        let sql = "UPDATE log SET size = $1, root = $2, note = $3, at = $4 \
            WHERE origin = $5 AND size = $6 AND root = $7";
        let (size, root, at) = (signed(to.size)?, &to.root.0[..], to.at.millis());
        let (old_size, old_root) = (signed(from.size)?, &from.root.0[..]);
        // One statement is one transaction: to compare and to replace is one step, and it is on the disk before this returns.
        let changed = self.with(|session| {
            let params: [&dyn Param; 7] =
                [&size, &root, &to.note, &at, &from.origin, &old_size, &old_root];
            session.execute(sql, &params)
        })?;
        Ok(changed == 1)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        // A statement is whole or did not happen, so a panic leaves nothing half done.
        act(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn seen(row: &Columns<'_>) -> Result<Seen, Error> {
    Ok(Seen {
        origin: row.get(0)?,
        key: row.get(1)?,
        size: row.natural(2)?,
        root: row.digest(3)?.ok_or_else(|| Error::corrupt("a head without a root"))?,
        note: row.get(4)?,
        at: Timestamp::from_millis(row.get(5)?),
    })
}

fn signed(size: u64) -> Result<i64, Error> {
    i64::try_from(size).map_err(|_| Error::Invalid("a size is below 2^63".to_owned()))
}
