//! `ledger-search`: the eight questions to an index of a large ledger, warm and cold, and how fast such an index is made.
//!
//! What is indexed comes from a series of entries that are made up as they are needed, by the code that indexes a ledger. Each
//! entry that a search looks at is read and parsed from a real ledger beside it, since that is part of what a search costs.

mod series;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use decide::{Clock, Context};
use insight::{Field, Keep, Query, add_entry, find};
use ledger::{Entry, Log};
use model::{Digest, Timestamp};
use rustix::fs::{Advice, fadvise};
use store::{SearchBatch, SearchIndex, SearchMark};
use tempfile::TempDir;

use crate::{
    append::{folder, open, realm},
    clock::now,
    figure::{Figure, Report},
};
use series::Series;

/// How many entries are indexed when nobody says.
const ENTRIES: u64 = 10_000_000;
/// How many are added at once, as a node does that makes its index anew.
const BATCH: u64 = 16_384;
/// How many entries the ledger has that leaves are read from.
const LEAVES: u64 = 50_000;
/// How many entries a page has.
const PAGE: usize = 100;
/// How often each question is asked, each time about something else.
const WARM: u64 = 300;
const COLD: u64 = 40;
/// What the slowest of a hundred searches may take.
const BAR_MILLIS: f64 = 50.0;

/// An index, and a ledger for its leaves.
struct Place {
    folder: TempDir,
    index: SearchIndex,
    log: Log,
    series: Series,
}

/// One question, about the `n`-th thing that is asked for.
type Question = fn(&Series, u64) -> Query;

const QUESTIONS: [(&str, Question); 10] = [
    ("agent", |it, n| Query::default().with(Field::Agent, &it.agent(n))),
    ("person", |it, n| Query::default().with(Field::Person, &it.person(n))),
    ("task", |it, n| Query::default().with(Field::Task, &it.task(it.some_entry(n)))),
    ("tool", |it, n| Query::default().with(Field::Tool, &it.tool(n))),
    ("resource", |it, n| Query::default().with(Field::Resource, &it.resource(n))),
    ("verdict", |_, n| {
        Query::default().with(Field::Verdict, ["permit", "deny", "hold"][(n % 3) as usize])
    }),
    ("credential", |it, n| {
        Query::default().with(Field::Credential, &it.credential(it.some_entry(n)))
    }),
    ("time", |it, n| {
        let since = it.at(it.some_entry(n)).millis();
        // From a minute to a month.
        let until = since + (60_000 << (n % 16));
        let moments = [since, until].map(|at| Some(Timestamp::from_millis(at)));
        Query::default().within(moments[0], moments[1])
    }),
    ("agent+tool", |it, n| {
        let query = Query::default().with(Field::Agent, &it.agent(n));
        query.with(Field::Tool, &it.tool(n / 2))
    }),
    // Two things that nearly half of all entries have, and none both: the search stops where it has looked enough.
    ("nothing", |_, _| {
        Query::default().with(Field::Kind, "outcome").with(Field::Verdict, "permit")
    }),
];

/// Indexes so many entries and asks.
pub(crate) fn run(report: &mut Report, entries: Option<u64>) -> anyhow::Result<()> {
    let mut place = Place::new(entries.unwrap_or(ENTRIES))?;
    place.fill(report)?;
    for (name, question) in QUESTIONS {
        let warm = |n| place.ask(&place.index, &question(&place.series, n));
        // Once before, so that what is measured is warm.
        (0..WARM / 10).try_for_each(|n| warm(n).map(drop))?;
        let times = (0..WARM).map(warm).collect::<anyhow::Result<Vec<_>>>()?;
        report_times(report, &format!("ledger-search/{name}"), times);
        let cold = |n| {
            place.forget()?;
            let index = SearchIndex::new(&place.file());
            place.ask(&index, &question(&place.series, 1_000 + n))
        };
        let times = (0..COLD).map(cold).collect::<anyhow::Result<Vec<_>>>()?;
        report_times(report, &format!("ledger-search/{name}/cold"), times);
    }
    place.log.close().context("the log does not close")
}

