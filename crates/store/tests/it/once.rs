use model::Timestamp;
use store::{Error, MAX_RESULT, Once, Store};

use crate::{Subject, digest, on_both};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

async fn known(store: &Store, key: &'static str, request: u8, now: i64) -> Once {
    store.read(move |view| view.once(key, digest(request), at(now))).await.unwrap()
}

async fn remember(
    store: &Store,
    key: &'static str,
    answer: &'static [u8],
    now: i64,
    until: i64,
) -> Result<(), Error> {
    store.write(move |tx| tx.remember(key, digest(1), answer, at(now), at(until))).await
}

on_both! {
    async fn a_request_is_answered_once_and_then_from_memory(subject: &Subject) {
        let store = subject.store().await;
        assert_eq!(known(&store, "k", 1, 100).await, Once::First);
        remember(&store, "k", b"answer\0", 100, 200).await.unwrap();
        assert_eq!(known(&store, "k", 1, 101).await, Once::Same(b"answer\0".to_vec()));
        assert_eq!(known(&store, "k", 2, 101).await, Once::Different);
        assert_eq!(known(&store, "other", 1, 101).await, Once::First);
        let refused = remember(&store, "k", b"another", 101, 300).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
        assert_eq!(known(&store, "k", 1, 101).await, Once::Same(b"answer\0".to_vec()));
    }

    async fn an_answer_is_forgotten_at_its_end(subject: &Subject) {
        let store = subject.store().await;
        remember(&store, "k", b"old", 100, 200).await.unwrap();
        assert_eq!(known(&store, "k", 1, 199).await, Once::Same(b"old".to_vec()));
        assert_eq!(known(&store, "k", 1, 200).await, Once::First);
        remember(&store, "k", b"new", 200, 300).await.unwrap();
        assert_eq!(known(&store, "k", 1, 250).await, Once::Same(b"new".to_vec()));

        // Others' expired answers are cleared away, so that the table holds little but living ones.
        remember(&store, "later", b"", 400, 500).await.unwrap();
        assert_eq!(known(&store, "k", 1, 250).await, Once::First);
    }

    async fn an_answer_that_is_too_long_is_refused(subject: &Subject) {
        static LONG: [u8; MAX_RESULT + 1] = [0; MAX_RESULT + 1];
        let store = subject.store().await;
        let refused = remember(&store, "k", &LONG, 1, 2).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
        remember(&store, "k", &LONG[1..], 1, 2).await.unwrap();
    }
}
