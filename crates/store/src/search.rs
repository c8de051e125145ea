//! An index of a ledger: which entries have which terms, and when they were made. A file of its own beside the ledger, never
//! part of a node's database: each node has its own ledger, and what is here is made anew from it whenever it does not fit.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use model::{Digest, Timestamp};

use crate::{
    Error,
    db::{Columns, Param, Purpose, integer},
    sqlite::Session,
};

/// How many entries share a segment. Within one, terms are in random order; a batch touches the pages of one segment only, so
/// that a large ledger is indexed as fast as a small one.
pub const SEGMENT: u64 = 1 << PLACE_BITS;
/// How many entries share a block, of which the first and the last moment are kept.
pub const BLOCK: u64 = 1024;

/// A posting is one number: 17 bits of segment, 26 of term, 20 of place in the segment. That is enough for 137 billion entries.
const PLACE_BITS: u32 = 20;
const TERM_BITS: u32 = 26;
const SEGMENT_BITS: u32 = 17;

/// How many connections that nobody reads with are kept.
const IDLE_READERS: usize = 4;

const TABLES: &str = "\
    CREATE TABLE IF NOT EXISTS posting (id INTEGER PRIMARY KEY); \
    CREATE TABLE IF NOT EXISTS span (block INTEGER PRIMARY KEY, low BIGINT NOT NULL, high BIGINT NOT NULL); \
    CREATE TABLE IF NOT EXISTS mark (id INTEGER PRIMARY KEY, form BIGINT NOT NULL, log TEXT NOT NULL, \
        size BIGINT NOT NULL, last BLOB NOT NULL, head BIGINT NOT NULL, root BLOB NOT NULL)";

/// What is lost with the machine is indexed again, so a commit does not wait for the disk. The cache holds what one batch touches.
const WRITER: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768";

/// An open index. Its file is opened at need.
pub struct SearchIndex {
    path: PathBuf,
    /// Whoever uses the file shares this; whoever replaces it has it alone. SQLite deletes by name what it leaves behind.
    sessions: RwLock<Sessions>,
}

#[derive(Default)]
struct Sessions {
    writer: Mutex<Option<Session>>,
    /// Those that nobody uses right now.
    readers: Mutex<Vec<Session>>,
}

/// Something that entries are found by: some bits of a hash. Two things may share them, so what is found is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term(u32);

/// How far an index goes, and in which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchMark {
    /// Which terms entries are given.
    pub form: u32,
    /// The log's verifier key.
    pub log: String,
    /// How many entries are indexed.
    pub size: u64,
    /// The leaf hash of the last of them; zero before the first.
    pub last: Digest,
    /// The size of a head of the log, at most `size`.
    pub head: u64,
    /// The root under that head.
    pub root: Digest,
}

/// Entries to be added: what they have, in any order, and when they were made.
#[derive(Debug, Default)]
pub struct SearchBatch {
    postings: Vec<i64>,
    spans: Vec<(u64, Timestamp, Timestamp)>,
}

/// One moment of an index.
pub struct SearchView<'a>(&'a mut Session);

impl Term {
    /// A term of these bits, of which the lowest 26 count.
    pub const fn of(hash: u32) -> Self {
        Self(hash & ((1 << TERM_BITS) - 1))
    }
}

impl SearchBatch {
    /// Adds an entry. Entries come in order.
    ///
    /// # Errors
    /// The position is beyond what an index can hold.
    pub fn add(
        &mut self,
        entry: u64,
        at: Timestamp,
        terms: impl IntoIterator<Item = Term>,
    ) -> Result<(), Error> {
        let first = posting(entry / SEGMENT, Term(0), entry % SEGMENT)?;
        let terms = terms.into_iter().map(|Term(term)| first | i64::from(term) << PLACE_BITS);
        self.postings.extend(terms);
        match self.spans.last_mut() {
            Some((block, low, high)) if *block == entry / BLOCK => {
                (*low, *high) = ((*low).min(at), (*high).max(at));
            }
            _ => self.spans.push((entry / BLOCK, at, at)),
        }
        Ok(())
    }
}

