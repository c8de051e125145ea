//! The log as its users see it: seal, append, note, read, close.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
};

use model::{Digest, EntryId, Realm, Timestamp};
use tokio::sync::oneshot;

use crate::{
    erasure::Erased,
    gap::{Cause, Gaps},
    keys::{KeyStore, KeysError, SealedFor, SubjectKeys},
    leaf::Draft,
    locked,
    medium::{Files, Medium},
    note::{CheckpointKey, VerifierKey},
    open::{self, OpenError, Opened},
    publish::Publisher,
    queue::{Queue, Waiting, Weight},
    restore,
    seal::{self, SealError, Sealed},
    segments::{Pool, Segment},
    sequence::Sequencer,
};

/// Room on a full medium for 12,288 stops, revocations and refusals that come one by one, each with a block of its own, and
/// for ten times as many that come together: see [`Config::reserve_bytes`].
pub const RESERVE: u64 = 48 * 1024 * 1024;

/// Where a log lies and who writes it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the log.
    pub dir: PathBuf,
    /// Another folder, best on another disk, that remembers the last signed head. A log that is behind it does not open.
    pub lock: PathBuf,
    /// The organization, environment and node that every leaf names.
    pub realm: Realm,
    /// The log's name in checkpoints: the organization, alone or followed by `/` and more. A log that was restored has
    /// `/r` and a number behind it, which is read from its head.
    pub origin: String,
    /// How long a segment of the write-ahead log is: at least 2 MiB, and 16 MiB is a good choice.
    pub segment_bytes: u64,
    /// How much room is kept for what must still be written once the medium is full, rounded up to whole segments, and as
    /// much again as a third of it for publishing. Refusals may take a third, what takes away all of it. It is made within
    /// the first seconds of writing; [`RESERVE`] is a good choice.
    pub reserve_bytes: u64,
}

/// The keys of a log. They cannot be printed.
pub struct Keys {
    /// Signs heads.
    pub checkpoint: CheckpointKey,
    /// Where the keys are that seal payloads.
    pub subjects: Arc<dyn KeyStore>,
}

/// Where a log lies when it is not in the folders of its [`Config`].
pub struct Media {
    /// The place of the log.
    pub log: Arc<dyn Medium>,
    /// The place that remembers the last signed head.
    pub lock: Arc<dyn Medium>,
}

impl Media {
    /// Takes the folders of a configuration, which nobody else may have.
    pub(crate) fn take(config: &Config) -> Result<Self, OpenError> {
        let take = |path: &PathBuf| match Files::take(path) {
            Ok(files) => Ok(Arc::new(files)),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(OpenError::InUse(path.clone()))
            }
            Err(error) => Err(OpenError::Io(error)),
        };
        Ok(Self { log: take(&config.dir)?, lock: take(&config.lock)? })
    }
}

/// An open log. Clones are the same log; the last one dropped closes it.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// A signed head: so many entries, with this root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many entries.
    pub size: u64,
    /// The root of RFC 6962 over them.
    pub root: Digest,
}

/// Where an entry is in the log, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its position, counted from zero.
    pub index: u64,
    /// Its leaf hash.
    pub hash: Digest,
}

/// How the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It writes and publishes.
    Healthy,
    /// The medium is full; it recovers by itself once there is room.
    NoSpace,
    /// A write or sync failed. Only opening it again, which reads everything again, recovers it.
    Failed(String),
}

/// Why a record was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much waits already.
    #[error("the ledger has too many records waiting; try again")]
    Full,
    /// The medium is full.
    #[error(
        "the ledger's disk is full, or no file descriptor is left; try again once there is room"
    )]
    NoSpace,
    /// The log has failed. The record may or may not be found in it once it is opened again.
    #[error("the ledger could not write and must be opened again")]
    Failed,
    /// The log is closed.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a log did not close in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// It had failed; what was acknowledged is recovered when it is opened again.
    #[error("the ledger had failed before it was closed: {0}")]
    Failed(String),
    /// There was no space to publish all; the rest is published when it is opened again.
    #[error(
        "{published} of {acknowledged} entries are published; the others follow at the next start"
    )]
    Unpublished {
        /// How many are acknowledged.
        acknowledged: u64,
        /// How many are published.
        published: u64,
    },
}

/// An append under way: a future that needs no particular runtime.
#[must_use = "a record is durable only once this says so"]
pub struct Appending {
    outcome: Outcome,
    /// The duty to rouse the sequencer, where it fell to this record.
    duty: Option<Rouse>,
    /// Whether others that could run have had their turn since.
    yielded: bool,
}

