//! An answer that comes as a stream of events, passed on as they come.

use std::sync::Arc;

use axum::response::Response;
use decide::Dispatch;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{Waiting, cut_words, failure, upstream_fault};
use crate::{
    feed::Feed,
    gate::Gateway,
    questions::Heard,
    upstream::{Event, Events, UpstreamError, asked_as},
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
        let feed = session
            .map_or_else(Feed::plain, |session| session.feed(dispatch.call().server.name.clone()));
        let gateway = self.clone();
        let response = feed.read();
        tokio::spawn(async move { gateway.pump(dispatch, events, waiting, &Fed(feed)).await });
        response
    }

    /// Neither a stop nor the deadline waits for a client that does not read: what it was not given by then it does not get.
    async fn pump(
        self: &Arc<Self>,
        dispatch: Dispatch,
        mut events: Events,
        waiting: Waiting,
        Fed(feed): &Fed,
    ) {
        let deadline = self.deadline(&dispatch);
        let mut questions = FuturesUnordered::new();
        // Answers on their way to the server: a stop cuts them, too.
        let mut answers = FuturesUnordered::new();
        loop {
            let next = tokio::select! {
                biased;
                () = dispatch.cut() => {
                    drop((events, answers));
                    feed.cut(Some(&cut_words(&dispatch, waiting.form, &waiting.id)));
                    return dispatch.settle_cut();
                }
                () = waiting.cancelled() => return,
                () = feed.abandoned() => return,
                Some(()) = answers.next() => continue,
                Some(heard) = questions.next() => {
                    let heard: Heard = heard;
                    if let Some((id, answer)) = heard.decided(&dispatch).await {
                        answers.push(events.answer(&id, &answer));
                    }
                    continue;
                }
                next = next(feed, &mut events, deadline) => match next {
                    Some(next) => next,
                    // The client is gone or does not read: dropped unsettled, the outcome is unknown.
                    None => return,
                },
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
                        None => events.refuse(&id),
                    }
                }
                Ok(Some(Event::Refused { method })) => {
                    tracing::warn!(code = "BW-2002", %method, "an upstream asked the client for something; refused");
                }
                Ok(Some(Event::Reply(reply))) => {
                    let (last, watch) = self.last_word(dispatch, reply, &waiting).await;
                    feed.send(&last);
                    feed.end();
                    if let Some(watch) = watch {
                        feed.delivered(&watch).await;
                    }
                    // The room that a long answer takes is free from here on.
                    drop(events);
                    return;
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

/// The next message, once there is room for it; `None` where the client makes none in time.
async fn next(
    feed: &Feed,
    events: &mut Events,
    deadline: Instant,
) -> Option<Result<Option<Event>, UpstreamError>> {
    timeout_at(deadline, feed.room()).await.ok()?.ok()?;
    Some(events.next().await)
}
