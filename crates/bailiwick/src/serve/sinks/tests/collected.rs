//! A collector in this process, which takes events as well or as badly as a test wants.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};

use super::until;

/// How a collector behaves at one request.
#[derive(Clone, Copy)]
pub(super) enum Does {
    /// Takes the events and indexes them.
    Takes,
    /// Says that it has taken them, and never indexes them.
    Loses,
    /// Keeps them, and never confirms it.
    NeverConfirms,
    Says(u16),
    Hangs,
    /// Answers what is no answer.
    Babbles,
}

/// A collector in this process.
#[derive(Clone, Default)]
pub(super) struct Collected(pub(super) Arc<Inside>);

#[derive(Default)]
pub(super) struct Inside {
    /// What it does next; then it takes everything.
    next: Mutex<VecDeque<Does>>,
    /// What it has indexed: position and leaf hash, in the order in which it came.
    events: Mutex<Vec<(u64, String)>>,
    confirmed: Mutex<Vec<bool>>,
    requests: AtomicU64,
    confirms: AtomicBool,
    /// A request of more events than this is refused, and how.
    most: Mutex<Option<(u64, u16)>>,
    pub(super) headers: Mutex<Vec<(String, String)>>,
    pub(super) url: Mutex<String>,
}

impl Collected {
    /// One that confirms what it has indexed, or answers without.
    pub(super) async fn serve(confirms: bool, next: &[Does]) -> Self {
        let collected = Self::default();
        collected.0.confirms.store(confirms, Ordering::Relaxed);
        collected.0.next.lock().unwrap().extend(next);
        let router = Router::new()
            .route("/services/collector/event", post(take))
            .route("/services/collector/ack", post(confirm))
            .with_state(collected.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        *collected.0.url.lock().unwrap() = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        collected
    }

    pub(super) fn refuses_more_than(&self, most: u64, status: u16) {
        *self.0.most.lock().unwrap() = Some((most, status));
    }

    pub(super) fn events(&self) -> Vec<(u64, String)> {
        self.0.events.lock().unwrap().clone()
    }

    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Waits until it has indexed the entry at this position.
    pub(super) async fn has(&self, index: u64) {
        until(|| self.events().iter().any(|(at, _)| *at == index)).await;
    }
}

async fn take(
    State(collected): State<Collected>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let inside = &collected.0;
    inside.requests.fetch_add(1, Ordering::Relaxed);
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let said = (header("authorization"), header("x-splunk-request-channel"));
    inside.headers.lock().unwrap().push(said);
    let does = inside.next.lock().unwrap().pop_front().unwrap_or(Does::Takes);
    match does {
        Does::Says(status) => return (StatusCode::from_u16(status).unwrap(), "busy\u{1b}".into()),
        Does::Babbles => return (StatusCode::OK, "<html>".to_owned()),
        Does::Hangs => std::future::pending().await,
        Does::Takes | Does::Loses | Does::NeverConfirms => {}
    }
    if !matches!(does, Does::Loses) {
        let events = serde_json::Deserializer::from_slice(&body).into_iter::<Value>();
        let events = events.map(|event| {
            let event = event.unwrap();
            let fields = &event["fields"];
            (fields["index"].as_u64().unwrap(), fields["hash"].as_str().unwrap().to_owned())
        });
        let events: Vec<_> = events.collect();
        let most = *inside.most.lock().unwrap();
        if let Some((most, status)) = most
            && events.len() as u64 > most
        {
            return (StatusCode::from_u16(status).unwrap(), "too much".to_owned());
        }
        inside.events.lock().unwrap().extend(events);
    }
    let mut answer = json!({ "code": 0, "text": "Success" });
    if inside.confirms.load(Ordering::Relaxed) {
        let mut confirmed = inside.confirmed.lock().unwrap();
        answer["ackId"] = confirmed.len().into();
        confirmed.push(matches!(does, Does::Takes));
    }
    (StatusCode::OK, answer.to_string())
}

async fn confirm(State(collected): State<Collected>, body: Bytes) -> String {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let confirmed = collected.0.confirmed.lock().unwrap();
    let acks = asked["acks"].as_array().unwrap().iter().map(|id| {
        let id = id.as_u64().unwrap();
        (id.to_string(), Value::from(confirmed[id as usize]))
    });
    json!({ "acks": acks.collect::<serde_json::Map<_, _>>() }).to_string()
}
