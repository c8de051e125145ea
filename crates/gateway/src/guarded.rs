//! A whole answer on its way to a client, of which a stop cuts what was not sent yet.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use decide::Watch;
use futures_util::stream;
use http::header;
use tokio::sync::oneshot;

/// How much of an answer is handed over at a time. A shorter one is with the operating system at once.
pub(crate) const PART: usize = 64 * 1024;

/// The response, as JSON.
pub(crate) fn guarded(bytes: Bytes, watch: Watch) -> Response {
    let length = bytes.len();
    let body = if length <= PART { Body::from(bytes) } else { parts(bytes, watch) };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, body).into_response()
}

fn parts(bytes: Bytes, watch: Watch) -> Body {
    let (is_sent, sent) = oneshot::channel::<()>();
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = is_cut.clone();
    // A client that reads nothing does not hold up the stop: it is noted here, and seen where the next part would leave.
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = watch.cut() => cut.store(true, Ordering::Release),
            _ = sent => {}
        }
    });
    let parts =
        stream::unfold((bytes, is_cut, is_sent), |(mut rest, is_cut, is_sent)| async move {
            if rest.is_empty() {
                return None;
            }
            let part = match is_cut.load(Ordering::Acquire) {
                true => Err(io::Error::other("a stop cut this answer")),
                false => Ok(rest.split_to(rest.len().min(PART))),
            };
            Some((part, (rest, is_cut, is_sent)))
        });
    Body::from_stream(parts)
}
