//! `ledger-append`: durable records from many callers at once, beside one thread that only writes and syncs. The same as
//! `ledger-append-slow-disk`, where a sync takes longer.

mod plain;
mod record;
mod slow;

use std::{
    future::Future, path::PathBuf, sync::Arc, thread::available_parallelism, time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use decide::{Clock, Context};
use ledger::{CheckpointKey, Config, Files, Health, Keys, KeysInMemory, Log, Media};
use model::Realm;
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    clock::{self, micros},
    figure::{Figure, Report, median},
};

pub(crate) use plain::{Plain, frame_bytes};
use slow::Slow;

/// How many callers, how often each side is measured, and for how long. The first line is the one with a bar.
const LEVELS: [(usize, usize, Duration); 3] = [
    (64, 7, Duration::from_millis(700)),
    (8, 5, Duration::from_millis(500)),
    (1, 5, Duration::from_millis(500)),
];
/// The same on a slow disk.
const SLOW_LEVELS: [(usize, usize, Duration); 4] = [
    (1, 3, Duration::from_millis(500)),
    (8, 3, Duration::from_millis(500)),
    (64, 5, Duration::from_millis(700)),
    (256, 5, Duration::from_millis(700)),
];
/// How many records each core seals.
const SEALED: usize = 50_000;
/// How much longer a sync of a slow disk takes, in milliseconds.
const SLOWER: [u64; 2] = [1, 5];
/// How often it is looked whether everything is published.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a node's log has by default.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// A log and a plain writer on the same disk, for records of the same size.
struct Sides {
    ours: Arc<(Log, Context)>,
    plain: Plain,
    record: Arc<[u8]>,
}

/// Measures the append at each level, and what one record costs before it is handed to the log.
pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = folder()?;
    let context = Context::new(realm()?, Clock::system());
    let sides = Sides::new(&folder, open(&folder, &context)?, context, Duration::ZERO)?;
    for level in LEVELS {
        let (value, ceiling) = sides.rates(&runtime, level)?;
        let name = match level.0 {
            64 => "ledger-append".to_owned(),
            callers => format!("ledger-append/{callers}"),
        };
        report.add(&Figure::rate(name, value, "records/s", ceiling));
    }
    report.add(&Figure::alone("ledger-append/record", sides.record.len() as f64, "bytes"));
    report.add(&Figure::alone("ledger-append/seal", sides.seal()?, "us cpu"));
    sides.close()
}

/// Measures the append on disks whose syncs take longer; the line without a number of callers is of as many as the bar is for.
pub(crate) fn run_slow(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    for millis in SLOWER {
        let (folder, pause) = (folder()?, Duration::from_millis(millis));
        let context = Context::new(realm()?, Clock::system());
        let log = open_slow(&folder, &context, pause)?;
        let sides = Sides::new(&folder, log, context, pause)?;
        for (callers, rounds, time) in SLOW_LEVELS {
            let (value, ceiling) = sides.rates(&runtime, (callers, rounds, time))?;
            let name = match callers {
                64 => format!("ledger-append-slow-disk/{millis}ms"),
                callers => format!("ledger-append-slow-disk/{millis}ms/{callers}"),
            };
            report.add(&Figure::rate(name, value, "records/s", ceiling));
        }
        sides.close()?;
    }
    Ok(())
}

impl Sides {
    fn new(folder: &TempDir, log: Log, context: Context, pause: Duration) -> anyhow::Result<Self> {
        let record = vec![b'.'; record_bytes(&log, &context)?].into();
        let plain = Plain::open(&folder.path().join("plain"), pause)?;
        Ok(Self { ours: Arc::new((log, context)), plain, record })
    }

    /// Records a second of the log and of the plain writer, measured in turns.
    fn rates(
        &self,
        runtime: &Runtime,
        (callers, rounds, time): (usize, usize, Duration),
    ) -> anyhow::Result<(f64, f64)> {
        let (mut value, mut ceiling) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            value.push(runtime.block_on(to_ledger(&self.ours, callers, time))?);
            ceiling.push(runtime.block_on(to_plain(&self.plain, &self.record, callers, time))?);
        }
        Ok((median(value), median(ceiling)))
    }

    /// Processor time for making one record: its JSON, its hashes and its encryption, on every core at once.
    fn seal(&self) -> anyhow::Result<f64> {
        let (log, context) = &*self.ours;
        let (cores, before) = (available_parallelism()?.get(), clock::cpu());
        std::thread::scope(|scope| {
            let seal = || (0..SEALED).try_for_each(|_| log.seal(record::draft(context)).map(drop));
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(seal)).collect();
            threads.into_iter().try_for_each(|thread| {
                Ok::<_, anyhow::Error>(thread.join().map_err(|_| anyhow!("sealing failed"))??)
            })
        })?;
        Ok(micros(clock::cpu() - before) / (SEALED * cores) as f64)
    }

    fn close(self) -> anyhow::Result<()> {
        self.ours.0.close().context("the log does not close")
    }
}

