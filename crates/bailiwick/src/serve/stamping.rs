//! The ledger's heads, given to a timestamping authority (RFC 3161). No call waits for it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gateway::outbound::{Limits, Outbound, Request, Target};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use ledger::{
    Checkpoint, HeadFile, Log, MAX_TIMESTAMP, TimestampRequest, VerifierKey, stamped_sizes,
};
use model::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Stamps},
    failure::{Failure, Result, chain},
    random,
    told::Told,
};

/// How often it is looked whether a timestamp is due.
const LOOK: Duration = Duration::from_secs(1);
/// After which time an authority that gave none is asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// How long an authority may take.
const PATIENCE: Duration = Duration::from_secs(10);
const QUERY: HeaderValue = HeaderValue::from_static("application/timestamp-query");
const REPLY: HeaderValue = HeaderValue::from_static("application/timestamp-reply");

/// Whoever stamps this ledger's heads.
pub(super) struct Stamping {
    log: Log,
    key: VerifierKey,
    dir: PathBuf,
    outbound: Outbound,
    target: Target,
    every: Duration,
    /// When to ask next.
    due: Instant,
    told: Told,
    /// How many entries the newest stamped head covers, for whoever counts.
    pub(super) entries: Arc<AtomicU64>,
}

impl Stamping {
    /// What the configuration says; `None` where it names no authority.
    pub(super) fn of(config: &Config, log: &Log) -> Result<Option<Self>> {
        let Some(Stamps { url, every }) = &config.stamps else { return Ok(None) };
        let unusable = |error: &dyn std::error::Error| {
            Failure::new("timestamps_unusable", "no timestamp can be asked for")
                .because(error)
                .next("correct `ledger.timestamps`, or take it out of the configuration")
        };
        // Few answers, and long after each other.
        let outbound = Outbound::new(Limits { connections: 1, parked: 0, ..Limits::default() });
        // The operator's own file says where it is, inside or not.
        let target = outbound.target(url, true).map_err(|error| unusable(&error))?;
        let key = log.verifier_key().parse().map_err(|error| unusable(&error))?;
        let (dir, every) = (config.ledger_dir(), *every);
        let newest = stamped_sizes(&dir).ok().and_then(|sizes| sizes.last().copied());
        let entries = Arc::new(AtomicU64::new(newest.unwrap_or_default()));
        let (log, told, due) = (log.clone(), Told::default(), Instant::now());
        Ok(Some(Self { log, key, dir, outbound, target, every, due, told, entries }))
    }

    /// Has the newest head stamped when it is time for it and there are new entries, until the node stops.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = looks.tick() => {}
            }
            if Instant::now() < self.due {
                continue;
            }
            let Some((note, size)) = self.newest().await else { continue };
            if size <= self.entries.load(Ordering::Relaxed) {
                continue;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.stamp(note, size) => {}
            }
        }
    }

    /// The newest head, as it lies there.
    async fn newest(&self) -> Option<(Vec<u8>, u64)> {
        let note = tokio::fs::read(self.dir.join(HeadFile::Newest.name())).await.ok()?;
        let Checkpoint { size, .. } = self.key.open(&note).ok()?;
        Some((note, size))
    }

    async fn stamp(&mut self, note: Vec<u8>, size: u64) {
        let asked = self.ask(&note).await;
        self.due = Instant::now() + if asked.is_ok() { self.every } else { AGAIN };
        let (at, response) = match asked {
            Ok(answer) => answer,
            Err(why) => {
                if self.told.may("none", Instant::now()) {
                    tracing::warn!(
                        code = "BW-1711",
                        size,
                        why,
                        "the ledger's head has no timestamp"
                    );
                }
                return;
            }
        };
        let log = self.log.clone();
        let kept =
            tokio::task::spawn_blocking(move || log.keep_stamped(size, &note, &response)).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => {
                self.entries.store(size, Ordering::Relaxed);
                if self.told.may_change_to("stamped") {
                    tracing::info!(code = "BW-1712", size, %at, "an authority stamps the ledger's heads");
                }
            }
            Err(why) if self.told.may("not kept", Instant::now()) => {
                tracing::error!(code = "BW-1713", size, %why, "a stamped head could not be kept");
            }
            Err(_) => {}
        }
    }

    /// Asks for a time over a head; why there is none is for people.
    async fn ask(&self, note: &[u8]) -> std::result::Result<(Timestamp, Vec<u8>), String> {
        let nonce = random::bytes().map_err(|failure| failure.line())?;
        let query = TimestampRequest::of(note, nonce);
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, QUERY), (header::ACCEPT, REPLY)]);
        let request = Request {
            method: Method::POST,
            path: None,
            headers,
            body: Bytes::from(query.to_der()),
            deadline: Some(Instant::now() + PATIENCE),
        };
        let sent = self.outbound.send(&self.target, request, None).await;
        let response = sent.map_err(|error| chain(&error))?;
        let status = response.status;
        if status != StatusCode::OK {
            return Err(format!("the authority answered with status {status}"));
        }
        if response.headers.get(header::CONTENT_TYPE) != Some(&REPLY) {
            return Err(format!("the answer is not `{}`", REPLY.to_str().unwrap_or_default()));
        }
        let body = response.collect(MAX_TIMESTAMP).await.map_err(|error| chain(&error))?;
        let at = query.check(&body).map_err(|error| chain(&error))?;
        Ok((at, body.to_vec()))
    }
}
