//! One witness: where it is, what it has seen, and what its answers mean.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use gateway::outbound::{Limits, Outbound, Request, Target};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use ledger::{ProofError, Submission, Tiles, WitnessKey, extends};
use model::Digest;
use server::Witnessed;
use tokio::time::Instant;

use super::gathering::Given;
use crate::{client::now, failure::chain, told::Told};

/// After which time a head is given again to who has not cosigned it.
const AGAIN: Duration = Duration::from_secs(5);
/// After which time a head is given again to who has: what witnesses say of a quiet ledger stays fresh.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: a few signature lines.
const MAX_ANSWER: usize = 16 * 1024;

/// One witness.
pub(super) struct Place {
    at: usize,
    key: WitnessKey,
    outbound: Outbound,
    target: Target,
    path: PathAndQuery,
    /// The size of the last head that it is believed to have seen.
    seen: u64,
    /// The size of the last head that it has cosigned: it may not have seen less since.
    cosigned: u64,
    /// The head that it was given last, when, and whether it cosigned it.
    last: Option<(Arc<Given>, Instant, bool)>,
    told: Told,
    /// Whether it has contradicted this ledger, or itself.
    contradicts: bool,
    state: Arc<Witnessed>,
}

/// How a submission ended that brought no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It has seen another head of a size that this ledger had: one of the two is forged.
    Forked,
    /// It has seen more than this ledger has: the ledger was set back, or somebody else signs with its key.
    Ahead(u64),
    /// This ledger's own tiles do not prove what it signed.
    Damaged(String),
    /// It does not want the head.
    Refused(StatusCode),
    /// It answered something that is none.
    Strange(String),
    /// It did not answer.
    Silent(String),
}

type Line = Result<String, Said>;

/// The client for witnesses: calls of agents leave it its connections, and it leaves them theirs.
pub(super) fn client() -> Outbound {
    // One connection is used at a time; another may still be closing.
    Outbound::new(Limits { connections: 2, parked: 1, ..Limits::default() })
}

impl Place {
    /// A witness of a policy, by its place in it; or why it cannot be asked.
    pub(super) fn of(
        at: usize,
        witness: &ledger::Witness,
        outbound: &Outbound,
        state: Arc<Witnessed>,
    ) -> Result<Self, String> {
        let url = witness.url.as_deref().ok_or("it has no URL")?;
        // The operator's own file says where it is, inside or not.
        let target = outbound.target(url, true);
        let target = target.map_err(|error| format!("its URL: {}", chain(&error)))?;
        let path = format!("{}/add-checkpoint", target.path().path().trim_end_matches('/'));
        let path = path.parse().map_err(|error| format!("its URL: {error}"))?;
        Ok(Self {
            at,
            key: witness.key.clone(),
            outbound: outbound.clone(),
            target,
            path,
            seen: 0,
            cosigned: 0,
            last: None,
            told: Told::default(),
            contradicts: false,
            state,
        })
    }

    /// Its place in the policy.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Takes up that it has cosigned a head of this ledger, if it is among those that have.
    pub(super) fn remember(&mut self, note: &[u8], size: u64) {
        if matches!(self.key.cosigned(note, now()), Ok(Some(_))) {
            (self.seen, self.cosigned) = (size, size);
        }
    }

    /// Whether to give it this head now.
    pub(super) fn is_due(&self, given: &Given, at: Instant) -> bool {
        let Some((last, when, cosigned)) = &self.last else { return true };
        let patience = if *cosigned { HEARTBEAT } else { AGAIN };
        last.note != given.note || at.duration_since(*when) >= patience
    }

    /// Gives it a head; its line, where it cosigned.
    pub(super) async fn ask(
        mut self,
        given: Arc<Given>,
        dir: PathBuf,
    ) -> (Self, Arc<Given>, Option<String>) {
        let line = self.submit(&dir, &given).await;
        match &line {
            Ok(_) => {
                (self.seen, self.cosigned) = (given.head.size, given.head.size);
                if self.told.may_change_to("cosigned") {
                    let (witness, size) = (self.key.name(), given.head.size);
                    tracing::info!(
                        code = "BW-1706",
                        witness,
                        size,
                        "a witness cosigns the ledger's heads"
                    );
                }
            }
            Err(said) => self.tell(said, given.head.size),
        }
        self.last = Some((given.clone(), Instant::now(), line.is_ok()));
        (self, given, line.ok())
    }

