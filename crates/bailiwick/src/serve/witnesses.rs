//! The ledger's heads, given to witnesses. No call waits for it: what they have not cosigned yet is shown later.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use gateway::outbound::{Outbound, Request, Target};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use ledger::{Checkpoint, HeadFile, Log, Submission, Tiles, TlogPolicy, VerifierKey, WitnessKey};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    client::now,
    config::Config,
    failure::{Failure, Result, TELL_US, chain},
    witness::read_policy,
};

/// How often the head is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After which time a head is given again that not everybody has cosigned.
const AGAIN: Duration = Duration::from_secs(5);
/// After which time a head is given again that everybody has cosigned: what witnesses say of a quiet ledger stays fresh.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: a few signature lines.
const MAX_ANSWER: usize = 16 * 1024;

/// Whoever cosigns this ledger's heads.
pub(super) struct Witnesses {
    log: Log,
    key: VerifierKey,
    dir: PathBuf,
    policy: TlogPolicy,
    places: Vec<Place>,
    outbound: Outbound,
    /// How many entries the newest witnessed head covers.
    pub(super) covered: Arc<AtomicU64>,
}

/// One witness.
struct Place {
    key: WitnessKey,
    target: Target,
    path: PathAndQuery,
    /// The size of the last head that it said to have seen.
    seen: u64,
    /// How the last submission ended, so that each change is logged once.
    last: Option<Said>,
}

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Cosigned,
    /// It has seen another head of a size that this ledger had: one of the two is forged.
    Forked,
    /// It has seen more than this ledger has: the ledger was set back, or somebody else signs with its key.
    Ahead(u64),
    /// It does not want the head.
    Refused(StatusCode),
    /// It answered something that is none.
    Strange(String),
    /// It did not answer.
    Silent(String),
}

impl Witnesses {
    /// What the configuration says; `None` where it names no witnesses.
    pub(super) fn of(config: &Config, log: &Log, outbound: Outbound) -> Result<Option<Self>> {
        let Some(file) = &config.witnesses else { return Ok(None) };
        let policy = read_policy(file)?;
        let unusable = |why: String| {
            Failure::new(
                "witnesses_unusable",
                format!("`{}` does not fit this node", file.display()),
            )
            .why(why)
            .next("correct the file, or take `ledger.witnesses` out of the configuration")
        };
        let key: VerifierKey = log.verifier_key().parse().map_err(|error| {
            Failure::new("key_invalid", "the ledger's own key cannot be read")
                .because(&error)
                .next(TELL_US)
        })?;
        if !policy.accepts(&key) {
            return Err(unusable(format!(
                "it lists logs, and `{}` with its key is not among them",
                key.name()
            )));
        }
        let place = |witness: &ledger::Witness| {
            let name = witness.key.name();
            let url = witness
                .url
                .as_deref()
                .ok_or_else(|| unusable(format!("it has no URL for `{name}`")))?;
            // The operator's own file says where it is, inside or not.
            let target = outbound.target(url, true);
            let target = target
                .map_err(|error| unusable(format!("the URL of `{name}`: {}", chain(&error))))?;
            let path = format!("{}/add-checkpoint", target.path().path().trim_end_matches('/'));
            let path =
                path.parse().map_err(|error| unusable(format!("the URL of `{name}`: {error}")))?;
            Ok(Place { key: witness.key.clone(), target, path, seen: 0, last: None })
        };
        let places = policy.witnesses().iter().map(place).collect::<Result<Vec<_>>>()?;
        let (log, dir) = (log.clone(), config.ledger_dir());
        let kept = std::fs::read(dir.join(HeadFile::Witnessed.name())).unwrap_or_default();
        let covered = Checkpoint::unverified(&kept).map_or(0, |head| head.size);
        let covered = Arc::new(AtomicU64::new(covered));
        Ok(Some(Self { log, key, dir, policy, places, outbound, covered }))
    }

    /// Gives each new head to all of them at once, until the node stops.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut given: Option<(Vec<u8>, Instant)> = None;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = looks.tick() => {}
            }
            // There is none before the first publication.
            let Ok(note) = tokio::fs::read(self.dir.join(HeadFile::Newest.name())).await else {
                continue;
            };
            let everybody = self.places.iter().all(|place| place.last == Some(Said::Cosigned));
            let patience = if everybody { HEARTBEAT } else { AGAIN };
            if given.as_ref().is_some_and(|(last, at)| *last == note && at.elapsed() < patience) {
                continue;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.give(&note) => {}
            }
            given = Some((note, Instant::now()));
        }
    }

    /// Gives one head to all, and keeps it if enough have cosigned.
    async fn give(&mut self, note: &[u8]) {
        let (Ok(text), Ok(head)) = (std::str::from_utf8(note), Checkpoint::unverified(note)) else {
            return;
        };
        let (outbound, dir) = (&self.outbound, &self.dir);
        let asked = self.places.iter_mut().map(|place| place.ask(outbound, dir, text, head.size));
        let lines: String = join_all(asked).await.into_iter().flatten().collect();
        let cosigned = format!("{text}{lines}").into_bytes();
        if self.policy.check(&self.key, &cosigned, now()).is_err() {
            return;
        }
        let log = self.log.clone();
        let kept = tokio::task::spawn_blocking(move || log.keep_witnessed(&cosigned)).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => self.covered.store(head.size, Ordering::Relaxed),
            Err(why) => {
                tracing::error!(code = "BW-1705", %why, "a witnessed head could not be kept")
            }
        }
    }
}

