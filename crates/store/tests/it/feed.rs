use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use store::{Expect, Store};

use crate::{Failure, Subject, Thing, count_up, digest, entry, on_both, put, thing, widening};

async fn seen(store: &Store, since: u64) -> Vec<(String, u64)> {
    let rows = store.changes(since, 100).await.unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].changed < pair[1].changed));
    rows.into_iter().map(|row| (row.key, row.version)).collect()
}

on_both! {
    async fn the_feed_brings_each_object_at_its_latest_change(subject: &Subject) {
        let store = subject.store().await;
        assert_eq!(store.watermark().await.unwrap(), 0);
        let first = put(&store, thing("a", 1), Expect::New).await.unwrap();
        put(&store, thing("b", 1), Expect::New).await.unwrap();
        let last = put(&store, thing("a", 2), Expect::Any).await.unwrap();

        assert_eq!(seen(&store, 0).await, [("b".to_owned(), 1), ("a".to_owned(), 2)]);
        assert_eq!(seen(&store, first.changed).await.len(), 2);
        assert_eq!(seen(&store, last.changed).await, []);
        assert_eq!(store.changes(0, 1).await.unwrap()[0].key, "b");
        assert_eq!(store.watermark().await.unwrap(), last.changed);
    }

    async fn sealing_an_entry_brings_its_objects_again(subject: &Subject) {
        let store = subject.store().await;
        let change = put(&store, thing("a", 1), Expect::New).await.unwrap();
        store.write(|tx| tx.sealed(entry(1), 3, digest(3))).await.unwrap();
        let rows = store.changes(change.changed, 10).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].sealed.unwrap().index, 3);
        store.write(|tx| tx.sealed(entry(1), 3, digest(3))).await.unwrap();
        assert_eq!(seen(&store, rows[0].changed).await, []);
    }

    async fn what_is_rolled_back_never_reaches_the_feed(subject: &Subject) {
        let store = subject.store().await;
        let refused: Result<(), Failure> = store
            .write(|tx| {
                tx.put(&thing("a", 1), Expect::New, widening(1))?;
                Err("changed its mind".into())
            })
            .await;
        assert_eq!(refused.unwrap_err().to_string(), "changed its mind");
        assert_eq!(seen(&store, 0).await, []);
        assert_eq!(store.watermark().await.unwrap(), 0);
    }

    async fn a_commit_wakes_whoever_waits_for_changes(subject: &Subject) {
        let store = subject.store().await;
        let mut changed = store.changed();
        assert!(!changed.has_changed().unwrap());
        let put = put(&store, thing("a", 1), Expect::New).await.unwrap();
        changed.changed().await.unwrap();
        assert_eq!(*changed.borrow_and_update(), put.changed);

        store.write(|tx| tx.claim("key", "k", "a")).await.unwrap();
        assert!(!changed.has_changed().unwrap());
        drop(store);
        assert_eq!(*subject.store().await.changed().borrow(), put.changed);
    }

    // Also that the positions of two nodes are in the order of their commits: a reader that has moved on to a later
    // position would miss an earlier one that is committed after it.
    async fn a_reader_with_a_cursor_misses_nothing_while_others_write(subject: &Subject) {
        const WRITERS: usize = 8;
        const CHANGES: usize = 12;
        let stores = subject.writers().await;
        for number in 0..WRITERS {
            put(&stores[0], thing(&format!("shared-{}", number % 3), 0), Expect::Any).await.unwrap();
        }
        let done = Arc::new(AtomicBool::new(false));
        let reader = {
            let (store, done) = (subject.store().await, Arc::clone(&done));
            tokio::spawn(async move {
                let (mut cursor, mut positions, mut latest) = (0, BTreeSet::new(), BTreeMap::new());
                loop {
                    let last_look = done.load(Ordering::SeqCst);
                    let rows = store.changes(cursor, 5).await.unwrap();
                    for row in &rows {
                        assert!(row.changed > cursor && row.intact);
                        cursor = row.changed;
                        assert!(positions.insert(row.changed));
                        latest.insert(row.key.clone(), row.version);
                    }
                    if rows.is_empty() && last_look {
                        return latest;
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| {
            let store = stores[writer % 2].clone();
            tokio::spawn(async move {
                for change in 0..CHANGES {
                    store.write(move |tx| {
                        let own = thing(&format!("own-{writer}-{change}"), 1);
                        tx.put(&own, Expect::New, widening(1))?;
                        count_up(tx, &format!("shared-{}", writer % 3))
                    }).await.unwrap();
                }
            })
        }).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        let latest = reader.await.unwrap();
        let stored = stores[0].read(|view| view.list::<Thing>(None, 1000)).await.unwrap();
        let stored: BTreeMap<_, _> =
            stored.rows.into_iter().map(|row| (row.value.name, row.version)).collect();
        assert_eq!(latest, stored);
        assert_eq!(stored.len(), WRITERS * CHANGES + 3);
    }
}
