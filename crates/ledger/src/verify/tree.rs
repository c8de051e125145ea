//! The tree: signature, entries, all tiles, and that older heads are prefixes of this one.
//!
//! Entries and level-0 tiles are hashed up separately. The side whose root is the signed one is right; where they differ,
//! the other side is wrong, at exactly that place. All tiles above are then compared with the side that is right.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, ErrorKind, Read},
    path::Path,
};

use model::Digest;

use super::{
    Form,
    lines::Lines,
    report::{Class, Level, Place, Report, Truncation},
    stamps,
};
use crate::{
    anchor::{self, HeadFile},
    erasure::MARK,
    leaf::MAX_LEAF,
    merkle::{TILE, leaf_hash, perfect_root, root},
    note::{Checkpoint, NoteError, VerifierKey},
    publish::SPARE,
    tile::{self, CHECKPOINT, Kind, README},
};

/// The longest entry bundle.
pub(super) const MAX_BUNDLE: u64 = (TILE * (MAX_LEAF + 2)) as u64;
const TILE_LEN: u64 = TILE as u64;

/// The signed head and the older ones that were accepted.
pub(super) struct Heads {
    pub(super) signed: Checkpoint,
    older: Vec<(Place, Checkpoint)>,
    /// Those of before a restore that cover more than this log has.
    beyond: Vec<(Place, Checkpoint)>,
}

/// Reads the heads; `None` where there is nothing to check against.
pub(super) fn read_heads(
    place: &Path,
    verifier_key: &str,
    older: &[&[u8]],
    report: &mut Report,
) -> Option<Heads> {
    // First: in a live log it would else be newer than the newest.
    let witnessed = read_file(place, HeadFile::Witnessed.name(), 64 * 1024);
    let stamped = stamps::read(place, report);
    report.ask(Level::Signature);
    let given: VerifierKey = verifier_key
        .parse()
        .map_err(|error: NoteError| {
            let what = error.to_string();
            report.find(Level::Signature, Class::Integrity, Place::Key, what);
        })
        .ok()?;
    let (lines, handed_over) = Lines::read(place, &given, report);
    let mut wrong = |level, place, what: String| report.find(level, Class::Integrity, place, what);
    let note = read_file(place, CHECKPOINT, 64 * 1024);
    let note = note
        .map_err(|error| wrong(Level::Signature, Place::Checkpoint, format!("{error}")))
        .ok()?;
    let key = lines.of(&note, &given);
    let signed = key
        .open(&note)
        .map_err(|error| wrong(Level::Signature, Place::Checkpoint, format!("{error}")));
    let signed = signed.ok()?;
    let anchor = || Place::File(HeadFile::Witnessed.name().to_owned());
    let witnessed = match witnessed {
        Ok(note) => Some(note),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            wrong(Level::History, anchor(), error.to_string());
            None
        }
    };
    let kept = (older.iter().enumerate()).map(|(at, note)| (Place::Older(at), note.to_vec()));
    let others: Vec<(Place, Vec<u8>)> = witnessed
        .map(|note| (anchor(), note))
        .into_iter()
        .chain(stamped)
        .chain(handed_over)
        .chain(kept)
        .collect();
    let (mut accepted, mut beyond) = (Vec::new(), Vec::new());
    for (place, note) in others.iter().cloned() {
        match lines.of(&note, &given).open(&note) {
            Ok(older) if older.size > signed.size && older.origin != signed.origin => {
                beyond.push((place, older));
            }
            Ok(older) if older.size > signed.size => {
                wrong(Level::History, place, covers_more(&older, signed.size));
            }
            Ok(older) => accepted.push((place, older)),
            Err(error) => wrong(Level::History, place, format!("{error}")),
        }
    }
    report.checkpoint = Some(signed.clone());
    report.successor = (key != given).then_some(key);
    report.lines = lines;
    report.heads = std::iter::once((Place::Checkpoint, note)).chain(others).collect();
    Some(Heads { signed, older: accepted, beyond })
}

