//! The journal of stops: a file of its own, so that a stop survives when ledger and database do not.
//!
//! Each order and each resume is one line behind the others. What was resumed is of no more use, since the ledger held the
//! resume first: at a start, and where the file would grow too long, it is written anew with the orders in force alone.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{File, OpenOptions, Permissions},
    io::{self, BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use model::EntryId;
use serde::{Deserialize, Serialize};

use super::{Order, StopScope};

/// The longest reason of a stop or a resume, in bytes: some sentences.
pub const MAX_REASON_BYTES: usize = 1024;

/// The longest file: it is written anew before it is longer.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The most that orders in force take of it, some twenty thousand with the longest reasons. So whoever writes it anew wins
/// as much room again.
pub(super) const MAX_HELD_BYTES: u64 = MAX_BYTES / 2;
/// So many orders of one scope are held, the newest. A resume ends all that are in force, so an older one never stays alone.
pub(super) const MAX_SAME_SCOPE: usize = 16;
/// The longest line that is read. Earlier builds wrote reasons as long as a request.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// For its owner alone: it says who stopped what, and why.
const MODE: u32 = 0o600;

/// Why the stop set cannot be loaded: without it nothing may start.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the stop journal cannot be opened; nothing starts without it")]
    Io(#[from] io::Error),
    /// A whole line is not an order.
    #[error(
        "line {line} of the stop journal is damaged; restore the file or resume its orders by hand"
    )]
    Damaged {
        /// Counted from one.
        line: usize,
    },
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Order(Order),
    Resume { order: EntryId },
}

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    held: Held,
}

/// What the lines come to.
#[derive(Default)]
struct Held {
    orders: HashMap<StopScope, VecDeque<Order>>,
    scopes: HashMap<EntryId, StopScope>,
    /// Lines commute: a resume may stand before its order.
    resumed: HashSet<EntryId>,
    /// How long the lines of the orders are.
    bytes: u64,
}

impl Journal {
    /// Reads the journal, and makes it short.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(MODE).open(path)?;
        // One that is there already may have been made, or copied back, with another mode.
        file.set_permissions(Permissions::from_mode(MODE))?;
        let (held, whole) = read(&file)?;
        if whole < file.metadata()?.len() {
            file.set_len(whole)?;
        }
        // Where the name is a link, what it points to is written anew, if that has a name.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        file.sync_all()?;
        sync_folder(&path)?;
        let mut journal = Self { path, file, held };
        if whole != journal.held.bytes {
            // The longer file says the same: a full disk is no reason not to start.
            let _ = journal.rewrite(None);
        }
        Ok(journal)
    }

    /// The orders that nobody has resumed.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.held.orders.values().flatten()
    }

    /// What was resumed, as far as the lines said when they were read.
    pub(super) fn resumed(&self) -> impl Iterator<Item = EntryId> {
        self.held.resumed.iter().copied()
    }

    /// Makes an order durable.
    pub(super) fn order(&mut self, order: &Order) -> io::Result<()> {
        let order = bounded(order.clone());
        let line = line(&Line::Order(order.clone()))?;
        if !self.held.has_room(&order, line.len() as u64) {
            let full = "it is full of orders in force; resume what need not be stopped any more";
            return Err(io::Error::new(ErrorKind::FileTooLarge, full));
        }
        // Held from now on: where the line fails, the next file written anew has it all the same.
        self.held.hold(order);
        if self.fits(&line)? { self.append(&line) } else { self.rewrite(None) }
    }

    /// Makes the end of an order durable.
    pub(super) fn resume(&mut self, id: EntryId) -> io::Result<()> {
        let resume = line(&Line::Resume { order: id })?;
        if self.fits(&resume)? {
            self.append(&resume)?;
        } else if let Err(why) = self.rewrite(Some(id)) {
            // The stop stays, so its order must: the name may stand for the new file already.
            if let Some(order) = self.held.get(id) {
                let order = line(&Line::Order(order.clone()))?;
                self.append(&order)?;
            }
            return Err(why);
        }
        self.held.release(id);
        Ok(())
    }

    fn fits(&self, line: &[u8]) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() + line.len() as u64 <= MAX_BYTES)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let whole = self.file.metadata()?.len();
        self.file.write_all(line).and_then(|()| self.file.sync_data()).inspect_err(|_| {
            // What is left of a line would swallow the next one. Where even this fails, the next start says so.
            let _ = self.file.set_len(whole);
        })
    }

    /// Writes the file anew with the orders in force, but for one. Under its name stands the old or the new one, whole,
    /// whenever the machine stops.
    fn rewrite(&mut self, without: Option<EntryId>) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create_new(true).mode(MODE).open(&new)?;
        let mut orders: Vec<&Order> =
            self.orders().filter(|order| Some(order.id) != without).collect();
        orders.sort_unstable_by_key(|order| order.id);
        let mut writer = BufWriter::new(&file);
        for order in orders {
            writer.write_all(&line(&Line::Order(order.clone()))?)?;
        }
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        sync_folder(&self.path)
    }
}

