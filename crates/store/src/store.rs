use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use crate::{
    Error, OpenError, RawRow, Target, Tx, View,
    call::call,
    db::{Database, Purpose},
    migrations,
    worker::{Queue, Worker, queue},
};

/// How long opening may take, another node's migration included.
const OPEN_LIMIT: Duration = Duration::from_secs(90);

/// Threads that read, each with its own connection: more than the cores of a small machine, few for a server that
/// counts connections. Reads are short, and no call that is decided waits for one.
const READERS: usize = 4;

/// An open database. Clones share it; the last one to go closes it.
#[derive(Debug, Clone)]
pub struct Store {
    writers: Queue,
    readers: Queue,
    position: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError::Newer`] for tables that a newer program has changed; else the database's own failure.
    pub async fn open(target: &Target) -> Result<Self, OpenError> {
        let to_open = target.clone();
        let opening = spawn_blocking(move || {
            let mut database = Database::open(&to_open)?;
            let position = migrations::run(&mut database)?;
            Ok::<_, OpenError>((database, position))
        });
        let (database, position) = timeout(OPEN_LIMIT, opening)
            .await
            .map_err(Error::unavailable)?
            .map_err(Error::unavailable)??;

        let position = watch::Sender::new(position);
        let (writers, inbox) = queue();
        let worker = |purpose, inbox, database| Worker {
            target: target.clone(),
            purpose,
            database,
            inbox,
            position: position.clone(),
        };
        worker(Purpose::Write, inbox, Some(database)).spawn("store-writer")?;
        let readers = if let Target::Memory = target {
            // There is one connection, and whoever closes it loses everything.
            writers.clone()
        } else {
            let (readers, inbox) = queue();
            for number in 0..READERS {
                let name = format!("store-reader-{number}");
                worker(Purpose::Read, inbox.clone(), None).spawn(&name)?;
            }
            readers
        };
        Ok(Self { writers, readers, position: Arc::new(position) })
    }

    /// Runs the closure in a transaction, and answers once its changes are durable. What an erring closure did is
    /// undone, and nobody else's. The closure may run more than once: time, ids and randomness come from outside it.
    ///
    /// # Errors
    /// The closure's own; the store's where the database fails. Nothing was stored, unless it is
    /// [`Error::Undecided`].
    pub async fn write<F, T, E>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        call(&self.writers, Purpose::Write, body).await
    }

    /// Runs the closure over one moment of the database. It may run more than once.
    ///
    /// # Errors
    /// The closure's own; the store's where the database fails.
    pub async fn read<F, T, E>(&self, mut body: F) -> Result<T, E>
    where
        F: FnMut(&mut View<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        call(&self.readers, Purpose::Read, move |tx: &mut Tx<'_>| body(tx)).await
    }

    /// [`View::changes`] on its own.
    ///
    /// # Errors
    /// The database fails.
    pub async fn changes(&self, since: u64, limit: u32) -> Result<Vec<RawRow>, Error> {
        self.read(move |view| view.changes(since, limit)).await
    }

    /// [`View::watermark`] on its own.
    ///
    /// # Errors
    /// The database fails.
    pub async fn watermark(&self) -> Result<u64, Error> {
        self.read(|view| view.watermark()).await
    }

    /// Wakes whoever waits for changes after a commit of this process; the value is a position that the feed has
    /// reached. Changes by other nodes do not wake: ask for those with [`Store::watermark`].
    ///
    /// Subscribe first, then read the feed, then wait: no change falls between.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }
}
