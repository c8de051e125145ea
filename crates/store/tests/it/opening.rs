use std::os::unix::fs::PermissionsExt;

use store::{Error, Expect, OpenError, Store, Target, TargetError};

use crate::{Subject, counted, on_both, put, thing};

on_both! {
    async fn a_restart_keeps_everything(subject: &Subject) {
        let store = subject.store().await;
        put(&store, thing("a", 7), Expect::New).await.unwrap();
        store.write(|tx| tx.claim("key", "k", "a")).await.unwrap();
        drop(store);
        let store = subject.store().await;
        assert_eq!(counted(&store, "a").await, Some(7));
        assert!(store.read(|view| view.claimed("key", "k")).await.unwrap().is_some());
        assert_eq!(put(&store, thing("b", 1), Expect::New).await.unwrap().changed, 2);
    }

    async fn tables_are_made_once_however_many_open_them(subject: &Subject) {
        let (one, two) = tokio::join!(subject.store(), subject.store());
        put(&one, thing("a", 7), Expect::New).await.unwrap();
        assert_eq!(counted(&two, "a").await, Some(7));

        // A step that was cut off before it was noted runs again.
        subject.tamper("DELETE FROM migration").await;
        let again = subject.store().await;
        assert_eq!(counted(&again, "a").await, Some(7));
        assert_eq!(again.watermark().await.unwrap(), 1);
    }

    async fn tables_that_a_newer_program_made_are_refused(subject: &Subject) {
        drop(subject.store().await);
        subject.tamper("INSERT INTO migration (number, name) VALUES (999, 'future')").await;
        let refused = Store::open(&subject.target()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Newer { found: 999, known: 2 }), "{refused}");
        subject.tamper("DELETE FROM migration WHERE number = 999").await;
        subject.store().await;
    }
}

#[tokio::test]
async fn a_store_in_memory_is_a_store() {
    let store = Store::open(&"sqlite::memory:".parse().unwrap()).await.unwrap();
    put(&store, thing("a", 7), Expect::New).await.unwrap();
    assert_eq!(counted(&store, "a").await, Some(7));
    assert_eq!(store.changes(0, 10).await.unwrap().len(), 1);
    let other = Store::open(&Target::Memory).await.unwrap();
    assert_eq!(counted(&other, "a").await, None);
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let subject = Subject::sqlite();
    let store = subject.store().await;
    put(&store, thing("a", 7), Expect::New).await.unwrap();
    let Target::Sqlite(path) = subject.target() else { unreachable!() };
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Target::Sqlite(directory.path().join("missing/store.db"));
    let error = Store::open(&missing).await.err().unwrap();
    assert!(matches!(error, OpenError::Database(Error::Unavailable(_))), "{error:?}");

    let foreign = directory.path().join("letter");
    std::fs::write(&foreign, "Dear store,\n".repeat(100)).unwrap();
    let error = Store::open(&Target::Sqlite(foreign)).await.err().unwrap();
    assert!(matches!(error, OpenError::Database(Error::Corrupt(_))), "{error:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_unavailable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u@{}/d", silent.local_addr().unwrap());
    let error = Store::open(&url.parse().unwrap()).await.err().unwrap();
    assert!(matches!(error, OpenError::Database(Error::Unavailable(_))), "{error:?}");
}

fn read(url: &str) -> Result<Target, TargetError> {
    url.parse()
}

#[test]
fn a_database_is_named_by_a_url() {
    assert_eq!(read("sqlite:/var/lib/b.db").unwrap().to_string(), "sqlite:/var/lib/b.db");
    assert_eq!(read("sqlite:///var/lib/b.db").unwrap().to_string(), "sqlite:/var/lib/b.db");
    assert_eq!(read("sqlite::memory:").unwrap().to_string(), "sqlite::memory:");
    for url in [
        "postgres://u:secret@127.0.0.1/d",
        "postgresql://u:secret@localhost:5433/d",
        "postgres://u:secret@[::1]/d",
        "postgres://u:secret@%2Frun%2Fpostgresql/d",
        "postgres://u:secret@/d?host=/run/postgresql",
    ] {
        assert_eq!(format!("{:?}", read(url).unwrap()), "postgres:d");
    }
    for text in ["", "sqlite:", "mysql://h/d", "/var/lib/b.db", "host=/run user=u"] {
        assert!(matches!(read(text), Err(TargetError::Unknown)), "{text}");
    }
    assert!(matches!(read("postgres://h/d?port=x"), Err(TargetError::Postgres(_))));
}

#[test]
fn a_server_elsewhere_is_refused_for_want_of_tls() {
    for url in [
        "postgres://u@db.example.com/d",
        "postgres://u@10.0.0.7/d",
        "postgres://u@127.0.0.1,10.0.0.7/d",
        "postgres://u@localhost/d?hostaddr=10.0.0.7",
        "postgres://u@/d?host=db.example.com",
        "postgres://u@localhost.example.com/d",
    ] {
        assert!(matches!(read(url), Err(TargetError::Remote(_))), "{url}");
    }
    let refused = read("postgres://u:secret@10.0.0.7/d").unwrap_err().to_string();
    assert!(refused.starts_with("PostgreSQL on `10.0.0.7` needs TLS"), "{refused}");
}
