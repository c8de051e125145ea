//! Tree hashing of [RFC 6962 §2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1), in tiles of 256.

use aws_lc_rs::digest::{self, SHA256};
use model::Digest;

/// How many hashes a full tile has ([C2SP tlog-tiles](https://c2sp.org/tlog-tiles)).
pub(crate) const TILE: usize = 256;

/// The hash of a leaf: SHA-256 over a zero byte and the leaf's bytes.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    sha256(&[&[0], bytes])
}

/// The hash of an inner node: SHA-256 over a one byte and both children.
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut node = [1; 65];
    node[1..33].copy_from_slice(&left.0);
    node[33..].copy_from_slice(&right.0);
    sha256_of(&node)
}

/// SHA-256 over one text.
pub(crate) fn sha256_of(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    Digest(hash)
}

/// SHA-256 over parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Digest(hash)
}

/// The root of a perfect tree over these hashes, whose number is a power of two.
pub(crate) fn perfect_root(hashes: &[Digest]) -> Digest {
    debug_assert!(hashes.len().is_power_of_two());
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let half = row.len() / 2;
        for at in 0..half {
            row[at] = node_hash(&row[2 * at], &row[2 * at + 1]);
        }
        row.truncate(half);
    }
    row[0]
}

/// The root of a tree from the hashes that do not fill a tile, lowest level first.
///
/// They are the tree's maximal perfect subtrees, once each tile's remainder is cut into powers of two; folding them from
/// the right gives the root.
pub(crate) fn root<'a>(levels: impl IntoIterator<Item = &'a [Digest]>) -> Digest {
    let mut root = None;
    for mut hashes in levels {
        while !hashes.is_empty() {
            let width = 1 << hashes.len().trailing_zeros();
            let (rest, last) = hashes.split_at(hashes.len() - width);
            let subtree = perfect_root(last);
            root = Some(root.map_or(subtree, |right| node_hash(&subtree, &right)));
            hashes = rest;
        }
    }
    root.unwrap_or_else(|| sha256_of(&[]))
}

/// A tile that has just become full.
pub(crate) struct FullTile {
    pub(crate) level: usize,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Digest>,
}

/// The right edge of a growing tree: at each level the hashes that do not fill a tile yet.
#[derive(Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl Edge {
    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; `full` gets each tile that this completes, lowest first.
    pub(crate) fn push(&mut self, leaf: Digest, mut full: impl FnMut(FullTile)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::with_capacity(TILE));
            }
            let tile = &mut self.levels[level];
            tile.push(hash);
            if tile.len() < TILE {
                return;
            }
            hash = perfect_root(tile);
            let hashes = std::mem::replace(tile, Vec::with_capacity(TILE));
            full(FullTile { level, index: (self.size >> (8 * (level + 1))) - 1, hashes });
        }
    }

    /// The tiles that are not full, each with its level and index.
    pub(crate) fn partial(&self) -> impl Iterator<Item = (usize, u64, &[Digest])> {
        let tiles = self.levels.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty());
        tiles.map(|(level, hashes)| (level, self.size >> (8 * (level + 1)), hashes.as_slice()))
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Digest {
        root(self.levels.iter().map(Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;

    #[test]
    fn the_root_of_nothing_is_the_hash_of_nothing() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Edge::default().root().to_string(), empty);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_root_is_the_one_that_an_independent_tree_computes(size in 0_u32..1500) {
            let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
            let mut ours = Edge::default();
            for leaf in 0..size {
                let leaf = leaf.to_be_bytes().to_vec();
                ours.push(leaf_hash(&leaf), |_| ());
                theirs.push(leaf);
            }
            let theirs = theirs.root();
            prop_assert_eq!(&ours.root().0[..], &theirs.as_bytes()[..]);
        }
    }
}
