use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::*;

/// A reader's side of a stream.
struct Client(BodyDataStream);

impl Client {
    fn of(response: Response) -> Self {
        Self(response.into_body().into_data_stream())
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
    kept.all.load(Ordering::Relaxed)
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
    let mut again = Client::of(feed.read_from(1).expect("it is kept").1);
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

/// A stream that holds half of what one may, and whose client is away.
fn away(kept: &Kept) -> Arc<Feed> {
    let feed = named(kept);
    drop(feed.read());
    feed.send(&vec![b'x'; KEPT_BYTES / 2]);
    feed
}

#[tokio::test]
async fn the_streams_of_one_agent_keep_their_share_and_leave_room_for_others() {
    let greedy = Kept::default();
    let mut feeds: Vec<_> = (0..2 * KEPT_BY_AGENT / KEPT_BYTES).map(|_| away(&greedy)).collect();
    assert!(kept(&greedy) <= KEPT_BY_AGENT);
    assert!(away(&greedy).read_from(1).is_none(), "there is no room for one more");
    assert!(feeds[0].read_from(1).is_some(), "the others are as they were");
    assert!(away(&greedy.of_another()).read_from(1).is_some(), "another agent's share is its own");
    feeds.clear();
    assert_eq!(kept(&greedy), 0);
    assert!(away(&greedy).read_from(1).is_some());
}

#[tokio::test]
async fn all_streams_together_keep_no_more_than_said() {
    let all = Kept::default();
    let of_each = 2 * KEPT_BY_AGENT / KEPT_BYTES;
    let agents: Vec<Kept> = (0..=KEPT_BY_ALL / KEPT_BY_AGENT).map(|_| all.of_another()).collect();
    let feeds = agents.iter().flat_map(|agent| (0..of_each).map(|_| away(agent)));
    let feeds: Vec<_> = feeds.collect();
    assert!(kept(&all) <= KEPT_BY_ALL);
    assert!(away(&all.of_another()).read_from(1).is_none(), "there is no room for one more");
    assert!(feeds[0].read_from(1).is_some(), "the others are as they were");
    drop(feeds);
    assert_eq!(kept(&all), 0);
}

#[tokio::test]
async fn of_an_event_that_a_cut_tears_nothing_is_given_again() {
    for feed in [Feed::plain(), named(&Kept::default())] {
        let mut client = feed.read().into_body().into_data_stream();
        feed.send(&vec![b'x'; 2 * PART]);
        while client.next().await.unwrap().unwrap().len() < PART {}
        feed.cut(Some(b"stopped"));
        assert!(client.next().await.is_none(), "nothing can follow half an event");
        if feed.resumable.is_some() {
            let mut again = Client::of(feed.read_from(1).expect("it is kept").1);
            assert_eq!(again.next().await.as_deref(), Some("stopped"));
            assert_eq!(again.next().await, None);
        }
    }
}

#[tokio::test]
async fn a_stream_is_read_as_long_as_anybody_reads_it() {
    let feed = named(&Kept::default());
    let first = feed.read();
    let mut unread = std::pin::pin!(feed.unread());
    assert!(futures_util::poll!(&mut unread).is_pending());
    let (_, second) = feed.read_from(1).unwrap();
    drop(first);
    assert!(futures_util::poll!(&mut unread).is_pending());
    drop(second);
    unread.await;
}

#[tokio::test]
async fn a_reader_that_is_cut_off_gets_nothing_of_what_waits() {
    let feed = named(&Kept::default());
    let (reader, response) = feed.read_from(0).unwrap();
    let mut client = Client::of(response);
    client.next().await.unwrap();
    feed.send(b"late");
    feed.leave(reader);
    feed.left(reader).await;
    assert_eq!(client.next().await, None);
}