enum Outcome {
    Refused(AppendError),
    Waiting(oneshot::Receiver<Result<Receipt, AppendError>>),
}

impl Log {
    /// Opens the log in its folder, or starts one there.
    ///
    /// # Errors
    /// It is in use, damaged, or behind the head that was last signed; the variants of [`OpenError`] say what to do.
    pub fn open(config: Config, keys: Keys) -> Result<Self, OpenError> {
        let media = Media::take(&config)?;
        Self::open_on(config, keys, media)
    }

    /// Opens the log on other media; the folders of the configuration are not looked at.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(config: Config, keys: Keys, media: Media) -> Result<Self, OpenError> {
        if media.log.find(restore::BEGUN).map_err(OpenError::Io)?.is_some() {
            return Err(OpenError::Restoring);
        }
        Self::open_restored(config, keys, media)
    }

    /// The same for who restores it.
    pub(crate) fn open_restored(
        config: Config,
        keys: Keys,
        media: Media,
    ) -> Result<Self, OpenError> {
        let (log, sequencer, publisher) = Self::at_rest(config, keys, media)?;
        let preparing = Arc::clone(&log.shared);
        // The owner is there already, so that a thread that does not start ends those that did.
        log.owner.start(Role::Sequencer, move || sequencer.run())?;
        log.owner.start(Role::Publisher, move || publisher.run())?;
        log.owner.start(Role::Preparer, move || preparing.pool.keep_ready())?;
        Ok(log)
    }

    /// A log that is open, and what its threads are to run.
    pub(crate) fn at_rest(
        config: Config,
        keys: Keys,
        media: Media,
    ) -> Result<(Self, Sequencer, Publisher), OpenError> {
        let Opened { shared, sequencer, publisher } = open::open(config, keys, media)?;
        let owner = Arc::new(Owner { shared: Arc::clone(&shared), threads: Mutex::default() });
        Ok((Self { shared, owner }, sequencer, publisher))
    }

    /// Makes a record of a draft, on this thread: seals its payload, writes its leaf, hashes it.
    ///
    /// # Errors
    /// The draft says what a leaf cannot hold, its payload is too long, or its subject's key is out of reach.
    pub fn seal(&self, draft: Draft) -> Result<Sealed, SealError> {
        seal::seal(draft, &self.shared.realm, &self.shared.subjects)
    }

    /// Whether the key that seals this is in memory, so that sealing and blinding under it wait for nobody.
    pub fn has_key(&self, whose: &SealedFor) -> bool {
        self.shared.subjects.has(whose)
    }

    /// Has the keys in memory that seal these; new ones are durable when this returns, all by one sync. Blocks.
    ///
    /// # Errors
    /// The keys are out of reach.
    pub fn prepare_keys(&self, wanted: &BTreeSet<SealedFor>) -> Result<(), KeysError> {
        self.shared.subjects.prepare(wanted)
    }

    /// Stands in a leaf for something that a subject said: see [`SubjectKey::blind`](crate::SubjectKey::blind). Where the key is
    /// in memory, nobody is waited for.
    ///
    /// # Errors
    /// The key is out of reach.
    pub fn blind(
        &self,
        whose: &SealedFor,
        purpose: &str,
        said: &[u8],
    ) -> Result<Digest, SealError> {
        Ok(self.shared.subjects.of(whose)?.blind(purpose, said))
    }

    /// The same under the key of this name; `None` where there is none.
    ///
    /// # Errors
    /// The key is out of reach.
    pub fn blind_under(
        &self,
        key: &str,
        purpose: &str,
        said: &[u8],
    ) -> Result<Option<Digest>, KeysError> {
        Ok(self.shared.subjects.by_id(key)?.map(|key| key.blind(purpose, said)))
    }

    /// Appends a record. Never blocks; the answer comes when the record is durable, or at once when it is refused. Await it
    /// or drop it soon: records of others may wait for it to be looked at.
    pub fn append(&self, sealed: Sealed) -> Appending {
        self.put_in(sealed, Weight::Grants)
    }

    /// The same for what lets a person in: without it nobody could take anything away. Room is kept for it as for that, so while
    /// [`Self::is_sparing`] the caller sees that nobody asks for it without end.
    pub fn append_admission(&self, sealed: Sealed) -> Appending {
        self.put_in(sealed, Weight::LetsIn)
    }

    /// The same for what has happened anyway and ends something, such as the outcome of a call: room is kept for it as for what
    /// is [noted](Self::note), and where it finds none it is counted, too.
    pub fn append_end(&self, sealed: Sealed) -> Appending {
        self.put_in(sealed, Weight::TakesAway)
    }

    fn put_in(&self, sealed: Sealed, weight: Weight) -> Appending {
        let at = sealed.at;
        let appending = self.try_put_in(sealed, weight);
        if weight.happens_anyway() && matches!(appending.outcome, Outcome::Refused(_)) {
            self.shared.gaps.count(at, Cause::QueueFull);
        }
        appending
    }

    fn try_put_in(&self, sealed: Sealed, weight: Weight) -> Appending {
        if self.shared.failed.get().is_some() {
            return Appending::refused(AppendError::Failed);
        }
        let (caller, answer) = oneshot::channel();
        match self.shared.queue.put(Waiting { sealed, weight, caller: Some(caller) }) {
            Ok(to_rouse) => {
                let duty = to_rouse.then(|| Rouse(Arc::clone(&self.shared)));
                Appending { outcome: Outcome::Waiting(answer), duty, yielded: false }
            }
            Err(refused) => Appending::refused(refused),
        }
    }

    /// Records what takes away or has ended, a stop, a revocation, a teardown: never blocks, never fails. What cannot be
    /// written is counted, and the count is the first entry written once writing works again. A log that is closed counts in
    /// vain: close it last.
    pub fn note(&self, sealed: Sealed) {
        self.put(sealed, Weight::TakesAway);
    }

    /// The same for a refusal, for which less room is kept: a flood of them leaves the rest to what takes away.
    pub fn note_refusal(&self, sealed: Sealed) {
        self.put(sealed, Weight::Refuses);
    }

    fn put(&self, sealed: Sealed, weight: Weight) {
        let at = sealed.at;
        match self.shared.queue.put(Waiting { sealed, weight, caller: None }) {
            Ok(true) => self.shared.queue.rouse(),
            Ok(false) => {}
            Err(_) => self.shared.gaps.count(at, Cause::QueueFull),
        }
    }

    /// Counts a refusal for which no room is to be taken: the gap tells of it, as if it had found none.
    pub fn leave_out(&self, at: Timestamp) {
        self.shared.gaps.count(at, Cause::NoSpace);
    }

    /// Records that something happened of which no entry could be made: as a gap, which says when and why. Never blocks, never
    /// fails.
    pub fn note_unsealed(&self, at: Timestamp) {
        let gap = self.shared.gaps.one(at, Cause::NotSealed);
        match self.seal(gap.draft()) {
            Ok(sealed) => self.note(sealed),
            Err(_) => self.shared.gaps.put(gap),
        }
    }

    /// Where the entry of that id is. Known for kinds that start with `governance` and for gaps, so that an outbox can be
    /// moved again without moving anything twice.
    pub fn position_of(&self, id: EntryId) -> Option<Receipt> {
        locked(&self.shared.positions).get(&id).copied()
    }

    /// The head that was last signed and published.
    pub fn head(&self) -> Head {
        locked(&self.shared.tail).published
    }

    /// How many entries are acknowledged: durable, whether published yet or not.
    pub fn acknowledged(&self) -> u64 {
        locked(&self.shared.tail).acknowledged
    }

    /// How the log is.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        if let Some(why) = shared.failed.get() {
            return Health::Failed(why.clone());
        }
        let appending = !shared.append_full.load(Ordering::Relaxed) || shared.pool.is_ready();
        let publishing = !shared.publish_full.load(Ordering::Relaxed);
        if appending && publishing { Health::Healthy } else { Health::NoSpace }
    }

    /// Whether the medium is full and the reserve is written to, of which each record should be worth its room.
    pub fn is_sparing(&self) -> bool {
        self.shared.sparing.load(Ordering::Relaxed)
    }

    /// What checks this log's signatures: `name+id+base64`, for auditors. It must reach them by another way than the log.
    pub fn verifier_key(&self) -> String {
        self.shared.verifier.to_string()
    }

    /// The log's name, as its heads say it.
    pub fn name(&self) -> &str {
        self.shared.verifier.name()
    }

    /// Writes what waits, publishes everything and ends the threads. Later appends are refused.
    ///
    /// # Errors
    /// Not everything could be published; nothing acknowledged is lost by that.
    pub fn close(&self) -> Result<(), CloseError> {
        self.owner.close();
        let Tail { acknowledged, published, .. } = &*locked(&self.shared.tail);
        match self.shared.failed.get() {
            Some(why) => Err(CloseError::Failed(why.clone())),
            None if published.size == *acknowledged => Ok(()),
            None => Err(CloseError::Unpublished {
                acknowledged: *acknowledged,
                published: published.size,
            }),
        }
    }
}

