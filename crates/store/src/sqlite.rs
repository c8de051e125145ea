//! SQLite: write-ahead log, every commit synced to the disk.

use std::{
    fs::OpenOptions, io::ErrorKind, os::unix::fs::OpenOptionsExt, path::Path, time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Statement};

use crate::{
    Error,
    db::{Columns, Param, Purpose},
};

/// How long another program's transaction is waited for, each time: with all attempts less than a caller waits.
const BUSY_LIMIT: Duration = Duration::from_millis(500);

/// How long another program's migration is waited for.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// How often a new file is tried before whoever else makes it is in the way.
const ATTEMPTS: u32 = 5;

/// A commit is on the disk before anybody hears of it; a view defined in a foreign file runs nothing.
const SETTINGS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF";

/// The same for a file in which nothing may be left of what is deleted: not in its free pages, and in no file beside it.
const FORGETTING: &str = "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; \
     PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF";

/// More than the crate has statements.
const STATEMENTS: usize = 64;

/// The names of placeholders. SQLite numbers `$n` by first appearance, so they are bound by name.
const NAMES: [&str; 12] =
    ["$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12"];

pub(crate) struct Session(Connection);

impl Session {
    /// Opens the file, or a database in memory.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        Self::open_with(path, SETTINGS)
    }

    /// Opens a file that keeps nothing of what is deleted in it.
    pub(crate) fn open_forgetting(path: &Path) -> Result<Self, Error> {
        Self::open_with(Some(path), FORGETTING)
    }

    fn open_with(path: Option<&Path>, settings: &str) -> Result<Self, Error> {
        let connection = match path {
            Some(path) => {
                reserve(path).map_err(Error::unavailable)?;
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(path, flags)
            }
            None => Connection::open_in_memory(),
        }
        .map_err(failure)?;
        connection.busy_timeout(BUSY_LIMIT).map_err(failure)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut session = Self(connection);
        let mut attempts = 1;
        while let Err(error) = session.run(settings) {
            if attempts == ATTEMPTS || !matches!(error, Error::Contention(_)) {
                return Err(error);
            }
            // Of two that make a new file at once, SQLite refuses the later one instead of letting it wait; a
            // transaction does wait.
            session.run("BEGIN IMMEDIATE; COMMIT")?;
            attempts += 1;
        }
        Ok(session)
    }

    pub(crate) fn begin(&mut self, purpose: Purpose) -> Result<(), Error> {
        let patience = if purpose == Purpose::Migrate { MIGRATION_LIMIT } else { BUSY_LIMIT };
        self.0.busy_timeout(patience).map_err(failure)?;
        self.run(match purpose {
            Purpose::Read => "BEGIN",
            // Taking the lock at once means never to lose it half way.
            Purpose::Write | Purpose::Migrate => "BEGIN IMMEDIATE",
        })
    }

    pub(crate) fn run(&mut self, statements: &str) -> Result<(), Error> {
        self.0.execute_batch(statements).map_err(failure)
    }

    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
    ) -> Result<u64, Error> {
        let mut statement = self.0.prepare_cached(sql).map_err(failure)?;
        bind(&mut statement, params)?;
        Ok(statement.raw_execute().map_err(failure)? as u64)
    }

    /// Runs one statement for each of many numbers.
    pub(crate) fn execute_each(&mut self, sql: &'static str, each: &[i64]) -> Result<(), Error> {
        let mut statement = self.0.prepare_cached(sql).map_err(failure)?;
        for number in each {
            statement.raw_bind_parameter(1, number).map_err(failure)?;
            statement.raw_execute().map_err(failure)?;
        }
        Ok(())
    }

    pub(crate) fn rows<T>(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
        mut read: impl FnMut(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.0.prepare_cached(sql).map_err(failure)?;
        bind(&mut statement, params)?;
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failure)? {
            found.push(read(&Columns::Sqlite(row))?);
        }
        Ok(found)
    }

    /// SQLite ends a transaction by itself after some failures, a full disk for one.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.is_autocommit()
    }
}

/// Makes the file where there is none, for its owner alone; SQLite gives the files beside it the same mode.
///
/// A file that exists is not touched: closing it here would drop the locks that other connections hold on it.
fn reserve(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn bind(statement: &mut Statement<'_>, params: &[&dyn Param]) -> Result<(), Error> {
    for (name, param) in NAMES.iter().zip(params) {
        statement.raw_bind_parameter(*name, param.sqlite()).map_err(failure)?;
    }
    Ok(())
}

fn failure(error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let cause = std::sync::Arc::new(error);
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Contention(cause),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => Error::Unavailable(cause),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(cause),
        _ => Error::Statement(cause),
    }
}
