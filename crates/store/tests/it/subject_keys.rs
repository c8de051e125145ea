//! The keys of subjects, which are always in a SQLite file of their own.

use std::{fs, path::Path};

use ledger::{KeyStore, PayloadClass, SealedFor, Slot, StoredKey};
use store::{KeyBookError, SubjectKeyBook};
use token::MasterKey;
use zeroize::Zeroizing;

fn master(byte: u8) -> MasterKey {
    let text = format!("{}A=", char::from(b'A' + byte).to_string().repeat(42));
    MasterKey::from_base64(&text).unwrap()
}

fn key(id: &str, byte: u8) -> StoredKey {
    StoredKey { id: id.to_owned(), secret: Zeroizing::new([byte; 32]) }
}

fn secret(key: Option<StoredKey>) -> Option<(String, [u8; 32])> {
    key.map(|key| (key.id, *key.secret))
}

fn keep(book: &SubjectKeyBook, subject: &str, key: StoredKey) -> bool {
    book.keep(&[(calls(subject, 0), key)]).is_ok()
}

fn calls(subject: &str, period: i64) -> SealedFor {
    let slot = Slot { class: PayloadClass::Calls, period };
    SealedFor { subject: subject.to_owned(), slot }
}

/// The bytes of every file of the folder, one after the other.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn the_newest_key_of_a_subject_seals_and_the_others_open() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let missing = SubjectKeyBook::open(&file, master(1)).err().unwrap();
    assert!(matches!(missing, KeyBookError::Missing) && !file.exists());
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    assert!(SubjectKeyBook::create(&file, master(1)).is_err(), "it is there already");
    assert_eq!(secret(book.newest(&calls("person/a", 0)).unwrap()), None);
    assert!(keep(&book, "person/a", key("k1", 1)));
    assert!(keep(&book, "person/b", key("k2", 2)));
    assert!(keep(&book, "person/a", key("k3", 3)));
    let twice = [("person/c", "k4"), ("person/b", "k1")];
    let twice = twice.map(|(subject, id)| (calls(subject, 0), key(id, 9)));
    assert!(book.keep(&twice).is_err(), "no two keys have one name");
    drop(book);
    let book = SubjectKeyBook::open(&file, master(1)).unwrap();
    assert_eq!(
        secret(book.newest(&calls("person/a", 0)).unwrap()),
        Some(("k3".to_owned(), [3; 32]))
    );
    assert_eq!(secret(book.by_id("k1").unwrap()), Some(("k1".to_owned(), [1; 32])));
    assert_eq!(book.ids("person/a").unwrap(), ["k1", "k3"]);
    assert_eq!(secret(book.by_id("k4").unwrap()), None);
}

#[test]
fn another_master_key_opens_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    assert!(keep(&book, "person/a", key("k1", 1)));
    drop(book);
    let other = SubjectKeyBook::open(&file, master(2)).err().unwrap();
    assert!(matches!(other, KeyBookError::OtherMaster), "{other}");
    fs::write(&file, b"").unwrap();
    assert!(SubjectKeyBook::open(&file, master(1)).is_err(), "a file that is no book");
}

#[test]
fn of_a_destroyed_key_nothing_is_left_in_any_file() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    let before = all_bytes(place.path());
    for number in 0..200 {
        let key = key(&format!("key-number-{number}"), 7);
        assert!(keep(&book, &format!("person/{number}"), key));
    }
    let with = all_bytes(place.path());
    assert!(!holds(&with, &[7; 32]), "keys are wrapped");
    assert!(holds(&with, b"key-number-77") && holds(&with, b"person/77"));
    assert!(!holds(&before, b"key-number-77"));
    book.destroy(&["key-number-77".to_owned(), "no-such-key".to_owned()]).unwrap();
    let without = all_bytes(place.path());
    assert!(!holds(&without, b"key-number-77") && !holds(&without, b"person/77"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing stands beside it");
    assert!(book.by_id("key-number-77").unwrap().is_none());
    assert!(book.by_id("key-number-78").unwrap().is_some());
}

#[test]
fn a_wrapped_key_opens_for_its_own_subject_alone() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    assert!(keep(&book, "person/a", key("k1", 1)));
    drop(book);
    let mut bytes = fs::read(&file).unwrap();
    let at: Vec<usize> =
        (0..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(b"person/a")).collect();
    at.iter().for_each(|at| bytes[at + 7] = b'b');
    fs::write(&file, bytes).unwrap();
    let book = SubjectKeyBook::open(&file, master(1)).unwrap();
    assert!(book.by_id("k1").is_err(), "as the key of another subject");
}

