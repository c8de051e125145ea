use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use ledger::{CheckpointKey, Draft, Keys, KeysInMemory, Submission, WitnessKey};
use model::{EntryId, Realm, Timestamp};
use tempfile::TempDir;

use super::*;

/// A log of some entries, published.
pub(super) struct Scene {
    place: TempDir,
    log: Log,
}

impl Scene {
    pub(super) fn of(entries: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = ledger::Config {
            dir: place.path().join("log"),
            lock: place.path().join("lock"),
            realm: Realm {
                org: "acme".parse().unwrap(),
                environment: "prod".parse().unwrap(),
                node: 1,
            },
            origin: "acme/prod/1".to_owned(),
            segment_bytes: 2 << 20,
            reserve_bytes: 0,
        };
        let subjects = Arc::new(KeysInMemory::default());
        let keys = Keys { checkpoint: CheckpointKey::from_seed(&[7; 32]), subjects };
        let log = Log::open(config, keys).unwrap();
        for number in 0..entries {
            let at = Timestamp::from_millis(1);
            let draft = Draft::new(EntryId::compose(at, 1, number), "decision", at);
            let appending = log.append(log.seal(draft).unwrap());
            // Waiting is not for a thread that runs tasks.
            std::thread::spawn(|| appending.wait()).join().unwrap().unwrap();
        }
        log.close().unwrap();
        Self { place, log }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.place.path().join("log")
    }

    pub(super) fn given(&self) -> Arc<Given> {
        let note = std::fs::read(self.dir().join(HeadFile::Newest.name())).unwrap();
        Arc::new(Given::of(note, self.log.head().size).unwrap())
    }

    fn witnesses(&self, policy: &str) -> std::result::Result<Witnesses, String> {
        Witnesses::new(TlogPolicy::parse(policy.as_bytes()).unwrap(), &self.log, self.dir())
    }

    /// What lies in the file of witnessed heads.
    fn kept(&self) -> Option<String> {
        std::fs::read_to_string(self.dir().join(HeadFile::Witnessed.name())).ok()
    }
}

/// How a witness answers.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Cosigns,
    Says(u16, &'static str),
    Never,
}

/// A witness that gives these answers, and then says that it is away.
pub(super) struct Fake {
    pub(super) key: CheckpointKey,
    pub(super) public: WitnessKey,
    answers: Mutex<VecDeque<Answer>>,
    asked: AtomicUsize,
    /// Whether somebody stopped to wait for an answer.
    given_up: AtomicBool,
}

/// Says that nobody waits any more.
struct Waiting(Arc<Fake>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }
}

impl Fake {
    pub(super) async fn serve(number: u8, answers: &[Answer]) -> (Arc<Self>, String) {
        let key = CheckpointKey::from_seed(&[number; 32]);
        let public = key.witness(&format!("w{number}.example")).unwrap();
        let answers = Mutex::new(answers.iter().copied().collect());
        let (asked, given_up) = Default::default();
        let fake = Arc::new(Self { key, public, answers, asked, given_up });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/w", listener.local_addr().unwrap());
        let router =
            Router::new().route("/w/add-checkpoint", post(answer)).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, url)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Its line under a head, of so many seconds from now.
    pub(super) fn line(&self, note: &str, ahead: i64) -> String {
        let at = Timestamp::from_seconds(now().seconds() + ahead);
        self.key.cosign(note.as_bytes(), &self.public, at).unwrap()
    }
}

async fn answer(State(fake): State<Arc<Fake>>, body: String) -> (StatusCode, String) {
    fake.asked.fetch_add(1, Ordering::Relaxed);
    let next = fake.answers.lock().unwrap().pop_front();
    match next.unwrap_or(Answer::Says(503, "away")) {
        Answer::Cosigns => {
            let note = Submission::parse(body.as_bytes()).unwrap().note;
            (StatusCode::OK, fake.line(&note, 0))
        }
        Answer::Says(status, text) => (StatusCode::from_u16(status).unwrap(), text.to_owned()),
        Answer::Never => {
            let _waiting = Waiting(fake);
            pending().await
        }
    }
}

/// Runs witnesses until something is so, for half a minute at most.
async fn until(witnesses: Witnesses, mut is_so: impl FnMut() -> bool) {
    let stopping = CancellationToken::new();
    let running = tokio::spawn(witnesses.run(stopping.clone()));
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stopping.cancel();
    running.await.unwrap();
}

fn lines(kept: Option<String>) -> usize {
    kept.map_or(0, |note| note.matches("\u{2014} w").count())
}

