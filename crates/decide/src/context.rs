//! Where time, randomness and ids come from: passed in, so that tests can set them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::{Id, Realm, Timestamp};

/// How far the wall clock may step back before nothing is granted any more, in milliseconds.
///
/// Network time services correct by less; a larger step would bring expired rights back to life.
const TOLERANCE_MILLIS: i64 = 2_000;

/// A moment on a clock that only moves forward, in milliseconds since some start. Leases count on it.
pub(crate) type Monotonic = i64;

/// Wall time and monotonic time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System { start: std::time::Instant },
    Manual { wall: AtomicI64, monotonic: AtomicI64 },
}

impl Clock {
    /// The machine's own clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn system() -> Self {
        Self(Arc::new(Source::System { start: std::time::Instant::now() }))
    }

    /// A clock that moves only when told to; for tests and replays.
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual {
            wall: AtomicI64::new(start.millis()),
            monotonic: AtomicI64::new(0),
        }))
    }

    /// Wall time.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp::from_millis(
                    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
                )
            }
            Source::Manual { wall, .. } => Timestamp::from_millis(wall.load(Ordering::SeqCst)),
        }
    }

    /// Monotonic time.
    pub(crate) fn monotonic(&self) -> Monotonic {
        match &*self.0 {
            Source::System { start } => {
                i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX)
            }
            Source::Manual { monotonic, .. } => monotonic.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock: wall time by `millis` (may be negative), monotonic time only forward.
    pub fn advance(&self, millis: i64) {
        if let Source::Manual { wall, monotonic } = &*self.0 {
            wall.fetch_add(millis, Ordering::SeqCst);
            monotonic.fetch_add(millis.max(0), Ordering::SeqCst);
        }
    }
}

/// The clock went back further than a correction does: what has expired could come back to life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock stands {behind_millis} ms before a moment already recorded; nothing is granted until it has caught up"
)]
pub struct ClockWentBack {
    /// How far behind it is.
    pub behind_millis: i64,
}

/// Who, where and when this node is.
#[derive(Clone)]
pub struct Context {
    /// Organization, environment and node.
    pub realm: Realm,
    /// Time.
    pub clock: Clock,
    latest: Arc<AtomicI64>,
    random: Arc<Mutex<Pool>>,
}

/// Random bytes drawn in blocks: one system call serves many ids.
struct Pool {
    system: SystemRandom,
    bytes: [u8; 512],
    used: usize,
}

impl Context {
    /// A context for one node.
    pub fn new(realm: Realm, clock: Clock) -> Self {
        let pool = Pool { system: SystemRandom::new(), bytes: [0; 512], used: 512 };
        Self {
            realm,
            clock,
            latest: Arc::new(AtomicI64::new(i64::MIN)),
            random: Arc::new(Mutex::new(pool)),
        }
    }

    /// Wall time, for records.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Wall time, for deciding whether something is still valid.
    ///
    /// # Errors
    /// The clock stands more than two seconds before the latest moment it has shown, or that the ledger holds.
    pub fn sure_now(&self) -> Result<Timestamp, ClockWentBack> {
        let now = self.clock.now();
        let latest = self.latest.fetch_max(now.millis(), Ordering::AcqRel);
        let behind_millis = latest.saturating_sub(now.millis());
        if behind_millis > TOLERANCE_MILLIS {
            Err(ClockWentBack { behind_millis })
        } else {
            Ok(now)
        }
    }

    /// Notes a moment that has certainly passed, for example of the last ledger entry.
    pub fn has_passed(&self, moment: Timestamp) {
        self.latest.fetch_max(moment.millis(), Ordering::AcqRel);
    }

    /// A fresh id.
    pub fn id<Of>(&self) -> Id<Of> {
        Id::compose(self.clock.now(), self.realm.node, self.random())
    }

    /// 64 unpredictable bits.
    pub fn random(&self) -> u64 {
        let mut pool = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.used + 8 > pool.bytes.len() {
            let Pool { system, bytes, .. } = &mut *pool;
            system.fill(bytes).expect("the operating system gives random bytes");
            pool.used = 0;
        }
        let at = pool.used;
        pool.used += 8;
        let mut eight = [0; 8];
        eight.copy_from_slice(&pool.bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    }
}
