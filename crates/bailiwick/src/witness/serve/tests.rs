use ledger::{CheckpointKey, Tiles};
use model::Digest;
use tempfile::TempDir;

use super::*;
use crate::witness::Folder;

const AT: i64 = 1_800_000_000;

/// A witness, and a log that it knows.
struct Scene {
    _place: TempDir,
    log: TempDir,
    witness: Witness,
}

fn log_key() -> CheckpointKey {
    CheckpointKey::from_seed(&[7; 32])
}

fn scene() -> Scene {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path().join("witness"), None);
    folder.create("witness.example/1").unwrap();
    let key = log_key().verifier("acme/prod/1").unwrap();
    assert!(folder.add(&key, Timestamp::from_seconds(AT)).unwrap());
    assert!(!folder.add(&key, Timestamp::from_seconds(AT)).unwrap(), "it is known already");
    let log = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(log.path().join("tile/0/000.p")).unwrap();
    let leaves: Vec<u8> = (0..5).flat_map(leaf).collect();
    for size in 1..=5 {
        std::fs::write(log.path().join(format!("tile/0/000.p/{size}")), &leaves[..size * 32])
            .unwrap();
    }
    Scene { witness: folder.open().unwrap(), log, _place: place }
}

fn leaf(index: u8) -> [u8; 32] {
    ledger::leaf_hash(&[index]).0
}

/// The root over the first entries, folded by hand.
fn root(size: u64) -> Digest {
    let hash = |left: Digest, right: Digest| {
        let node = [&[1][..], &left.0, &right.0].concat();
        Digest(
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &node)
                .as_ref()
                .try_into()
                .unwrap(),
        )
    };
    let leaves: Vec<Digest> = (0..5).map(|index| Digest(leaf(index))).collect();
    let two = |at: usize| hash(leaves[at], leaves[at + 1]);
    match size {
        0 => Head::empty().root,
        1 => leaves[0],
        2 => two(0),
        3 => hash(two(0), leaves[2]),
        4 => hash(two(0), two(2)),
        _ => hash(hash(two(0), two(2)), leaves[4]),
    }
}

/// A head, signed by the log's key.
fn note(size: u64, root: Digest) -> String {
    signed_by(&log_key(), "acme/prod/1", size, root)
}

fn signed_by(key: &CheckpointKey, name: &str, size: u64, root: Digest) -> String {
    let origin = name.to_owned();
    key.sign(&Checkpoint { origin, size, root }, &key.verifier(name).unwrap())
}

impl Scene {
    fn path(&self, old: u64, size: u64) -> Vec<Digest> {
        Tiles::new(self.log.path(), size).consistency(old).unwrap()
    }

    /// Submits an honest head.
    fn submit(&self, old: u64, size: u64) -> Outcome {
        let path = if old <= size { self.path(old, size) } else { Vec::new() };
        self.send(&Submission { old, path, note: note(size, root(size)) })
    }

    fn send(&self, submission: &Submission) -> Outcome {
        self.witness.consider(submission.to_string().as_bytes(), Timestamp::from_seconds(AT))
    }

    fn seen(&self) -> u64 {
        self.witness.book.log("acme/prod/1").unwrap().unwrap().size
    }
}

#[test]
fn a_head_that_contains_the_last_one_is_cosigned_and_becomes_the_last_one() {
    let scene = scene();
    for (old, size) in [(0, 2), (2, 3), (3, 3), (3, 5)] {
        let Outcome::Cosigned(line) = scene.submit(old, size) else { panic!("{old} to {size}") };
        let cosigned = note(size, root(size)) + &line;
        let at = Timestamp::from_seconds(AT);
        assert_eq!(scene.witness.public.cosigned(cosigned.as_bytes(), at), Ok(Some(at)));
        assert_eq!(scene.seen(), size);
    }
}

#[test]
fn nothing_is_cosigned_that_may_not_contain_the_last_head_and_the_book_stays() {
    let scene = scene();
    assert!(matches!(scene.submit(0, 3), Outcome::Cosigned(_)));
    let fork = Digest([9; 32]);
    let wrong = |old, path: Vec<Digest>, note: String| scene.send(&Submission { old, path, note });
    let stranger = CheckpointKey::from_seed(&[8; 32]);
    for (outcome, expected) in [
        (scene.submit(2, 5), Outcome::OtherSize(3)),
        (scene.submit(0, 5), Outcome::OtherSize(3)),
        (scene.submit(4, 5), Outcome::OtherSize(3)),
        (scene.submit(0, 2), Outcome::OtherSize(3)),
        (
            scene.submit(3, 2),
            Outcome::Malformed("the old size is larger than the new one".to_owned()),
        ),
        (wrong(3, vec![], note(3, fork)), Outcome::Inconsistent),
        (wrong(0, vec![], note(3, fork)), Outcome::OtherSize(3)),
        (
            wrong(3, vec![], note(1 << 63, fork)),
            Outcome::Malformed("no log has 2^63 entries".to_owned()),
        ),
        (
            wrong(3, vec![], note(u64::MAX, fork)),
            Outcome::Malformed("no log has 2^63 entries".to_owned()),
        ),
        (wrong(3, scene.path(3, 5), note(5, fork)), Outcome::Inconsistent),
        (wrong(3, scene.path(2, 5), note(5, root(5))), Outcome::Inconsistent),
        (wrong(3, vec![], note(5, root(5))), Outcome::Inconsistent),
        (
            wrong(3, scene.path(3, 5), signed_by(&stranger, "acme/prod/1", 5, root(5))),
            Outcome::Unsigned,
        ),
        (
            wrong(3, scene.path(3, 5), note(5, root(5)).replacen("\n5\n", "\n4\n", 1)),
            Outcome::Unsigned,
        ),
        (wrong(0, vec![], signed_by(&stranger, "other", 5, root(5))), Outcome::UnknownLog),
    ] {
        assert_eq!(outcome, expected);
    }
    for body in ["", "old 3\n\n", "old 3\n\nacme/prod/1\n5\n", &note(5, root(5))] {
        let outcome = scene.witness.consider(body.as_bytes(), Timestamp::from_seconds(AT));
        assert!(matches!(outcome, Outcome::Malformed(_)), "{body:?}: {outcome:?}");
    }
    assert_eq!(scene.seen(), 3);
}

