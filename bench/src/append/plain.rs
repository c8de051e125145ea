//! The ceiling *append*: one thread, one preallocated file, one write and one sync for whatever has queued up. No hashing,
//! no JSON, no encryption, and nothing is ever read back.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::sync::oneshot;

use crate::clock;

/// How long the file is; writing goes round in it.
const FILE_BYTES: usize = 64 * 1024 * 1024;
/// What the ledger's frame and seal add to leaf and payload, in bytes: a ceiling writes the same bytes.
const FRAME_BYTES: usize = 12 + 60;

/// Hands records to the one writer. The last clone dropped ends it.
#[derive(Clone)]
pub(crate) struct Plain(Arc<Handle>);

struct Handle(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<(Arc<[u8]>, oneshot::Sender<()>)>,
    closed: bool,
}

/// How many bytes the ledger writes for a record of this leaf and payload.
pub(crate) fn frame_bytes(leaf: usize, payload: usize) -> usize {
    FRAME_BYTES + leaf + payload
}

impl Plain {
    /// Makes the file, fills it and starts the writer, which pauses behind each sync.
    pub(crate) fn open(path: &Path, pause: Duration) -> anyhow::Result<Self> {
        let file = File::create_new(path)?;
        let zeros = vec![0; 1024 * 1024];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at as u64)?;
        }
        file.sync_all()?;
        let queue = Arc::<Queue>::default();
        let taken = queue.clone();
        std::thread::Builder::new().name("plain-append".to_owned()).spawn(move || {
            // An error closes the queue and drops the senders, so that every caller learns of it.
            if write(&file, &taken, pause).is_err() {
                *lock(&taken.state) = State { waiting: Vec::new(), closed: true };
            }
        })?;
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Appends a record and waits until it is durable.
    pub(crate) async fn append(&self, record: Arc<[u8]>) -> anyhow::Result<()> {
        self.put(record)?.await.context("the plain writer failed")
    }

    fn put(&self, record: Arc<[u8]>) -> anyhow::Result<oneshot::Receiver<()>> {
        let (sender, done) = oneshot::channel();
        let mut state = lock(&self.0.0.state);
        ensure!(!state.closed, "the plain writer failed");
        state.waiting.push((record, sender));
        drop(state);
        self.0.0.arrived.notify_one();
        Ok(done)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.arrived.notify_one();
    }
}

fn write(file: &File, queue: &Queue, pause: Duration) -> io::Result<()> {
    let (mut batch, mut at) = (Vec::new(), 0);
    loop {
        let mut state = lock(&queue.state);
        while state.waiting.is_empty() {
            if state.closed {
                return Ok(());
            }
            state = queue.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        batch.clear();
        for (record, _) in &waiting {
            batch.extend_from_slice(record);
        }
        if at + batch.len() > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&batch, at as u64)?;
        file.sync_data()?;
        clock::pause(pause);
        at += batch.len();
        for (_, sender) in waiting {
            // A caller that has gone does not need to know.
            let _ = sender.send(());
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