    /// From the size that it is believed to have seen, then once more from the one that it names.
    async fn submit(&mut self, dir: &Path, given: &Given) -> Line {
        let size = given.head.size;
        let mut old = self.seen.min(size);
        for _ in 0..2 {
            let path = prove(dir, given, old).await?;
            let submission = Submission { old, path, note: given.note.clone() };
            let (status, answer) = self.send(&submission).await?;
            match status {
                StatusCode::OK => return self.line(given, &answer),
                StatusCode::CONFLICT => {
                    let Ok(named) = answer.trim().parse::<u64>() else {
                        // By tlog-witness 1.0: it has seen this very size, with another root.
                        let same = old == size && old > 0;
                        return Err(if same { Said::Forked } else { Said::Refused(status) });
                    };
                    if named < self.cosigned {
                        self.tell_forgotten(named);
                    }
                    if named > given.newest {
                        return Err(Said::Ahead(named));
                    }
                    if named > size {
                        return Err(Said::Refused(status));
                    }
                    // The very size that it was given means no fork, but that it was given the head twice at once.
                    (old, self.seen) = (named, named);
                }
                // The proof holds for what this ledger had, and everything begins with nothing.
                StatusCode::UNPROCESSABLE_ENTITY if old > 0 => return Err(Said::Forked),
                _ => return Err(Said::Refused(status)),
            }
        }
        Err(Said::Refused(StatusCode::CONFLICT))
    }

    fn line(&self, given: &Given, answer: &str) -> Line {
        let line = self.key.line_for(given.note.as_bytes(), answer, now());
        let line = line.map_err(|error| Said::Strange(chain(&error)))?;
        line.ok_or_else(|| Said::Strange("it is not signed by its key".to_owned()))
    }

    async fn send(&self, submission: &Submission) -> Result<(StatusCode, String), Said> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let request = Request {
            method: Method::POST,
            path: Some(self.path.clone()),
            headers,
            body: Bytes::from(submission.to_string()),
            deadline: Some(Instant::now() + PATIENCE),
        };
        let sent = self.outbound.send(&self.target, request, None).await;
        let response = sent.map_err(|error| Said::Silent(chain(&error)))?;
        let status = response.status;
        let answer = response.collect(MAX_ANSWER).await;
        let answer = answer.map_err(|error| Said::Silent(chain(&error)))?;
        let answer = String::from_utf8(answer.to_vec());
        answer
            .map(|answer| (status, answer))
            .map_err(|_| Said::Strange("it is not UTF-8".to_owned()))
    }

    fn tell(&mut self, said: &Said, size: u64) {
        if matches!(said, Said::Forked | Said::Ahead(_)) {
            self.contradict();
        }
        if self.told.may(said.cause(), Instant::now()) {
            said.log(self.key.name(), size);
        }
    }

    fn tell_forgotten(&mut self, seen: u64) {
        self.contradict();
        if self.told.may("forgotten", Instant::now()) {
            let (witness, cosigned) = (self.key.name(), self.cosigned);
            tracing::error!(
                code = "BW-1708",
                witness,
                cosigned,
                seen,
                "a witness has forgotten a head that it had cosigned"
            );
        }
    }

    /// Counts it among those that have contradicted, once.
    fn contradict(&mut self) {
        if !std::mem::replace(&mut self.contradicts, true) {
            self.state.contradicting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What proves that a head begins with the ledger's first `old` entries, checked before it is given away.
async fn prove(dir: &Path, given: &Given, old: u64) -> Result<Vec<Digest>, Said> {
    let (dir, head) = (dir.to_owned(), given.head);
    let proven = tokio::task::spawn_blocking(move || {
        let mut tiles = Tiles::new(&dir, head.size);
        let path = tiles.consistency(old)?;
        let holds = extends(tiles.first(old)?, head, &path);
        Ok(holds.then_some(path))
    });
    let proven: Result<_, ProofError> =
        proven.await.map_err(|error| Said::Damaged(error.to_string()))?;
    proven
        .map_err(|error| Said::Damaged(chain(&error)))?
        .ok_or_else(|| Said::Damaged("its tiles do not lead to its signed head".to_owned()))
}

impl Said {
    const fn cause(&self) -> &'static str {
        match self {
            Self::Forked => "forked",
            Self::Ahead(_) => "ahead",
            Self::Damaged(_) => "damaged",
            Self::Refused(_) => "refused",
            Self::Strange(_) => "strange",
            Self::Silent(_) => "silent",
        }
    }

    fn log(&self, witness: &str, size: u64) {
        match self {
            Self::Forked => tracing::error!(
                code = "BW-1701",
                witness,
                size,
                "a witness has seen another history of this ledger"
            ),
            Self::Ahead(seen) => tracing::error!(
                code = "BW-1702",
                witness,
                size,
                seen,
                "a witness has seen more than this ledger has"
            ),
            Self::Damaged(why) => tracing::error!(
                code = "BW-1710",
                witness,
                size,
                why,
                "the ledger's own files prove nothing to a witness"
            ),
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
