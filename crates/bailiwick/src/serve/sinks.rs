//! The ledger's entries, sent to other systems. No call waits for it: what a sink has not acknowledged lies in the ledger.
//!
//! Each sink has a task and a cursor of its own. The cursor moves on what the sink itself says, one batch at a time and in order, so
//! a sink may get entries twice and never one behind another that it did not get.

mod collector;
mod cursor;
mod json_lines;
mod opentelemetry;
mod post;
mod syslog;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use decide::{Engine, GapNotRecorded};
use insight::{Event, Index};
use ledger::{Entry, Log, ReadError};
use server::Sunk;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::{
    collector::Collector,
    cursor::{Cursor, CursorFile},
    json_lines::JsonLines,
    opentelemetry::OpenTelemetry,
    post::NotTaken,
    syslog::Syslog,
};
use crate::{
    config::{Config, SecretRef, SinkBound, SinkTo},
    failure::{Failure, Result, chain},
    told::Told,
};

/// The most entries that are sent at once.
const BATCH: usize = 1000;
/// The most bytes of leaves that are sent at once; collectors take requests of some MiB.
const BATCH_BYTES: usize = 1 << 20;
const DAY_MILLIS: i64 = 86_400_000;

/// How fast things go; tests do not wait so long.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How often it is looked whether there is more.
    look: Duration,
    /// How long to wait after the first failure; twice as long after each further one.
    again: Duration,
    /// How long to wait at most.
    again_at_most: Duration,
    /// How long an answer may take.
    answer: Duration,
    /// How often a collector is asked whether it has indexed what it took.
    ask: Duration,
    /// How long that may take.
    indexed: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(1),
            again: Duration::from_secs(1),
            again_at_most: Duration::from_secs(60),
            answer: Duration::from_secs(30),
            ask: Duration::from_secs(1),
            // Indexers that replicate take tens of seconds.
            indexed: Duration::from_secs(120),
        }
    }
}

/// All sinks of a node.
pub(super) struct Sinks {
    all: Vec<Sink>,
    /// What is known of them, for whoever counts.
    pub(super) states: Arc<[Arc<Sunk>]>,
}

/// One sink.
struct Sink {
    engine: Arc<Engine>,
    origin: String,
    wire: Wire,
    bound: SinkBound,
    file: CursorFile,
    state: Arc<Sunk>,
    told: Told,
    pace: Pace,
    /// How many entries it gets at once: less than a whole batch while it refuses those.
    most: usize,
}

/// What is to be sent next.
struct Batch {
    /// The position of the first entry that the sink's bound still wants.
    begin: u64,
    /// From when the first entry is that was not acknowledged, wanted or not, in milliseconds since 1970; zero where there is none.
    since: i64,
    entries: Vec<Entry>,
}

/// How a sink is spoken to.
enum Wire {
    JsonLines(JsonLines),
    Collector(Box<Collector>),
    OpenTelemetry(Box<OpenTelemetry>),
    Syslog(Syslog),
}

/// What a sink said of a batch that it took.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    /// How many of its entries it does not keep, and does not want again.
    rejected: u64,
}