impl Appending {
    const fn refused(why: AppendError) -> Self {
        Self { outcome: Outcome::Refused(why), duty: None, yielded: false }
    }

    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// The record was not appended.
    ///
    /// # Panics
    /// On a thread of an asynchronous runtime, which must await the future instead.
    pub fn wait(self) -> Result<Receipt, AppendError> {
        drop(self.duty);
        match self.outcome {
            Outcome::Refused(why) => Err(why),
            Outcome::Waiting(answer) => answer.blocking_recv().unwrap_or(Err(AppendError::Failed)),
        }
    }
}

impl Future for Appending {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Rousing a thread costs more than making a record. So whoever has to do it lets others go first that are ready to
        // run: what they append joins the same batch. Where there are none, it comes back at once.
        if self.duty.is_some() {
            if !std::mem::replace(&mut self.yielded, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.duty = None;
        }
        match &mut self.outcome {
            Outcome::Refused(why) => Poll::Ready(Err(*why)),
            Outcome::Waiting(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(AppendError::Failed))),
        }
    }
}

/// Rouses the sequencer when it is dropped, so that no way out forgets it.
struct Rouse(Arc<Shared>);

impl Drop for Rouse {
    fn drop(&mut self) {
        self.0.queue.rouse();
    }
}

/// What the threads of a log share.
pub(crate) struct Shared {
    pub(crate) realm: Realm,
    pub(crate) checkpoint_key: CheckpointKey,
    pub(crate) subjects: SubjectKeys,
    /// The keys that entries say are erased.
    pub(crate) erased: Mutex<Erased>,
    /// Keys that are erased, and of which something is left to do.
    pub(crate) unfinished: Mutex<HashSet<String>>,
    pub(crate) verifier: VerifierKey,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) lock: Arc<dyn Medium>,
    /// The head that the lock remembers and the one that is shown, as they were written.
    pub(crate) signed: Mutex<[Option<Vec<u8>>; 2]>,
    pub(crate) queue: Queue,
    pub(crate) gaps: Gaps,
    pub(crate) pool: Pool,
    pub(crate) tail: Mutex<Tail>,
    /// The tail has grown as far as the publisher waits for, or closes.
    pub(crate) grown: Condvar,
    pub(crate) positions: Mutex<HashMap<EntryId, Receipt>>,
    pub(crate) failed: OnceLock<String>,
    pub(crate) append_full: AtomicBool,
    pub(crate) sparing: AtomicBool,
    pub(crate) publish_full: AtomicBool,
}

