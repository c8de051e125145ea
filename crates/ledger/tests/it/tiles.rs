use ledger::{Checkpoint, VerifierKey, leaf_hash, verify};
use tlog_tiles::{Hash, Tile, TileHashReader, TileReader, check_record, prove_record, prove_tree};

use super::*;

/// Reads our files as an independent implementation wants them.
struct Tiles<'a>(&'a Path);

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            // It names the height in the path, which the specification fixes and leaves out.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            std::fs::read(self.0.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn checkpoint(dir: &Path, key: &str) -> Checkpoint {
    let key: VerifierKey = key.parse().unwrap();
    key.open(&std::fs::read(dir.join("checkpoint")).unwrap()).unwrap()
}

#[test]
fn an_independent_reader_proves_every_kind_of_entry_of_a_log_of_three_levels() {
    const SIZE: u64 = 70_500;
    let place = tempfile::tempdir().unwrap();
    let log =
        Log::open(Config { segment_bytes: 16 << 20, ..config(place.path()) }, keys()).unwrap();
    let part = 4700;
    for start in (0..SIZE).step_by(part) {
        append_all(&log, start..start + part as u64);
    }
    log.close().unwrap();
    let (dir, key) = (place.path().join("log"), log.verifier_key());
    let report = verify::tree(&dir, &key, &[]);
    assert!(report.is_clean(), "{:?}", report.findings);
    // 276 of level 0, two of level 1, one of level 2.
    assert_eq!((report.entries, report.tiles), (SIZE, 279));

    let head = checkpoint(&dir, &key);
    let (tiles, root) = (Tiles(&dir), Hash(head.root.0));
    let reader = TileHashReader::new(head.size, root, &tiles);
    for index in [0, 1, 255, 256, 65_535, 65_536, 65_791, 70_399, 70_499] {
        let proof = prove_record(head.size, index, &reader).unwrap();
        let entry = log.entry(index).unwrap().unwrap();
        assert_eq!(leaf_hash(&entry.bytes), entry.hash);
        check_record(&proof, head.size, root, index, Hash(entry.hash.0)).unwrap();
        let other = Hash(leaf_hash(b"another entry").0);
        assert!(check_record(&proof, head.size, root, index, other).is_err());
    }
    assert!(prove_tree(head.size, 65_536, &reader).is_ok());
    for folder in ["tile/0/000.p", "tile/1/000.p", "tile/entries/274.p"] {
        assert!(!dir.join(folder).exists(), "{folder} was outgrown");
    }
}
