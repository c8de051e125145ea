use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::*;

/// A reader's side of a stream.
struct Client(BodyDataStream);

impl Client {
    fn of(response: Option<Response>) -> Self {
        Self(response.expect("the stream is kept").into_body().into_data_stream())
    }

    /// The data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let event = self.0.next().await?.expect("feeds do not fail");
        let event = std::str::from_utf8(&event).expect("events are text");
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        Some(data.unwrap_or_default().to_owned())
    }
}

fn named(kept: &Kept) -> Arc<Feed> {
    Feed::named("1".to_owned(), kept.clone())
}

fn kept(kept: &Kept) -> usize {
    kept.0.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_cut_takes_the_place_of_what_a_client_was_not_given() {
    for feed in [Feed::plain(), named(&Kept::default())] {
        let mut client = Client::of(feed.read());
        if feed.resumable.is_some() {
            assert_eq!(client.next().await.unwrap(), "", "the primer");
        }
        ["a", "b", "c"].iter().for_each(|message| feed.send(message.as_bytes()));
        assert_eq!(client.next().await.unwrap(), "a");
        feed.cut(Some(b"stopped"));
        assert_eq!(client.next().await.unwrap(), "stopped");
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn of_large_events_one_waits_for_a_slow_client() {
    let large = vec![b'x'; KEPT_BYTES];
    for feed in [Feed::plain(), named(&Kept::default())] {
        let mut client = Client::of(feed.read());
        if feed.resumable.is_some() {
            client.next().await.unwrap();
        }
        assert!(feed.has_room());
        feed.send(&large);
        assert!(!feed.has_room());
        client.next().await.unwrap();
        assert!(feed.has_room());
    }
}

#[tokio::test]
async fn for_a_client_that_is_away_no_more_is_kept_than_said() {
    let all = Kept::default();
    let feed = named(&all);
    let mut client = Client::of(feed.read());
    client.next().await.unwrap();
    feed.send(b"little");
    drop(client);
    let mut again = Client::of(feed.read_from(1).map(|(_, response)| response));
    assert_eq!(again.next().await.unwrap(), "little");
    drop(again);

    feed.send(&vec![b'x'; KEPT_BYTES]);
    assert_eq!(kept(&all), 0, "it is away, and nothing waits for it");
    assert!(feed.has_room(), "whoever feeds it does not wait either");
    assert!(feed.read_from(2).is_none() && feed.read_from(3).is_none(), "and it is told so");
    feed.send(b"more");
    assert_eq!(kept(&all), 0);
}

#[tokio::test]
async fn what_waits_when_its_client_goes_is_let_go_where_it_is_too_much() {
    let all = Kept::default();
    let feed = named(&all);
    let client = Client::of(feed.read());
    feed.send(&vec![b'x'; 2 * KEPT_BYTES]);
    assert!(kept(&all) > 2 * KEPT_BYTES, "a client that is there gets it, however long it is");
    drop(client);
    assert_eq!(kept(&all), 0);
}

#[tokio::test]
async fn all_streams_together_keep_no_more_than_said() {
    let all = Kept::default();
    let half = vec![b'x'; KEPT_BYTES / 2];
    let away = || {
        let feed = named(&all);
        drop(feed.read());
        feed.send(&half);
        feed
    };
    let mut feeds: Vec<_> = (0..2 * KEPT_BY_ALL / KEPT_BYTES).map(|_| away()).collect();
    assert!(kept(&all) <= KEPT_BY_ALL);
    assert!(away().read_from(1).is_none(), "there is no room for one more");
    assert!(feeds[0].read_from(1).is_some(), "and the others are as they were");
    feeds.clear();
    assert_eq!(kept(&all), 0);
    assert!(away().read_from(1).is_some());
}

#[tokio::test]
async fn a_reader_that_is_cut_off_gets_nothing_of_what_waits() {
    let feed = named(&Kept::default());
    let (reader, response) = feed.read_from(0).unwrap();
    let mut client = Client::of(Some(response));
    client.next().await.unwrap();
    feed.send(b"late");
    feed.leave(reader);
    feed.left(reader).await;
    assert_eq!(client.next().await, None);
}