#[test]
fn two_heads_of_one_size_are_told_of_from_whichever_size_the_log_goes_on_and_once_an_hour() {
    for old in [0, 3] {
        let scene = self::scene();
        assert!(matches!(scene.submit(0, 3), Outcome::Cosigned(_)));
        scene.send(&Submission { old: 2, path: vec![], note: note(3, root(3)) });
        assert!(
            scene.witness.may_tell("two stories", "acme/prod/1"),
            "the same head is no other story"
        );
        let scene = self::scene();
        assert!(matches!(scene.submit(0, 3), Outcome::Cosigned(_)));
        scene.send(&Submission { old, path: vec![], note: note(3, Digest([9; 32])) });
        assert!(!scene.witness.may_tell("two stories", "acme/prod/1"), "it was told from {old}");
        assert!(scene.witness.may_tell("not proven", "acme/prod/1"), "that is another cause");
    }
}

#[test]
fn of_two_heads_at_once_one_wins_and_the_other_learns_its_size() {
    let scene = scene();
    let submit = |size| scene.submit(0, size);
    let mut outcomes = std::thread::scope(|threads| {
        let racers = [4, 5].map(|size| threads.spawn(move || submit(size)));
        racers.map(|racer| racer.join().unwrap())
    });
    outcomes.sort_by_key(|outcome| matches!(outcome, Outcome::OtherSize(_)));
    assert!(matches!(outcomes[0], Outcome::Cosigned(_)), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::OtherSize(scene.seen()));
}

#[test]
fn every_outcome_has_the_status_and_media_type_of_the_specification() {
    for (outcome, status, media_type) in [
        (Outcome::Cosigned("\u{2014} w AAAA\n".to_owned()), 200, "text/plain; charset=utf-8"),
        (Outcome::Malformed("no".to_owned()), 400, "text/plain; charset=utf-8"),
        (Outcome::Unsigned, 403, "text/plain; charset=utf-8"),
        (Outcome::UnknownLog, 404, "text/plain; charset=utf-8"),
        (Outcome::OtherSize(7), 409, "text/x.tlog.size"),
        (Outcome::Inconsistent, 422, "text/plain; charset=utf-8"),
        (Outcome::Failed, 503, "text/plain; charset=utf-8"),
    ] {
        let response = outcome.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], media_type);
    }
}

#[test]
fn a_witness_is_not_made_twice_and_does_not_start_without_its_book_or_key() {
    let place = tempfile::tempdir().unwrap();
    let folder = || Folder::new(place.path().join("w"), None);
    assert_eq!(folder().create("a name").unwrap_err().code, "name_invalid");
    folder().create("witness.example/1").unwrap();
    assert_eq!(folder().create("witness.example/1").unwrap_err().code, "already_initialized");
    let key = log_key().verifier("acme/prod/1").unwrap();
    folder().add(&key, Timestamp::from_seconds(AT)).unwrap();
    let other = CheckpointKey::from_seed(&[8; 32]).verifier("acme/prod/1").unwrap();
    assert_eq!(folder().add(&other, Timestamp::from_seconds(AT)).unwrap_err().code, "log_known");

    let code = || folder().open().err().map(|failure| failure.code);
    assert_eq!(code(), None);
    let public = place.path().join("w/witness.pub");
    let line = std::fs::read(&public).unwrap();
    let stranger = CheckpointKey::from_seed(&[8; 32]).witness("witness.example/1").unwrap();
    std::fs::write(&public, stranger.to_string()).unwrap();
    assert_eq!(code().as_deref(), Some("key_invalid"));
    std::fs::write(&public, line).unwrap();
    std::fs::remove_file(place.path().join("w/witness.sqlite")).unwrap();
    assert_eq!(code().as_deref(), Some("book_not_opened"));
    assert!(!place.path().join("w/witness.sqlite").exists(), "it was made anew");
}
