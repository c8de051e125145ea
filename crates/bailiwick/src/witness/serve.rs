//! `POST /add-checkpoint`.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use ledger::{Checkpoint, Head, MAX_SUBMISSION, NoteError, Submission, VerifierKey, extends};
use model::{Foreign, Timestamp};
use server::Bounds;
use store::Seen;
use tokio::{net::TcpListener, time::Instant};

use super::Witness;
use crate::{
    client::now,
    failure::{Failure, Result, chain},
};

/// The media type of the size that a witness has seen.
const SIZE: &str = "text/x.tlog.size";

/// A witness that listens.
pub(crate) struct Listening {
    /// Its submission prefix.
    pub(crate) url: String,
    listener: TcpListener,
    router: Router,
}

/// Binds the address.
pub(crate) async fn listen(witness: Witness, address: SocketAddr) -> Result<Listening> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, local))
    };
    let (listener, local) = bound.await.map_err(|error| {
        Failure::new("address_not_bound", format!("`{address}` cannot be listened on"))
            .because(&error)
            .next("stop whatever listens there, or say another address with `--listen`")
    })?;
    let router =
        Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(Arc::new(witness));
    Ok(Listening { url: format!("http://{local}"), listener, router })
}

impl Listening {
    /// Serves until `stopping` resolves, then lets live requests end.
    pub(crate) async fn serve(self, stopping: impl Future<Output = ()>) {
        server::serve(self.listener, self.router, Bounds::default(), stopping).await;
    }
}

/// How a submission ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It was cosigned, with this line.
    Cosigned(String),
    /// It is not one.
    Malformed(String),
    /// It is of a log that nobody added.
    UnknownLog,
    /// Its log has not signed it.
    Unsigned,
    /// The witness has seen a head of another size last, this one.
    OtherSize(u64),
    /// It is not proven to contain the head that was seen last.
    Inconsistent,
    /// The witness cannot do its work.
    Failed,
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, MAX_SUBMISSION).await else {
        return Outcome::Malformed("it is too long, or broke off".to_owned()).into_response();
    };
    let work = tokio::task::spawn_blocking(move || witness.consider(&body, now()));
    work.await.unwrap_or_else(|error| failed(&error)).into_response()
}

impl Witness {
    /// Checks a submission and cosigns it. What is cosigned is in the book before it is signed. Blocks.
    fn consider(&self, body: &[u8], now: Timestamp) -> Outcome {
        let submission = match Submission::parse(body) {
            Ok(submission) => submission,
            Err(error) => return Outcome::Malformed(error.to_string()),
        };
        let origin = match Checkpoint::unverified(submission.note.as_bytes()) {
            Ok(Checkpoint { size, .. }) if i64::try_from(size).is_err() => {
                return Outcome::Malformed("no log has 2^63 entries".to_owned());
            }
            Ok(checkpoint) => checkpoint.origin,
            Err(error) => return Outcome::Malformed(error.to_string()),
        };
        // Where another submission came first, this one is judged by what is in the book now.
        for _ in 0..2 {
            let seen = match self.book.log(&origin) {
                Ok(Some(seen)) => seen,
                Ok(None) => return Outcome::UnknownLog,
                // A name that no book can hold is in none.
                Err(store::Error::Invalid(_)) => return Outcome::UnknownLog,
                Err(error) => return failed(&error),
            };
            let head = match signed_head(&seen, &submission) {
                Ok(head) => head,
                Err(outcome) => return outcome,
            };
            if let Err(outcome) = self.judge(&seen, head, &submission) {
                return outcome;
            }
            let note = submission.note.as_bytes().to_vec();
            let newer = Seen { size: head.size, root: head.root, note, at: now, ..seen.clone() };
            match self.book.advance(&seen, &newer) {
                Ok(true) => return self.cosign(&submission.note, now),
                Ok(false) => {}
                Err(error) => return failed(&error),
            }
        }
        Outcome::Failed
    }

    /// Whether a signed head contains the one that was seen last.
    fn judge(
        &self,
        seen: &Seen,
        head: Head,
        submission: &Submission,
    ) -> std::result::Result<(), Outcome> {
        if submission.old > head.size {
            let why = "the old size is larger than the new one";
            return Err(Outcome::Malformed(why.to_owned()));
        }
        let last = Head { size: seen.size, root: seen.root };
        // First: from whichever size a log says to go on, two heads of one size are two stories.
        let two_stories = last.size == head.size && last.root != head.root;
        if two_stories && self.may_tell("two stories", &seen.origin) {
            let (origin, note) = (Foreign::new(&seen.origin), Foreign::new(&submission.note));
            let seen = Foreign::new(String::from_utf8_lossy(&seen.note));
            tracing::error!(code = "BW-1801", %origin, %note, %seen, "a log has signed two heads of one size: keep both");
        }
        if submission.old != seen.size {
            return Err(Outcome::OtherSize(seen.size));
        }
        if !extends(last, head, &submission.path) {
            // Only the proof may be wrong, and anybody may have sent that.
            if !two_stories && self.may_tell("not proven", &seen.origin) {
                let (origin, note) = (Foreign::new(&seen.origin), Foreign::new(&submission.note));
                tracing::warn!(code = "BW-1802", %origin, %note, size = seen.size, "a head is not proven to contain the last one");
            }
            return Err(Outcome::Inconsistent);
        }
        Ok(())
    }

    /// Whether to tell this of a log now: anybody can send it what makes it tell.
    fn may_tell(&self, cause: &'static str, origin: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry(origin.to_owned()).or_default().may(cause, Instant::now())
    }

    fn cosign(&self, note: &str, now: Timestamp) -> Outcome {
        match self.key.cosign(note.as_bytes(), &self.public, now) {
            Ok(line) => Outcome::Cosigned(line),
            Err(error) => failed(&error),
        }
    }
}

/// The head, if the log has signed it.
fn signed_head(seen: &Seen, submission: &Submission) -> std::result::Result<Head, Outcome> {
    let key: VerifierKey = seen.key.parse().map_err(|error: NoteError| failed(&error))?;
    match key.open(submission.note.as_bytes()) {
        Ok(Checkpoint { size, root, .. }) => Ok(Head { size, root }),
        Err(NoteError::Unsigned(_) | NoteError::BadSignature(_)) => Err(Outcome::Unsigned),
        Err(error) => Err(Outcome::Malformed(error.to_string())),
    }
}

fn failed(error: &dyn std::error::Error) -> Outcome {
    tracing::error!(code = "BW-1803", why = chain(error), "a submission could not be considered");
    Outcome::Failed
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let text = |status: StatusCode, text: String| {
            let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (status, media_type, text).into_response()
        };
        let said = |status, why: &str| text(status, format!("{why}\n"));
        match self {
            Self::Cosigned(line) => text(StatusCode::OK, line),
            Self::Malformed(why) => said(StatusCode::BAD_REQUEST, &why),
            Self::UnknownLog => said(StatusCode::NOT_FOUND, "this witness does not know the log"),
            Self::Unsigned => said(StatusCode::FORBIDDEN, "the log's key has not signed this"),
            Self::OtherSize(size) => {
                let media_type = [(header::CONTENT_TYPE, SIZE)];
                (StatusCode::CONFLICT, media_type, format!("{size}\n")).into_response()
            }
            Self::Inconsistent => said(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this is not proven to contain the head that was cosigned last",
            ),
            Self::Failed => said(
                StatusCode::SERVICE_UNAVAILABLE,
                "the witness cannot keep its book; its operator's log says why",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
