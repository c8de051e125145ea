//! The index of a ledger, which is a SQLite file of its own whatever the node's database is.

use model::{Digest, Timestamp};
use store::{Error, SEGMENT, SearchBatch, SearchIndex, SearchMark, Term};
use tempfile::TempDir;

fn mark(size: u64) -> SearchMark {
    let (last, root) = (Digest([1; 32]), Digest([2; 32]));
    SearchMark { form: 1, log: "acme/1+00".to_owned(), size, last, head: size / 2, root }
}

fn with_term(index: &SearchIndex, term: Term, segment: u64, at_most: u64, limit: u32) -> Vec<u64> {
    index.read(|view| view.with_term(term, segment, at_most, limit)).unwrap()
}

#[test]
fn entries_are_found_by_term_and_segment_the_last_first() {
    let folder = TempDir::new().unwrap();
    let index = SearchIndex::new(&folder.path().join("search.sqlite"));
    assert_eq!(index.mark().unwrap(), None);
    let (even, all) = (Term::of(7), Term::of(u32::MAX));
    let mut batch = SearchBatch::default();
    let first = SEGMENT - 3;
    for entry in first..SEGMENT + 3 {
        let terms = [all, all].into_iter().chain((entry % 2 == 0).then_some(even));
        batch.add(entry, Timestamp::from_millis(entry as i64), terms).unwrap();
    }
    index.add(batch, &mark(SEGMENT + 3)).unwrap();
    assert_eq!(index.mark().unwrap(), Some(mark(SEGMENT + 3)));
    let last = SEGMENT - 1;
    assert_eq!(with_term(&index, all, 0, u64::MAX, 10), [last, last - 1, last - 2]);
    assert_eq!(with_term(&index, all, 0, last - 1, 1), [last - 1]);
    assert_eq!(with_term(&index, all, 1, SEGMENT + 1, 10), [SEGMENT + 1, SEGMENT]);
    assert_eq!(with_term(&index, even, 1, u64::MAX, 10), [SEGMENT + 2, SEGMENT]);
    assert_eq!(with_term(&index, Term::of(8), 0, u64::MAX, 10), [0; 0]);
    assert_eq!(with_term(&index, all, 2, u64::MAX, 10), [0; 0]);
    let within = |at_most, since: u64, until: u64| {
        let [since, until] = [since, until].map(|at| Timestamp::from_millis(at as i64));
        index.read(|view| view.block_within(at_most, since, until)).unwrap()
    };
    assert_eq!(within(u64::MAX >> 1, SEGMENT, SEGMENT + 1), Some(SEGMENT / store::BLOCK));
    assert_eq!(within(u64::MAX >> 1, 0, SEGMENT), Some(last / store::BLOCK));
    assert_eq!(within(u64::MAX >> 1, SEGMENT + 3, SEGMENT + 9), None);
    assert_eq!(within(last / store::BLOCK, SEGMENT, SEGMENT + 1), None);
}

#[test]
fn a_batch_and_its_mark_are_there_together_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("search.sqlite");
    let index = SearchIndex::new(&file);
    let batch = |entry| {
        let mut batch = SearchBatch::default();
        batch.add(entry, Timestamp::from_millis(1), [Term::of(1)]).unwrap();
        batch
    };
    index.add(batch(0), &mark(1)).unwrap();
    // Somebody else forbids the mark.
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE ON mark BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    index.add(batch(1), &mark(2)).unwrap_err();
    assert_eq!(index.mark().unwrap(), Some(mark(1)));
    assert_eq!(with_term(&index, Term::of(1), 0, 9, 9), [0]);
    other.execute_batch("DROP TRIGGER no").unwrap();
    index.add(batch(1), &mark(2)).unwrap();
    assert_eq!(with_term(&index, Term::of(1), 0, 9, 9), [1, 0]);
    drop(other);
    index.begin_anew().unwrap();
    assert_eq!(index.mark().unwrap(), None);
    assert_eq!(with_term(&index, Term::of(1), 0, 9, 9), [0; 0]);
    index.add(batch(5), &mark(6)).unwrap();
    let again = SearchIndex::new(&file);
    assert_eq!(with_term(&again, Term::of(1), 0, 9, 9), [5]);
}

#[test]
fn an_entry_beyond_what_a_posting_can_say_is_refused() {
    let at = Timestamp::from_millis(1);
    let mut batch = SearchBatch::default();
    batch.add((1 << 37) - 1, at, [Term::of(u32::MAX)]).unwrap();
    let refused = batch.add(1 << 37, at, []).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
}
