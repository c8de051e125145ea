use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
    mpsc,
};

use store::{Error, Expect, OutboxRow, Store};
use tokio::task::{JoinHandle, yield_now};

use crate::{Failure, Subject, count_up, counted, entry, on_both, put, thing, widening};

/// Keeps the writer busy until the sender speaks, so that what is asked meanwhile shares the next transaction.
async fn hold(store: &Store) -> (mpsc::Sender<()>, JoinHandle<Result<(), Error>>) {
    let (release, held) = mpsc::channel();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let (store, mut begun) = (store.clone(), Some(begun));
    let task = tokio::spawn(async move {
        store
            .write(move |_| {
                begun.take().unwrap().send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            })
            .await
    });
    begins.await.unwrap();
    (release, task)
}

/// Asks for a thing to be stored, by a closure that then fails where it is told to. The call is in the queue when
/// this returns.
async fn ask(store: &Store, name: &'static str, fails: bool) -> JoinHandle<Result<(), Failure>> {
    let store = store.clone();
    let task = tokio::spawn(async move {
        store
            .write(move |tx| {
                tx.put(&thing(name, 1), Expect::New, widening(1))?;
                if fails { Err(format!("{name} changed its mind").into()) } else { Ok(()) }
            })
            .await
    });
    yield_now().await;
    task
}

on_both! {
    async fn an_erring_closure_is_undone_alone(subject: &Subject) {
        let store = subject.store().await;
        let (release, held) = hold(&store).await;
        let first = ask(&store, "first", false).await;
        let erring = ask(&store, "erring", true).await;
        let twice = ask(&store, "first", false).await;
        let last = ask(&store, "last", false).await;
        release.send(()).unwrap();
        held.await.unwrap().unwrap();

        first.await.unwrap().unwrap();
        assert_eq!(erring.await.unwrap().unwrap_err().to_string(), "erring changed its mind");
        assert_eq!(twice.await.unwrap().unwrap_err().to_string(), "it exists already, at version 1");
        last.await.unwrap().unwrap();
        let keys: Vec<_> = store.changes(0, 10).await.unwrap().into_iter()
            .map(|row| (row.key, row.changed)).collect();
        assert_eq!(keys, [("first".to_owned(), 1), ("last".to_owned(), 2)]);
    }

    async fn concurrent_changes_are_counted_exactly(subject: &Subject) {
        let stores = subject.writers().await;
        put(&stores[0], thing("a", 0), Expect::New).await.unwrap();
        let tasks: Vec<_> = (0..16).map(|task| {
            let store = stores[task % 2].clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    store.write(|tx| count_up(tx, "a")).await.unwrap();
                }
            })
        }).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(counted(&stores[0], "a").await, Some(160));
    }

    async fn a_failed_statement_that_the_closure_overlooks_stores_nothing(subject: &Subject) {
        let store = subject.store().await;
        let row = OutboxRow { entry: entry(1), object: None, draft: Vec::new(), takes_away: false };
        let overlooked: Result<(), Error> = store.write(move |tx| {
            tx.enqueue(row.clone())?;
            let twice = tx.enqueue(row.clone());
            assert!(matches!(twice, Err(Error::Statement(_))), "{twice:?}");
            Ok(())
        }).await;
        assert!(matches!(overlooked, Err(Error::Statement(_))), "{overlooked:?}");
        assert_eq!(store.read(|view| view.outbox(10)).await.unwrap(), []);
        put(&store, thing("a", 1), Expect::New).await.unwrap();
    }

    async fn a_panic_reaches_its_caller_and_nobody_else(subject: &Subject) {
        let store = subject.store().await;
        let (release, held) = hold(&store).await;
        let before = ask(&store, "before", false).await;
        let panics = {
            let store = store.clone();
            tokio::spawn(async move {
                store.write(|tx| {
                    tx.put(&thing("panics", 1), Expect::New, widening(1))?;
                    let nothing: Option<()> = None;
                    nothing.ok_or(()).unwrap();
                    Ok::<_, Failure>(())
                }).await
            })
        };
        yield_now().await;
        release.send(()).unwrap();
        held.await.unwrap().unwrap();
        before.await.unwrap().unwrap();
        assert!(panics.await.unwrap_err().is_panic());
        put(&store, thing("after", 1), Expect::New).await.unwrap();
        assert_eq!(counted(&store, "before").await, Some(1));
        assert_eq!(counted(&store, "panics").await, None);
    }

    async fn a_call_that_nobody_waits_for_any_more_does_not_begin(subject: &Subject) {
        let store = subject.store().await;
        let (release, held) = hold(&store).await;
        let given_up = ask(&store, "given up", false).await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        release.send(()).unwrap();
        held.await.unwrap().unwrap();
        put(&store, thing("other", 1), Expect::New).await.unwrap();
        assert_eq!(counted(&store, "given up").await, None);
    }

    async fn more_calls_than_may_wait_are_refused_at_once(subject: &Subject) {
        let store = subject.store().await;
        let (release, held) = hold(&store).await;
        let mut calls = Vec::new();
        for _ in 0..1100 {
            let store = store.clone();
            calls.push(tokio::spawn(async move { store.write(|_| Ok::<_, Error>(())).await }));
            yield_now().await;
        }
        release.send(()).unwrap();
        held.await.unwrap().unwrap();
        let mut refused = 0;
        for call in calls {
            if let Err(error) = call.await.unwrap() {
                assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
                refused += 1;
            }
        }
        assert_eq!(refused, 1100 - 1024);
    }

    async fn reading_sees_one_moment(subject: &Subject) {
        let store = subject.store().await;
        put(&store, thing("a", 1), Expect::New).await.unwrap();
        let (looked, has_looked) = tokio::sync::oneshot::channel();
        let (go_on, waits) = mpsc::channel();
        let mut looked = Some(looked);
        let reader = store.clone();
        let reading = tokio::spawn(async move {
            reader.read(move |view| {
                let before = view.watermark()?;
                looked.take().unwrap().send(()).unwrap();
                waits.recv().unwrap();
                Ok::<_, Error>((before, view.watermark()?, view.changes(0, 10)?.len()))
            }).await
        });
        has_looked.await.unwrap();
        put(&store, thing("b", 1), Expect::New).await.unwrap();
        go_on.send(()).unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), (1, 1, 1));
    }
}