impl SearchIndex {
    /// The index in this file, which is made at need.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), sessions: RwLock::default() }
    }

    /// How far the index goes; `None` where it is new.
    ///
    /// # Errors
    /// The file cannot be used, or is no index.
    pub fn mark(&self) -> Result<Option<SearchMark>, Error> {
        self.read(|view| view.mark())
    }

    /// Adds entries and moves the mark, both or neither.
    ///
    /// # Errors
    /// The file cannot be used; nothing was added.
    pub fn add(&self, mut batch: SearchBatch, mark: &SearchMark) -> Result<(), Error> {
        // In the order of the tree, so that each page is visited once. Two facts may be one term.
        batch.postings.sort_unstable();
        batch.postings.dedup();
        self.with_writer(|session| {
            session.begin(Purpose::Write)?;
            let added = add(session, &batch, mark).and_then(|()| session.run("COMMIT"));
            if added.is_err() && !session.is_lost() {
                session.run("ROLLBACK")?;
            }
            added
        })
    }

    /// Looks at one moment of the index.
    ///
    /// # Errors
    /// The closure's own; the database's where it fails.
    pub fn read<T, E: From<Error>>(
        &self,
        look: impl FnOnce(&mut SearchView<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let idle = locked(&sessions.readers).pop();
        let mut session = match idle {
            Some(session) => session,
            // Whoever comes first makes the file; the tables are there when it has.
            None => self.with_open_writer(&sessions, |_| Session::open(Some(&self.path)))?,
        };
        session.begin(Purpose::Read)?;
        let seen = look(&mut SearchView(&mut session));
        // A connection that failed is not used again.
        if session.run("COMMIT").is_ok() {
            let mut idle = locked(&sessions.readers);
            if idle.len() < IDLE_READERS {
                idle.push(session);
            }
        }
        seen
    }

    /// Drops everything, the file too, and begins with an empty one.
    ///
    /// # Errors
    /// The old file cannot be removed, or a new one not be made.
    pub fn begin_anew(&self) -> Result<(), Error> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        *sessions = Sessions::default();
        for beside in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(beside);
            match std::fs::remove_file(path) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::unavailable(why));
                }
                _ => {}
            }
        }
        self.with_open_writer(&sessions, |_| Ok(()))
    }

    fn with_writer<T>(
        &self,
        act: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        self.with_open_writer(&sessions, act)
    }

    fn with_open_writer<T>(
        &self,
        sessions: &Sessions,
        act: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut writer = locked(&sessions.writer);
        let session = match &mut *writer {
            Some(session) => session,
            none => {
                let mut session = Session::open(Some(&self.path))?;
                session.run(WRITER)?;
                session.run(TABLES)?;
                none.insert(session)
            }
        };
        let done = act(session);
        if session.is_lost() && done.is_err() {
            *writer = None;
        }
        done
    }
}

impl SearchView<'_> {
    /// How far the index goes; `None` where it is new.
    ///
    /// # Errors
    /// The database fails.
    pub fn mark(&mut self) -> Result<Option<SearchMark>, Error> {
        let sql = "SELECT form, log, size, last, head, root FROM mark";
        let read = |row: &Columns<'_>| {
            let digest =
                |at| row.digest(at)?.ok_or_else(|| Error::corrupt("a mark without a hash"));
            Ok(SearchMark {
                form: u32::try_from(row.natural(0)?).map_err(Error::corrupt)?,
                log: row.get(1)?,
                size: row.natural(2)?,
                last: digest(3)?,
                head: row.natural(4)?,
                root: digest(5)?,
            })
        };
        Ok(self.0.rows(sql, &[], read)?.into_iter().next())
    }

    /// Entries of one segment that have a term, at or before a position, the last first, at most so many.
    ///
    /// # Errors
    /// The database fails.
    pub fn with_term(
        &mut self,
        term: Term,
        segment: u64,
        at_most: u64,
        limit: u32,
    ) -> Result<Vec<u64>, Error> {
        let last = SEGMENT - 1;
        let place = if at_most / SEGMENT > segment { last } else { at_most % SEGMENT };
        let (low, high) = (posting(segment, term, 0)?, posting(segment, term, place)?);
        let sql = "SELECT id FROM posting WHERE id BETWEEN $1 AND $2 ORDER BY id DESC LIMIT $3";
        self.0.rows(sql, &[&low, &high, &i64::from(limit)], |row| {
            Ok(segment * SEGMENT + (row.natural(0)? & last))
        })
    }

    /// The last block, at or before this one, with an entry that may be from `since` on and before `until`.
    ///
    /// # Errors
    /// The database fails.
    pub fn block_within(
        &mut self,
        at_most: u64,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<u64>, Error> {
        let sql = "SELECT block FROM span WHERE block <= $1 AND high >= $2 AND low < $3 \
            ORDER BY block DESC LIMIT 1";
        let params: [&dyn Param; 3] = [&integer(at_most)?, &since.millis(), &until.millis()];
        Ok(self.0.rows(sql, &params, |row| row.natural(0))?.into_iter().next())
    }
}

fn add(session: &mut Session, batch: &SearchBatch, mark: &SearchMark) -> Result<(), Error> {
    session.execute_each(
        "INSERT INTO posting (id) VALUES ($1) ON CONFLICT (id) DO NOTHING",
        &batch.postings,
    )?;
    let sql = "INSERT INTO span (block, low, high) VALUES ($1, $2, $3) \
        ON CONFLICT (block) DO UPDATE SET low = MIN(low, $2), high = MAX(high, $3)";
    for (block, low, high) in &batch.spans {
        session.execute(sql, &[&integer(*block)?, &low.millis(), &high.millis()])?;
    }
    let sql = "INSERT INTO mark (id, form, log, size, last, head, root) VALUES (1, $1, $2, $3, $4, $5, $6) \
        ON CONFLICT (id) DO UPDATE SET form = $1, log = $2, size = $3, last = $4, head = $5, root = $6";
    let (size, head) = (integer(mark.size)?, integer(mark.head)?);
    let (last, root) = (&mark.last.0[..], &mark.root.0[..]);
    let form = i64::from(mark.form);
    session.execute(sql, &[&form, &mark.log, &size, &last, &head, &root])?;
    Ok(())
}

fn posting(segment: u64, Term(term): Term, place: u64) -> Result<i64, Error> {
    if segment >> SEGMENT_BITS > 0 {
        let why = "a search index holds 2^37 entries, and this ledger has more";
        return Err(Error::Invalid(why.to_owned()));
    }
    let number = segment << (TERM_BITS + PLACE_BITS) | u64::from(term) << PLACE_BITS | place;
    integer(number)
}

/// A statement is whole or did not happen, so a panic leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
