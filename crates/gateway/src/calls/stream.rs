//! An answer that comes as a stream of events, passed on as they come.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use decide::Dispatch;
use futures_util::{StreamExt as _, stream, stream::FuturesUnordered};
use http::{HeaderValue, header};
use tokio::{sync::mpsc, time::timeout_at};

use super::{Waiting, cut_words, failure, upstream_fault};
use crate::{
    envelope::event,
    gate::Gateway,
    questions::Heard,
    upstream::{Event, Events, asked_as, not_passed_on},
};

/// How many events wait for a slow client before its upstream has to wait, too.
const EVENTS_AHEAD: usize = 16;

impl Gateway {
    /// Passes events on as they come. The pump owns the call: when the client goes away the channel closes, the pump ends,
    /// and with it the upstream's stream.
    pub(super) fn stream(
        self: &Arc<Self>,
        dispatch: Dispatch,
        events: Events,
        waiting: Waiting,
    ) -> Response {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
        let gateway = self.clone();
        tokio::spawn(async move { gateway.pump(dispatch, events, waiting, sender).await });
        let body = stream::unfold(receiver, |mut receiver| async move {
            let event: Bytes = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(event), receiver))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, Body::from_stream(body)).into_response()
    }

    /// Neither a stop nor the deadline waits for a client that does not read: whatever is not yet in the channel by then
    /// is not delivered.
    async fn pump(
        self: &Arc<Self>,
        dispatch: Dispatch,
        mut events: Events,
        waiting: Waiting,
        sender: mpsc::Sender<Bytes>,
    ) {
        let deadline = self.deadline(&dispatch);
        let mut questions = FuturesUnordered::new();
        loop {
            let room = tokio::select! {
                biased;
                () = dispatch.cut() => None,
                room = timeout_at(deadline, sender.reserve()) => match room {
                    Ok(Ok(room)) => Some(room),
                    // The client is gone or does not read: dropped unsettled, the outcome is unknown.
                    Ok(Err(_)) | Err(_) => return,
                },
            };
            let next = tokio::select! {
                biased;
                () = dispatch.cut() => {
                    drop(events);
                    let words = cut_words(&dispatch, waiting.form, &waiting.id);
                    dispatch.settle_cut();
                    if let Some(room) = room {
                        room.send(event(&words).into());
                    }
                    return;
                }
                () = sender.closed() => return,
                Some(heard) = questions.next() => {
                    let heard: Heard = heard;
                    if let Some((id, answer)) = heard.decided(&dispatch).await {
                        events.answer(&id, &answer);
                    }
                    continue;
                }
                next = events.next() => next,
            };
            let Some(room) = room else { return };
            match next {
                Ok(Some(Event::Notification(bytes))) => {
                    self.look_on(&dispatch.call().server.name, &bytes);
                    room.send(event(&bytes).into());
                }
                Ok(Some(Event::Request { id, kind, message })) => {
                    let question = self.question(&dispatch, id.clone(), kind);
                    match asked_as(&id, &message, &question.id) {
                        Some(asked) => {
                            questions.push(question.heard());
                            room.send(event(&asked).into());
                        }
                        None => events.answer(&id, &Err(not_passed_on())),
                    }
                }
                Ok(Some(Event::Refused { method })) => {
                    tracing::warn!(code = "BW-2002", %method, "an upstream asked the client for something; refused");
                }
                Ok(Some(Event::Reply(reply))) => {
                    let last = self.last_word(dispatch, reply, &waiting).await;
                    return room.send(event(&last).into());
                }
                Ok(None) => return,
                Err(why) => {
                    tracing::warn!(code = "BW-2003", %why, "an upstream gave no answer");
                    let fault = upstream_fault(&why).response(Some(&waiting.id));
                    self.settle_late(dispatch, failure(&why)).await;
                    return room.send(event(&fault).into());
                }
            }
        }
    }
}
