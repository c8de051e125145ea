//! A thread with one connection, which runs queued closures, as many as wait, in one transaction.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use tokio::{sync::watch, time::error::Elapsed};

use crate::{
    Error, Target,
    call::Job,
    db::{Database, Purpose},
    tx::Tx,
};

/// How many calls may wait; more callers than this are better told so than kept.
const QUEUE: usize = 1024;

/// How many closures share a commit. What queued during the last commit is at most the callers, and the gain of a
/// larger batch is below one part in a hundred of a sync.
const BATCH: usize = 128;

/// How often a transaction runs before its callers learn that others won each time.
const ATTEMPTS: u32 = 4;

/// Where callers leave their jobs for a worker.
#[derive(Debug, Clone)]
pub(crate) struct Queue(SyncSender<Box<dyn Job>>);

/// The workers' end of a queue, shared by all that serve it.
#[derive(Clone)]
pub(crate) struct Inbox(Arc<Mutex<Receiver<Box<dyn Job>>>>);

/// What a thread needs to serve a queue.
pub(crate) struct Worker {
    pub(crate) target: Target,
    pub(crate) purpose: Purpose,
    /// Opened at need, dropped when it fails.
    pub(crate) database: Option<Database>,
    pub(crate) inbox: Inbox,
    /// The position of the feed after the latest commit.
    pub(crate) position: watch::Sender<u64>,
}

pub(crate) fn queue() -> (Queue, Inbox) {
    let (sender, receiver) = sync_channel(QUEUE);
    (Queue(sender), Inbox(Arc::new(Mutex::new(receiver))))
}

impl Queue {
    /// Leaves a job, where there is room.
    pub(crate) fn push(&self, job: Box<dyn Job>) -> Result<(), Error> {
        self.0.try_send(job).map_err(|error| {
            Error::unavailable(match error {
                TrySendError::Full(_) => "too many calls wait for the database",
                TrySendError::Disconnected(_) => "the thread that serves the database has ended",
            })
        })
    }
}

impl Inbox {
    /// Waits for a job and takes what else has queued; `None` when no caller is left.
    fn take(&self, limit: usize) -> Option<Vec<Box<dyn Job>>> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = receiver.recv().ok()?;
        let mut batch = vec![first];
        batch.extend(receiver.try_iter().take(limit - 1));
        Some(batch)
    }
}

impl Worker {
    /// Serves the queue on a thread of its own until no caller is left.
    pub(crate) fn spawn(self, name: &str) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || self.serve()).map_err(Error::unavailable)?;
        Ok(())
    }

    fn serve(mut self) {
        let limit = if self.purpose == Purpose::Read { 1 } else { BATCH };
        while let Some(mut batch) = self.inbox.take(limit) {
            batch.retain(|job| job.begin());
            if batch.is_empty() {
                continue;
            }
            let fate = self.transact(&mut batch);
            for job in batch {
                job.answer(fate.clone());
            }
        }
    }

    /// Runs the batch in one transaction; again where a race was lost, or where the connection turns out to have died
    /// before anything could be stored over it.
    fn transact(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let reused = self.database.is_some();
            let Err(error) = self.attempt(batch) else { return Ok(()) };
            let again = match &error {
                Error::Contention(_) => attempts < ATTEMPTS,
                // A server that fell silent has used up the time there was.
                Error::Unavailable(cause) if cause.is::<Elapsed>() => false,
                Error::Unavailable(_) => {
                    reused && self.database.as_ref().is_some_and(Database::is_lost)
                }
                _ => false,
            };
            // A lost race is rolled back. After any other failure the connection is in nobody knows what state, and
            // the next transaction begins on a new one.
            let settled = matches!(error, Error::Contention(_))
                && self.database.as_mut().is_some_and(|it| it.run("ROLLBACK").is_ok());
            if !settled {
                self.database = None;
            }
            if !again {
                return Err(error);
            }
        }
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let database = match &mut self.database {
            Some(database) => database,
            none => none.insert(Database::open(&self.target)?),
        };
        database.begin(self.purpose)?;
        let mut position = None;
        if let [job] = batch {
            let (keep, changed) = run(database, job.as_mut())?;
            if !keep {
                return database.run("ROLLBACK");
            }
            position = changed;
        } else {
            for job in batch {
                database.run("SAVEPOINT closure")?;
                let (keep, changed) = run(database, job.as_mut())?;
                if keep {
                    database.run("RELEASE closure")?;
                    position = changed.or(position);
                } else {
                    database.run("ROLLBACK TO closure; RELEASE closure")?;
                }
            }
        }
        let committed = database.run("COMMIT");
        if self.purpose == Purpose::Read {
            committed
        } else {
            committed.map_err(Error::while_storing)
        }?;
        if let Some(position) = position {
            self.position.send_replace(position);
        }
        Ok(())
    }
}

/// Runs one closure; tells whether its changes may be kept and the position of the feed after them. An error is one
/// that ends the whole transaction.
fn run(database: &mut Database, job: &mut dyn Job) -> Result<(bool, Option<u64>), Error> {
    let mut tx = Tx::new(database);
    let keep = job.run(&mut tx);
    let (failure, position) = tx.end();
    match failure {
        Some(error) if matches!(error, Error::Contention(_)) || database.is_lost() => Err(error),
        _ => Ok((keep, position)),
    }
}
