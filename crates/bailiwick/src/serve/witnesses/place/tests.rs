use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::tests::{Answer, Fake, Scene},
    *,
};

use Answer::{Cosigns, Says};

/// What a witness is asked of a log of three entries, and what became of it.
struct Told {
    line: Line,
    seen: u64,
    contradicting: u64,
    asked: usize,
}

/// Gives the head to a witness that has these answers, is believed to have seen so many entries, and has cosigned as many.
async fn told(scene: &Scene, seen: u64, cosigned: u64, answers: &[Answer]) -> Told {
    let (fake, url) = Fake::serve(8, answers).await;
    let state = Arc::new(Witnessed::default());
    let witness = ledger::Witness { key: fake.public.clone(), url: Some(url) };
    let mut place = Place::of(0, &witness, &client(), state.clone()).unwrap();
    (place.seen, place.cosigned) = (seen, cosigned);
    let line = place.submit(&scene.dir(), &scene.given()).await;
    if let Err(said) = &line {
        place.tell(said, 3);
    }
    let contradicting = state.contradicting.load(Relaxed);
    Told { line, seen: place.seen, contradicting, asked: fake.asked() }
}

async fn said(seen: u64, answers: &[Answer]) -> Option<Said> {
    let told = told(&Scene::of(3), seen, 0, answers).await;
    assert_eq!(told.asked, answers.len());
    let contradicts = matches!(told.line, Err(Said::Forked | Said::Ahead(_)));
    assert_eq!(told.contradicting, u64::from(contradicts), "{:?}", told.line);
    told.line.err()
}

fn refused(status: u16) -> Option<Said> {
    Some(Said::Refused(StatusCode::from_u16(status).unwrap()))
}

#[tokio::test]
async fn a_line_of_the_witness_counts_and_nothing_else_that_it_answers() {
    let scene = Scene::of(3);
    let (fake, _) = Fake::serve(8, &[]).await;
    let note = &scene.given().note;
    let line = fake.line(note, 0);
    let stranger = line.replace("w8.example", "w9.example");
    let (early, other) = (fake.line(note, 600), line.replace("AA", "AB"));
    for strange in ["", "OK\n", &early, &stranger, &other] {
        let strange: &'static str = strange.to_owned().leak();
        let said = said(0, &[Says(200, strange)]).await;
        assert!(matches!(said, Some(Said::Strange(_))), "{strange:?}: {said:?}");
    }
    let Told { line, .. } = told(&scene, 0, 0, &[Cosigns]).await;
    assert!(line.is_ok_and(|line| line.starts_with("\u{2014} w8.example ")));
}

#[tokio::test]
async fn a_witness_that_has_seen_another_size_is_asked_once_more_from_there() {
    assert_eq!(said(0, &[Says(409, "2\n"), Cosigns]).await, None);
    assert_eq!(said(2, &[Says(409, "0\n"), Cosigns]).await, None);
    assert_eq!(said(1, &[Says(409, "0\n"), Says(409, "0\n")]).await, refused(409));
    assert_eq!(said(0, &[Says(409, "nonsense\n")]).await, refused(409));
    assert_eq!(told(&Scene::of(3), 0, 0, &[Says(409, "2\n"), Cosigns]).await.seen, 2);
}

#[tokio::test]
async fn a_witness_that_knows_another_history_is_understood() {
    assert_eq!(said(1, &[Says(422, "no")]).await, Some(Said::Forked));
    assert_eq!(said(3, &[Says(422, "no")]).await, Some(Said::Forked));
    assert_eq!(said(0, &[Says(409, "2\n"), Says(422, "no")]).await, Some(Said::Forked));
    // As tlog-witness 1.0 has it for another root of the same size.
    assert_eq!(said(3, &[Says(409, "another root\n")]).await, Some(Said::Forked));
    assert_eq!(said(0, &[Says(409, "7\n")]).await, Some(Said::Ahead(7)));
}

