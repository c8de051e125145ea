mod collected;
mod syslog;

use std::{collections::VecDeque, sync::Mutex};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use decide::Clock;
use insight::{OcsfVersion, Shape};
use ledger::Draft;
use model::Timestamp;
use serde_json::{Value, json};
use testkit::world::{Options, World};

use self::collected::{Collected, Does};
use super::*;

/// How long something may take to come to pass.
const PATIENCE: Duration = Duration::from_secs(30);
const QUICK: Pace = Pace {
    look: Duration::from_millis(5),
    again: Duration::from_millis(5),
    again_at_most: Duration::from_millis(20),
    answer: PATIENCE,
    ask: Duration::from_millis(5),
    indexed: PATIENCE,
};
/// The same where answers are missing: long enough for those that come on a busy machine.
const SHORT: Pace =
    Pace { answer: Duration::from_secs(3), indexed: Duration::from_secs(3), ..QUICK };

/// Waits until something is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "it never came to pass, at {place}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A node's ledger, with a sink.
struct Scene {
    world: World,
    folder: tempfile::TempDir,
    pace: Pace,
}

impl Scene {
    async fn new() -> Self {
        Self::of(World::start().await)
    }

    fn of(world: World) -> Self {
        Self { world, folder: tempfile::tempdir().unwrap(), pace: QUICK }
    }

    /// Adds entries to the ledger; its size.
    async fn grow(&self, entries: u64) -> u64 {
        let engine = self.world.engine();
        let (log, mut under_way) = (engine.log(), Vec::new());
        for _ in 0..entries {
            let draft = Draft::new(engine.context().id(), "decision", self.world.now());
            under_way.push(log.append(log.seal(draft).unwrap()));
        }
        let waited = move || under_way.into_iter().all(|appending| appending.wait().is_ok());
        assert!(tokio::task::spawn_blocking(waited).await.unwrap());
        log.acknowledged()
    }

    fn sink(&self, wire: Wire, bound: SinkBound) -> Sink {
        let name: model::Name = "siem".parse().unwrap();
        Sink {
            engine: self.world.engine().clone(),
            origin: "acme/prod/1".to_owned(),
            wire,
            bound,
            file: CursorFile::new(self.folder.path(), &name).unwrap(),
            state: Arc::new(Sunk::new(name)),
            told: Told::default(),
            pace: self.pace,
            most: BATCH,
        }
    }

    fn collector(&self, collected: &Collected, bound: SinkBound) -> Sink {
        let url = collected.0.url.lock().unwrap().clone();
        self.sink(Wire::Collector(Box::new(self.collector_at(&url))), bound)
    }

    fn collector_at(&self, url: &str) -> Collector {
        use std::os::unix::fs::PermissionsExt;
        let token = self.folder.path().join("token");
        std::fs::write(&token, "s3cret\n").unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let place = post::Place::of(post::client(), url, self.pace.answer).unwrap();
        Collector::new(place, SecretRef::File(token), Shape::Leaf, self.pace).unwrap()
    }

