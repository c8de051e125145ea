//! The index of this node's ledger, and how it keeps up.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ledger::{Entry, Head, Log, ProofError, ReadError, Tiles};
use model::Digest;
use store::{SearchBatch, SearchIndex, SearchMark, SearchView};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

use crate::{
    facts::{FORM, Query, add_entry},
    find::{Found, Keep, find},
};

/// How often it is looked whether the ledger has grown. A search looks, too.
const LOOK: Duration = Duration::from_secs(1);
/// How many entries are added at once: enough that most pages of the index are written once for many of them, few enough that
/// a search that waits for it waits less than a second.
const BATCH: usize = 16_384;
/// How many searches read at once; more wait for their turn.
const SEARCHES: usize = 4;

/// An index of a ledger.
pub struct Index {
    log: Log,
    /// The ledger's folder, with its tiles.
    dir: PathBuf,
    store: SearchIndex,
    /// How far the index goes, once it is known to be of this ledger.
    mark: Mutex<Option<SearchMark>>,
    indexed: AtomicU64,
    turns: Semaphore,
}

/// What a search found in the ledger as it was when it began, or later.
#[derive(Debug)]
pub struct Page {
    /// The entries, and where to go on.
    pub found: Found,
    /// How many entries were indexed: those behind them were not looked at, unless all were asked for.
    pub indexed: u64,
    /// How many entries the ledger had.
    pub size: u64,
}

/// Why the index did not grow.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The index cannot be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The index cannot be used.
    #[error("the search index cannot be used")]
    Index(#[from] IndexError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// The index was made anew between two pages, and is not yet back where the next one begins.
    #[error(
        "{indexed} of {size} entries are indexed again; go on from entry {from} when it is among them"
    )]
    Behind {
        /// Where the page begins.
        from: u64,
        /// How many entries are indexed.
        indexed: u64,
        /// How many the ledger has.
        size: u64,
    },
    /// The search did not run to its end.
    #[error("the search ended before its time")]
    Ended,
}

impl From<store::Error> for SearchError {
    fn from(why: store::Error) -> Self {
        Self::Index(why.into())
    }
}

/// Why an index is made anew.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error("it is of another form")]
    Form,
    #[error("it is of another ledger, `{0}`")]
    Log(String),
    #[error("it is ahead of this ledger: {indexed} entries of {size}")]
    Ahead { indexed: u64, size: u64 },
    #[error("it is of another history of this ledger")]
    History,
    #[error("its history cannot be compared with this ledger's: {0}")]
    Tiles(ProofError),
    #[error("it cannot be read: {0}")]
    Damaged(store::Error),
}

impl Index {
    /// The index of a ledger, whose files lie in `dir`, in a file that is made at need. Nothing is read or written yet.
    pub fn new(log: Log, dir: &Path, file: &Path) -> Arc<Self> {
        Arc::new(Self {
            log,
            dir: dir.to_owned(),
            store: SearchIndex::new(file),
            mark: Mutex::default(),
            indexed: AtomicU64::new(0),
            turns: Semaphore::new(SEARCHES),
        })
    }