/// Checks the tree; `see` gets each entry that could be read, in order.
pub(super) fn check(
    place: &Path,
    form: Form,
    heads: &Heads,
    report: &mut Report,
    mut see: impl FnMut(u64, Digest, &[u8], &mut Report),
) {
    report.ask(Level::Tree);
    if !heads.older.is_empty() || !heads.beyond.is_empty() {
        report.ask(Level::History);
    }
    let mut check = Check {
        place,
        form,
        size: heads.signed.size,
        report,
        entries: Side::default(),
        tiles: Side::default(),
        differences: Vec::new(),
        files: HashMap::new(),
    };
    let mut roots = vec![[None; 2]; heads.older.len()];
    for index in 0..heads.signed.size.div_ceil(TILE_LEN) {
        check.bundle(index, &mut see);
        for (at, (_, older)) in heads.older.iter().enumerate() {
            // The end of a full tile is the start of the next, which nothing may follow.
            if older.size.div_ceil(TILE_LEN) == index + 1 {
                roots[at] =
                    [&check.entries, &check.tiles].map(|side| Some(side.root_at(older.size)));
            }
        }
    }
    for (root_sides, (place, older)) in roots.into_iter().zip(&heads.older) {
        let empty = older.size == 0 && older.root == root([]);
        if !empty && !root_sides.contains(&Some(older.root)) {
            let what = format!("the first {} entries are others than it covers", older.size);
            check.misses(place, older, what);
        } else if matches!(place, Place::Older(_)) {
            check.report.held = check.report.held.max(older.size);
        }
    }
    for (place, older) in &heads.beyond {
        check.misses(place, older, covers_more(older, heads.signed.size));
    }
    let right = check.judge(&heads.signed);
    check.upper_tiles(&right);
    check.other_files();
}

/// Hashes of one side: the roots of all full level-0 tiles, and the hashes of the last tile read.
#[derive(Default)]
struct Side {
    tile_roots: Vec<Digest>,
    last: Vec<Digest>,
}

impl Side {
    /// Adds a tile, whose root may be known. Gives the root of a full one.
    fn add(&mut self, hashes: Vec<Digest>, known: Option<Digest>) -> Option<Digest> {
        let full = hashes.len() == TILE;
        let root = full.then(|| known.unwrap_or_else(|| perfect_root(&hashes)));
        self.tile_roots.extend(root);
        self.last = hashes;
        root
    }

    /// The root over this many entries, which end in the last tile that was added.
    fn root_at(&self, size: u64) -> Digest {
        let rows = rows(&self.tile_roots[..(size / TILE_LEN) as usize]);
        let tail = &self.last[..(size % TILE_LEN) as usize];
        let partial = rows.iter().map(|row| &row[row.len() - row.len() % TILE..]);
        root(std::iter::once(tail).chain(partial))
    }
}

/// All hashes of every level above 0, lowest first.
fn rows(tile_roots: &[Digest]) -> Vec<Vec<Digest>> {
    let mut rows = vec![tile_roots.to_vec()];
    while let Some(row) = rows.last()
        && row.len() >= TILE
    {
        let next = row.chunks_exact(TILE).map(perfect_root).collect();
        rows.push(next);
    }
    rows
}

/// Where entries and level-0 tile disagree: the tile, the first entry, and how many entries of that tile.
struct Difference {
    tile: String,
    entry: u64,
    count: usize,
}

struct Check<'a> {
    place: &'a Path,
    form: Form,
    size: u64,
    report: &'a mut Report,
    entries: Side,
    tiles: Side,
    differences: Vec<Difference>,
    /// The file that was read for each tile and bundle, by its name without a width.
    files: HashMap<String, String>,
}

fn covers_more(older: &Checkpoint, size: u64) -> String {
    format!("it covers {} entries, this log {size}", older.size)
}

