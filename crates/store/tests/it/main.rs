//! The store from outside, each rule on both databases.
#![expect(clippy::unwrap_used, reason = "a failed step of a test fails the test")]

mod claims;
mod feed;
mod losing;
mod objects;
mod once;
mod opening;
mod outbox;
mod sealed;
mod search;
mod subject_keys;
mod transactions;
mod witness;

use model::{Digest, EntryId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Change, Expect, Governed, Put, PutError, Store, Target, Tx};
use tempfile::TempDir;

/// What a closure of a test may fail with.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Defines each test once and runs it on a SQLite file and on a PostgreSQL database of its own.
macro_rules! on_both {
    ($(async fn $name:ident($subject:ident: &Subject) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn check($subject: &Subject) $body

            #[tokio::test]
            async fn holds_on_sqlite() {
                check(&Subject::sqlite()).await;
            }

            #[tokio::test]
            async fn holds_on_postgres() {
                check(&Subject::postgres()).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// An empty database that ends with the test.
pub(crate) enum Subject {
    Sqlite(TempDir),
    Postgres(testkit::Database),
}

impl Subject {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(testkit::postgres())
    }

    fn target(&self) -> Target {
        match self {
            Self::Sqlite(directory) => Target::Sqlite(directory.path().join("store.db")),
            Self::Postgres(database) => database.url().parse().unwrap(),
        }
    }

    /// Opens the database, as a process that starts does.
    async fn store(&self) -> Store {
        Store::open(&self.target()).await.unwrap()
    }

    /// Two that write at the same time: two nodes, or on SQLite, where one process owns the file, two of its tasks.
    async fn writers(&self) -> [Store; 2] {
        let store = self.store().await;
        match self {
            Self::Sqlite(_) => [store.clone(), store],
            Self::Postgres(_) => [store, self.store().await],
        }
    }

    /// Runs statements behind the store's back.
    async fn tamper(&self, statements: &str) {
        match self {
            Self::Sqlite(directory) => {
                let path = directory.path().join("store.db");
                rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
            }
            Self::Postgres(database) => tamper(&database.url(), statements).await,
        }
    }
}

async fn tamper(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statements).await.unwrap();
}

/// An object of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thing {
    name: String,
    count: u64,
}

impl Governed for Thing {
    const KIND: &'static str = "thing";

    fn key(&self) -> String {
        self.name.clone()
    }
}

pub(crate) fn thing(name: &str, count: u64) -> Thing {
    Thing { name: name.to_owned(), count }
}

pub(crate) fn entry(number: u64) -> EntryId {
    EntryId::compose(Timestamp::from_millis(1), 1, number)
}

pub(crate) fn widening(number: u64) -> Change {
    Change { entry: entry(number), widens: true }
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

/// Stores one thing in a transaction of its own.
pub(crate) async fn put(store: &Store, value: Thing, expect: Expect) -> Result<Put, PutError> {
    store.write(move |tx| tx.put(&value, expect, widening(1))).await
}

/// Adds one to a thing's count.
pub(crate) fn count_up(tx: &mut Tx<'_>, name: &str) -> Result<(), Failure> {
    let row = tx.get::<Thing>(name)?.ok_or("it is there")?;
    let next = Thing { count: row.value.count + 1, ..row.value };
    tx.put(&next, Expect::Version(row.version), widening(2))?;
    Ok(())
}

/// The count of a thing, where there is one.
pub(crate) async fn counted(store: &Store, name: &'static str) -> Option<u64> {
    let row = store.read(move |view| view.get::<Thing>(name)).await.unwrap();
    row.map(|row| row.value.count)
}
