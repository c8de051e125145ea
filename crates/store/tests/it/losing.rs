//! What happens when the database goes away, which SQLite's file does not.

use store::{Error, Expect, PutError, Store};
use testkit::Cluster;

use crate::{Failure, Subject, counted, put, thing};

#[tokio::test]
async fn a_stopped_server_is_unavailable_until_it_is_back() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let store = Store::open(&database.url().parse().unwrap()).await.unwrap();
    put(&store, thing("a", 1), Expect::New).await.unwrap();
    assert_eq!(counted(&store, "a").await, Some(1));

    cluster.stop();
    let write = put(&store, thing("b", 1), Expect::New).await.unwrap_err();
    assert!(matches!(write, PutError::Store(Error::Unavailable(_))), "{write:?}");
    let read = store.watermark().await.unwrap_err();
    assert!(matches!(read, Error::Unavailable(_)) && read.is_unavailable(), "{read:?}");

    cluster.restart();
    put(&store, thing("c", 1), Expect::New).await.unwrap();
    assert_eq!(counted(&store, "a").await, Some(1));
    assert_eq!(counted(&store, "b").await, None);
}

#[tokio::test]
async fn a_connection_that_died_between_two_calls_is_replaced_unnoticed() {
    let subject = Subject::postgres();
    let store = subject.store().await;
    put(&store, thing("a", 1), Expect::New).await.unwrap();
    assert_eq!(counted(&store, "a").await, Some(1));
    let everyone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    subject.tamper(everyone).await;
    put(&store, thing("b", 1), Expect::New).await.unwrap();
    assert_eq!(counted(&store, "b").await, Some(1));
}

#[tokio::test]
async fn a_connection_that_dies_under_a_closure_stores_nothing_of_its_first_run() {
    let subject = Subject::postgres();
    let Subject::Postgres(database) = &subject else { unreachable!() };
    let store = subject.store().await;
    let (url, mut runs) = (database.url(), 0_u32);
    let run = store
        .write(move |tx| {
            runs += 1;
            tx.claim("key", &format!("run {runs}"), "a")?;
            if runs == 1 {
                let everyone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(crate::tamper(&url, everyone));
            }
            tx.claimed("key", "k")?;
            Ok::<_, Failure>(runs)
        })
        .await;
    assert_eq!(run.unwrap(), 2);
    assert_eq!(store.read(|view| view.claimed("key", "run 1")).await.unwrap(), None);
    assert!(store.read(|view| view.claimed("key", "run 2")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_is_kept_from_answering_is_unavailable() {
    let subject = Subject::postgres();
    let Subject::Postgres(database) = &subject else { unreachable!() };
    let store = subject.store().await;
    let (client, connection) =
        tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE feed IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let error = put(&store, thing("a", 1), Expect::New).await.unwrap_err();
    assert!(matches!(error, PutError::Store(Error::Unavailable(_))), "{error:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
    put(&store, thing("a", 1), Expect::New).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_dies_while_it_stores_leaves_open_whether_it_did() {
    let subject = Subject::postgres();
    let store = subject.store().await;
    subject
        .tamper(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON object \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()",
        )
        .await;
    let error = put(&store, thing("a", 1), Expect::New).await.unwrap_err();
    let PutError::Store(error) = error else { unreachable!("{error:?}") };
    assert!(matches!(error, Error::Undecided(_)) && error.is_unavailable(), "{error:?}");
    subject.tamper("DROP TRIGGER at_commit ON object").await;
    put(&store, thing("a", 1), Expect::New).await.unwrap();
}