/// Somebody who keeps no order changes a claim in the middle of the closure, as often as told.
async fn race(subject: &Subject, disturbed: u32) -> (u32, Result<Option<String>, Failure>) {
    let Subject::Postgres(database) = subject else {
        unreachable!("SQLite's writers have the file alone")
    };
    let store = subject.store().await;
    store.write(|tx| tx.claim("key", "k", "nobody")).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let (url, counter) = (database.url(), Arc::clone(&runs));
    let result = store
        .write(move |tx| {
            let before = tx.claimed("key", "k")?;
            let run = counter.fetch_add(1, Ordering::SeqCst);
            if run < disturbed {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let change = format!("UPDATE claim SET owner = 'run {run}'");
                runtime.block_on(crate::tamper(&url, &change));
            }
            tx.release("key", "k")?;
            Ok::<_, Failure>(before)
        })
        .await;
    (runs.load(Ordering::SeqCst), result)
}

#[tokio::test]
async fn a_closure_that_lost_a_race_runs_again_on_what_is_true_then() {
    let (runs, result) = race(&Subject::postgres(), 2).await;
    assert_eq!((runs, result.unwrap().as_deref()), (3, Some("run 1")));
}

#[tokio::test]
async fn a_closure_that_loses_every_race_is_told_so() {
    let (runs, result) = race(&Subject::postgres(), u32::MAX).await;
    let error = result.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::Contention(_))), "{error:?}");
    assert_eq!(runs, 4);
}

#[tokio::test]
async fn a_file_that_another_program_keeps_locked_is_contention() {
    let subject = Subject::sqlite();
    let store = subject.store().await;
    let store::Target::Sqlite(path) = subject.target() else { unreachable!() };
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.write(|tx| tx.claim("key", "k", "a")).await.unwrap_err();
    assert!(matches!(error, store::ClaimError::Store(Error::Contention(_))), "{error:?}");
    assert_eq!(store.read(|view| view.claimed("key", "k")).await.unwrap(), None);
    other.execute_batch("ROLLBACK").unwrap();
    store.write(|tx| tx.claim("key", "k", "a")).await.unwrap();
}

#[tokio::test]
async fn a_call_that_takes_too_long_says_whether_it_may_have_been_stored() {
    let store = Store::open(&store::Target::Memory).await.unwrap();
    let (release, held) = hold(&store).await;
    tokio::time::pause(); // from here on, whoever waits has waited long enough
    let waits = put(&store, thing("waits", 1), Expect::New).await.unwrap_err();
    assert!(matches!(waits, store::PutError::Store(Error::Unavailable(_))), "{waits:?}");
    let reads = store.watermark().await.unwrap_err();
    assert!(matches!(reads, Error::Unavailable(_)), "{reads:?}");
    let runs = held.await.unwrap().unwrap_err();
    assert!(matches!(runs, Error::Undecided(_)), "{runs:?}");

    release.send(()).unwrap();
    tokio::time::resume();
    assert_eq!(counted(&store, "waits").await, None);
}
