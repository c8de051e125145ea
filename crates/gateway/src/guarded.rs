//! A whole answer on its way to a client, of which a stop cuts what was not sent yet.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use decide::Watch;
use futures_util::stream;
use http::header;
use tokio::{sync::oneshot, time::sleep};

use crate::room::{HELD, LONG, Taken};

/// How much of an answer is handed over at a time. A shorter one is with the operating system at once.
pub(crate) const PART: usize = LONG;

/// The response, as JSON. A long one is held with the room that it takes, and for [`HELD`] at the most.
pub(crate) fn guarded(bytes: Bytes, taken: Option<Taken>, watch: Watch) -> Response {
    let length = bytes.len();
    let body = if length <= PART { Body::from(bytes) } else { parts(bytes, taken, watch) };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, body).into_response()
}

/// What was not handed over yet; `None` where it is cut.
#[derive(Clone)]
struct Rest(Arc<Mutex<Option<Bytes>>>);

impl Rest {
    fn held(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self) -> Option<io::Result<Bytes>> {
        match &mut *self.held() {
            Some(rest) if rest.is_empty() => None,
            Some(rest) => Some(Ok(rest.split_to(rest.len().min(PART)))),
            None => Some(Err(io::Error::other("this answer was cut"))),
        }
    }
}

fn parts(bytes: Bytes, taken: Option<Taken>, watch: Watch) -> Body {
    let (is_sent, sent) = oneshot::channel::<()>();
    let rest = Rest(Arc::new(Mutex::new(Some(bytes))));
    let cut = rest.clone();
    // A client that reads nothing holds up neither a stop nor anybody who waits for room: what was not handed over is gone
    // here and now, and missed where the next part would leave.
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = watch.cut() => {}
            _ = sent => {}
            () = sleep(HELD) => {}
        }
        *cut.held() = None;
        drop(taken);
    });
    let parts = stream::unfold((rest, is_sent), |(rest, is_sent)| async move {
        let part = rest.part()?;
        Some((part, (rest, is_sent)))
    });
    Body::from_stream(parts)
}
