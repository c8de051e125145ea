//! One tool call: decided, dispatched, answered, settled. A stop cuts it at both sides.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use decide::{
    Attempt, Code, Dispatch, Ending, Engine, FrozenCall, METHOD, Occasion, Permit, Refusal, sha256,
};
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use model::ijson::Json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    broker::BrokerError,
    envelope::{self, Era, Fault, RequestId, ToolCall, event},
    gate::{Asked, Gateway, INFO, fault, json},
    refusal::{self, Form},
    upstream::{Answer, Call, Event, Events, Outcome, Reply, UpstreamError},
    upstreams::DiscoverError,
};

/// Names the attempt in the ledger, on every answer to a call.
const ACTION: HeaderName = HeaderName::from_static("bailiwick-action");
/// How many events wait for a slow client before its upstream has to wait, too.
const EVENTS_AHEAD: usize = 16;

impl Gateway {
    /// Answers `tools/call`.
    pub(crate) async fn call(self: &Arc<Self>, asked: Asked, id: RequestId) -> Response {
        let call = match ToolCall::of(&asked.message) {
            Ok(call) => call,
            Err(why) => {
                self.engine.refuse(
                    &asked.caller,
                    &asked.system,
                    Code::ArgumentsInvalid,
                    why.to_string(),
                );
                return fault(&why.fault(), asked.era, Some(&id));
            }
        };
        if let Err(why) = self.headers_agree(&asked, &call) {
            self.engine.refuse(&asked.caller, &asked.system, Code::ArgumentsInvalid, why.message());
            return fault(&why, asked.era, Some(&id));
        }
        if call.name.starts_with(METHOD) {
            let why = format!("no tool has a name that starts with `{METHOD}`");
            self.engine.refuse(&asked.caller, &asked.system, Code::ToolUnknown, why.clone());
            return fault(&Fault::new(envelope::Code::InvalidParams, why), asked.era, Some(&id));
        }
        let (tool, arguments) = (call.name.to_owned(), call.arguments.clone());
        self.decide(asked, id, tool, arguments).await
    }

    /// Answers a request for something beside tools, where a person has accepted what it means.
    pub(crate) async fn request(self: &Arc<Self>, asked: Asked, id: RequestId) -> Response {
        let method = asked.message.method();
        let tool = format!("{METHOD}{method}");
        let entry = self.engine.directory().tool(&asked.system, &tool);
        if entry.and_then(|(_, entry)| entry).is_none() {
            return self.unmapped(&asked, &id);
        }
        match envelope::method_params(&asked.message) {
            Ok(params) => self.decide(asked, id, tool, params).await,
            Err(why) => {
                let said = why.to_string();
                self.engine.refuse(&asked.caller, &asked.system, Code::ArgumentsInvalid, said);
                fault(&why.fault(), asked.era, Some(&id))
            }
        }
    }

    async fn decide(
        self: &Arc<Self>,
        asked: Asked,
        id: RequestId,
        tool: String,
        arguments: Json,
    ) -> Response {
        let attempt = Attempt {
            action: self.engine.context().id(),
            caller: asked.caller.clone(),
            system: asked.system.clone(),
            tool,
            arguments,
        };
        let action = attempt.action;
        let response = match self.engine.attempt(attempt).await.and_then(Permit::dispatch) {
            Ok(dispatch) => self.forward(dispatch, &asked, &id).await,
            Err(refusal) => refused(&id, asked.form(), &refusal),
        };
        named(response, &action.to_string())
    }

    /// Headers that repeat arguments must say what the body says (MCP 2026-07-28).
    fn headers_agree(&self, asked: &Asked, call: &ToolCall<'_>) -> Result<(), Fault> {
        let tool = self.engine.directory().tool(&asked.system, call.name);
        let Some(tool) = tool.and_then(|(_, tool)| tool?.accepted) else { return Ok(()) };
        let mirror = self.upstreams.mirror(tool.definition, &tool.text);
        if asked.era == Era::Legacy || mirror.is_empty() {
            return Ok(());
        }
        mirror.check(&asked.headers, call.arguments).map_err(|why| why.fault())
    }

