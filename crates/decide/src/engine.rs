//! One node's decisions: what they stand on, and the tasks that keep it current.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use dashmap::DashMap;
use ledger::{Health, Log};
use model::{Digest, Name};
use store::Store;
use token::dpop::{Nonces, Replays};
use tokio::sync::Semaphore;

use crate::{
    attempt::Step,
    authenticate::{Caller, PROOF_WINDOW_SECONDS},
    context::Context,
    directory::Directory,
    enforcement::EnforcementPoint,
    entries::{self, Started},
    expiring::Retention,
    fold,
    governance::NotInForce,
    issue::Issuer,
    noticing::Looks,
    retiring::AgentLogs,
    spare::Spared,
    stop::Stops,
    tasks::Tasks,
    unsettled::Unsettled,
};

/// How often the store is asked for changes when nothing wakes the feed: several times within a lease.
const FEED_PAUSE: Duration = Duration::from_millis(500);
/// The most proofs of possession remembered at once; beyond it proofs are refused until some are over.
const MAX_PROOFS: usize = 1_000_000;
/// How often what is overdue is looked for: it is closed within seconds of when it may be.
const CLOSE_PAUSE: Duration = Duration::from_secs(5);
/// How often what has ended is forgotten, and what is left of erasures is done.
const FORGET_PAUSE: Duration = Duration::from_secs(60);
/// After how many of these pauses it is looked again for what is past its time; a key may live for 30 days anyway.
const EXPIRE_MINUTES: u64 = 60;

/// What a node is built from.
pub struct Parts {
    /// Who, where and when.
    pub context: Context,
    /// Who issues tokens, and for whom.
    pub issuer: Issuer,
    /// What happened.
    pub log: Log,
    /// What governance says.
    pub store: Store,
    /// What is stopped, from the journal.
    pub stops: Arc<Stops>,
    /// Key of the blind indexes: equal ids meet, no id is told.
    pub index_key: [u8; 32],
    /// Seals nonces.
    pub nonces: Nonces,
    /// How long payloads are kept.
    pub retention: Retention,
}

/// The one road, and everything it reads.
pub struct Engine {
    pub(crate) context: Context,
    pub(crate) issuer: Issuer,
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) stops: Arc<Stops>,
    pub(crate) tasks: Tasks,
    pub(crate) agents: AgentLogs,
    pub(crate) retention: Retention,
    pub(crate) unsettled: Unsettled,
    pub(crate) directory: Directory,
    pub(crate) point: EnforcementPoint,
    pub(crate) nonces: Nonces,
    pub(crate) replays: Replays,
    pub(crate) verified: DashMap<Digest, Arc<Caller>>,
    pub(crate) counters: Counters,
    pub(crate) looks: Looks,
    pub(crate) spared: Spared,
    /// Who got a session in this second, while the disk is full.
    pub(crate) admitted: Spared,
    /// Whoever holds it may read keys of subjects that are not in memory.
    pub(crate) at_keys: Arc<Semaphore>,
    /// One mover and one reader at a time: entries keep the outbox's order, rows the feed's.
    pub(crate) moving: tokio::sync::Mutex<()>,
    pub(crate) reading: tokio::sync::Mutex<()>,
    index_key: hmac::Key,
    ready: AtomicBool,
    #[cfg(test)]
    failing: std::sync::Mutex<Option<Step>>,
}

/// What is counted, for metrics.
#[derive(Default)]
pub struct Counters {
    /// Attempts that were permitted.
    pub permitted: AtomicU64,
    /// Attempts that were refused, holds included.
    pub refused: AtomicU64,
    /// Tokens whose signature was verified anew.
    pub tokens_verified: AtomicU64,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be read.
    #[error("the ledger cannot be folded: {0}")]
    Ledger(String),
    /// Governance cannot be read, or its record cannot be moved into the ledger.
    #[error(transparent)]
    Governance(#[from] NotInForce),
}

impl Engine {
    /// Starts a node: merges the stop set, folds the ledger, moves the outbox, reads governance. Only then is it ready.
    ///
    /// # Errors
    /// [`StartError`]: a node that does not know what is stopped, spent or in force decides nothing.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, StartError> {
        let point = EnforcementPoint::new(format!("gateway@{}", parts.context.realm.node));
        let engine = Arc::new(Self {
            context: parts.context,
            issuer: parts.issuer,
            log: parts.log,
            store: parts.store,
            stops: parts.stops,
            tasks: Tasks::default(),
            agents: AgentLogs::default(),
            retention: parts.retention,
            unsettled: Unsettled::default(),
            directory: Directory::default(),
            point,
            nonces: parts.nonces,
            replays: Replays::new(MAX_PROOFS, PROOF_WINDOW_SECONDS),
            verified: DashMap::new(),
            counters: Counters::default(),
            looks: Looks::default(),
            spared: Spared::default(),
            admitted: Spared::default(),
            at_keys: Arc::new(Semaphore::new(1)),
            moving: tokio::sync::Mutex::new(()),
            reading: tokio::sync::Mutex::new(()),
            index_key: hmac::Key::new(hmac::HMAC_SHA256, &parts.index_key),
            ready: AtomicBool::new(false),
            #[cfg(test)]
            failing: std::sync::Mutex::new(None),
        });
        // Nobody waits for it; but the first stop should not have to do it for its reason.
        tokio::task::spawn_blocking(scrub::prepare);
        let left_open = fold::fold(&engine).map_err(|why| StartError::Ledger(why.to_string()))?;
        engine.close_orphans(left_open.calls);
        engine.close_tasks(engine.context.now());
        for (order, entry) in left_open.stops {
            engine.note_final(order.id, &order.by, Some(entry), None);
        }
        engine.move_outbox().await?;
        engine.read_feed().await?;
        engine.close_agents();
        let body = Started { program: env!("CARGO_PKG_VERSION").to_owned() };
        engine.note(entries::draft(engine.context.id(), engine.context.now(), &body));
        engine.ready.store(true, Ordering::Release);
        keep_current(&engine);
        Ok(engine)
    }