/// The middle one, and the one that is slower than ninety-nine of a hundred.
fn report_times(report: &mut Report, name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let millis = |share: usize| {
        let at = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    report.add(&Figure::alone(format!("{name}/p50"), millis(50), "ms"));
    report.add(&Figure::cost(format!("{name}/p99"), millis(99), "ms", BAR_MILLIS));
}

impl Place {
    fn new(entries: u64) -> anyhow::Result<Self> {
        let folder = folder()?;
        let context = Context::new(realm()?, Clock::system());
        let log = open(&folder, &context)?;
        let series = Series::new(entries)?;
        let mut last = None;
        for number in 0..LEAVES.min(entries) {
            let appending = log.append(log.seal(series.draft(number)?)?);
            // The queue is not to be full.
            if let Some(before) = last.replace(appending)
                && number.is_multiple_of(256)
            {
                let _: ledger::Receipt = before.wait()?;
            }
        }
        last.map(ledger::Appending::wait).transpose()?;
        let index = SearchIndex::new(&folder.path().join("search.sqlite"));
        Ok(Self { folder, index, log, series })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("search.sqlite")
    }

    /// Indexes the series; what it takes to make its entries up is not counted.
    fn fill(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let (mut spent, mut size) = (Duration::ZERO, 0);
        while size < self.series.entries {
            let next = (size + BATCH).min(self.series.entries);
            let entries = (size..next).map(|number| self.series.entry(number));
            let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
            let start = now();
            let mut batch = SearchBatch::default();
            for entry in &entries {
                add_entry(&mut batch, entry)?;
            }
            self.index.add(batch, &mark(next))?;
            spent += start.elapsed();
            size = next;
        }
        let rate = size as f64 / spent.as_secs_f64();
        report.add(&Figure::alone("ledger-search/entries", size as f64, "entries"));
        report.add(&Figure::alone("ledger-search/made", rate, "1/s"));
        // The rest of the write-ahead log goes into the file with its last connection.
        self.index = SearchIndex::new(&self.file());
        let bytes = self.file().metadata()?.len() as f64 / size as f64;
        report.add(&Figure::alone("ledger-search/size", bytes, "B/entry"));
        Ok(())
    }

    /// Asks for the first page of what fits.
    fn ask(&self, index: &SearchIndex, query: &Query) -> anyhow::Result<Duration> {
        let start: Instant = now();
        let mut reader = self.log.reader();
        let read = |number: u64| {
            reader.entry(number % LEAVES.min(self.series.entries))?;
            // A made up entry costs a few microseconds more than the one that was just read.
            Ok(self.series.entry(number).ok())
        };
        let last = self.series.entries.checked_sub(1);
        let found = index.read(|view| find(view, query, last, PAGE, read, |_, _| Ok(Keep::Yes)))?;
        let taken = start.elapsed();
        ensure!(found.entries.len() <= PAGE, "a page is no longer than it may be");
        Ok(taken)
    }

    /// Makes the system forget what it holds of index and ledger.
    fn forget(&self) -> anyhow::Result<()> {
        forget(&self.file())?;
        let mut folders = vec![self.folder.path().join("ledger/tile/entries")];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(&folder)? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    folders.push(file.path());
                } else {
                    forget(&file.path())?;
                }
            }
        }
        Ok(())
    }
}

fn forget(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// A mark that nobody compares with a ledger.
fn mark(size: u64) -> SearchMark {
    let (last, root) = (Digest::default(), Digest::default());
    SearchMark { form: 1, log: "bench".to_owned(), size, last, head: 0, root }
}

/// An entry as a reader gets it.
fn entry_of(index: u64, hash: Digest, leaf: ledger::Leaf) -> Entry {
    Entry { index, hash, leaf, bytes: Vec::new() }
}
