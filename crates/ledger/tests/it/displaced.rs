//! Files that are taken from a log while it writes to them.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use ledger::{AppendError, CloseError, Health};
use tempfile::TempDir;

use super::*;

/// The segment that is written to: the others have not been written to, or stand ready.
fn written(place: &Path) -> PathBuf {
    let segments = fs::read_dir(place.join("log/wal")).unwrap().map(|entry| entry.unwrap().path());
    let used = |path: &PathBuf| fs::read(path).unwrap().iter().any(|byte| *byte != 0);
    segments.filter(used).max().unwrap()
}

#[test]
fn a_segment_that_is_moved_removed_replaced_or_cut_off_is_noticed_before_anything_else_is_acknowledged()
 {
    let ways: [fn(&Path); 7] = [
        |segment| fs::remove_file(segment).unwrap(),
        |segment| fs::rename(segment, segment.with_extension("moved")).unwrap(),
        |segment| {
            fs::hard_link(segment, segment.with_extension("linked")).unwrap();
            fs::remove_file(segment).unwrap();
        },
        |segment| {
            let folder = segment.parent().unwrap();
            fs::rename(folder, folder.with_file_name("wal-moved")).unwrap();
        },
        |segment| {
            let other = segment.with_extension("other");
            fs::copy(segment, &other).unwrap();
            fs::rename(&other, segment).unwrap();
        },
        |segment| OpenOptions::new().write(true).open(segment).unwrap().set_len(4096).unwrap(),
        |segment| OpenOptions::new().write(true).open(segment).unwrap().set_len(0).unwrap(),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let place = TempDir::new().unwrap();
        let log = open(place.path());
        append_all(&log, 0..5);
        until(|| log.head().size == 5);
        way(&written(place.path()));
        assert_eq!(log.append(sealed(&log, 5)).wait(), Err(AppendError::Failed), "way {number}");
        let Health::Failed(why) = log.health() else { panic!("way {number} is not noticed") };
        assert!(why.contains("its file was moved, removed, replaced or cut off"), "{why}");
        assert!(matches!(log.close(), Err(CloseError::Failed(_))));
        drop(log);
        let story = story(&open(place.path()));
        assert_eq!(story[..5], ["0", "1", "2", "3", "4"], "way {number}");
        assert!(!story.contains(&"6".to_owned()));
    }
}

#[test]
fn a_folder_that_is_moved_is_not_made_again_where_it_was() {
    let place = TempDir::new().unwrap();
    let log = open(place.path());
    append_all(&log, 0..5);
    until(|| log.head().size == 5);
    let (here, there) = (place.path().join("log"), place.path().join("moved"));
    fs::rename(&here, &there).unwrap();
    let _ = log.append(sealed(&log, 5)).wait();
    until(|| matches!(log.health(), Health::Failed(_)));
    assert_eq!(log.append(sealed(&log, 6)).wait(), Err(AppendError::Failed));
    drop(log);
    assert!(!here.exists(), "no second log grows where the first one was");
    fs::rename(&there, &here).unwrap();
    assert_eq!(
        story(&open(place.path())),
        ["0", "1", "2", "3", "4", "5"],
        "what was acknowledged is there"
    );
}