#[tokio::test]
async fn a_witness_that_shows_no_other_history_raises_no_alarm() {
    // It was given the same head twice at once.
    assert_eq!(said(3, &[Says(409, "3\n"), Cosigns]).await, None);
    assert_eq!(
        said(3, &[Says(409, "2"), Cosigns]).await,
        None,
        "a size is one without its newline"
    );
    assert_eq!(said(3, &[Says(409, "3\n"), Says(409, "3\n")]).await, refused(409));
    assert_eq!(said(0, &[Says(409, "3\n"), Says(409, "3\n")]).await, refused(409));
    // Everything begins with nothing, so that is no other history.
    assert_eq!(said(0, &[Says(422, "no")]).await, refused(422));
}

#[tokio::test]
async fn a_damaged_tile_is_this_ledgers_own_fault_and_nobody_is_asked() {
    let scene = Scene::of(3);
    let tile = scene.dir().join("tile/0/000.p/3");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    for seen in [1, 2, 3] {
        let told = told(&scene, seen, seen, &[Says(422, "no")]).await;
        assert!(matches!(told.line, Err(Said::Damaged(_))), "{:?}", told.line);
        assert_eq!((told.asked, told.contradicting), (0, 0));
    }
    std::fs::remove_file(&tile).unwrap();
    let told = told(&scene, 1, 1, &[]).await;
    assert!(matches!(told.line, Err(Said::Damaged(_))), "{:?}", told.line);
}

#[tokio::test]
async fn a_witness_that_forgot_what_it_cosigned_is_an_alarm_even_if_it_cosigns_again() {
    let scene = Scene::of(3);
    let forgot = told(&scene, 3, 3, &[Says(409, "0\n"), Cosigns]).await;
    assert!(forgot.line.is_ok());
    assert_eq!(forgot.contradicting, 1);
    let forgot = told(&scene, 3, 2, &[Says(409, "1\n"), Cosigns]).await;
    assert_eq!(forgot.contradicting, 1);
    let other = told(&scene, 3, 2, &[Says(409, "2\n"), Cosigns]).await;
    assert_eq!(other.contradicting, 0, "it never cosigned more");
}

#[tokio::test]
async fn what_a_witness_cosigned_in_an_earlier_run_is_not_forgotten_by_the_node() {
    let scene = Scene::of(3);
    let (fake, url) = Fake::serve(8, &[]).await;
    let witness = ledger::Witness { key: fake.public.clone(), url: Some(url) };
    let mut place = Place::of(0, &witness, &client(), Arc::default()).unwrap();
    let note = scene.given().note.clone();
    place.remember(note.as_bytes(), 3);
    assert_eq!((place.seen, place.cosigned), (0, 0), "it did not cosign this one");
    place.remember(format!("{note}{}", fake.line(&note, 0)).as_bytes(), 3);
    assert_eq!((place.seen, place.cosigned), (3, 3));
}

#[tokio::test]
async fn a_witness_that_does_not_want_the_head_or_is_not_there_gives_no_line() {
    for status in [400, 403, 404, 500, 503] {
        assert_eq!(said(0, &[Says(status, "no")]).await, refused(status));
    }
    let long: &'static str = "x".repeat(MAX_ANSWER + 1).leak();
    assert!(matches!(said(0, &[Says(200, long)]).await, Some(Said::Silent(_))));
}

#[tokio::test]
async fn a_head_is_given_again_sooner_to_who_has_not_cosigned_it() {
    let (scene, larger) = (Scene::of(3), Scene::of(4));
    let (fake, url) = Fake::serve(8, &[]).await;
    let witness = ledger::Witness { key: fake.public.clone(), url: Some(url) };
    let mut place = Place::of(0, &witness, &client(), Arc::default()).unwrap();
    let (given, start) = (scene.given(), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(place.is_due(&given, start));
    place.last = Some((given.clone(), start, false));
    assert!(!place.is_due(&given, after(4)) && place.is_due(&given, after(5)));
    place.last = Some((given.clone(), start, true));
    assert!(!place.is_due(&given, after(59)) && place.is_due(&given, after(60)));
    assert!(place.is_due(&larger.given(), start), "it is another head");
}
