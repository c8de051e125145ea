//! The keys of subjects, each wrapped by the master key: a SQLite file of their own, so that it has backups of its own, or none.
//! What is deleted in it is overwritten.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use ledger::{KeyStore, KeysError, PastKey, SealedFor, Slot, StoredKey};
use token::{MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use crate::{
    Error,
    db::{Columns, Param, Purpose, storable},
    sqlite::Session,
};

/// A subject may have several keys of one class and period; the one with the highest number is the newest.
const TABLES: &str = "CREATE TABLE master (one BIGINT PRIMARY KEY, wrapped BLOB NOT NULL); \
     CREATE TABLE subject_key (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, \
     subject TEXT NOT NULL, class TEXT NOT NULL, period BIGINT NOT NULL, wrapped BLOB NOT NULL); \
     CREATE INDEX subject_key_of ON subject_key (subject, class, period, number); \
     CREATE INDEX subject_key_past ON subject_key (class, period)";

/// What is wrapped to tell the right master key from another one.
const PROBE: (&str, &[u8]) = ("subject-keys", b"subject-keys/v1");
/// How many keys are wrapped anew at a time, so that they need not all be in memory.
const BATCH: i64 = 1_000;

/// The book of all keys of subjects.
pub struct SubjectKeyBook {
    session: Mutex<Session>,
    master: MasterKey,
}

/// Why the keys of subjects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyBookError {
    /// There is no such file.
    #[error("the file is not there")]
    Missing,
    /// The keys are wrapped by another master key.
    #[error("its keys were wrapped by another master key")]
    OtherMaster,
    /// A key was not wrapped by us for its subject, or is damaged.
    #[error("the key `{id}` does not open")]
    Closed {
        /// Which key.
        id: String,
        /// Why.
        #[source]
        source: UnwrapError,
    },
    /// The library would not wrap.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The file cannot be read or written.
    #[error(transparent)]
    Database(#[from] Error),
}

impl SubjectKeyBook {
    /// Begins a book without a key.
    ///
    /// # Errors
    /// There is one already, or the file cannot be written.
    pub fn create(path: &Path, master: MasterKey) -> Result<Self, KeyBookError> {
        let mut session = Session::open_forgetting(path)?;
        session.begin(Purpose::Write)?;
        session.run(TABLES)?;
        let wrapped = master.wrap(PROBE.0, PROBE.1)?;
        session.execute("INSERT INTO master (one, wrapped) VALUES (1, $1)", &[&wrapped])?;
        session.run("COMMIT")?;
        Ok(Self { session: Mutex::new(session), master })
    }

    /// Opens the book that is there. One that is missing is not made anew: everything that was sealed would stay sealed.
    ///
    /// # Errors
    /// There is none, it belongs to another master key, or it cannot be read.
    pub fn open(path: &Path, master: MasterKey) -> Result<Self, KeyBookError> {
        if path.symlink_metadata().is_err() {
            return Err(KeyBookError::Missing);
        }
        let mut session = Session::open_forgetting(path)?;
        if !is_wrapped_by(&mut session, &master)? {
            return Err(KeyBookError::OtherMaster);
        }
        Ok(Self { session: Mutex::new(session), master })
    }

    /// Wraps all keys by another master key, in one transaction: afterwards the former one opens none.
    ///
    /// # Errors
    /// A key does not open, or the file cannot be written; then all are as they were.
    pub fn rewrap(&mut self, master: MasterKey) -> Result<u64, KeyBookError> {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        let count = in_one(session, |session| rewrap_all(session, &self.master, &master))?;
        self.master = master;
        Ok(count)
    }

    fn one(
        &self,
        sql: &'static str,
        params: &[&dyn Param],
    ) -> Result<Option<StoredKey>, KeyBookError> {
        let found = self.with(|session| session.rows(sql, params, row))?;
        found.first().map(|row| opened(&self.master, row)).transpose()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        // A transaction is whole or did not happen, so a panic leaves nothing half done.
        act(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeyStore for SubjectKeyBook {
    fn newest(&self, whose: &SealedFor) -> Result<Option<StoredKey>, KeysError> {
        let sql = "SELECT number, id, subject, wrapped FROM subject_key \
            WHERE subject = $1 AND class = $2 AND period = $3 ORDER BY number DESC LIMIT 1";
        let Slot { class, period } = whose.slot;
        match self.one(sql, &[&whose.subject, &class.name(), &period]) {
            // The master key is the right one, so this row is damaged, and nothing opens any more that it sealed.
            Err(error @ KeyBookError::Closed { .. }) => {
                tracing::error!(code = "BW-1203", why = %KeysError::because(&error), "a damaged key seals nothing any more; another one is drawn");
                Ok(None)
            }
            newest => newest.map_err(|error| KeysError::because(&error)),
        }
    }

    fn by_id(&self, id: &str) -> Result<Option<StoredKey>, KeysError> {
        let sql = "SELECT number, id, subject, wrapped FROM subject_key WHERE id = $1";
        self.one(sql, &[&id]).map_err(|error| KeysError::because(&error))
    }

    fn ids(&self, subject: &str) -> Result<Vec<String>, KeysError> {
        let sql = "SELECT id FROM subject_key WHERE subject = $1 ORDER BY number";
        self.with(|session| session.rows(sql, &[&subject], |row| row.get(0)))
            .map_err(|error| KeysError::because(&error))
    }

    fn past(&self, before: Slot, after: &str, most: usize) -> Result<Vec<PastKey>, KeysError> {
        let sql = "SELECT id, subject FROM subject_key WHERE class = $1 AND period < $2 AND id > $3 \
            ORDER BY id LIMIT $4";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let past = |row: &Columns<'_>| Ok(PastKey { id: row.get(0)?, subject: row.get(1)? });
        let class = before.class.name();
        self.with(|session| session.rows(sql, &[&class, &before.period, &after, &most], past))
            .map_err(|error| KeysError::because(&error))
    }

    fn keep(&self, keys: &[(SealedFor, StoredKey)]) -> Result<(), KeysError> {
        let wrap = |(whose, key): &(SealedFor, StoredKey)| {
            storable(&whose.subject)?;
            let wrapped = self.master.wrap(&purpose(&key.id, &whose.subject), &*key.secret)?;
            Ok::<_, KeyBookError>((key.id.clone(), whose.clone(), wrapped))
        };
        let keep = || {
            let rows = keys.iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
            self.with(|session| in_one(session, |session| insert(session, &rows)))?;
            Ok::<_, KeyBookError>(())
        };
        keep().map_err(|error| KeysError::because(&error))
    }

    fn destroy(&self, ids: &[String]) -> Result<(), KeysError> {
        let destroy = |session: &mut Session| {
            in_one(session, |session| {
                for id in ids {
                    session.execute("DELETE FROM subject_key WHERE id = $1", &[id])?;
                }
                Ok::<_, Error>(())
            })
        };
        self.with(destroy).map_err(|error| KeysError::because(&error))
    }
}

/// A key as it lies in the file.
struct Row {
    number: i64,
    id: String,
    subject: String,
    wrapped: Vec<u8>,
}

fn row(columns: &Columns<'_>) -> Result<Row, Error> {
    Ok(Row {
        number: columns.get(0)?,
        id: columns.get(1)?,
        subject: columns.get(2)?,
        wrapped: columns.get(3)?,
    })
}

/// Keeps keys: name, what they seal, wrapped bytes.
fn insert(session: &mut Session, rows: &[(String, SealedFor, Vec<u8>)]) -> Result<(), Error> {
    for (id, SealedFor { subject, slot }, wrapped) in rows {
        let sql = "INSERT INTO subject_key (id, subject, class, period, wrapped) \
            VALUES ($1, $2, $3, $4, $5)";
        session.execute(sql, &[id, subject, &slot.class.name(), &slot.period, wrapped])?;
    }
    Ok(())
}

/// What wrapped bytes are bound to: moved to another subject's row, or under another name, they do not open.
fn purpose(id: &str, subject: &str) -> String {
    format!("subject-key/{id}/{subject}")
}

fn opened(master: &MasterKey, row: &Row) -> Result<StoredKey, KeyBookError> {
    let closed = |source| KeyBookError::Closed { id: row.id.clone(), source };
    let secret = master.unwrap(&purpose(&row.id, &row.subject), &row.wrapped).map_err(closed)?;
    let secret = secret.expose().try_into().map_err(|_| closed(UnwrapError::Form))?;
    Ok(StoredKey { id: row.id.clone(), secret: Zeroizing::new(secret) })
}

fn is_wrapped_by(session: &mut Session, master: &MasterKey) -> Result<bool, Error> {
    let probes: Vec<Vec<u8>> =
        session.rows("SELECT wrapped FROM master WHERE one = 1", &[], |row| row.get(0))?;
    let probe = probes.first().ok_or_else(|| Error::corrupt("a book that names no master key"))?;
    Ok(master.unwrap(PROBE.0, probe).is_ok_and(|probe| probe.matches(PROBE.1)))
}

fn rewrap_all(
    session: &mut Session,
    from: &MasterKey,
    to: &MasterKey,
) -> Result<u64, KeyBookError> {
    let probe = to.wrap(PROBE.0, PROBE.1)?;
    session.execute("UPDATE master SET wrapped = $1 WHERE one = 1", &[&probe])?;
    let (mut last, mut count) = (i64::MIN, 0);
    loop {
        let sql = "SELECT number, id, subject, wrapped FROM subject_key WHERE number > $1 \
            ORDER BY number LIMIT $2";
        let rows = session.rows(sql, &[&last, &BATCH], row)?;
        let Some(end) = rows.last() else { return Ok(count) };
        last = end.number;
        for row in &rows {
            let key = opened(from, row)?;
            let wrapped = to.wrap(&purpose(&row.id, &row.subject), &*key.secret)?;
            let sql = "UPDATE subject_key SET wrapped = $1 WHERE number = $2";
            count += session.execute(sql, &[&wrapped, &row.number])?;
        }
    }
}

/// All of something or nothing.
fn in_one<T, E: From<Error>>(
    session: &mut Session,
    act: impl FnOnce(&mut Session) -> Result<T, E>,
) -> Result<T, E> {
    session.begin(Purpose::Write)?;
    match act(session).and_then(|done| session.run("COMMIT").map(|()| done).map_err(E::from)) {
        Ok(done) => Ok(done),
        Err(error) => {
            // SQLite may have ended it by itself.
            let _ = session.run("ROLLBACK");
            Err(error)
        }
    }
}
