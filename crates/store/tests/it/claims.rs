use store::{ClaimError, Error, Store};

use crate::{Subject, on_both};

async fn claim(
    store: &Store,
    kind: &'static str,
    value: &'static str,
    owner: &'static str,
) -> Result<(), ClaimError> {
    store.write(move |tx| tx.claim(kind, value, owner)).await
}

on_both! {
    async fn a_value_has_one_owner(subject: &Subject) {
        let store = subject.store().await;
        claim(&store, "key", "thumbprint", "agent/a").await.unwrap();
        claim(&store, "key", "thumbprint", "agent/a").await.unwrap();
        let taken = claim(&store, "key", "thumbprint", "agent/b").await.unwrap_err();
        assert!(matches!(&taken, ClaimError::Taken { owner } if owner == "agent/a"), "{taken}");
        claim(&store, "handle", "thumbprint", "agent/b").await.unwrap();

        let owner = store.read(|view| view.claimed("key", "thumbprint")).await.unwrap();
        assert_eq!(owner.as_deref(), Some("agent/a"));
        assert_eq!(store.read(|view| view.claimed("key", "other")).await.unwrap(), None);
    }

    async fn a_released_value_is_free_for_others(subject: &Subject) {
        let store = subject.store().await;
        claim(&store, "key", "k", "agent/a").await.unwrap();
        store.write(|tx| tx.release("key", "k")).await.unwrap();
        store.write(|tx| tx.release("key", "k")).await.unwrap();
        claim(&store, "key", "k", "agent/b").await.unwrap();
    }

    async fn of_many_who_claim_at_once_one_wins(subject: &Subject) {
        let [one, two] = subject.writers().await;
        let tasks: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .into_iter()
            .enumerate()
            .map(|(at, owner)| {
                let store = if at % 2 == 0 { one.clone() } else { two.clone() };
                tokio::spawn(async move { claim(&store, "key", "k", owner).await.map(|()| owner) })
            })
            .collect();
        let mut winners = Vec::new();
        let mut told = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(owner) => winners.push(owner.to_owned()),
                Err(ClaimError::Taken { owner }) => told.push(owner),
                Err(error) => unreachable!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert!(told.iter().all(|owner| *owner == winners[0]));
    }

    async fn a_claim_of_nothing_is_refused(subject: &Subject) {
        let store = subject.store().await;
        let refused = claim(&store, "key", "", "agent/a").await.unwrap_err();
        assert!(matches!(refused, ClaimError::Store(Error::Invalid(_))), "{refused}");
    }
}
