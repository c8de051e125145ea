use std::fs;

use ct_merkle::{
    ConsistencyProof, InclusionProof, RootHash, digest::Output, mem_backed_tree::MemoryBackedTree,
};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::merkle::{Edge, FullTile, leaf_hash};

/// The same leaves in an independent tree, in our tiles on disk, and the heads of all sizes.
struct Both {
    place: tempfile::TempDir,
    theirs: MemoryBackedTree<Sha256, Vec<u8>>,
    heads: Vec<Head>,
}

fn leaf(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

fn both(size: u64) -> Both {
    let place = tempfile::tempdir().expect("a folder can be made");
    let (mut edge, mut theirs) = (Edge::default(), MemoryBackedTree::new());
    let mut heads = vec![Head { size: 0, root: edge.root() }];
    let write = |level, index, hashes: &[Digest]| {
        let path = place.path().join(tile::path(Kind::Hashes(level), index, hashes.len()));
        fs::create_dir_all(path.parent().expect("a tile has a folder")).expect("it can be made");
        fs::write(path, tile::hashes_to_bytes(hashes)).expect("a tile can be written");
    };
    for index in 0..size {
        edge.push(leaf_hash(&leaf(index)), |FullTile { level, index, hashes }| {
            write(level, index, &hashes);
        });
        theirs.push(leaf(index));
        heads.push(Head { size: index + 1, root: edge.root() });
    }
    edge.partial().for_each(|(level, index, hashes)| write(level, index, hashes));
    Both { place, theirs, heads }
}

impl Both {
    fn tiles(&self) -> Tiles<'_> {
        Tiles::new(self.place.path(), self.theirs.len())
    }
}

fn outputs(path: &[Digest]) -> Vec<Output<Sha256>> {
    path.iter().map(|hash| hash.0.into()).collect()
}

fn root(head: Head) -> RootHash<Sha256> {
    RootHash::new(head.root.0.into(), head.size)
}

#[test]
fn every_proof_over_the_first_twenty_sizes_is_the_one_an_independent_tree_makes() {
    for size in 1..=20 {
        let both = both(size);
        let new = both.heads[size as usize];
        for index in 0..size {
            let path = both.tiles().inclusion(index).unwrap();
            let theirs = both.theirs.prove_inclusion(index as usize);
            assert_eq!(tile::hashes_to_bytes(&path), theirs.as_bytes(), "{index} of {size}");
            assert!(includes(new, index, leaf_hash(&leaf(index)), &path), "{index} of {size}");
        }
        for old in 1..=size {
            let path = both.tiles().consistency(old).unwrap();
            let theirs = both.theirs.prove_consistency((size - old) as usize);
            assert_eq!(tile::hashes_to_bytes(&path), theirs.as_bytes(), "{old} of {size}");
            assert!(extends(both.heads[old as usize], new, &path), "{old} of {size}");
            assert_eq!(both.tiles().first(old).unwrap(), both.heads[old as usize]);
        }
        assert_eq!(both.tiles().first(0).unwrap(), Head::empty());
    }
}

#[test]
fn an_entry_or_a_size_that_the_tree_does_not_have_is_not_proven() {
    let both = both(5);
    let not_covered = |result| matches!(result, Err(ProofError::NotCovered { size: 5, .. }));
    assert!(not_covered(both.tiles().inclusion(5)));
    assert!(not_covered(both.tiles().consistency(6)));
    assert!(not_covered(both.tiles().first(6).map(|_| Vec::new())));
    let [empty, .., head] = both.heads[..] else { panic!("there are six heads") };
    assert!(!includes(head, 5, leaf_hash(&leaf(4)), &both.tiles().inclusion(4).unwrap()));
    assert!(!includes(empty, 0, empty.root, &[]));
    assert!(!extends(head, both.heads[4], &[]));
}

#[test]
fn every_tree_begins_with_the_empty_one_and_with_itself_and_needs_no_hashes_for_it() {
    let both = both(5);
    let (empty, head) = (both.heads[0], both.heads[5]);
    for old in [empty, head] {
        assert_eq!(both.tiles().consistency(old.size).unwrap(), []);
        assert!(extends(old, head, &[]));
        assert!(!extends(old, head, &[head.root]));
    }
    assert!(!extends(Head { root: empty.root, ..head }, head, &[]));
    assert_eq!(empty, Head::empty());
    assert!(!extends(empty, Head { root: head.root, ..empty }, &[]));
}

