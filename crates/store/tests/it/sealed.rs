use store::{Error, MAX_SEALED};

use crate::{Subject, on_both};

on_both! {
    async fn sealed_bytes_are_kept_replaced_and_dropped_under_their_key(subject: &Subject) {
        let store = subject.store().await;
        let read = async |key: &'static str| store.read(move |view| view.sealed_bytes(key)).await.unwrap();
        assert_eq!(read("desk/a").await, None);
        for bytes in [b"first\0".as_slice(), b"second"] {
            store.write(move |tx| tx.keep_sealed("desk/a", bytes)).await.unwrap();
            assert_eq!(read("desk/a").await.as_deref(), Some(bytes));
        }
        assert_eq!(read("desk/b").await, None);
        store.write(|tx| tx.drop_sealed("desk/a")).await.unwrap();
        store.write(|tx| tx.drop_sealed("desk/a")).await.unwrap();
        assert_eq!(read("desk/a").await, None);
        let long = store.write(|tx| tx.keep_sealed("desk/a", &vec![0; MAX_SEALED + 1])).await;
        assert!(matches!(long, Err(Error::Invalid(_))));
    }
}
