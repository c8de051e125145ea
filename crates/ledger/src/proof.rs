//! Merkle proofs of [RFC 9162 §2.1](https://www.rfc-editor.org/rfc/rfc9162#section-2.1): that an entry is in a tree, and that
//! a tree begins with an older one. They are made from a log's tiles and checked without them.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use model::Digest;

use crate::{
    log::Head,
    merkle::{TILE, node_hash, perfect_root, root},
    note::NoteError,
    tile::{self, Kind},
};

/// The most hashes that a proof has: a tree of 2^64 entries is so high.
pub(crate) const MAX_PATH: usize = 64;

/// Why a proof was not made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The signed head does not cover the entry: there is none, or it is published within about a second.
    #[error("the signed head covers {size} entries, and entry {index} is not among them")]
    NotCovered {
        /// Which entry.
        index: u64,
        /// How many are covered.
        size: u64,
    },
    /// The log's own tiles do not lead to its signed head.
    #[error(
        "`{0}` is missing or is not what was signed; `verify` on the log says what else is wrong"
    )]
    Damaged(String),
    /// The log's checkpoint is not of the known form.
    #[error("the log's checkpoint cannot be read")]
    Checkpoint(#[source] NoteError),
    /// A file could not be read.
    #[error("`{file}` could not be read")]
    Io {
        /// Which file.
        file: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// Whether `leaf` is the hash of the entry at this index of the tree
/// ([RFC 9162 §2.1.3.2](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.2)).
#[must_use]
pub fn includes(head: Head, index: u64, leaf: Digest, path: &[Digest]) -> bool {
    if index >= head.size {
        return false;
    }
    let (mut walk, mut root) = (Walk { node: index, last: head.size - 1 }, leaf);
    for sibling in path {
        match walk.up() {
            None => return false,
            Some(Side::Left) => root = node_hash(sibling, &root),
            Some(Side::Right) => root = node_hash(&root, sibling),
        }
    }
    walk.last == 0 && root == head.root
}

/// Whether the newer tree begins with the older one
/// ([RFC 9162 §2.1.4.2](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.4.2)). Every tree begins with the empty one, whose
/// proof is empty, as is that of a tree with itself.
#[must_use]
pub fn extends(old: Head, new: Head, path: &[Digest]) -> bool {
    if old.size >= new.size {
        return path.is_empty() && old == new;
    }
    if old.size == 0 {
        return path.is_empty();
    }
    // Where the old tree is one perfect subtree of the new, its root is known already and left out.
    let whole = old.size.is_power_of_two().then_some(&old.root);
    let mut path = whole.into_iter().chain(path);
    let Some(first) = path.next() else { return false };
    let mut walk = Walk { node: old.size - 1, last: new.size - 1 };
    walk.skip_right_children();
    let (mut old_root, mut new_root) = (*first, *first);
    for sibling in path {
        match walk.up() {
            None => return false,
            Some(Side::Left) => {
                old_root = node_hash(sibling, &old_root);
                new_root = node_hash(sibling, &new_root);
            }
            Some(Side::Right) => new_root = node_hash(&new_root, sibling),
        }
    }
    walk.last == 0 && old_root == old.root && new_root == new.root
}

impl Head {
    /// The head of a log without entries, with which every log begins.
    pub fn empty() -> Self {
        Self { size: 0, root: root([]) }
    }
}

/// A node and the last one of its level, on the way from the leaves to the root.
struct Walk {
    node: u64,
    last: u64,
}

/// On which side of a node its sibling stands.
enum Side {
    Left,
    Right,
}

impl Walk {
    /// Goes to the parent; says where the sibling was. `None` at the root, which has none.
    fn up(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let right = self.node & 1 == 1;
        let side = if right || self.node == self.last { Side::Left } else { Side::Right };
        if matches!(side, Side::Left) && !right {
            // The last node has no sibling at the levels where it is alone, and is its own parent there.
            while self.node & 1 == 0 && self.node != 0 {
                self.halve();
            }
        }
        self.halve();
        Some(side)
    }

    /// Goes up while the node is a right child: its subtree ends where its parent's does.
    fn skip_right_children(&mut self) {
        while self.node & 1 == 1 {
            self.halve();
        }
    }

    const fn halve(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// The tiles of a log in its folder, or in a pack, as far as a tree of one size goes.
pub struct Tiles<'a> {
    dir: &'a Path,
    size: u64,
    /// Those that were read: a proof asks for the same one up to eight times.
    read: HashMap<(usize, u64), Vec<Digest>>,
}

impl<'a> Tiles<'a> {
    /// The tree of the first `size` entries. Nothing is read yet.
    pub fn new(dir: &'a Path, size: u64) -> Self {
        Self { dir, size, read: HashMap::new() }
    }

    /// The root over the tree.
    ///
    /// # Errors
    /// A tile is missing, cut short or unreadable. That the tiles are the ones that were signed is not checked.
    pub fn root(&mut self) -> Result<Digest, ProofError> {
        if self.size == 0 {
            return Ok(Head::empty().root);
        }
        self.root_of(0, self.size)
    }

    /// What proves an entry of the tree, the leaf's sibling first
    /// ([RFC 9162 §2.1.3.1](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.1)).
    ///
    /// # Errors
    /// The tree has no such entry, or a tile is missing, cut short or unreadable. That the tiles are the ones that were
    /// signed is not checked: [`includes`] does.
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Digest>, ProofError> {
        if index >= self.size {
            return Err(ProofError::NotCovered { index, size: self.size });
        }
        let (mut start, mut end, mut path) = (0, self.size, Vec::new());
        while end - start > 1 {
            let middle = start + left_width(end - start);
            if index < middle {
                path.push(self.root_of(middle, end)?);
                end = middle;
            } else {
                path.push(self.root_of(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// What proves that the tree begins with its first `old` entries
    /// ([RFC 9162 §2.1.4.1](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.4.1)).
    ///
    /// # Errors
    /// The tree has fewer entries, or as [`Tiles::inclusion`]. What is proven is checked by [`extends`].
    pub fn consistency(&mut self, old: u64) -> Result<Vec<Digest>, ProofError> {
        if old > self.size {
            return Err(ProofError::NotCovered { index: old - 1, size: self.size });
        }
        let (mut start, mut end, mut path) = (0, self.size, Vec::new());
        if old == 0 || old == self.size {
            return Ok(path);
        }
        while end > old {
            let middle = start + left_width(end - start);
            if old <= middle {
                path.push(self.root_of(middle, end)?);
                end = middle;
            } else {
                path.push(self.root_of(start, middle)?);
                start = middle;
            }
        }
        if start > 0 {
            path.push(self.root_of(start, end)?);
        }
        path.reverse();
        Ok(path)
    }

    /// The head over the first `size` entries, as the tiles have it. With [`Tiles::consistency`] from there on it
    /// [`extends`] to the signed head unless a tile is damaged.
    ///
    /// # Errors
    /// As [`Tiles::consistency`].
    pub fn first(&mut self, size: u64) -> Result<Head, ProofError> {
        if size > self.size {
            return Err(ProofError::NotCovered { index: size - 1, size: self.size });
        }
        if size == 0 {
            return Ok(Head::empty());
        }
        Ok(Head { size, root: self.root_of(0, size)? })
    }

    /// The hash of one entry.
    pub(crate) fn leaf(&mut self, index: u64) -> Result<Digest, ProofError> {
        self.subtree(0, index)
    }

    /// The root over the entries from `start` up to `end`, which are a node of the tree.
    fn root_of(&mut self, start: u64, end: u64) -> Result<Digest, ProofError> {
        let width = end - start;
        if width.is_power_of_two() {
            let height = width.trailing_zeros();
            return self.subtree(height, start >> height);
        }
        let middle = start + left_width(width);
        Ok(node_hash(&self.root_of(start, middle)?, &self.root_of(middle, end)?))
    }

    /// The root of a perfect subtree, by its height and its position among those of this height.
    fn subtree(&mut self, height: u32, index: u64) -> Result<Digest, ProofError> {
        let (level, within) = ((height / 8) as usize, height % 8);
        let first = index << within;
        let (tile, from) = (first / TILE as u64, (first % TILE as u64) as usize);
        let hashes = self.tile(level, tile)?;
        hashes.get(from..from + (1 << within)).map(perfect_root).ok_or_else(|| {
            let width = hashes.len();
            ProofError::Damaged(tile::path(Kind::Hashes(level), tile, width))
        })
    }

    /// A tile as far as this tree fills it. Where the log has grown past it, its narrower file is the start of the full one.
    fn tile(&mut self, level: usize, index: u64) -> Result<&[Digest], ProofError> {
        if !self.read.contains_key(&(level, index)) {
            let hashes = self.read_tile(level, index)?;
            self.read.insert((level, index), hashes);
        }
        Ok(self.read.get(&(level, index)).map(Vec::as_slice).unwrap_or_default())
    }

    fn read_tile(&self, level: usize, index: u64) -> Result<Vec<Digest>, ProofError> {
        let all = self.size >> (8 * level);
        let width = all.saturating_sub(index * TILE as u64).min(TILE as u64) as usize;
        let name = |width| tile::path(Kind::Hashes(level), index, width);
        for name in [name(width), name(TILE)] {
            match fs::read(self.dir.join(&name)) {
                Ok(bytes) => {
                    let hashes = tile::hashes_from_bytes(&bytes);
                    let mut hashes = hashes.filter(|hashes| hashes.len() >= width);
                    if let Some(hashes) = &mut hashes {
                        hashes.truncate(width);
                    }
                    return hashes.ok_or(ProofError::Damaged(name));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(ProofError::Io { file: name, source }),
            }
        }
        Err(ProofError::Damaged(name(width)))
    }
}

/// How many leaves the left child of a node with so many leaves has: the largest power of two below it.
fn left_width(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

#[cfg(test)]
mod tests;