impl Check<'_> {
    /// A head that is no beginning of this log: what it covers was lost, where an entry says so of its name; otherwise it is
    /// the head of another history.
    fn misses(&mut self, place: &Place, older: &Checkpoint, what: String) {
        let report = &mut *self.report;
        match report.truncation_of(&older.origin).filter(|cut| older.size > cut.kept) {
            Some(Truncation { index, kept, .. }) => {
                let what = format!(
                    "of what it covers, entries {kept} to {} are lost, as entry {index} says",
                    older.size - 1
                );
                report.find(Level::History, Class::Completeness, place.clone(), what);
            }
            None => report.find(Level::History, Class::Integrity, place.clone(), what),
        }
    }

    /// Reads one bundle and its level-0 tile. Where one cannot be read, the other stands in, so that what follows can be
    /// judged.
    fn bundle(&mut self, index: u64, see: &mut impl FnMut(u64, Digest, &[u8], &mut Report)) {
        let start = index * TILE_LEN;
        let width = (self.size - start).min(TILE_LEN) as usize;
        let tile = self.hashes(0, index, width);
        let mut hashes = Vec::with_capacity(width);
        if let Some((name, bundle, whole)) = self.read(Kind::Entries, index, width, MAX_BUNDLE) {
            let mut rest = bundle.as_slice();
            while hashes.len() < width
                && let Some(entry) = tile::take_entry(&mut rest)
            {
                let hash = leaf_hash(entry);
                see(start + hashes.len() as u64, hash, entry, self.report);
                hashes.push(hash);
            }
            if hashes.len() < width {
                let what = format!("it is cut short at entry {}", start + hashes.len() as u64);
                self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
            } else if whole && !rest.is_empty() {
                let what = "it has bytes behind its last entry";
                self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
            }
        }
        self.report.entries += hashes.len() as u64;
        let read = hashes.len();
        let tile_hashes = match tile {
            Some((tile, tile_hashes)) => {
                let differ = |at: &usize| hashes[*at] != tile_hashes[*at];
                if let Some(first) = (0..read).find(differ) {
                    let count = (0..read).filter(differ).count();
                    self.differences.push(Difference { tile, entry: start + first as u64, count });
                }
                tile_hashes
            }
            None => {
                let mut standing_in = hashes.clone();
                standing_in.resize(width, Digest::default());
                standing_in
            }
        };
        hashes.extend_from_slice(&tile_hashes[read..]);
        // Nearly everywhere both are the same, and so are their roots.
        let same = hashes == tile_hashes;
        let root = self.entries.add(hashes, None);
        self.tiles.add(tile_hashes, root.filter(|_| same));
    }

    /// Decides which side is right, says where the other is wrong, and returns the right side's hashes of all upper levels.
    fn judge(&mut self, signed: &Checkpoint) -> Vec<Vec<Digest>> {
        let (entries, tiles) = (self.entries.root_at(self.size), self.tiles.root_at(self.size));
        let differences = std::mem::take(&mut self.differences);
        if entries != signed.root && tiles != signed.root {
            let what = format!("it signs root {}, but the entries hash to {entries}", signed.root);
            self.report.find(Level::Tree, Class::Integrity, Place::Checkpoint, what);
        }
        for Difference { tile, entry, count } in differences {
            let (place, what) = if entries == signed.root {
                (Place::File(tile), format!("its hash of entry {entry} is not the entry's"))
            } else if tiles == signed.root {
                (Place::Entry(entry), "it is not the entry that was signed".to_owned())
            } else {
                (Place::Entry(entry), format!("its hash is not the one in {tile}"))
            };
            let more = if count > 1 { format!(" ({count} in this tile)") } else { String::new() };
            self.report.find(Level::Tree, Class::Integrity, place, what + &more);
        }
        let right = if tiles == signed.root { &self.tiles } else { &self.entries };
        rows(&right.tile_roots)
    }

    /// Compares every tile above level 0 with what it must be.
    fn upper_tiles(&mut self, rows: &[Vec<Digest>]) {
        for (level, row) in (1..).zip(rows) {
            for (index, right) in (0..).zip(row.chunks(TILE)) {
                let Some((name, hashes)) = self.hashes(level, index, right.len()) else { continue };
                if let Some(at) = (0..right.len()).find(|at| hashes[*at] != right[*at]) {
                    let what = format!("its hash {at} is not the one of the tile below");
                    self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
                }
            }
        }
    }

    /// What lies beside the files that the checkpoint covers. In a node's own folder narrower versions must be the start of
    /// what they grew into, and anything else is only counted; in a pack there is nothing else.
    fn other_files(&mut self) {
        let mut names = Vec::new();
        if let Err(error) = files_below(self.place, "", &mut names) {
            let what = format!("its files cannot be listed: {error}");
            self.report.find(Level::Tree, Class::Completeness, Place::File(".".to_owned()), what);
        }
        names.sort_unstable();
        let payloads: HashSet<String> =
            (0..self.size.div_ceil(TILE_LEN)).map(tile::payloads).collect();
        let mut heads = HashSet::new();
        for (place, _) in &self.report.heads {
            let Place::File(name) = place else { continue };
            if name.starts_with(anchor::STAMPED) {
                heads.insert(anchor::timestamp_of(name));
            }
            heads.insert(name.clone());
        }
        for name in names {
            let (whole, width) = name.split_once(".p/").unwrap_or((&name, "256"));
            match (self.files.get(whole), width.parse()) {
                (Some(covered), _) if *covered == name => {}
                // What is in them was looked at with their entries.
                _ if name == CHECKPOINT || payloads.contains(&name) => {}
                // They were read as heads.
                _ if name == HeadFile::Witnessed.name() || heads.contains(&name) => {}
                _ if self.form == Form::Pack && name == README => {}
                _ if self.form == Form::Pack => {
                    let what = "it is no part of what was signed";
                    self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
                }
                _ if is_working_file(&name) => {}
                (Some(covered), Ok(width)) if width < width_of(covered) => {
                    if !self.is_start(&name, width, covered) {
                        let what = format!("it is not the start of {covered}");
                        self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
                    }
                }
                _ => self.report.uncovered += 1,
            }
        }
    }

    /// Whether a narrower tile has as much as its name says and is the start of a wider one. A live log may have removed
    /// it by now, or have removed the wider one for a full one.
    fn is_start(&self, name: &str, width: usize, covered: &str) -> bool {
        let read = |name: &str| match read_file(self.place, name, MAX_BUNDLE) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some(read.unwrap_or_default()),
        };
        let (Some(part), Some(covered)) = (read(name), read(covered)) else { return true };
        let mut rest = part.as_slice();
        let whole = if name.starts_with("tile/entries/") {
            (0..width).all(|_| tile::take_entry(&mut rest).is_some()) && rest.is_empty()
        } else {
            part.len() == width * 32
        };
        whole && covered.starts_with(&part)
    }

    /// The first hashes of a tile; a finding where they are not all there.
    fn hashes(&mut self, level: usize, index: u64, width: usize) -> Option<(String, Vec<Digest>)> {
        let kind = Kind::Hashes(level);
        let (name, bytes, whole) = self.read(kind, index, width, (TILE * 32) as u64)?;
        self.report.tiles += 1;
        match tile::hashes_from_bytes(&bytes) {
            Some(hashes) if hashes.len() == width || (!whole && hashes.len() > width) => {
                Some((name, hashes))
            }
            _ => {
                let what = format!("it does not hold {width} hashes");
                self.report.find(Level::Tree, Class::Integrity, Place::File(name), what);
                None
            }
        }
    }

    /// A tile or bundle of this width, or the full one where that has replaced it in a live log, and whether it is the very
    /// one. A full one holds more than the head covers, and is counted.
    fn read(
        &mut self,
        kind: Kind,
        index: u64,
        width: usize,
        limit: u64,
    ) -> Option<(String, Vec<u8>, bool)> {
        let (name, full) = (tile::path(kind, index, width), tile::path(kind, index, TILE));
        let read = match read_file(self.place, &name, limit) {
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && width < TILE
                    && self.form == Form::Log =>
            {
                read_file(self.place, &full, limit).map(|bytes| (full.clone(), bytes, false))
            }
            read => read.map(|bytes| (name.clone(), bytes, true)),
        };
        match read {
            Ok(read) => {
                self.report.uncovered += u64::from(!read.2);
                self.files.insert(full, read.0.clone());
                Some(read)
            }
            Err(error) => {
                self.report.find(
                    Level::Tree,
                    Class::Integrity,
                    Place::File(name),
                    error.to_string(),
                );
                None
            }
        }
    }
}

/// The width that a tile's name says.
fn width_of(name: &str) -> usize {
    name.split_once(".p/").and_then(|(_, width)| width.parse().ok()).unwrap_or(TILE)
}

/// Reads a file that is no longer than it can be.
pub(super) fn read_file(place: &Path, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let (path, mut bytes) = (place.join(name), Vec::new());
    // Opening what is no file may never end.
    if !path.metadata()?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Files of a node's own folder that are not of the published log: the write-ahead log, the count of refusals that were not
/// written, how far erasures were carried out, room that is set aside, and what a writer had not finished.
fn is_working_file(name: &str) -> bool {
    name.starts_with("wal/")
        || name == "gap"
        || name == SPARE
        || name == MARK
        || name.ends_with(".new")
}

/// The names of all files below a folder; of what is no folder, too.
fn files_below(place: &Path, folder: &str, names: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(place.join(folder)) {
        // A live log removes narrower tiles with their folder.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let own = entry.file_name();
        let own = own.to_string_lossy();
        let name = if folder.is_empty() { own.into_owned() } else { format!("{folder}/{own}") };
        if entry.file_type()?.is_dir() {
            files_below(place, &name, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
