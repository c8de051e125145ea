//! One connection to either database, and values in and out of it.

use model::{Digest, Id};
use rusqlite::types::FromSql as FromSqlite;
use tokio_postgres::types::FromSql as FromPostgres;

use crate::{Error, Target, postgres, sqlite};

/// The longest key or name, in bytes.
pub const MAX_KEY: usize = 512;

/// One connection. Every statement is a constant: no text is ever put together from input.
pub(crate) enum Database {
    Sqlite(sqlite::Session),
    Postgres(Box<postgres::Session>),
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One moment of the database, unchanging while it is looked at.
    Read,
    /// Changes, as if nobody else changed anything meanwhile.
    Write,
    /// New tables, while no other program makes them.
    Migrate,
}

/// A value that both databases bind.
pub(crate) trait Param: rusqlite::ToSql + tokio_postgres::types::ToSql + Sync {
    fn sqlite(&self) -> &dyn rusqlite::ToSql;
    fn postgres(&self) -> &(dyn tokio_postgres::types::ToSql + Sync);
}

impl<T: rusqlite::ToSql + tokio_postgres::types::ToSql + Sync> Param for T {
    fn sqlite(&self) -> &dyn rusqlite::ToSql {
        self
    }

    fn postgres(&self) -> &(dyn tokio_postgres::types::ToSql + Sync) {
        self
    }
}

/// A value that both databases give.
pub(crate) trait Column: FromSqlite + for<'a> FromPostgres<'a> {}

impl<T: FromSqlite + for<'a> FromPostgres<'a>> Column for T {}

/// One row of an answer.
pub(crate) enum Columns<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Columns<'_> {
    /// The value of a column, counted from zero.
    pub(crate) fn get<T: Column>(&self, at: usize) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => row.get(at).map_err(Error::corrupt),
            Self::Postgres(row) => row.try_get(at).map_err(Error::corrupt),
        }
    }

    /// A count, version or index.
    pub(crate) fn natural(&self, at: usize) -> Result<u64, Error> {
        u64::try_from(self.get::<i64>(at)?).map_err(Error::corrupt)
    }

    /// An id.
    pub(crate) fn id<Of>(&self, at: usize) -> Result<Id<Of>, Error> {
        self.get::<String>(at)?.parse().map_err(|_| Error::corrupt("an id that is none"))
    }

    /// A digest, where there is one.
    pub(crate) fn digest(&self, at: usize) -> Result<Option<Digest>, Error> {
        let bytes: Option<Vec<u8>> = self.get(at)?;
        bytes
            .map(|bytes| bytes.try_into().map(Digest))
            .transpose()
            .map_err(|_| Error::corrupt("a digest that is not 32 bytes"))
    }
}

/// A number as both databases keep it.
pub(crate) fn integer(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::Invalid(format!("{number} is beyond 2^63")))
}

/// Refuses a key or name that is empty, too long, or holds control characters (PostgreSQL keeps no NUL).
pub(crate) fn storable(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_KEY || name.chars().any(char::is_control) {
        let why = "a key or name has 1 to 512 bytes and no control characters";
        return Err(Error::Invalid(why.to_owned()));
    }
    Ok(())
}

impl Database {
    pub(crate) fn open(target: &Target) -> Result<Self, Error> {
        match target {
            Target::Sqlite(path) => sqlite::Session::open(Some(path)).map(Self::Sqlite),
            Target::Memory => sqlite::Session::open(None).map(Self::Sqlite),
            Target::Postgres(server) => {
                Ok(Self::Postgres(Box::new(postgres::Session::connect(server.config())?)))
            }
        }
    }

    pub(crate) fn begin(&mut self, purpose: Purpose) -> Result<(), Error> {
        match self {
            Self::Sqlite(session) => session.begin(purpose),
            Self::Postgres(session) => session.begin(purpose),
        }
    }

    /// Runs statements that take and give no values: transaction control and table definitions.
    pub(crate) fn run(&mut self, statements: &'static str) -> Result<(), Error> {
        match self {
            Self::Sqlite(session) => session.run(statements),
            Self::Postgres(session) => session.run(statements),
        }
    }

    /// Defines tables. On PostgreSQL text is told to compare by bytes, as it does on SQLite, so that pages come in
    /// one order whatever language the database was made for.
    pub(crate) fn define(&mut self, tables: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(session) => session.run(tables),
            Self::Postgres(session) => session.run(&tables.replace(" TEXT", " TEXT COLLATE \"C\"")),
        }
    }

    /// Runs one statement and tells how many rows it touched.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
    ) -> Result<u64, Error> {
        match self {
            Self::Sqlite(session) => session.execute(sql, params),
            Self::Postgres(session) => session.execute(sql, params),
        }
    }

    /// Runs one statement and reads its rows.
    pub(crate) fn rows<T>(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
        read: impl FnMut(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        match self {
            Self::Sqlite(session) => session.rows(sql, params, read),
            Self::Postgres(session) => session.rows(sql, params, read),
        }
    }

    /// Whether the connection, or the transaction it was in, is lost: nothing more can be done with it.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Sqlite(session) => session.is_lost(),
            Self::Postgres(session) => session.is_lost(),
        }
    }
}