    /// Where the sink's file says that it goes on.
    fn kept(&self) -> u64 {
        let kept = std::fs::read(self.folder.path().join("siem.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&kept).map_or(0, |kept| kept["next"].as_u64().unwrap())
    }

    async fn hashes(&self, range: Range<u64>) -> Vec<(u64, String)> {
        let log = self.world.engine().log().clone();
        let read = move || {
            let entry = |index| (index, log.entry(index).unwrap().unwrap().hash.to_string());
            range.map(entry).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

/// The first arrival of each entry, in the order in which they came.
fn first_arrivals(events: &[(u64, String)]) -> Vec<(u64, String)> {
    let mut first: Vec<(u64, String)> = Vec::new();
    for event in events {
        if !first.contains(event) {
            first.push(event.clone());
        }
    }
    first
}

#[tokio::test]
async fn a_collector_gets_every_entry_once_and_in_order_where_it_confirms_each() {
    let scene = Scene::new().await;
    let size = scene.grow(2_500).await;
    let collected = Collected::serve(true, &[]).await;
    let sink = scene.collector(&collected, SinkBound::default());
    let state = sink.state.clone();
    let following = tokio::spawn(sink.follow());
    until(|| state.next.load(Ordering::Relaxed) == size).await;
    assert_eq!(collected.events(), scene.hashes(0..size).await);
    assert!(collected.requests() >= 3, "no request has more than 1,000 entries");
    let headers = collected.0.headers.lock().unwrap().clone();
    assert!(
        headers.iter().all(|(token, channel)| token == "Splunk s3cret" && *channel == headers[0].1)
    );
    let grown = scene.grow(1).await;
    collected.has(size).await;
    until(|| scene.kept() == grown).await;
    following.abort();
}

#[tokio::test]
async fn nothing_is_lost_whatever_a_collector_does_and_what_comes_again_is_the_same() {
    for confirms in [true, false] {
        let scene = Scene { pace: SHORT, ..Scene::new().await };
        let size = scene.grow(3).await;
        let mut does = vec![Does::Says(503), Does::Babbles, Does::Hangs, Does::Says(401)];
        if confirms {
            does.extend([Does::Loses, Does::NeverConfirms]);
        }
        let collected = Collected::serve(confirms, &does).await;
        let mut sink = scene.collector(&collected, SinkBound::default());
        let mut cursor = sink.take_up().await.unwrap();
        for failed in 0..does.len() {
            let why = sink.turn(&mut cursor).await.unwrap_err();
            assert!(matches!(why, NoTurn::NotTaken(_)), "{failed}: {why:?}");
            assert_eq!((cursor.next, scene.kept()), (0, 0), "no cursor moves: {failed}");
            sink.tell_failure(&why);
        }
        assert!(sink.turn(&mut cursor).await.unwrap());
        assert_eq!((cursor.next, scene.kept()), (size, size));
        let events = collected.events();
        assert_eq!(first_arrivals(&events), scene.hashes(0..size).await);
        let copies = if confirms { 2 } else { 1 };
        assert_eq!(events.len() as u64, copies * size, "what it kept unconfirmed came again");
        assert!(!sink.turn(&mut cursor).await.unwrap(), "there is no more");
    }
}

#[tokio::test]
async fn what_a_server_says_is_told_without_what_moves_a_terminal() {
    let scene = Scene::new().await;
    scene.grow(1).await;
    let collected = Collected::serve(true, &[Does::Says(503)]).await;
    let mut sink = scene.collector(&collected, SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    let why = chain(&sink.turn(&mut cursor).await.unwrap_err());
    assert!(why.contains("503") && why.contains("busy") && !why.contains('\u{1b}'), "{why}");
}

#[tokio::test]
async fn a_sink_that_was_dropped_at_any_moment_goes_on_where_it_was_and_leaves_nothing_out() {
    let scene = Scene::new().await;
    let collected = Collected::serve(true, &[]).await;
    let mut size = 0;
    for _ in 0..10 {
        size = scene.grow(40).await;
        let following = tokio::spawn(scene.collector(&collected, SinkBound::default()).follow());
        // Somewhere in the middle, as a node dies.
        let seen = collected.requests();
        until(|| collected.requests() > seen).await;
        following.abort();
        let _ = following.await;
    }
    let following = tokio::spawn(scene.collector(&collected, SinkBound::default()).follow());
    until(|| scene.kept() == size).await;
    following.abort();
    assert_eq!(first_arrivals(&collected.events()), scene.hashes(0..size).await);
}

#[tokio::test]
async fn a_dead_sink_holds_up_nobody_and_gets_everything_when_it_is_back() {
    let scene = Scene::new().await;
    // A port that nobody listens on any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let dead = scene.collector_at(&format!("http://{address}"));
    let dead = scene.sink(Wire::Collector(Box::new(dead)), SinkBound::default());
    let state = dead.state.clone();
    let following = tokio::spawn(dead.follow());
    let size = scene.grow(50).await;
    until(|| state.waiting_since.load(Ordering::Relaxed) > 0).await;
    assert_eq!(state.next.load(Ordering::Relaxed), 0);
    let lines = scene.folder.path().join("lines");
    let beside = JsonLines::new(lines, Shape::Leaf);
    let mut beside = scene.sink(Wire::JsonLines(beside), SinkBound::default());
    beside.file = CursorFile::new(scene.folder.path(), &"other".parse().unwrap()).unwrap();
    let mut cursor = beside.take_up().await.unwrap();
    assert!(beside.turn(&mut cursor).await.unwrap(), "another sink goes on");
    following.abort();
    let collected = Collected::serve(true, &[]).await;
    let following = tokio::spawn(scene.collector(&collected, SinkBound::default()).follow());
    until(|| scene.kept() == size).await;
    following.abort();
    assert_eq!(collected.events(), scene.hashes(0..size).await);
}

#[tokio::test]
async fn behind_its_bound_a_sink_gets_the_rest_and_the_ledger_says_what_it_did_not_get() {
    let scene = Scene::new().await;
    let size = scene.grow(100).await;
    let collected = Collected::serve(true, &[Does::Says(503)]).await;
    let bound = SinkBound { entries: Some(30), days: None };
    let mut sink = scene.collector(&collected, bound);
    let mut cursor = sink.take_up().await.unwrap();
    sink.turn(&mut cursor).await.unwrap_err();
    let left_out = size - 30;
    assert_eq!(sink.state.overdue.load(Ordering::Relaxed), left_out, "it is told early");
    assert_eq!(scene.world.engine().log().acknowledged(), size, "nothing is lost to it yet");
    assert!(sink.turn(&mut cursor).await.unwrap());
    assert_eq!(collected.events(), scene.hashes(left_out..size).await);
    assert_eq!(sink.state.left_out.load(Ordering::Relaxed), left_out);
    assert_eq!(sink.state.overdue.load(Ordering::Relaxed), 0);
    assert!(sink.turn(&mut cursor).await.unwrap(), "the sink is told, too");
    let log = scene.world.engine().log().clone();
    let read = move || log.entries(size).map(|entry| entry.unwrap()).collect::<Vec<_>>();
    let entries = tokio::task::spawn_blocking(read).await.unwrap();
    let [said] = &entries[..] else { panic!("one entry says it: {entries:?}") };
    assert_eq!(said.leaf.kind, "sink_gap");
    let expected = json!({ "first": 0, "n": left_out, "sink": "siem" });
    assert_eq!(said.leaf.body.to_value(), expected);
    assert!(!sink.turn(&mut cursor).await.unwrap(), "it is said once");
}

#[tokio::test]
async fn what_was_left_out_is_said_once_also_where_the_cursor_cannot_be_written() {
    let scene = Scene::new().await;
    let size = scene.grow(100).await;
    let collected = Collected::serve(true, &[]).await;
    let bound = SinkBound { entries: Some(30), days: None };
    let mut sink = scene.collector(&collected, bound);
    let mut cursor = sink.take_up().await.unwrap();
    // A folder where the cursor is written first.
    let in_the_way = scene.folder.path().join("siem.new");
    std::fs::create_dir(&in_the_way).unwrap();
    for _ in 0..3 {
        let why = sink.turn(&mut cursor).await.unwrap_err();
        assert!(matches!(why, NoTurn::Cursor(_)), "{why:?}");
        sink.tell_failure(&why);
        assert_eq!(scene.kept(), 0);
        assert_eq!(sink.state.left_out.load(Ordering::Relaxed), size - 30);
    }
    assert_eq!(scene.world.engine().log().acknowledged(), size + 1, "one `sink_gap`");
    std::fs::remove_dir(&in_the_way).unwrap();
    assert!(sink.turn(&mut cursor).await.unwrap());
    assert_eq!(scene.kept(), size + 1);
    assert!(!sink.turn(&mut cursor).await.unwrap(), "there is no more");
    assert_eq!(collected.events(), scene.hashes(size - 30..size + 1).await);
}

#[tokio::test]
async fn a_collector_that_takes_no_large_requests_gets_small_ones() {
    let scene = Scene::new().await;
    scene.grow(400).await;
    for (most, status) in [(150, 413), (1, 400)] {
        let collected = Collected::serve(true, &[]).await;
        collected.refuses_more_than(most, status);
        let mut sink = scene.collector(&collected, SinkBound::default());
        let _ = std::fs::remove_file(scene.folder.path().join("siem.json"));
        let mut cursor = sink.take_up().await.unwrap();
        let (mut refused, size) = (0, scene.world.engine().log().acknowledged());
        while cursor.next < size {
            let turn = sink.turn(&mut cursor).await;
            refused += u64::from(turn.is_err());
            assert!(refused <= 2 * size, "it goes on");
        }
        assert!(refused > 0);
        assert_eq!(collected.events(), scene.hashes(0..size).await);
        collected.refuses_more_than(u64::MAX, status);
        for _ in 0..10 {
            scene.grow(1).await;
            sink.turn(&mut cursor).await.unwrap();
        }
        assert_eq!(sink.most, BATCH, "what it takes is whole batches again");
    }
}

#[tokio::test]
async fn a_refusal_that_passes_makes_no_batch_smaller() {
    let scene = Scene::new().await;
    scene.grow(4).await;
    let passing = [401, 403, 404, 408, 429, 500, 503];
    let collected = Collected::serve(true, &passing.map(Does::Says)).await;
    let mut sink = scene.collector(&collected, SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    for status in passing {
        sink.turn(&mut cursor).await.unwrap_err();
        assert_eq!(sink.most, BATCH, "{status}");
    }
}

#[tokio::test]
async fn a_token_is_read_from_a_file_and_from_nothing_that_may_hang() {
    let scene = Scene::new().await;
    scene.grow(1).await;
    let collected = Collected::serve(true, &[]).await;
    let mut sink = scene.collector(&collected, SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    let token = scene.folder.path().join("token");
    std::fs::remove_file(&token).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &token, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let why = chain(&sink.turn(&mut cursor).await.unwrap_err());
    assert!(why.contains("not a regular file"), "{why}");
    assert_eq!((scene.kept(), collected.requests()), (0, 0));
}

#[tokio::test]
async fn entries_that_are_too_old_for_a_sink_are_left_out_by_their_day() {
    let clock = Clock::manual(Timestamp::from_seconds(1_000_000));
    let options = Options { clock: clock.clone(), ..Options::default() };
    let scene = Scene::of(World::with(options).await);
    let old = scene.grow(20).await;
    clock.advance(3 * DAY_MILLIS);
    let size = scene.grow(7).await;
    let collected = Collected::serve(false, &[]).await;
    let bound = SinkBound { entries: None, days: Some(2) };
    let mut sink = scene.collector(&collected, bound);
    let mut cursor = sink.take_up().await.unwrap();
    assert!(sink.turn(&mut cursor).await.unwrap());
    assert_eq!(collected.events(), scene.hashes(old..size).await);
    assert_eq!(sink.state.left_out.load(Ordering::Relaxed), old);
    // All that waits is too old now: it waits all the same.
    let since = scene.world.now().millis();
    clock.advance(3 * DAY_MILLIS);
    while sink.turn(&mut cursor).await.unwrap() {}
    assert_eq!(sink.state.waiting_since.load(Ordering::Relaxed), since);
}

#[tokio::test]
async fn a_cursor_that_is_not_of_this_ledger_begins_anew() {
    let scene = Scene::new().await;
    let size = scene.grow(5).await;
    let collected = Collected::serve(true, &[]).await;
    let mut sink = scene.collector(&collected, SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    sink.turn(&mut cursor).await.unwrap();
    let log = scene.world.engine().log().clone();
    let (file, whole) = (sink.file.clone(), cursor.clone());
    let path = scene.folder.path().join("siem.json");
    let taken_up = move |kept: String| {
        std::fs::write(&path, kept).unwrap();
        let (cursor, misfit) = file.take_up(&log).unwrap();
        (cursor.next, misfit.is_some())
    };
    let said = move || {
        let whole = serde_json::to_string(&whole).unwrap();
        let ahead = whole.replace(&format!(":{size},"), &format!(":{},", size + 10));
        assert_ne!(ahead, whole);
        [
            taken_up(whole.clone()),
            taken_up(ahead),
            taken_up(whole.replace("\"last\":\"", "\"last\":\"00")),
            taken_up(whole.replace(&format!(":{size},"), ":2,")),
            taken_up(whole.replace("\"next\"", "\"more\":1,\"next\"")),
            taken_up(String::new()),
        ]
    };
    let said = tokio::task::spawn_blocking(said).await.unwrap();
    assert_eq!(said[0], (size, false));
    assert_eq!(said[1..], [(0, true); 5]);
}

#[tokio::test]
async fn lines_are_added_whole_wherever_the_file_was_moved_or_cut() {
    let scene = Scene::new().await;
    let path = scene.folder.path().join("out.jsonl");
    let wire = Wire::JsonLines(JsonLines::new(path.clone(), Shape::Ocsf(OcsfVersion::V1_9)));
    let mut sink = scene.sink(wire, SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    let sequences = |text: &str| -> Vec<Option<u64>> {
        let line =
            |line| serde_json::from_str::<Value>(line).ok()?["metadata"]["sequence"].as_u64();
        text.lines().map(line).collect()
    };
    let first = scene.grow(3).await;
    sink.turn(&mut cursor).await.unwrap();
    std::fs::rename(&path, scene.folder.path().join("out.1")).unwrap();
    let second = scene.grow(2).await;
    sink.turn(&mut cursor).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(sequences(&text), (first..second).map(Some).collect::<Vec<_>>());
    // A node that died in the middle of a line.
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    let third = scene.grow(1).await;
    sink.turn(&mut cursor).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(sequences(&text), [Some(first), None, Some(third - 1)]);
    // A folder is no file: the cursor stays.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    scene.grow(1).await;
    assert!(matches!(sink.turn(&mut cursor).await, Err(NoTurn::NotTaken(NotTaken::Io(_)))));
    // So is a link, which could lead into the ledger.
    std::fs::remove_dir(&path).unwrap();
    let elsewhere = scene.folder.path().join("elsewhere");
    std::fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(sink.turn(&mut cursor).await, Err(NoTurn::NotTaken(NotTaken::Io(_)))));
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"");
    assert_eq!(scene.kept(), third);
}

/// A collector of OpenTelemetry that gives these answers to logs and then takes everything; what it was sent of spans.
async fn opentelemetry(
    scene: &Scene,
    answers: &[(u16, &'static str)],
    spans_answer: Option<&'static str>,
) -> (OpenTelemetry, Arc<Mutex<Vec<Value>>>) {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let spans = Arc::new(Mutex::new(Vec::new()));
    let logs = move || {
        let (status, said) = answers.lock().unwrap().pop_front().unwrap_or((200, "{}"));
        std::future::ready((StatusCode::from_u16(status).unwrap(), said))
    };
    let kept = spans.clone();
    let traces = move |body: Bytes| {
        kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        std::future::ready(spans_answer.unwrap_or_default())
    };
    let mut router = Router::new().route("/v1/logs", post(logs));
    if spans_answer.is_some() {
        router = router.route("/v1/traces", post(traces));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let place = post::Place::of(post::client(), &url, QUICK.answer).unwrap();
    let (log, dir) = (scene.world.engine().log().clone(), scene.world.dir().join("ledger"));
    let index = Index::new(log, &dir, &scene.folder.path().join("search"));
    (OpenTelemetry::new(place, None, &index), spans)
}

#[tokio::test]
async fn what_opentelemetry_rejects_is_counted_and_not_sent_again() {
    let scene = Scene::new().await;
    let size = scene.grow(2).await;
    let rejected = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no"}}"#;
    let answers = [(500, ""), (429, "later"), (200, "<html>"), (200, rejected)];
    let (wire, _) = opentelemetry(&scene, &answers, Some("{}")).await;
    let mut sink = scene.sink(Wire::OpenTelemetry(Box::new(wire)), SinkBound::default());
    let mut cursor = sink.take_up().await.unwrap();
    for _ in 0..3 {
        sink.turn(&mut cursor).await.unwrap_err();
        assert_eq!(scene.kept(), 0);
    }
    assert!(sink.turn(&mut cursor).await.unwrap());
    assert_eq!((scene.kept(), sink.state.rejected.load(Ordering::Relaxed)), (size, 1));
}

#[tokio::test]
async fn a_call_that_ended_long_after_its_decision_is_a_span_all_the_same() {
    let scene = Scene::new().await;
    let engine = scene.world.engine().clone();
    let (action, log) = (engine.context().id(), engine.log().clone());
    let put = move |kind: &str, verdict: Option<&str>, parents| {
        let mut draft = Draft::new(engine.context().id(), kind, engine.context().now());
        (draft.action, draft.parents) = (Some(action), parents);
        draft.verdict = verdict.map(ToOwned::to_owned);
        let sealed = engine.log().seal(draft).unwrap();
        let receipt = engine.log().append(sealed).wait().unwrap();
        log.entry(receipt.index).unwrap().unwrap()
    };
    let both = move || {
        let permit = put("decision", Some("permit"), vec![]);
        let outcome = put("outcome", None, vec![permit.hash]);
        (permit, outcome)
    };
    let (permit, outcome) = tokio::task::spawn_blocking(both).await.unwrap();
    let events = [Event { entry: &outcome, origin: "acme/prod/1" }];
    let (wire, spans) = opentelemetry(&scene, &[], Some("{}")).await;
    assert_eq!(wire.deliver(&events).await.unwrap(), Taken::default());
    let sent = spans.lock().unwrap().pop().unwrap();
    let span = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["spanId"], permit.hash.to_string()[..16]);
    // Spans that it does not keep are counted like records.
    let rejects = r#"{"partialSuccess":{"rejectedSpans":"1"}}"#;
    let (wire, _) = opentelemetry(&scene, &[], Some(rejects)).await;
    assert_eq!(wire.deliver(&events).await.unwrap(), Taken { rejected: 1 });
    // One that takes logs alone is told them.
    let (wire, _) = opentelemetry(&scene, &[], None).await;
    assert_eq!(wire.deliver(&events).await.unwrap(), Taken::default());
}

#[test]
fn secrets_go_out_in_the_clear_to_this_machine_alone() {
    let place = |url: &str| post::Place::of(post::client(), url, QUICK.answer).map(|_| ());
    assert_eq!(place("http://127.0.0.1:8088"), Ok(()));
    assert_eq!(place("https://10.0.0.8:8088"), Ok(()));
    assert!(place("http://10.0.0.8:8088").unwrap_err().contains("in the clear"));
    assert!(place("http://siem.example:8088").unwrap_err().contains("in the clear"));
}
