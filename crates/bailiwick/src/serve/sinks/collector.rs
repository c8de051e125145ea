//! A sink that is an HTTP event collector, as Splunk has it. Where it confirms what it has indexed, that is what counts.

use std::collections::HashMap;

use gateway::outbound::Credential;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use insight::{Event, Shape};
use serde::Deserialize;
use serde_json::json;
use token::Secret;
use tokio::time::{Instant, sleep};

use super::{
    Pace, Taken,
    post::{NotTaken, Place},
};
use crate::{config::SecretRef, random};

/// By this a collector tells its clients, and their acknowledgements, apart.
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// An HTTP event collector.
pub(super) struct Collector {
    place: Place,
    token: SecretRef,
    shape: Shape,
    channel: HeaderValue,
    pace: Pace,
}

/// What it says of a batch.
#[derive(Deserialize)]
struct Answer {
    code: i64,
    #[serde(rename = "ackId")]
    ack: Option<u64>,
}

/// What it says of what it has indexed.
#[derive(Deserialize)]
struct Acks {
    acks: HashMap<String, bool>,
}

impl Collector {
    /// A collector at a place, under a channel of this process.
    pub(super) fn new(
        place: Place,
        token: SecretRef,
        shape: Shape,
        pace: Pace,
    ) -> Result<Self, String> {
        let bytes = random::name().map_err(|failure| failure.line())?;
        // A GUID by its form.
        let parts = [&bytes[..8], &bytes[8..12], &bytes[12..16], &bytes[16..20], &bytes[20..]];
        let channel = HeaderValue::try_from(parts.join("-")).map_err(|why| why.to_string())?;
        Ok(Self { place, token, shape, channel, pace })
    }

    pub(super) async fn deliver(&self, events: &[Event<'_>]) -> Result<Taken, NotTaken> {
        let credential = self.credential().await?;
        let body: Vec<u8> = events.iter().flat_map(|event| event.hec(self.shape)).collect();
        let answer: Answer = self.ask("/services/collector/event", body, &credential).await?;
        if answer.code != 0 {
            return Err(NotTaken::Strange(format!("it is code {}", answer.code)));
        }
        if let Some(ack) = answer.ack {
            self.wait_for(ack, &credential).await?;
        }
        Ok(Taken::default())
    }

    async fn wait_for(&self, ack: u64, credential: &Credential) -> Result<(), NotTaken> {
        let until = Instant::now() + self.pace.indexed;
        while Instant::now() < until {
            let asked = json!({ "acks": [ack] }).to_string().into_bytes();
            let said: Acks = self.ask("/services/collector/ack", asked, credential).await?;
            if said.acks.get(&ack.to_string()) == Some(&true) {
                return Ok(());
            }
            sleep(self.pace.ask).await;
        }
        Err(NotTaken::Unconfirmed(self.pace.indexed))
    }

    async fn ask<T: for<'d> Deserialize<'d>>(
        &self,
        path: &str,
        body: Vec<u8>,
        credential: &Credential,
    ) -> Result<T, NotTaken> {
        let headers = HeaderMap::from_iter([(CHANNEL, self.channel.clone())]);
        let answer = self.place.post(path, headers, body, Some(credential)).await?;
        serde_json::from_slice(&answer).map_err(|why| NotTaken::Strange(why.to_string()))
    }

    async fn credential(&self) -> Result<Credential, NotTaken> {
        let token = self.place.token(&self.token).await?;
        let value = Secret::new([b"Splunk ", token.expose()].concat());
        let origin = self.place.target.origin().clone();
        Credential::new(origin, header::AUTHORIZATION, &value)
            .map_err(|why| NotTaken::Secret(why.to_string()))
    }
}
