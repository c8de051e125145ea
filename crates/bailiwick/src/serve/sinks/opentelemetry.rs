//! A sink that takes OTLP over HTTP ([OTLP 1.x](https://opentelemetry.io/docs/specs/otlp/#otlphttp)), in JSON.

use std::sync::Arc;

use gateway::outbound::Credential;
use http::{HeaderMap, StatusCode};
use insight::{Event, Field, Index, OtlpCall, Query, logs, spans};
use ledger::Entry;
use serde_json::Value;

use super::{
    Taken,
    post::{NotTaken, Place},
};
use crate::config::SecretRef;

/// A collector of OpenTelemetry.
pub(super) struct OpenTelemetry {
    place: Place,
    token: Option<SecretRef>,
    /// Where the decision of a call is found that has ended long after it.
    index: Arc<Index>,
}

impl OpenTelemetry {
    pub(super) fn new(place: Place, token: Option<SecretRef>, index: &Arc<Index>) -> Self {
        Self { place, token, index: index.clone() }
    }

    /// Log records of all entries, and a span for each call that has ended.
    pub(super) async fn deliver(&self, events: &[Event<'_>]) -> Result<Taken, NotTaken> {
        let version = env!("CARGO_PKG_VERSION");
        let mut rejected =
            self.post("/v1/logs", &logs(events, version), "rejectedLogRecords").await?;
        let mut permits = Vec::new();
        for outcome in events.iter().filter(|event| event.entry.leaf.kind == "outcome") {
            if let Some(permit) = self.permit(outcome, events).await {
                permits.push((permit, *outcome));
            }
        }
        if !permits.is_empty() {
            let calls: Vec<_> = permits
                .iter()
                .map(|(permit, outcome)| OtlpCall { permit, outcome: *outcome })
                .collect();
            let traced = self.post("/v1/traces", &spans(&calls, version), "rejectedSpans").await;
            match traced {
                // A collector of logs alone: what it does not keep of spans is no entry that is lost.
                Ok(spans) => rejected += spans,
                Err(NotTaken::Refused { status: StatusCode::NOT_FOUND, .. }) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(Taken { rejected })
    }

    /// The decision that an outcome follows from: most often in the same batch, else the index has it. Without it there is no
    /// span, and the outcome is told all the same.
    async fn permit(&self, outcome: &Event<'_>, events: &[Event<'_>]) -> Option<Entry> {
        let parents = outcome.entry.leaf.parents.clone();
        let is_meant = move |entry: &Entry| {
            parents.contains(&entry.hash) && entry.leaf.verdict.as_deref() == Some("permit")
        };
        if let Some(event) = events.iter().find(|event| is_meant(event.entry)) {
            return Some(event.entry.clone());
        }
        let query = Query::default()
            .with(Field::Action, &outcome.entry.leaf.action?)
            .with(Field::Kind, "decision");
        let found = self.index.run(move |index| index.search(&query, None, 8)).await.ok()?;
        found.found.entries.into_iter().find(is_meant)
    }

    /// Posts; how many of what was posted is not kept. By the specification that is not sent again.
    async fn post(&self, path: &str, body: &Value, rejected: &str) -> Result<u64, NotTaken> {
        let credential = self.credential().await?;
        let body = body.to_string().into_bytes();
        let answer = self.place.post(path, HeaderMap::new(), body, credential.as_ref()).await?;
        if answer.is_empty() {
            return Ok(0);
        }
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|why| NotTaken::Strange(why.to_string()))?;
        // 64-bit numbers are texts there, and some write them as numbers.
        let count = &answer["partialSuccess"][rejected];
        Ok(count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0))
    }

    async fn credential(&self) -> Result<Option<Credential>, NotTaken> {
        let Some(token) = &self.token else { return Ok(None) };
        let token = self.place.token(token).await?;
        let credential = Credential::bearer(self.place.target.origin().clone(), &token);
        credential.map(Some).map_err(|why| NotTaken::Secret(why.to_string()))
    }
}