    /// How many entries are indexed, as far as known.
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Relaxed)
    }

    /// The ledger.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Follows the ledger for as long as somebody has this index.
    pub fn keep_current(self: &Arc<Self>) {
        let follower = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut has_failed = false;
            loop {
                looks.tick().await;
                let Some(index) = follower.upgrade() else { return };
                match index.catch_up().await {
                    Ok(()) => has_failed = false,
                    Err(why) if !has_failed => {
                        has_failed = true;
                        tracing::error!(
                            code = "BW-1901",
                            why = &why as &dyn std::error::Error,
                            "the search index does not follow the ledger"
                        );
                    }
                    Err(_) => {}
                }
            }
        });
    }

    /// Adds entries until there are none left, with room for searches in between.
    async fn catch_up(self: &Arc<Self>) -> Result<(), IndexError> {
        loop {
            let index = self.clone();
            let more = tokio::task::spawn_blocking(move || index.advance()).await;
            // The runtime is going down.
            let Ok(more) = more else { return Ok(()) };
            if !more? {
                return Ok(());
            }
        }
    }

    /// Runs a search when it is its turn.
    ///
    /// # Errors
    /// The search's own.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        search: impl FnOnce(&Self) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<T, SearchError> {
        let _turn = self.turns.acquire().await.map_err(|_| SearchError::Ended)?;
        let index = self.clone();
        let ended = tokio::task::spawn_blocking(move || search(&index)).await;
        ended.map_err(|_| SearchError::Ended)?
    }

    /// Adds what the ledger has more, at most one batch of it; whether there is still more. Blocks.
    ///
    /// # Errors
    /// The ledger cannot be read, or the index not be written. It stays as it was.
    pub fn advance(&self) -> Result<bool, IndexError> {
        let mut known = locked(&self.mark);
        let mark = match known.take() {
            Some(mark) => mark,
            None => self.own_mark()?,
        };
        let added = self.add_behind(&mark);
        if let Err(IndexError::Store(why)) = &added
            && is_damage(why)
        {
            self.begin_anew(&Misfit::Damaged(why.clone()))?;
            return Ok(true);
        }
        let mark = added.as_ref().map_or(mark, Clone::clone);
        self.indexed.store(mark.size, Ordering::Relaxed);
        let more = mark.size < self.log.acknowledged();
        *known = Some(mark);
        added.map(|_| more)
    }

    /// Finds entries, the newest first, at or before a position. Blocks.
    ///
    /// What was acknowledged before is found, unless the index is far behind: it says how far it goes.
    ///
    /// # Errors
    /// Index or ledger cannot be read, or the index does not go as far as that position.
    pub fn search(
        &self,
        query: &Query,
        at_most: Option<u64>,
        limit: usize,
    ) -> Result<Page, SearchError> {
        self.search_keeping(query, at_most, limit, |_, _, _| Ok(Keep::Yes))
    }

    /// The same of those that `keep` keeps; it also learns how many entries are indexed.
    pub(crate) fn search_keeping(
        &self,
        query: &Query,
        at_most: Option<u64>,
        limit: usize,
        mut keep: impl FnMut(&mut SearchView<'_>, u64, &Entry) -> Result<Keep, SearchError>,
    ) -> Result<Page, SearchError> {
        let size = self.log.acknowledged();
        // An index that cannot grow still answers for what it has, if it is known to be of this ledger.
        let grown = self.advance();
        if locked(&self.mark).is_none() {
            grown?;
        }
        let mut reader = self.log.reader();
        let read = |index| reader.entry(index);
        self.store.read(|view| {
            let indexed = view.mark()?.map_or(0, |mark| mark.size);
            let size = size.max(indexed);
            // To look at everything needs no index.
            let end = if query.is_for_all() { size } else { indexed };
            if let Some(from) = at_most.filter(|from| (end..size).contains(from)) {
                return Err(SearchError::Behind { from, indexed, size });
            }
            let last = end.checked_sub(1);
            let at_most = last.map(|last| at_most.map_or(last, |wanted| wanted.min(last)));
            let found =
                find(view, query, at_most, limit, read, |view, entry| keep(view, indexed, entry))?;
            Ok(Page { found, indexed, size })
        })
    }

    /// The mark of the index, which is made anew if it does not fit this ledger.
    fn own_mark(&self) -> Result<SearchMark, IndexError> {
        let misfit = match self.store.mark() {
            Ok(None) => return Ok(self.first_mark()),
            Ok(Some(mark)) => match self.misfit(&mark)? {
                None => return Ok(mark),
                Some(misfit) => misfit,
            },
            Err(why) if is_damage(&why) => Misfit::Damaged(why),
            Err(why) => return Err(why.into()),
        };
        self.begin_anew(&misfit)?;
        Ok(self.first_mark())
    }

    fn begin_anew(&self, misfit: &Misfit) -> Result<(), IndexError> {
        tracing::warn!(code = "BW-1902", why = %misfit, "the search index does not fit the ledger and is made anew");
        self.indexed.store(0, Ordering::Relaxed);
        Ok(self.store.begin_anew()?)
    }

    /// Whether an index is one of this ledger as it is: the same name and key, the same root under a head that both have, and the
    /// same last entry.
    fn misfit(&self, mark: &SearchMark) -> Result<Option<Misfit>, IndexError> {
        let size = self.log.acknowledged();
        if mark.form != FORM {
            return Ok(Some(Misfit::Form));
        }
        if mark.log != self.log.verifier_key() {
            return Ok(Some(Misfit::Log(mark.log.clone())));
        }
        if mark.size > size || mark.head > self.log.head().size {
            return Ok(Some(Misfit::Ahead { indexed: mark.size, size }));
        }
        let root = match Tiles::new(&self.dir, mark.head).root() {
            Ok(root) => root,
            Err(why) => return Ok(Some(Misfit::Tiles(why))),
        };
        let last = match mark.size.checked_sub(1) {
            Some(last) => self.log.entry(last)?.map(|entry| entry.hash),
            None => Some(Digest::default()),
        };
        let fits = root == mark.root && last == Some(mark.last);
        Ok((!fits).then_some(Misfit::History))
    }

    fn first_mark(&self) -> SearchMark {
        SearchMark {
            form: FORM,
            log: self.log.verifier_key(),
            size: 0,
            last: Digest::default(),
            head: 0,
            root: Head::empty().root,
        }
    }

    /// Adds the next batch; the mark behind it.
    fn add_behind(&self, mark: &SearchMark) -> Result<SearchMark, IndexError> {
        let (mut batch, mut next) = (SearchBatch::default(), mark.clone());
        for entry in self.log.entries(mark.size).take(BATCH) {
            let entry = entry?;
            add_entry(&mut batch, &entry)?;
            (next.size, next.last) = (entry.index + 1, entry.hash);
        }
        if next.size > mark.size {
            // Tiles lead to the heads that were signed, and to no other size.
            let head = self.log.head();
            if head.size <= next.size {
                (next.head, next.root) = (head.size, head.root);
            }
            self.store.add(batch, &next)?;
        }
        Ok(next)
    }
}

/// Whether the file is no index of ours, or not any more.
fn is_damage(why: &store::Error) -> bool {
    matches!(why, store::Error::Corrupt(_) | store::Error::Statement(_))
}

/// The mark is replaced in one step, so that a panic leaves it whole or unknown.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
