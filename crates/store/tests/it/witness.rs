//! The book of a witness, which is always a SQLite file.

use model::{Digest, Timestamp};
use store::{Seen, WitnessBook};

fn seen(size: u64, root: u8) -> Seen {
    Seen {
        origin: "acme/prod/1".to_owned(),
        key: "acme/prod/1+00000000+AAAA".to_owned(),
        size,
        root: Digest([root; 32]),
        note: format!("head {size}").into_bytes(),
        at: Timestamp::from_seconds(100),
    }
}

#[test]
fn a_book_goes_on_where_it_was_and_is_never_made_anew_by_opening_it() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("witness.sqlite");
    assert!(WitnessBook::open(&file).is_err());
    assert!(!file.exists());
    let book = WitnessBook::create(&file).unwrap();
    assert!(WitnessBook::create(&file).is_err(), "it is there already");
    assert!(book.add(&seen(0, 0)).unwrap());
    assert!(!book.add(&Seen { key: "another".to_owned(), ..seen(9, 9) }).unwrap());
    assert!(book.advance(&seen(0, 0), &seen(5, 5)).unwrap());
    drop(book);
    let book = WitnessBook::open(&file).unwrap();
    assert_eq!(book.log("acme/prod/1").unwrap(), Some(seen(5, 5)));
    assert_eq!(book.logs().unwrap(), [seen(5, 5)]);
    assert_eq!(book.log("acme/prod/2").unwrap(), None);
}

#[test]
fn a_head_is_replaced_only_where_it_is_still_the_one_that_was_checked() {
    let place = tempfile::tempdir().unwrap();
    let book = WitnessBook::create(&place.path().join("witness.sqlite")).unwrap();
    book.add(&seen(0, 0)).unwrap();
    assert!(book.advance(&seen(0, 0), &seen(5, 5)).unwrap());
    assert!(!book.advance(&seen(0, 0), &seen(7, 7)).unwrap(), "another size");
    assert!(!book.advance(&seen(5, 6), &seen(7, 7)).unwrap(), "another root");
    assert!(book.advance(&seen(5, 5), &seen(u64::MAX, 7)).is_err(), "no size that can be kept");
    assert_eq!(book.log("acme/prod/1").unwrap(), Some(seen(5, 5)));
}

#[test]
fn a_key_takes_the_place_of_the_one_that_is_named_and_what_was_seen_stays() {
    let place = tempfile::tempdir().unwrap();
    let book = WitnessBook::create(&place.path().join("witness.sqlite")).unwrap();
    let (former, newer) = (seen(0, 0).key, "acme/prod/1+11111111+BBBB");
    book.add(&seen(0, 0)).unwrap();
    assert!(book.advance(&seen(0, 0), &seen(5, 5)).unwrap());
    assert!(!book.replace_key("acme/prod/1", newer, "acme/prod/1+22222222+CCCC").unwrap());
    assert!(!book.replace_key("acme/prod/2", &former, newer).unwrap());
    assert_eq!(book.log("acme/prod/1").unwrap(), Some(seen(5, 5)));
    assert!(book.replace_key("acme/prod/1", &former, newer).unwrap());
    let expected = Seen { key: newer.to_owned(), ..seen(5, 5) };
    assert_eq!(book.log("acme/prod/1").unwrap(), Some(expected));
}

#[test]
fn a_file_that_is_no_book_is_not_taken_for_one() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("witness.sqlite");
    std::fs::write(&file, b"").unwrap();
    assert!(WitnessBook::open(&file).is_err());
}
