use std::{collections::VecDeque, sync::Mutex};

use axum::{Router, extract::State, routing::post};
use gateway::outbound::Limits;
use ledger::{CheckpointKey, Head};

use super::*;

type Answers = Arc<Mutex<VecDeque<(StatusCode, String)>>>;

async fn answer(State(answers): State<Answers>, body: String) -> (StatusCode, String) {
    let (status, text) = answers.lock().unwrap().pop_front().expect("nobody asks so often");
    let old = body.lines().next().unwrap_or_default();
    (status, text.replace("OLD", old))
}

fn witness() -> (CheckpointKey, WitnessKey) {
    let key = CheckpointKey::from_seed(&[8; 32]);
    let public = key.witness("witness.example/1").unwrap();
    (key, public)
}

fn note() -> String {
    let key = CheckpointKey::from_seed(&[7; 32]);
    let verifier = key.verifier("acme/prod/1").unwrap();
    let (origin, root) = (verifier.name().to_owned(), Head::empty().root);
    key.sign(&Checkpoint { origin, size: 1, root }, &verifier)
}

/// Gives a head of one entry to a witness that has these answers; what it made of them, and how many it took.
async fn given(seen: u64, answers: &[(u16, &str)]) -> (std::result::Result<String, Said>, u64) {
    let status = |status| StatusCode::from_u16(status).unwrap();
    let answers = answers.iter().map(|(code, text)| (status(*code), (*text).to_owned())).collect();
    let answers: Answers = Arc::new(Mutex::new(answers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/w", listener.local_addr().unwrap());
    let router = Router::new().route("/w/add-checkpoint", post(answer)).with_state(answers.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let outbound = Outbound::new(Limits::default());
    let target = outbound.target(&url, true).unwrap();
    let path = "/w/add-checkpoint".parse().unwrap();
    let mut place = Place { key: witness().1, target, path, seen, last: None };
    let nowhere = std::path::Path::new("nowhere");
    let said = place.submit(&outbound, nowhere, &note(), 1).await;
    server.abort();
    assert!(answers.lock().unwrap().is_empty(), "it was not asked as often");
    (said, place.seen)
}

fn line(seconds_ahead: i64) -> String {
    let (key, public) = witness();
    let at = model::Timestamp::from_seconds(now().seconds() + seconds_ahead);
    key.cosign(note().as_bytes(), &public, at).unwrap()
}

#[tokio::test]
async fn a_line_of_the_witness_counts_and_nothing_else_that_it_answers() {
    assert_eq!(given(0, &[(200, &line(0))]).await.0, Ok(line(0)));
    let stranger = line(0).replace("witness.example/1", "witness.example/2");
    for strange in ["", "OK\n", &line(600), &stranger, &line(0).replace("AA", "AB")] {
        let said = given(0, &[(200, strange)]).await.0;
        assert!(matches!(said, Err(Said::Strange(_))), "{strange:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_witness_that_has_seen_another_size_is_asked_once_more_from_there() {
    assert_eq!(given(0, &[(409, "1\n"), (200, &line(0))]).await, (Ok(line(0)), 1));
    assert_eq!(given(1, &[(409, "0\n"), (200, &line(0))]).await, (Ok(line(0)), 0));
    let conflict = Err(Said::Refused(StatusCode::CONFLICT));
    assert_eq!(given(1, &[(409, "0\n"), (409, "0\n")]).await.0, conflict);
    assert_eq!(given(0, &[(409, "nonsense\n"),]).await.0, conflict);
}

#[tokio::test]
async fn a_witness_that_knows_another_history_is_understood() {
    assert_eq!(given(1, &[(422, "no")]).await.0, Err(Said::Forked));
    assert_eq!(given(0, &[(409, "1\n"), (422, "no")]).await.0, Err(Said::Forked));
    assert_eq!(given(0, &[(409, "1\n"), (409, "1\n")]).await.0, Err(Said::Forked));
    assert_eq!(given(1, &[(409, "1\n")]).await.0, Err(Said::Forked));
    assert_eq!(given(0, &[(409, "7\n")]).await.0, Err(Said::Ahead(7)));
}

#[tokio::test]
async fn a_witness_that_does_not_want_the_head_or_is_not_there_gives_no_line() {
    for status in [400, 403, 404, 500, 503] {
        let refused = Err(Said::Refused(StatusCode::from_u16(status).unwrap()));
        assert_eq!(given(0, &[(status, "no")]).await.0, refused);
    }
    let long = "x".repeat(MAX_ANSWER + 1);
    assert!(matches!(given(0, &[(200, &long)]).await.0, Err(Said::Silent(_))));
}