/// The end of the log: what is acknowledged, and how much of it is published.
pub(crate) struct Tail {
    pub(crate) acknowledged: u64,
    pub(crate) published: Head,
    /// The batches that are acknowledged and not published.
    pub(crate) spans: VecDeque<Span>,
    /// The segments that hold them, and the one that is written to, which is last.
    pub(crate) segments: VecDeque<Arc<Segment>>,
    pub(crate) closing: bool,
}

/// One batch in the write-ahead log.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    /// The hashes of its leaves, or none where they are to be computed again.
    pub(crate) hashes: Arc<[Digest]>,
}

impl Shared {
    /// Fails the log for as long as this process has it. The first reason stays.
    pub(crate) fn fail(&self, why: String) {
        let _ = self.failed.set(why);
    }
}

/// Ends the threads with the last handle.
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<HashMap<Role, JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Sequencer,
    Publisher,
    Preparer,
}

impl Owner {
    fn start(&self, role: Role, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let name = match role {
            Role::Sequencer => "ledger-append",
            Role::Publisher => "ledger-publish",
            Role::Preparer => "ledger-prepare",
        };
        let guard = Guard { shared: Arc::clone(&self.shared), name };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _guard = guard;
            run();
        });
        locked(&self.threads).insert(role, thread.map_err(OpenError::Io)?);
        Ok(())
    }

    /// In the order in which records pass: what is sequenced is still published.
    fn close(&self) {
        let mut threads = locked(&self.threads);
        let mut join = |role| threads.remove(&role).map(JoinHandle::join);
        self.shared.queue.close();
        join(Role::Sequencer);
        locked(&self.shared.tail).closing = true;
        self.shared.grown.notify_all();
        join(Role::Publisher);
        self.shared.pool.close();
        join(Role::Preparer);
    }
}

/// A thread that panics fails the log, and nobody waits for it in vain.
struct Guard {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(format!("the thread {} has panicked", self.name));
            self.shared.pool.close();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}