/// How many records a second the ledger takes: sealed by their callers, as decisions are. What is left to publish is part of
/// the work: the processor time that it takes, on all cores, is added to the time.
async fn to_ledger(
    ours: &Arc<(Log, Context)>,
    callers: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let shared = ours.clone();
    let one = move || {
        let ours = shared.clone();
        async move {
            let (log, context) = &*ours;
            let sealed = log.seal(record::draft(context))?;
            log.append(sealed).await?;
            Ok(())
        }
    };
    let (count, taken) = drive(callers, time, one).await?;
    let before = clock::cpu();
    published(&ours.0).await?;
    let owed = (clock::cpu() - before).as_secs_f64() / available_parallelism()?.get() as f64;
    Ok(count as f64 / (taken + owed))
}

/// Waits until everything is published, so that no later measurement pays for it.
async fn published(log: &Log) -> anyhow::Result<()> {
    while log.head().size < log.acknowledged() {
        ensure!(log.health() == Health::Healthy, "the log has failed");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// How many records a second the plain writer takes.
pub(crate) async fn to_plain(
    plain: &Plain,
    record: &Arc<[u8]>,
    callers: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let (plain, record) = (plain.clone(), record.clone());
    let one = move || {
        let (plain, record) = (plain.clone(), record.clone());
        async move { plain.append(record).await }
    };
    let (count, taken) = drive(callers, time, one).await?;
    Ok(count as f64 / taken)
}

/// Callers that each do one thing after the other until time is over: how many things, in how many seconds.
async fn drive<F, T>(callers: usize, time: Duration, one: F) -> anyhow::Result<(u64, f64)>
where
    F: Fn() -> T + Clone + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let start = clock::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let one = one.clone();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while start.elapsed() < time {
                one().await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    Ok((count, start.elapsed().as_secs_f64()))
}

/// A folder on the disk that this program lies on: a temporary folder in memory would make every sync free.
pub(crate) fn folder() -> anyhow::Result<TempDir> {
    let program = std::env::current_exe()?;
    let beside = program.parent().map_or_else(PathBuf::new, PathBuf::from);
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?)
}

/// The organization that everything measured belongs to.
pub(crate) fn realm() -> anyhow::Result<Realm> {
    Ok(Realm { org: "acme.example".parse()?, environment: "prod".parse()?, node: 1 })
}

/// A log as a node has it.
pub(crate) fn open(folder: &TempDir, context: &Context) -> anyhow::Result<Log> {
    let (config, keys) = place(folder, context)?;
    Ok(Log::open(config, keys)?)
}

fn open_slow(folder: &TempDir, context: &Context, pause: Duration) -> anyhow::Result<Log> {
    let (config, keys) = place(folder, context)?;
    let log = Slow { files: Files::take(&config.dir)?, pause };
    let lock = Files::take(&config.lock)?;
    Ok(Log::open_on(config, keys, Media { log: Arc::new(log), lock: Arc::new(lock) })?)
}

fn place(folder: &TempDir, context: &Context) -> anyhow::Result<(Config, Keys)> {
    let config = Config {
        dir: folder.path().join("ledger"),
        lock: folder.path().join("head"),
        realm: context.realm.clone(),
        origin: "acme.example/audit".to_owned(),
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: ledger::RESERVE,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: Arc::new(KeysInMemory::default()),
    };
    Ok((config, keys))
}

/// How many bytes one record puts into the write-ahead log.
fn record_bytes(log: &Log, context: &Context) -> anyhow::Result<usize> {
    let receipt = log.append(log.seal(record::draft(context))?).wait()?;
    let entry = log.entry(receipt.index)?.context("what was appended is there")?;
    let payload = entry.leaf.payload.as_ref().map_or(0, |payload| payload.size as usize);
    ensure!(payload > 0, "a record to measure has a payload");
    Ok(frame_bytes(entry.bytes.len(), payload))
}
