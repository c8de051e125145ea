use store::{Error, Expect, MAX_BACKLOG, MAX_DRAFT, ObjectVersion, OutboxRow, Store};

use crate::{Failure, Subject, Thing, digest, entry, on_both, thing, widening};

fn draft(number: u64) -> OutboxRow {
    OutboxRow { entry: entry(number), object: None, draft: vec![0, 255, 39], takes_away: false }
}

async fn waiting(store: &Store) -> Vec<OutboxRow> {
    store.read(|view| view.outbox(100)).await.unwrap()
}

on_both! {
    async fn entries_wait_in_the_order_of_their_changes(subject: &Subject) {
        let store = subject.store().await;
        let object = ObjectVersion { kind: "thing".to_owned(), key: "a".to_owned(), version: 1 };
        let rows = [
            draft(9),
            OutboxRow { object: Some(object), ..draft(3) },
            OutboxRow { takes_away: true, draft: Vec::new(), ..draft(5) },
        ];
        for row in rows.clone() {
            store.write(move |tx| tx.enqueue(row.clone())).await.unwrap();
        }
        assert_eq!(waiting(&store).await, rows);
        assert_eq!(store.read(|view| view.outbox(2)).await.unwrap(), rows[..2]);
    }

    async fn an_entry_stays_or_goes_with_its_change(subject: &Subject) {
        let store = subject.store().await;
        let refused: Result<(), Failure> = store.write(|tx| {
            tx.enqueue(draft(1))?;
            Err("changed its mind".into())
        }).await;
        refused.unwrap_err();
        assert_eq!(waiting(&store).await, []);
    }

    async fn sealing_marks_the_object_and_empties_the_outbox_once(subject: &Subject) {
        let store = subject.store().await;
        store.write(|tx| {
            tx.put(&thing("a", 1), Expect::New, widening(1))?;
            tx.put(&thing("b", 1), Expect::New, widening(1))?;
            tx.enqueue(draft(1))?;
            Ok::<_, Failure>(tx.enqueue(draft(2))?)
        }).await.unwrap();
        for _ in 0..2 {
            store.write(|tx| tx.sealed(entry(1), 7, digest(7))).await.unwrap();
            let waits: Vec<_> = waiting(&store).await.into_iter().map(|row| row.entry).collect();
            assert_eq!(waits, [entry(2)]);
            for name in ["a", "b"] {
                let row = store.read(move |view| view.get::<Thing>(name)).await.unwrap().unwrap();
                let receipt = row.sealed.unwrap();
                assert_eq!((receipt.index, receipt.leaf, row.version, row.intact), (7, digest(7), 1, true));
            }
        }
        // The first place stays, whatever is claimed later.
        store.write(|tx| tx.sealed(entry(1), 8, digest(8))).await.unwrap();
        let row = store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap();
        assert_eq!(row.sealed.unwrap().index, 7);
    }

    async fn an_object_that_changed_since_is_not_sealed_by_the_older_entry(subject: &Subject) {
        let store = subject.store().await;
        store.write(|tx| tx.put(&thing("a", 1), Expect::New, widening(1))).await.unwrap();
        store.write(|tx| tx.put(&thing("a", 2), Expect::Version(1), widening(2))).await.unwrap();
        store.write(|tx| tx.sealed(entry(1), 7, digest(7))).await.unwrap();
        let row = store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap();
        assert_eq!(row.sealed, None);
        store.write(|tx| tx.sealed(entry(2), 8, digest(8))).await.unwrap();
        let row = store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap();
        assert_eq!(row.sealed.unwrap().index, 8);
    }

    async fn a_full_outbox_takes_only_what_takes_away(subject: &Subject) {
        let store = subject.store().await;
        subject.tamper(&format!(
            "INSERT INTO outbox (position, entry, draft, takes_away) \
             WITH RECURSIVE n (i) AS (SELECT -1 UNION ALL SELECT i - 1 FROM n WHERE i > -{MAX_BACKLOG}) \
             SELECT i, 'entry' || i, '', true FROM n"
        )).await;
        let full = store.write(|tx| tx.enqueue(draft(1))).await.unwrap_err();
        assert!(matches!(full, Error::Backlog), "{full}");
        store.write(|tx| tx.enqueue(OutboxRow { takes_away: true, ..draft(2) })).await.unwrap();

        subject.tamper("DELETE FROM outbox WHERE position < -1").await;
        store.write(|tx| tx.enqueue(draft(1))).await.unwrap();
    }

    async fn a_draft_that_is_too_long_is_refused(subject: &Subject) {
        let store = subject.store().await;
        let long = OutboxRow { draft: vec![0; MAX_DRAFT + 1], ..draft(1) };
        let refused = store.write(move |tx| tx.enqueue(long.clone())).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    }
}
