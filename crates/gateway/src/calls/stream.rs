//! An answer that comes as a stream of events, passed on as they come.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use decide::Dispatch;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::StatusCode;
use tokio::time::timeout_at;

use super::{Waiting, cut_words, failure, upstream_fault};
use crate::{
    feed::{Abandoned, Feed},
    gate::Gateway,
    questions::Heard,
    upstream::{Event, Events, asked_as, not_passed_on},
};

/// A feed as long as somebody feeds it.
struct Fed(Arc<Feed>);

impl Drop for Fed {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Gateway {
    /// Passes events on as they come. The pump owns the call. When the client goes away it ends, and with it the upstream's
    /// stream; in a session the client may come back for the rest, and cancels what it does not want.
    pub(super) fn stream(
        self: &Arc<Self>,
        dispatch: Dispatch,
        events: Events,
        waiting: Waiting,
    ) -> Response {
        let session = waiting.live.as_ref().map(|live| &live.session);
        let feed = session.map_or_else(Feed::plain, |session| session.feed());
        let gateway = self.clone();
        let response = feed.read(None);
        tokio::spawn(async move { gateway.pump(dispatch, events, waiting, &Fed(feed)).await });
        response.unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }

    /// Neither a stop nor the deadline waits for a client that does not read: whatever is not yet in the feed by then is not
    /// delivered.
    async fn pump(
        self: &Arc<Self>,
        dispatch: Dispatch,
        mut events: Events,
        waiting: Waiting,
        Fed(feed): &Fed,
    ) {
        let deadline = self.deadline(&dispatch);
        let mut questions = FuturesUnordered::new();
        loop {
            let has_room = tokio::select! {
                biased;
                () = dispatch.cut() => false,
                () = waiting.cancelled() => return,
                room = timeout_at(deadline, feed.room()) => match room {
                    Ok(Ok(())) => true,
                    // The client is gone or does not read: dropped unsettled, the outcome is unknown.
                    Ok(Err(Abandoned)) | Err(_) => return,
                },
            };
            let next = tokio::select! {
                biased;
                () = dispatch.cut() => {
                    drop(events);
                    let words = cut_words(&dispatch, waiting.form, &waiting.id);
                    dispatch.settle_cut();
                    if has_room {
                        feed.send(&words);
                    }
                    return;
                }
                () = waiting.cancelled() => return,
                () = feed.abandoned() => return,
                Some(heard) = questions.next() => {
                    let heard: Heard = heard;
                    if let Some((id, answer)) = heard.decided(&dispatch).await {
                        events.answer(&id, &answer);
                    }
                    continue;
                }
                next = events.next() => next,
            };
            match next {
                Ok(Some(Event::Notification(bytes))) => {
                    self.look_on(dispatch.call(), &bytes);
                    if waiting.logs.want(&bytes) {
                        feed.send(&bytes);
                    }
                }
                Ok(Some(Event::Request { id, kind, message })) => {
                    let question = self.question(&dispatch, id.clone(), kind);
                    match asked_as(&id, &message, &question.id) {
                        Some(asked) => {
                            questions.push(question.heard());
                            feed.send(&asked);
                        }
                        None => events.answer(&id, &Err(not_passed_on())),
                    }
                }
                Ok(Some(Event::Refused { method })) => {
                    tracing::warn!(code = "BW-2002", %method, "an upstream asked the client for something; refused");
                }
                Ok(Some(Event::Reply(reply))) => {
                    let last = self.last_word(dispatch, reply, &waiting).await;
                    return feed.send(&last);
                }
                Ok(None) => return,
                Err(why) => {
                    tracing::warn!(code = "BW-2003", %why, "an upstream gave no answer");
                    self.challenged(&dispatch, &why);
                    let fault = upstream_fault(&why).response(Some(&waiting.id));
                    self.settle_late(dispatch, failure(&why)).await;
                    return feed.send(&fault);
                }
            }
        }
    }
}
