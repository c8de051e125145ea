//! Somebody who can write to the database, behind the back of the node that uses it.

use std::path::PathBuf;

use rusqlite::Connection;
use store::{Change, Expect, Governed, PutError, Row, Store, Target};
use tempfile::TempDir;

use super::world::World;

/// A database on a disk that others can reach, too.
pub(super) struct Database(TempDir);

impl Database {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn target(&self) -> Target {
        Target::Sqlite(self.path())
    }

    /// The small organization on this database.
    pub(super) async fn world(&self) -> World {
        let world = World::empty(self.target()).await;
        world.found().await;
        world
    }

    /// Runs statements that nobody decided on.
    pub(super) fn run(&self, statements: &str) {
        self.open().execute_batch(statements).unwrap();
    }

    /// How many records wait for the ledger.
    pub(super) fn waiting(&self) -> i64 {
        self.count("outbox")
    }

    /// How many rows a table has; a condition may follow its name.
    pub(super) fn count(&self, table: &str) -> i64 {
        let count = format!("SELECT COUNT(*) FROM {table}");
        self.open().query_row(&count, [], |row| row.get(0)).unwrap()
    }

    /// Keeps a copy of every row and every waiting record as they are now.
    pub(super) fn keep(&self) {
        self.run(
            "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM object;
             DROP TABLE IF EXISTS kept_outbox; CREATE TABLE kept_outbox AS SELECT * FROM outbox",
        );
    }

    /// Puts a row back as it was when it was kept, its seal included, and lets the feed bring it.
    pub(super) fn put_back(&self, kind: &str, key: &str) {
        self.run(&format!(
            "BEGIN IMMEDIATE;
             UPDATE feed SET position = position + 1;
             UPDATE kept SET changed = (SELECT position FROM feed);
             DELETE FROM object WHERE kind = '{kind}' AND key = '{key}';
             INSERT INTO object SELECT * FROM kept WHERE kind = '{kind}' AND key = '{key}';
             COMMIT"
        ));
    }

    /// Changes columns of a row, and lets the feed bring it.
    pub(super) fn change(&self, kind: &str, key: &str, columns: &str) {
        self.run(&format!(
            "BEGIN IMMEDIATE;
             UPDATE feed SET position = position + 1;
             UPDATE object SET {columns}, changed = (SELECT position FROM feed)
             WHERE kind = '{kind}' AND key = '{key}';
             COMMIT"
        ));
    }

    /// Removes a row; the feed tells nobody.
    pub(super) fn remove(&self, kind: &str, key: &str) {
        self.run(&format!("DELETE FROM object WHERE kind = '{kind}' AND key = '{key}'"));
    }

    /// Writes a new version of a row as this program would, with a seal that no ledger gave.
    pub(super) async fn forge<T>(
        &self,
        key: &'static str,
        mut change: impl FnMut(&mut T) + Send + 'static,
    ) where
        T: Governed + Send + 'static,
    {
        let store = Store::open(&self.target()).await.unwrap();
        let forged: Result<(), PutError> = store
            .write(move |tx| {
                let row: Row<T> = tx.get(key)?.unwrap();
                let mut value = row.value;
                change(&mut value);
                let entry = model::EntryId::from_bits(77);
                tx.put(&value, Expect::Any, Change { entry, widens: false })?;
                Ok(tx.sealed(entry, 3, model::Digest([1; 32]))?)
            })
            .await;
        forged.unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("db")
    }

    fn open(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}