    /// Sends what was decided on, and nothing else.
    async fn forward(
        self: &Arc<Self>,
        dispatch: Dispatch,
        asked: &Asked,
        id: &RequestId,
    ) -> Response {
        let FrozenCall { server, account, tool, arguments, .. } = dispatch.call().clone();
        self.look(dispatch.call(), Occasion::Use);
        let upstream = tokio::select! {
            biased;
            () = dispatch.cut() => return self.stopped(dispatch, asked.form(), id),
            upstream = self.upstreams.reach(&server, account.as_deref()) => upstream,
        };
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(why) => {
                tracing::warn!(code = "BW-2001", system = %server.name, %why, "an upstream cannot be called");
                let refusal = unlinked(&self.engine, &dispatch, &why);
                self.settle_late(dispatch, Ending::NotSent).await;
                return match refusal {
                    Some(refusal) => refused(id, asked.form(), &refusal),
                    None => fault(&unsent(), asked.era, Some(id)),
                };
            }
        };
        let mirror = self.upstreams.mirror(tool.definition, &tool.text);
        let call = Call {
            id,
            tool: &tool.name,
            arguments: &arguments,
            progress: asked.message.progress_token(),
            mirror: &mirror,
            deadline: self.deadline(&dispatch),
        };
        let answer = tokio::select! {
            // A stop comes first: an answer that arrives at the same moment is not delivered.
            biased;
            () = dispatch.cut() => return self.stopped(dispatch, asked.form(), id),
            answer = upstream.call(call) => answer,
        };
        match answer {
            Ok(Answer::Whole(reply)) => self.deliver(dispatch, reply, asked.form(), id).await,
            Ok(Answer::Stream(events)) if asked.accepts.event_stream => {
                self.stream(dispatch, *events, asked.form(), id)
            }
            Ok(Answer::Stream(events)) => self.collect(dispatch, *events, asked.form(), id).await,
            Err(why) => self.failed(dispatch, &why, asked.form(), id).await,
        }
    }

    /// A whole answer leaves once its outcome is recorded.
    async fn deliver(
        self: &Arc<Self>,
        dispatch: Dispatch,
        reply: Reply,
        form: Form,
        id: &RequestId,
    ) -> Response {
        self.look_after(&dispatch, reply.outcome);
        let digest = sha256(&[&reply.bytes]);
        let ending = ending(reply.outcome);
        match dispatch.settle(ending, Some(digest)).await {
            Ok(()) => json(reply.bytes),
            Err(refusal) => withheld(id, form, &refusal),
        }
    }

    /// The client takes no stream: notifications are dropped, the response is delivered whole.
    async fn collect(
        self: &Arc<Self>,
        dispatch: Dispatch,
        events: Events,
        form: Form,
        id: &RequestId,
    ) -> Response {
        let reply = tokio::select! {
            biased;
            () = dispatch.cut() => return self.stopped(dispatch, form, id),
            reply = self.reply_of(events, &dispatch) => reply,
        };
        match reply {
            Ok(reply) => self.deliver(dispatch, reply, form, id).await,
            Err(why) => self.failed(dispatch, &why, form, id).await,
        }
    }

    async fn reply_of(
        self: &Arc<Self>,
        mut events: Events,
        dispatch: &Dispatch,
    ) -> Result<Reply, UpstreamError> {
        while let Some(event) = events.next().await? {
            match event {
                Event::Reply(reply) => return Ok(reply),
                Event::Notification(bytes) => self.look_on(dispatch.call(), &bytes),
                Event::Refused { .. } => {}
            }
        }
        Err(UpstreamError::NoAnswer)
    }

    /// A server that refuses a call outright may have changed the tool.
    fn look_after(self: &Arc<Self>, dispatch: &Dispatch, outcome: Outcome) {
        if let Outcome::Error(_) = outcome {
            self.look(dispatch.call(), Occasion::Sign);
        }
    }

    /// Passes events on as they come. The pump owns the call: when the client goes away the channel closes, the pump ends,
    /// and with it the upstream's stream.
    fn stream(
        self: &Arc<Self>,
        dispatch: Dispatch,
        events: Events,
        form: Form,
        id: &RequestId,
    ) -> Response {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
        let (gateway, id) = (self.clone(), id.clone());
        tokio::spawn(async move { gateway.pump(dispatch, events, form, &id, sender).await });
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
        form: Form,
        id: &RequestId,
        sender: mpsc::Sender<Bytes>,
    ) {
        let deadline = self.deadline(&dispatch);
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
                    let words = cut_words(&dispatch, form, id);
                    dispatch.settle_cut();
                    if let Some(room) = room {
                        room.send(event(&words).into());
                    }
                    return;
                }
                () = sender.closed() => return,
                next = events.next() => next,
            };
            let Some(room) = room else { return };
            match next {
                Ok(Some(Event::Notification(bytes))) => {
                    self.look_on(dispatch.call(), &bytes);
                    room.send(event(&bytes).into());
                }
                Ok(Some(Event::Refused { method })) => {
                    tracing::warn!(code = "BW-2002", %method, "an upstream asked the client for something; refused");
                }
                Ok(Some(Event::Reply(reply))) => {
                    self.look_after(&dispatch, reply.outcome);
                    let digest = sha256(&[&reply.bytes]);
                    let settled = dispatch.settle(ending(reply.outcome), Some(digest)).await;
                    let last = match settled {
                        Ok(()) => reply.bytes.to_vec(),
                        Err(refusal) => refusal::withheld(id, form, &INFO, &refusal),
                    };
                    return room.send(event(&last).into());
                }
                Ok(None) => return,
                Err(why) => {
                    tracing::warn!(code = "BW-2003", %why, "an upstream gave no answer");
                    let fault = upstream_fault(&why).response(Some(id));
                    self.settle_late(dispatch, failure(&why)).await;
                    return room.send(event(&fault).into());
                }
            }
        }
    }

    fn stopped(&self, dispatch: Dispatch, form: Form, id: &RequestId) -> Response {
        let words = cut_words(&dispatch, form, id);
        dispatch.settle_cut();
        json(words)
    }

    async fn failed(
        &self,
        dispatch: Dispatch,
        why: &UpstreamError,
        form: Form,
        id: &RequestId,
    ) -> Response {
        tracing::warn!(code = "BW-2003", %why, "an upstream gave no answer");
        let narrow = self.challenged(&dispatch, why);
        self.settle_late(dispatch, failure(why)).await;
        match narrow {
            Some(refusal) => refused(id, form, &refusal),
            None => fault(&upstream_fault(why), form.era, Some(id)),
        }
    }

    /// Takes note of a server that does not take its token, so that the next call has another one. What only the person
    /// can widen is a refusal that says so.
    fn challenged(&self, dispatch: &Dispatch, why: &UpstreamError) -> Option<Refusal> {
        let FrozenCall { server, account, .. } = dispatch.call();
        let challenge = why.challenge()?;
        self.upstreams.challenged(server, account.as_deref(), challenge);
        let account = account.as_ref().filter(|_| challenge.insufficient)?;
        let known = self.engine.not_linked(&server.name, &account.person, dispatch.action());
        let asked = challenge.scopes.as_ref().map(|scopes| format!(" (`{scopes}`)"));
        let reason = format!(
            "`{}` wants more than the account that is linked there allows{}; it did nothing",
            server.name,
            asked.unwrap_or_default()
        );
        Some(Refusal {
            next: known.next,
            ..Refusal::new(dispatch.action(), Code::AccountTooNarrow, reason)
        })
    }

    /// Records a failure. The answer says that the call failed; that stays true when its record is late.
    async fn settle_late(&self, dispatch: Dispatch, ending: Ending) {
        if let Err(refusal) = dispatch.settle(ending, None).await {
            tracing::error!(code = "BW-2004", why = %refusal, "an outcome could not be recorded");
        }
    }

    /// When the call ends, on the clock that waits go by.
    fn deadline(&self, dispatch: &Dispatch) -> Instant {
        let left = dispatch.call().deadline.millis_since(self.engine.context().now());
        Instant::now() + Duration::from_millis(left)
    }
}

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done => Ending::Completed,
        Outcome::ToolError | Outcome::Error(_) => Ending::Failed,
    }
}