#[tokio::test]
async fn a_head_is_shown_once_enough_have_cosigned_it_however_long_the_others_take() {
    let scene = Scene::of(3);
    let (quick, quick_url) = Fake::serve(1, &[Answer::Cosigns]).await;
    let (slow, slow_url) = Fake::serve(2, &[Answer::Never]).await;
    let policy = format!(
        "witness a {} {quick_url}\nwitness b {} {slow_url}\ngroup one any a b\nquorum one\n",
        quick.public, slow.public
    );
    let witnesses = scene.witnesses(&policy).unwrap();
    let state = witnesses.state.clone();
    let shown = || state.entries.load(Ordering::Relaxed) == 3 && slow.asked() == 1;
    until(witnesses, || {
        assert!(!slow.given_up.load(Ordering::Relaxed), "the slow one was waited for");
        shown()
    })
    .await;
    assert_eq!(lines(scene.kept()), 1);
}

#[tokio::test]
async fn the_lines_of_one_head_are_gathered_though_no_two_witnesses_are_there_at_once() {
    let scene = Scene::of(3);
    let away = Answer::Says(503, "away");
    let (first, first_url) = Fake::serve(1, &[Answer::Cosigns]).await;
    let (second, second_url) = Fake::serve(2, &[away, Answer::Cosigns]).await;
    let policy = format!(
        "witness a {} {first_url}\nwitness b {} {second_url}\ngroup both all a b\nquorum both\n",
        first.public, second.public
    );
    let witnesses = scene.witnesses(&policy).unwrap();
    let state = witnesses.state.clone();
    until(witnesses, || state.entries.load(Ordering::Relaxed) == 3).await;
    assert_eq!((first.asked(), second.asked(), lines(scene.kept())), (1, 2, 2));
}

#[test]
fn a_head_makes_room_for_a_newer_one_once_it_is_kept_or_was_given_long_enough() {
    let scene = Scene::of(1);
    let start = Instant::now();
    let given = Arc::into_inner(scene.given()).unwrap();
    let mut gathering = Gathering::new(given, 2, start);
    let later = |seconds| start + Duration::from_secs(seconds);
    assert!(!gathering.is_over(later(59)) && gathering.is_over(later(60)));
    gathering.is_kept = true;
    assert!(gathering.is_over(start));
    gathering.add(1, "old\n".to_owned());
    gathering.add(1, "b\n".to_owned());
    gathering.add(0, "a\n".to_owned());
    let note = &gathering.given.note;
    assert_eq!(gathering.cosigned(), format!("{note}a\nb\n"));
}

#[tokio::test]
async fn what_an_earlier_run_kept_is_shown_only_as_the_present_policy_and_ledger_have_it() {
    let scene = Scene::of(3);
    let (fake, url) = Fake::serve(1, &[]).await;
    let note = scene.given().note.clone();
    let keep = |note: &str| scene.log.keep_witnessed(note.as_bytes()).unwrap();
    let policy = format!("witness a {} {url}\nquorum a\n", fake.public);
    let shown =
        |policy: &str| scene.witnesses(policy).unwrap().state.entries.load(Ordering::Relaxed);
    assert_eq!(shown(&policy), 0, "nothing is kept");
    keep(&format!("{note}{}", fake.line(&note, 0)));
    assert_eq!(shown(&policy), 3);

    let other = CheckpointKey::from_seed(&[9; 32]).witness("other.example").unwrap();
    let more = format!(
        "witness a {} {url}\nwitness b {other} {url}\ngroup g all a b\nquorum g\n",
        fake.public
    );
    assert_eq!(shown(&more), 0, "too few for the present policy");
    let signs = |size, root| {
        let key = CheckpointKey::from_seed(&[7; 32]);
        let verifier = key.verifier("acme/prod/1").unwrap();
        let note =
            key.sign(&Checkpoint { origin: "acme/prod/1".to_owned(), size, root }, &verifier);
        format!("{note}{}", fake.line(&note, 0))
    };
    let own = scene.given().head.root;
    for (wrong, why) in [
        (signs(4, own), "the ledger is shorter"),
        (signs(3, model::Digest([1; 32])), "the ledger has another beginning"),
        (note, "nobody has cosigned it"),
        ("no head".to_owned(), "it is none"),
    ] {
        keep(&wrong);
        assert_eq!(shown(&policy), 0, "{why}");
    }
}

#[test]
fn a_policy_that_does_not_fit_is_refused() {
    let scene = Scene::of(1);
    let key = CheckpointKey::from_seed(&[1; 32]).witness("w.example").unwrap();
    let other = CheckpointKey::from_seed(&[9; 32]).verifier("acme/prod/1").unwrap();
    for (policy, why) in [
        ("quorum none".to_owned(), "nobody would have to witness"),
        (
            format!("witness a {key} http://127.0.0.1:1\nquorum none"),
            "nobody would have to witness",
        ),
        (format!("witness a {key}\nquorum a"), "`w.example`: it has no URL"),
        (format!("witness a {key} ftp://w\nquorum a"), "`w.example`: its URL"),
        (format!("log {other}\nwitness a {key} http://127.0.0.1:1\nquorum a"), "not among them"),
    ] {
        let refused = scene.witnesses(&policy).err().unwrap_or_default();
        assert!(refused.contains(why), "{policy}: {refused}");
    }
}