    /// Whether stop set, ledger and governance are loaded, and the store was heard from within the lease.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.is_fresh()
    }

    /// Whether the store was heard from within the lease.
    pub fn is_fresh(&self) -> bool {
        self.point.holds_lease(self.context.clock.monotonic())
    }

    /// Who, where and when this node is.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Governance in force.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// This node's own enforcement point.
    pub fn point(&self) -> &EnforcementPoint {
        &self.point
    }

    /// What is stopped.
    pub fn stops(&self) -> &Arc<Stops> {
        &self.stops
    }

    /// What has happened, as far as decisions need it.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The ledger.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who issues tokens.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A keyed hash of something that must not be told.
    pub(crate) fn blind(&self, domain: &[u8], what: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.index_key);
        context.update(domain);
        context.update(b"\0");
        context.update(what);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// A tag over something that is handed out and comes back, which only this deployment can make (HMAC-SHA-256).
    pub fn tag(&self, what: &[u8]) -> [u8; 32] {
        self.blind(b"handed-out", what)
    }

    /// 128 unpredictable bits as text.
    pub fn unguessable(&self) -> String {
        format!("{:016x}{:016x}", self.context.random(), self.context.random())
    }

    /// A fresh pseudonym for a person: 80 random bits, so that it tells nothing and never meets another.
    pub fn pseudonym(&self) -> Name {
        let text = format!("p{:016x}{:04x}", self.context.random(), self.context.random() & 0xffff);
        text.parse().expect("`p` and hexadecimal digits are a name")
    }

    /// Marks a step of the walk, which a test can make panic.
    #[cfg(not(test))]
    pub(crate) fn step(&self, _: Step) {}

    #[cfg(test)]
    pub(crate) fn step(&self, step: Step) {
        let failing = *self.failing.lock().unwrap();
        assert_ne!(failing, Some(step), "a step that a test makes fail");
    }

    #[cfg(test)]
    pub(crate) fn fail_at(&self, step: Option<Step>) {
        *self.failing.lock().unwrap() = step;
    }
}

/// Runs to its end even when whoever waits for it goes away, as a client does that hangs up: what was begun is then in the
/// ledger all the same, and in force.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Spawns what keeps a node current; each ends when the engine is gone.
fn keep_current(engine: &Arc<Engine>) {
    let feed = Arc::downgrade(engine);
    let mut changed = engine.store.changed();
    tokio::spawn(async move {
        let mut has_failed = false;
        loop {
            // A closed channel means that the store is gone: the pause alone paces the loop then.
            let woken = tokio::time::timeout(FEED_PAUSE, changed.changed()).await;
            if matches!(woken, Ok(Err(_))) {
                tokio::time::sleep(FEED_PAUSE).await;
            }
            let Some(engine) = Weak::upgrade(&feed) else { return };
            // A failed read is tried again at the next pause; until one succeeds the lease runs out and nothing is granted.
            if let Err(why) = engine.read_feed().await {
                tracing::warn!(code = "BW-1301", %why, "the change feed cannot be read");
            }
            if let Err(why) = engine.move_outbox().await {
                tracing::warn!(code = "BW-1302", %why, "the outbox cannot be moved into the ledger");
            }
            if let (Health::Failed(why), false) = (engine.log.health(), has_failed) {
                has_failed = true;
                tracing::error!(code = "BW-1303", %why, "the ledger has failed; restart this node");
            }
        }
    });
    let closing = Arc::downgrade(engine);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(CLOSE_PAUSE).await;
            let Some(engine) = Weak::upgrade(&closing) else { return };
            // One moment for both: a task is closed behind all its calls.
            let now = engine.context.now();
            engine.close_overdue(now);
            engine.close_tasks(now);
            engine.close_agents();
        }
    });
    let forgetful = Arc::downgrade(engine);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGET_PAUSE).await;
            let Some(engine) = Weak::upgrade(&forgetful) else { return };
            engine.tasks.forget(engine.context.now());
            engine.directory.forget(engine.context.now());
        }
    });
    let keeping = Arc::downgrade(engine);
    tokio::spawn(async move {
        for minute in 0_u64.. {
            tokio::time::sleep(FORGET_PAUSE).await;
            let Some(engine) = Weak::upgrade(&keeping) else { return };
            if let Err(why) = engine.prepare_keys().await {
                tracing::warn!(code = "BW-1206", %why, "keys for the next period are not ready");
            }
            if minute % EXPIRE_MINUTES != 0 {
                engine.finish_erasures().await;
            } else if let Err(why) = engine.expire().await {
                tracing::warn!(code = "BW-1205", %why, "what is past its time could not expire");
            }
        }
    });
}