/// Why a turn did not bring a sink on.
#[derive(Debug, thiserror::Error)]
enum NoTurn {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("the ledger cannot be read")]
    Ledger(#[from] ReadError),
    #[error("the ledger does not record what is left out")]
    Gap(#[from] GapNotRecorded),
    #[error("it cannot be kept how far the sink is")]
    Cursor(#[from] std::io::Error),
    #[error("the node ends")]
    Ended,
}

impl Sinks {
    /// Those that the configuration names.
    pub(super) fn of(config: &Config, engine: &Arc<Engine>, index: &Arc<Index>) -> Result<Self> {
        let mut all = Vec::new();
        for sink in &config.sinks {
            match &sink.to {
                SinkTo::JsonLines { file, .. }
                | SinkTo::Collector { token: SecretRef::File(file), .. }
                | SinkTo::OpenTelemetry { token: Some(SecretRef::File(file)), .. } => {
                    check_not_own(file, &config.own_files())?;
                }
                _ => {}
            }
            let pace = Pace::default();
            let wire = Wire::of(&sink.to, index, pace).map_err(|why| {
                Failure::new("sink_unusable", format!("the sink `{}` cannot be used", sink.name))
                    .why(why)
                    .next("correct it below [[sinks]]")
            })?;
            all.push(Sink {
                engine: engine.clone(),
                origin: engine.log().name().to_owned(),
                wire,
                bound: sink.bound,
                file: CursorFile::new(&config.sinks_dir(), &sink.name)?,
                state: Arc::new(Sunk::new(sink.name.clone())),
                told: Told::default(),
                pace,
                most: BATCH,
            });
        }
        let states = all.iter().map(|sink| sink.state.clone()).collect();
        Ok(Self { all, states })
    }

    /// Sends entries until the node stops.
    pub(super) async fn run(self, stopping: CancellationToken) {
        let mut under_way = JoinSet::new();
        for sink in self.all {
            under_way.spawn(sink.follow());
        }
        stopping.cancelled().await;
        under_way.shutdown().await;
    }
}

/// Refuses a file in the node's own folders: lines would be added to the ledger, or a key be shown as a token.
fn check_not_own(file: &std::path::Path, own: &[std::path::PathBuf]) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let is_own = |own: &std::path::PathBuf| {
        own.canonicalize().is_ok_and(|own| {
            folder.starts_with(&own) || folder.join(file.file_name().unwrap_or_default()) == own
        })
    };
    if own.iter().any(is_own) {
        return Err(Failure::new("sink_unusable", format!("no sink may use `{}`", file.display()))
            .why("it lies where this node keeps what is its own")
            .next("name a file elsewhere"));
    }
    Ok(())
}

impl Wire {
    fn of(to: &SinkTo, index: &Arc<Index>, pace: Pace) -> std::result::Result<Self, String> {
        Ok(match to {
            SinkTo::JsonLines { file, shape } => {
                Self::JsonLines(JsonLines::new(file.clone(), *shape))
            }
            SinkTo::Collector { url, token, shape } => {
                let place = post::Place::of(post::client(), url, pace.answer)?;
                Self::Collector(Box::new(Collector::new(place, token.clone(), *shape, pace)?))
            }
            SinkTo::OpenTelemetry { url, token } => {
                let place = post::Place::of(post::client(), url, pace.answer)?;
                Self::OpenTelemetry(Box::new(OpenTelemetry::new(place, token.clone(), index)))
            }
            SinkTo::Syslog { url, shape } => {
                Self::Syslog(Syslog::of(post::client(), url, *shape, pace.answer)?)
            }
        })
    }

    async fn deliver(&self, events: &[Event<'_>]) -> std::result::Result<Taken, NotTaken> {
        match self {
            Self::JsonLines(file) => file.deliver(events).await,
            Self::Collector(collector) => collector.deliver(events).await,
            Self::OpenTelemetry(collector) => collector.deliver(events).await,
            Self::Syslog(server) => server.deliver(events).await,
        }
    }
}

impl Sink {
    /// Sends what there is, and then what there is more, for as long as the node runs.
    async fn follow(mut self) {
        let mut failures = 0;
        let mut known = None;
        loop {
            let turn = match &mut known {
                Some(cursor) => self.turn(cursor).await,
                None => self.take_up().await.map(|cursor| known.replace(cursor).is_none()),
            };
            match turn {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    sleep(self.pace.look).await;
                }
                Err(why) => {
                    self.tell_failure(&why);
                    sleep(self.after(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// How long to wait after so many failures before this one.
    fn after(&self, failures: u32) -> Duration {
        let doubled = self.pace.again.saturating_mul(1 << failures.min(16));
        doubled.min(self.pace.again_at_most)
    }

    /// Where an earlier run was; the beginning where that is no place in this ledger.
    async fn take_up(&mut self) -> std::result::Result<Cursor, NoTurn> {
        let (file, log) = (self.file.clone(), self.engine.log().clone());
        let (cursor, misfit) = aside(move || file.take_up(&log)).await??;
        if let Some(why) = misfit {
            let sink = self.state.name().as_str();
            tracing::error!(
                code = "BW-2105",
                sink,
                why,
                "a sink gets the ledger from its beginning"
            );
        }
        self.state.next.store(cursor.next, Ordering::Relaxed);
        Ok(cursor)
    }

    /// Sends the next batch, and moves the cursor behind it; whether there was one.
    async fn turn(&mut self, cursor: &mut Cursor) -> std::result::Result<bool, NoTurn> {
        // Of the turn before, where that could not be written.
        self.keep(cursor).await?;
        let Batch { begin, since, entries } = self.next_batch(cursor.next).await?;
        self.tell_overdue(cursor.next..begin);
        self.state.waiting_since.store(since, Ordering::Relaxed);
        let Some(last) = entries.last() else { return Ok(false) };
        let events: Vec<_> =
            entries.iter().map(|entry| Event { entry, origin: &self.origin }).collect();
        let taken = self.wire.deliver(&events).await;
        self.most = match &taken {
            Ok(_) => self.most.saturating_mul(2).min(BATCH),
            Err(why) if why.is_of_the_batch() => (entries.len() / 2).max(1),
            Err(_) => self.most,
        };
        self.tell_taken(&taken?);
        self.leave_out(cursor.next..begin).await?;
        // It has them, and the ledger says what it has not, whether that can be kept now or later.
        *cursor = Cursor::behind(last);
        self.keep(cursor).await?;
        Ok(true)
    }

    /// Writes down where the sink is, unless that was done.
    async fn keep(&self, cursor: &Cursor) -> std::result::Result<(), NoTurn> {
        if self.state.next.load(Ordering::Relaxed) == cursor.next {
            return Ok(());
        }
        let (file, kept) = (self.file.clone(), cursor.clone());
        aside(move || file.keep(&kept)).await??;
        self.state.next.store(cursor.next, Ordering::Relaxed);
        self.state.fails(None);
        Ok(())
    }

    /// The next entries from a position on, or from the first behind it that the sink's bound still wants.
    async fn next_batch(&self, next: u64) -> std::result::Result<Batch, NoTurn> {
        let (log, bound, most) = (self.engine.log().clone(), self.bound, self.most);
        let now = self.engine.context().now().millis();
        aside(move || {
            let oldest = bound.days.map(|days| now - i64::from(days) * DAY_MILLIS);
            let since = log.entry(next)?.map_or(0, |entry| entry.leaf.at.millis());
            let begin = first_within(&log, next, bound.entries, oldest)?;
            let mut bytes = 0;
            let fits = |entry: &std::result::Result<Entry, ReadError>| {
                bytes += entry.as_ref().map_or(0, |entry| entry.bytes.len());
                bytes <= BATCH_BYTES
            };
            let entries = log.entries(begin).take(most).take_while(fits);
            Ok(Batch { begin, since, entries: entries.collect::<std::result::Result<_, _>>()? })
        })
        .await?
        .map_err(NoTurn::Ledger)
    }

    /// Says early that entries will be left out: somebody may still bring the sink back.
    fn tell_overdue(&mut self, overdue: Range<u64>) {
        let n = overdue.end - overdue.start;
        self.state.overdue.store(n, Ordering::Relaxed);
        if n > 0 && self.told.may("overdue", tokio::time::Instant::now()) {
            let sink = self.state.name().as_str();
            tracing::error!(
                code = "BW-2102",
                sink,
                n,
                "a sink is too far behind and will not get its oldest entries"
            );
        }
    }

    /// Records what the sink did not get, now that it has got what follows. Until then nothing is lost to it.
    async fn leave_out(&self, left_out: Range<u64>) -> std::result::Result<(), NoTurn> {
        if left_out.is_empty() {
            return Ok(());
        }
        let (sink, n) = (self.state.name(), left_out.end - left_out.start);
        let first = left_out.start;
        self.engine.record_sink_gap(sink, left_out).await?;
        self.state.left_out.fetch_add(n, Ordering::Relaxed);
        self.state.overdue.store(0, Ordering::Relaxed);
        let sink = sink.as_str();
        tracing::error!(code = "BW-2103", sink, first, n, "entries were not sent to a sink");
        Ok(())
    }

    fn tell_taken(&mut self, taken: &Taken) {
        self.state.fails(None);
        let sink = self.state.name().as_str();
        if self.told.may_change_to("taken") {
            tracing::info!(code = "BW-2106", sink, "a sink takes the ledger's entries");
        }
        if taken.rejected > 0 {
            self.state.rejected.fetch_add(taken.rejected, Ordering::Relaxed);
            let n = taken.rejected;
            tracing::error!(
                code = "BW-2104",
                sink,
                n,
                "a sink took entries and does not keep them"
            );
        }
    }

    fn tell_failure(&mut self, why: &NoTurn) {
        let said = chain(why);
        self.state.fails(Some(said.clone()));
        if self.told.may("failing", tokio::time::Instant::now()) {
            let sink = self.state.name().as_str();
            tracing::warn!(
                code = "BW-2101",
                sink,
                why = said,
                "a sink does not take the ledger's entries"
            );
        }
    }
}

/// The first position at or behind `next` that is not too far back, by number and by moment.
fn first_within(
    log: &Log,
    next: u64,
    entries: Option<u64>,
    oldest: Option<i64>,
) -> std::result::Result<u64, ReadError> {
    let size = log.acknowledged();
    let first = entries.map_or(next, |most| next.max(size.saturating_sub(most)));
    let Some(oldest) = oldest else { return Ok(first) };
    let is_old = |index| Ok(log.entry(index)?.is_some_and(|entry| entry.leaf.at.millis() < oldest));
    // Entries follow each other nearly in the order of their moments.
    let (mut old, mut young) = (first, size);
    if first >= size || !is_old(first)? {
        return Ok(first);
    }
    while young - old > 1 {
        let middle = old + (young - old) / 2;
        if is_old(middle)? { old = middle } else { young = middle }
    }
    Ok(young)
}

/// Runs what blocks on a thread for it.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, NoTurn> {
    tokio::task::spawn_blocking(work).await.map_err(|_| NoTurn::Ended)
}