fn failure(why: &UpstreamError) -> Ending {
    match why {
        // The server's own word, as with any failure that it reports.
        UpstreamError::SessionLost | UpstreamError::Challenged(_) => Ending::Failed,
        _ if why.may_have_arrived() => Ending::Unknown,
        _ => Ending::NotSent,
    }
}

/// What an agent is told where a person's account is not usable any more.
fn unlinked(engine: &Engine, dispatch: &Dispatch, why: &DiscoverError) -> Option<Refusal> {
    let FrozenCall { server, account, .. } = dispatch.call();
    let lost = matches!(why, DiscoverError::Token(BrokerError::NotLinked(_)));
    let account = account.as_ref().filter(|_| lost)?;
    let known = engine.not_linked(&server.name, &account.person, dispatch.action());
    let reason = format!("the account at `{}` cannot be used any more: {why}", server.name);
    Some(Refusal { reason, ..known })
}

fn refused(id: &RequestId, form: Form, refusal: &Refusal) -> Response {
    json(refusal::response(id, form, &INFO, refusal))
}

fn withheld(id: &RequestId, form: Form, refusal: &Refusal) -> Response {
    json(refusal::withheld(id, form, &INFO, refusal))
}

fn cut_words(dispatch: &Dispatch, form: Form, id: &RequestId) -> Vec<u8> {
    let reason =
        "a stop cut this call while it was on its way; what the upstream did by then is not known";
    let refusal = Refusal::new(dispatch.action(), Code::Stopped, reason);
    refusal::response(id, form, &INFO, &refusal)
}

/// What a client is told of an upstream's failure: what it is, never the upstream's address or words.
fn upstream_fault(why: &UpstreamError) -> Fault {
    if matches!(why, UpstreamError::SessionLost) {
        let words =
            "the upstream server has ended its session and says that it did nothing; call again";
        return Fault::new(envelope::Code::Unavailable, words);
    }
    if why.challenge().is_some() {
        let words = "the upstream server did not take the gateway's credential and did nothing; call again once, and tell an administrator if it stays so";
        return Fault::new(envelope::Code::Unavailable, words);
    }
    let words = "the upstream server gave no usable answer; whether it acted is not known";
    if why.may_have_arrived() { Fault::new(envelope::Code::Unavailable, words) } else { unsent() }
}

fn unsent() -> Fault {
    let words = "the upstream server cannot be reached; nothing was sent";
    Fault::new(envelope::Code::Unavailable, words)
}

fn named(mut response: Response, action: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(action) {
        response.headers_mut().insert(ACTION, value);
    }
    response
}
