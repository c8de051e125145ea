use store::{Error, Expect, MAX_BODY, MAX_KEY, Page, PutError, Store};

use crate::{Subject, Thing, counted, digest, entry, on_both, put, thing, widening};

async fn names(
    store: &Store,
    after: Option<&'static str>,
    limit: u32,
) -> (Vec<String>, Option<String>) {
    let page: Page<Thing> = store.read(move |view| view.list(after, limit)).await.unwrap();
    (page.rows.into_iter().map(|row| row.value.name).collect(), page.next)
}

on_both! {
    async fn what_is_stored_comes_back_with_its_version_digest_and_entry(subject: &Subject) {
        let store = subject.store().await;
        assert_eq!(store.read(|view| view.get::<Thing>("a")).await.unwrap(), None);

        let first = put(&store, thing("a", 1), Expect::New).await.unwrap();
        let second = put(&store, thing("a", 2), Expect::Version(1)).await.unwrap();
        assert_eq!((first.version, second.version), (1, 2));
        assert!(first.changed < second.changed);
        assert_ne!(first.digest, second.digest);

        let row = store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap();
        assert_eq!(row.value, thing("a", 2));
        assert_eq!((row.version, row.digest, row.changed), (2, second.digest, second.changed));
        assert_eq!((row.intact, row.widens, row.entry, row.sealed), (true, true, entry(1), None));
        let raw = store.read(|view| view.object("thing", "a")).await.unwrap().unwrap();
        assert_eq!(raw.body, r#"{"count":2,"name":"a"}"#);
        assert_eq!(raw.read::<Thing>().unwrap(), row);
    }

    async fn a_stale_change_is_refused_with_both_versions(subject: &Subject) {
        let store = subject.store().await;
        put(&store, thing("a", 1), Expect::New).await.unwrap();
        put(&store, thing("a", 2), Expect::Version(1)).await.unwrap();

        let stale = put(&store, thing("a", 9), Expect::Version(1)).await.unwrap_err();
        assert!(matches!(stale, PutError::Stale { expected: 1, found: Some(2) }), "{stale}");
        assert_eq!(stale.to_string(), "version 1 was to be changed, but there is version 2: read it again");
        let missing = put(&store, thing("b", 9), Expect::Version(1)).await.unwrap_err();
        assert!(matches!(missing, PutError::Stale { expected: 1, found: None }), "{missing}");
        let exists = put(&store, thing("a", 9), Expect::New).await.unwrap_err();
        assert!(matches!(exists, PutError::Exists { found: 2 }), "{exists}");

        assert_eq!((counted(&store, "a").await, counted(&store, "b").await), (Some(2), None));
        put(&store, thing("a", 3), Expect::Any).await.unwrap();
        assert_eq!(counted(&store, "a").await, Some(3));
    }

    async fn a_row_changed_behind_the_stores_back_is_not_intact(subject: &Subject) {
        let store = subject.store().await;
        for name in ["body", "version", "key", "digest", "untouched"] {
            put(&store, thing(name, 1), Expect::New).await.unwrap();
        }
        let other = format!("'{}'", r#"{"count":1000000,"name":"body"}"#);
        subject.tamper(&format!("UPDATE object SET body = {other} WHERE key = 'body'")).await;
        subject.tamper("UPDATE object SET version = 7 WHERE key = 'version'").await;
        subject.tamper("UPDATE object SET key = 'moved' WHERE key = 'key'").await;
        subject.tamper(
            "UPDATE object SET digest = (SELECT digest FROM object WHERE key = 'body') WHERE key = 'digest'",
        ).await;

        let intact: Vec<_> = store.changes(0, 10).await.unwrap().into_iter()
            .map(|row| (row.key, row.intact)).collect();
        let expected = [("body", false), ("version", false), ("moved", false), ("digest", false), ("untouched", true)];
        assert_eq!(intact, expected.map(|(key, intact)| (key.to_owned(), intact)));
        let row = store.read(|view| view.get::<Thing>("body")).await.unwrap().unwrap();
        assert_eq!((row.value.count, row.intact), (1_000_000, false));
    }

    async fn a_row_that_is_no_longer_a_thing_is_an_error_where_it_is_read_as_one(subject: &Subject) {
        let store = subject.store().await;
        put(&store, thing("a", 1), Expect::New).await.unwrap();
        subject.tamper(r#"UPDATE object SET body = '{"count":1,"name":"a","admin":true}'"#).await;
        let error = store.read(|view| view.get::<Thing>("a")).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        assert!(!store.changes(0, 10).await.unwrap()[0].intact);

        subject.tamper("UPDATE object SET entry = 'none'").await;
        let error = store.changes(0, 10).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    }

    async fn pages_come_in_the_order_of_the_keys_bytes(subject: &Subject) {
        let store = subject.store().await;
        for name in ["a", "\u{e4}", "B", "_", "ab", "\u{1f600}"] {
            put(&store, thing(name, 1), Expect::New).await.unwrap();
        }
        let all = ["B", "_", "a", "ab", "\u{e4}", "\u{1f600}"].map(str::to_owned);
        assert_eq!(names(&store, None, 10).await, (all.to_vec(), None));
        assert_eq!(names(&store, None, 6).await, (all.to_vec(), None));
        assert_eq!(names(&store, None, 4).await, (all[..4].to_vec(), Some("ab".to_owned())));
        assert_eq!(names(&store, Some("ab"), 4).await, (all[4..].to_vec(), None));
        assert_eq!(names(&store, Some("ab"), 0).await.0, all[4..5]);
        assert_eq!(store.read(|view| view.count("thing")).await.unwrap(), 6);
        assert_eq!(store.read(|view| view.count("other")).await.unwrap(), 0);
    }

    async fn any_text_is_a_value_and_never_a_part_of_a_statement(subject: &Subject) {
        let store = subject.store().await;
        let hostile = ["'; DROP TABLE object; --", "$1", "?1", "%", "\\", "\"", "{}", "\u{202e}", "a b"];
        for name in hostile {
            put(&store, thing(name, 1), Expect::New).await.unwrap();
            assert_eq!(counted(&store, name).await, Some(1), "{name}");
        }
        assert_eq!(store.read(|view| view.count("thing")).await.unwrap(), hostile.len() as u64);
    }

    async fn what_cannot_be_stored_is_refused_before_the_database_is_asked(subject: &Subject) {
        let store = subject.store().await;
        let long = "k".repeat(MAX_KEY + 1);
        for name in ["", "a\u{0}b", "a\nb", &long] {
            let refused = put(&store, thing(name, 1), Expect::New).await.unwrap_err();
            assert!(matches!(refused, PutError::Store(Error::Invalid(_))), "{name:?}: {refused}");
        }
        let refused = put(&store, thing("a", (1 << 53) + 1), Expect::New).await.unwrap_err();
        assert!(matches!(refused, PutError::Store(Error::Invalid(_))), "{refused}");
        let refused = store.write(|tx| tx.put(&Text("x".repeat(MAX_BODY)), Expect::New, widening(1))).await.unwrap_err();
        assert!(matches!(refused, PutError::Store(Error::Invalid(_))), "{refused}");

        put(&store, thing(&long[1..], 1), Expect::New).await.unwrap();
        store.write(|tx| tx.put(&Text("\u{0}\u{7f}".to_owned()), Expect::New, widening(1))).await.unwrap();
        let text = store.read(|view| view.get::<Text>("text")).await.unwrap().unwrap();
        assert_eq!((text.value.0.as_str(), text.intact), ("\u{0}\u{7f}", true));
    }

    async fn what_cannot_be_stored_is_not_there(subject: &Subject) {
        let store = subject.store().await;
        let long = "k".repeat(MAX_KEY + 1);
        for name in ["".to_owned(), "a\u{0}b".to_owned(), long] {
            store.read(move |view| {
                assert_eq!(view.get::<Thing>(&name)?, None);
                assert_eq!(view.claimed("key", &name)?, None);
                assert!(matches!(view.list::<Thing>(Some(&name), 1), Err(Error::Invalid(_))));
                assert!(matches!(view.once(&name, digest(1), model::Timestamp::NEVER), Err(Error::Invalid(_))));
                Ok::<_, Error>(())
            }).await.unwrap();
        }
    }

    async fn a_new_version_waits_for_its_own_entry(subject: &Subject) {
        let store = subject.store().await;
        put(&store, thing("a", 1), Expect::New).await.unwrap();
        store.write(|tx| tx.sealed(entry(1), 5, digest(5))).await.unwrap();
        let sealed = store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap().sealed.unwrap();
        assert_eq!((sealed.index, sealed.leaf), (5, digest(5)));

        put(&store, thing("a", 2), Expect::Version(1)).await.unwrap();
        assert_eq!(store.read(|view| view.get::<Thing>("a")).await.unwrap().unwrap().sealed, None);
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Text(String);

impl store::Governed for Text {
    const KIND: &'static str = "text";

    fn key(&self) -> String {
        "text".to_owned()
    }
}