impl Place {
    /// Gives the head to this witness; its line, where it cosigned.
    async fn ask(
        &mut self,
        outbound: &Outbound,
        dir: &std::path::Path,
        note: &str,
        size: u64,
    ) -> Option<String> {
        let (said, line) = match self.submit(outbound, dir, note, size).await {
            Ok(line) => {
                self.seen = size;
                (Said::Cosigned, Some(line))
            }
            Err(said) => (said, None),
        };
        if self.last.as_ref() != Some(&said) {
            said.tell(self.key.name(), size);
            self.last = Some(said);
        }
        line
    }

    /// From the size that it is believed to have seen, then once more from the one that it names.
    async fn submit(
        &mut self,
        outbound: &Outbound,
        dir: &std::path::Path,
        note: &str,
        size: u64,
    ) -> std::result::Result<String, Said> {
        let mut old = self.seen.min(size);
        for last in [false, true] {
            let (status, answer) = self.send(outbound, dir, note, old, size).await?;
            match status {
                StatusCode::OK => {
                    let line = self.key.line_for(note.as_bytes(), &answer, now());
                    let line = line.map_err(|error| Said::Strange(chain(&error)))?;
                    return line
                        .ok_or_else(|| Said::Strange("it is not signed by its key".to_owned()));
                }
                StatusCode::CONFLICT => {
                    let named = answer.strip_suffix('\n').and_then(|text| text.parse::<u64>().ok());
                    match named {
                        Some(named) if named > size => return Err(Said::Ahead(named)),
                        // It has seen this very size, and not this root.
                        Some(named) if named == old && named == size => return Err(Said::Forked),
                        Some(named) if !last => old = named,
                        _ => return Err(Said::Refused(status)),
                    }
                }
                // The proof is ours, and so it holds for what we had.
                StatusCode::UNPROCESSABLE_ENTITY => return Err(Said::Forked),
                _ => return Err(Said::Refused(status)),
            }
            self.seen = old;
        }
        Err(Said::Refused(StatusCode::CONFLICT))
    }

    async fn send(
        &self,
        outbound: &Outbound,
        dir: &std::path::Path,
        note: &str,
        old: u64,
        size: u64,
    ) -> std::result::Result<(StatusCode, String), Said> {
        let dir = dir.to_owned();
        let proven = tokio::task::spawn_blocking(move || Tiles::new(&dir, size).consistency(old));
        let path = proven.await.map_err(|error| Said::Silent(error.to_string()))?;
        let path = path.map_err(|error| Said::Silent(chain(&error)))?;
        let body = Bytes::from(Submission { old, path, note: note.to_owned() }.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let request = Request {
            method: Method::POST,
            path: Some(self.path.clone()),
            headers,
            body,
            deadline: Some(Instant::now() + PATIENCE),
        };
        let sent = outbound.send(&self.target, request, None).await;
        let response = sent.map_err(|error| Said::Silent(chain(&error)))?;
        let status = response.status;
        let answer = tokio::time::timeout(PATIENCE, response.collect(MAX_ANSWER)).await;
        let answer = answer.map_err(|error| Said::Silent(error.to_string()))?;
        let answer = answer.map_err(|error| Said::Silent(chain(&error)))?;
        let answer = String::from_utf8(answer.to_vec());
        answer.map(|answer| (status, answer)).map_err(|error| Said::Strange(error.to_string()))
    }
}

impl Said {
    fn tell(&self, witness: &str, size: u64) {
        match self {
            Self::Cosigned => {
                tracing::info!(
                    code = "BW-1706",
                    witness,
                    size,
                    "a witness cosigns the ledger's heads"
                );
            }
            Self::Forked => tracing::error!(
                code = "BW-1701",
                witness,
                size,
                "a witness has seen another history of this ledger"
            ),
            Self::Ahead(seen) => {
                tracing::error!(
                    code = "BW-1702",
                    witness,
                    size,
                    seen,
                    "a witness has seen more than this ledger has"
                );
            }
            Self::Refused(status) => {
                tracing::warn!(code = "BW-1703", witness, size, %status, "a witness does not cosign");
            }
            Self::Strange(why) => {
                tracing::warn!(
                    code = "BW-1707",
                    witness,
                    size,
                    why,
                    "a witness answered nothing that counts"
                );
            }
            Self::Silent(why) => {
                tracing::warn!(code = "BW-1704", witness, size, why, "a witness did not answer");
            }
        }
    }
}

#[cfg(test)]
mod tests;