#[test]
fn a_new_master_key_opens_what_the_former_one_did_and_the_former_one_opens_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let mut book = SubjectKeyBook::create(&file, master(1)).unwrap();
    let key = |number: u64| key(&format!("k{number}"), (number % 251) as u8);
    let keys: Vec<_> =
        (0..2_001).map(|number| (calls(&format!("person/{number}"), 0), key(number))).collect();
    book.keep(&keys).unwrap();
    assert_eq!(book.rewrap(master(2)).unwrap(), 2_001);
    assert_eq!(secret(book.by_id("k1500").unwrap()).unwrap().1, [(1500 % 251) as u8; 32]);
    drop(book);
    assert!(SubjectKeyBook::open(&file, master(1)).is_err());
    let book = SubjectKeyBook::open(&file, master(2)).unwrap();
    assert_eq!(secret(book.by_id("k2000").unwrap()).unwrap().1, [(2000 % 251) as u8; 32]);
}

#[test]
fn a_key_that_does_not_open_leaves_all_under_the_former_master_key() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    assert!(keep(&book, "person/a", key("k1", 1)));
    assert!(keep(&book, "person/b", key("k2", 2)));
    drop(book);
    let mut bytes = fs::read(&file).unwrap();
    let at: Vec<usize> =
        (0..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(b"person/b")).collect();
    at.iter().for_each(|at| bytes[at + 7] = b'c');
    fs::write(&file, bytes).unwrap();
    let mut book = SubjectKeyBook::open(&file, master(1)).unwrap();
    assert!(matches!(book.rewrap(master(2)), Err(KeyBookError::Closed { .. })));
    assert!(book.by_id("k1").unwrap().is_some());
    drop(book);
    assert!(SubjectKeyBook::open(&file, master(2)).is_err());
    assert!(SubjectKeyBook::open(&file, master(1)).unwrap().by_id("k1").unwrap().is_some());
}

#[test]
fn a_damaged_key_seals_nothing_any_more_and_another_one_takes_its_place() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.sqlite");
    let book = SubjectKeyBook::create(&file, master(1)).unwrap();
    assert!(keep(&book, "person/a", key("k1", 1)));
    assert!(keep(&book, "person/b", key("k2", 2)));
    let other = rusqlite::Connection::open(&file).unwrap();
    let damage = "UPDATE subject_key SET wrapped = zeroblob(60) WHERE id = 'k1'";
    assert_eq!(other.execute(damage, []).unwrap(), 1);
    assert_eq!(secret(book.newest(&calls("person/a", 0)).unwrap()), None);
    assert!(book.by_id("k1").is_err(), "whoever opens by it is told");
    assert!(keep(&book, "person/a", key("k3", 3)));
    assert_eq!(secret(book.newest(&calls("person/a", 0)).unwrap()).unwrap().0, "k3");
    assert_eq!(book.ids("person/a").unwrap(), ["k1", "k3"], "and it is erased with the others");
    assert_eq!(secret(book.newest(&calls("person/b", 0)).unwrap()).unwrap().0, "k2");
}

#[test]
fn keys_of_another_class_or_period_seal_nothing_and_past_ones_are_found_page_by_page() {
    let place = tempfile::tempdir().unwrap();
    let book = SubjectKeyBook::create(&place.path().join("keys.sqlite"), master(1)).unwrap();
    let governance =
        SealedFor::new("person/a", PayloadClass::Governance, model::Timestamp::default());
    let keys: Vec<_> = (0..6).map(|n| (calls("person/a", n), key(&format!("k{n}"), 1))).collect();
    book.keep(&keys).unwrap();
    book.keep(&[(governance.clone(), key("g0", 2))]).unwrap();
    assert_eq!(secret(book.newest(&calls("person/a", 4)).unwrap()).unwrap().0, "k4");
    assert_eq!(secret(book.newest(&governance).unwrap()).unwrap().0, "g0");
    assert_eq!(secret(book.newest(&calls("person/a", 6)).unwrap()), None);
    let before = calls("", 4).slot;
    let past = |after: &str, most| -> Vec<String> {
        let past = book.past(before, after, most).unwrap();
        past.into_iter().map(|key| format!("{} {}", key.subject, key.id)).collect()
    };
    assert_eq!(past("", 3), ["person/a k0", "person/a k1", "person/a k2"]);
    assert_eq!(past("k2", 3), ["person/a k3"]);
    assert_eq!(past("k3", 3), [""; 0]);
}