impl Held {
    /// Whether an order of this length may be added; one that takes the place of an older one counts for the difference.
    fn has_room(&self, order: &Order, bytes: u64) -> bool {
        let same = self.orders.get(&order.scope);
        let oldest = same.filter(|held| held.len() >= MAX_SAME_SCOPE).and_then(VecDeque::front);
        self.bytes + bytes <= MAX_HELD_BYTES + oldest.map_or(0, length)
    }

    fn hold(&mut self, order: Order) {
        if self.resumed.contains(&order.id) || self.scopes.contains_key(&order.id) {
            return;
        }
        self.bytes += length(&order);
        self.scopes.insert(order.id, order.scope.clone());
        let held = self.orders.entry(order.scope.clone()).or_default();
        held.push_back(order);
        if held.len() > MAX_SAME_SCOPE
            && let Some(oldest) = held.pop_front()
        {
            self.bytes -= length(&oldest);
            self.scopes.remove(&oldest.id);
        }
    }

    fn get(&self, id: EntryId) -> Option<&Order> {
        self.orders.get(self.scopes.get(&id)?)?.iter().find(|order| order.id == id)
    }

    fn release(&mut self, id: EntryId) {
        self.resumed.insert(id);
        let Some(order) = self.get(id) else { return };
        self.bytes -= length(order);
        if let Some(scope) = self.scopes.remove(&id)
            && let Some(held) = self.orders.get_mut(&scope)
        {
            held.retain(|order| order.id != id);
            if held.is_empty() {
                self.orders.remove(&scope);
            }
        }
    }
}

/// What all whole lines come to, and how long they are together. A last line without its end was never acknowledged.
fn read(file: &File) -> Result<(Held, u64), JournalError> {
    let (mut held, mut whole, mut text) = (Held::default(), 0, Vec::new());
    let mut reader = BufReader::new(file);
    for number in 1.. {
        text.clear();
        let length = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
        let Some(line) = text.strip_suffix(b"\n") else {
            // Nobody writes so long a line, finished or not.
            if length as u64 == MAX_LINE {
                return Err(JournalError::Damaged { line: number });
            }
            break;
        };
        whole += length as u64;
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(Line::Order(order)) => held.hold(bounded(order)),
            Ok(Line::Resume { order }) => held.release(order),
            Err(_) => return Err(JournalError::Damaged { line: number }),
        }
    }
    Ok((held, whole))
}

/// The order as it is kept: with as much of its reason as is read at once. Whoever asks for a stop is held to that before.
fn bounded(mut order: Order) -> Order {
    if order.reason.len() > MAX_REASON_BYTES {
        order.reason.truncate(order.reason.floor_char_boundary(MAX_REASON_BYTES));
    }
    order
}

fn line(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

fn length(order: &Order) -> u64 {
    line(&Line::Order(order.clone())).map_or(0, |line| line.len() as u64)
}

/// Makes the file's name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