#[test]
fn a_tile_that_is_gone_or_cut_short_makes_no_proof() {
    let both = both(300);
    let file = both.place.path().join("tile/0/001.p/44");
    let whole = fs::read(&file).unwrap();
    for cut in [whole.len() - 1, whole.len() - 32, 0] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(both.tiles().inclusion(299), Err(ProofError::Damaged(_))), "{cut}");
    }
    fs::remove_file(&file).unwrap();
    let gone = both.tiles().inclusion(299);
    assert!(matches!(gone, Err(ProofError::Damaged(name)) if name == "tile/0/001.p/44"));
}

#[test]
fn a_damaged_tile_shows_before_its_proof_is_given_away() {
    let both = both(300);
    for (tile, byte) in
        [("tile/0/000", 32 * 255), ("tile/0/001.p/44", 32 * 7), ("tile/1/000.p/1", 0)]
    {
        let file = both.place.path().join(tile);
        let whole = fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        fs::write(&file, damaged).unwrap();
        for old in [256, 258, 299, 300] {
            let mut tiles = both.tiles();
            let path = tiles.consistency(old).unwrap();
            let first = tiles.first(old).unwrap();
            // The tile 0/000 is under the one above, which both are made from.
            let shows = tile != "tile/0/000";
            assert_ne!(extends(first, both.heads[300], &path), shows, "{tile}, {old}");
        }
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn a_tree_that_the_log_has_outgrown_is_proven_from_the_full_tile() {
    let both = both(256);
    let small = both.heads[200];
    let mut tiles = Tiles::new(both.place.path(), small.size);
    let path = tiles.inclusion(199).unwrap();
    assert!(includes(small, 199, leaf_hash(&leaf(199)), &path));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn proofs_over_several_tiles_convince_both_checkers(size in 2_u64..1500, at in 0_u64..1500, old in 1_u64..1500) {
        let (index, old) = (at % size, old % size + 1);
        let both = both(size);
        let (older, newer) = (both.heads[old as usize], both.heads[size as usize]);

        let path = both.tiles().inclusion(index).unwrap();
        prop_assert!(includes(newer, index, leaf_hash(&leaf(index)), &path));
        let theirs = InclusionProof::<Sha256>::from_digests(&outputs(&path));
        prop_assert!(root(newer).verify_inclusion(&leaf(index), index, &theirs).is_ok());

        let path = both.tiles().consistency(old).unwrap();
        prop_assert!(extends(older, newer, &path));
        if old < size {
            let theirs = ConsistencyProof::<Sha256>::from_digests(&outputs(&path));
            prop_assert!(root(newer).verify_consistency(&root(older), &theirs).is_ok());
        }
    }

    #[test]
    fn a_proof_that_is_changed_in_any_way_proves_nothing(
        size in 2_u64..300, at in 0_u64..300, old in 1_u64..300, spot in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let (index, old) = (at % size, old % (size - 1) + 1);
        let both = both(size);
        let (older, newer) = (both.heads[old as usize], both.heads[size as usize]);
        let hash = leaf_hash(&leaf(index));
        let included = both.tiles().inclusion(index).unwrap();
        let extended = both.tiles().consistency(old).unwrap();
        for path in changed(&included, spot, bit) {
            prop_assert!(!includes(newer, index, hash, &path));
        }
        for path in changed(&extended, spot, bit) {
            prop_assert!(!extends(older, newer, &path));
        }
        prop_assert!(!includes(newer, index, leaf_hash(b"another"), &included));
        prop_assert!(!includes(newer, (index + 1) % size, hash, &included));
        let forked = |head| Head { root: leaf_hash(b"another"), ..head };
        let (older_fork, newer_fork) = (forked(older), forked(newer));
        prop_assert!(!includes(newer_fork, index, hash, &included));
        prop_assert!(!extends(older_fork, newer, &extended));
        prop_assert!(!extends(older, newer_fork, &extended));
    }
}

/// A path with one bit flipped, one hash fewer, and one more at either end.
fn changed(path: &[Digest], spot: prop::sample::Index, bit: u8) -> Vec<Vec<Digest>> {
    let mut all = vec![[path, &[Digest([7; 32])]].concat(), [&[Digest([7; 32])], path].concat()];
    if !path.is_empty() {
        let at = spot.index(path.len());
        let mut flipped = path.to_vec();
        flipped[at].0[spot.index(32)] ^= 1 << bit;
        let mut fewer = path.to_vec();
        fewer.remove(at);
        all.extend([flipped, fewer]);
    }
    all
}
