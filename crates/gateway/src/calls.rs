//! One tool call: decided, dispatched, answered, settled. A stop cuts it at both sides.

mod stream;

use std::{future::pending, sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use decide::{
    Attempt, Caller, Code, Dispatch, Ending, Engine, FrozenCall, Inputs, METHOD, Occasion, Permit,
    Refusal, Watch, sha256,
};
use http::{HeaderName, HeaderValue, StatusCode};
use model::{Digest, Name, ijson::Json};
use tokio::time::Instant;

use crate::{
    broker::BrokerError,
    envelope::{self, Able, EnvelopeError, Era, Fault, Level, Logs, RequestId, ToolCall},
    gate::{Asked, Gateway, INFO, fault, json},
    guarded::guarded,
    questions::asker,
    refusal::{self, Form},
    room::Taken,
    rounds::whose,
    sessions::Live,
    upstream::{
        Answer, Call, Event, Events, Holder, LISTEN, Outcome, Reply, SUBSCRIBE, UNSUBSCRIBE,
        UpstreamError,
    },
    upstreams::DiscoverError,
};

/// Names the attempt in the ledger, on every answer to a call.
const ACTION: HeaderName = HeaderName::from_static("bailiwick-action");

/// Who waits for the answer to a call.
pub(crate) struct Waiting {
    /// The client's id of the call.
    pub(crate) id: RequestId,
    pub(crate) form: Form,
    /// What its server may ask of it.
    pub(crate) able: Able,
    /// What it reads of its server's logs.
    logs: Logs,
    /// The request as one of its session, where it has one.
    live: Option<Live>,
    /// The room that the call takes as long as it is on its way, and what its request takes where that is long.
    _taken: (Taken, Option<Taken>),
}

impl Waiting {
    /// Resolves when the client does not want the answer any more, and says so in its session.
    async fn cancelled(&self) {
        match &self.live {
            Some(live) => live.cancelled().await,
            None => pending().await,
        }
    }
}

/// Whose session with its server a call is made in: that of its client's session here, or of the client itself.
struct Calling<'a> {
    engine: &'a Engine,
    asked: &'a Asked,
    system: &'a Name,
}

impl Holder for Calling<'_> {
    fn id(&self) -> Digest {
        match &self.asked.session {
            Some(session) => session.holder(),
            None => asker(&self.asked.caller),
        }
    }

    /// What the client can be asked and somebody has accepted for any tool of the server: all calls are made in this one session.
    /// A server of the older revisions cannot ask a client of 2026-07-28.
    fn able(&self) -> Able {
        if self.asked.era == Era::Modern {
            return Able::default();
        }
        let server = self.engine.directory().server(self.system);
        let tools = server.iter().flat_map(|server| server.tools.values());
        let accepted: Vec<_> = tools.filter_map(|tool| tool.accepted.as_ref()).collect();
        answers(self.asked).only(|kind| accepted.iter().any(|it| it.input_requests.contains(&kind)))
    }
}

impl Gateway {
    /// Answers `tools/call`.
    pub(crate) async fn call(self: &Arc<Self>, asked: Asked, id: RequestId) -> Response {
        let call = match ToolCall::of(&asked.message) {
            Ok(call) => call,
            Err(why) => {
                let system = asked.place.system();
                self.engine.refuse(&asked.caller, system, Code::ArgumentsInvalid, why.to_string());
                return fault(&why.fault(), asked.era, Some(&id));
            }
        };
        let Some((system, tool)) = asked.place.meant(&self.engine, call.name) else {
            let why = "there is no tool of this name, or two: a tool's name here is `SYSTEM__TOOL`";
            let refusal = self.engine.refuse(&asked.caller, None, Code::ToolUnknown, why);
            return refused(&id, asked.form(), &refusal);
        };
        if let Err(why) = self.headers_agree(&asked, &system, tool, &call) {
            let (code, why_not) = (Code::ArgumentsInvalid, why.message());
            self.engine.refuse(&asked.caller, Some(&system), code, why_not);
            return fault(&why, asked.era, Some(&id));
        }
        if tool.starts_with(METHOD) {
            let why = format!("no tool has a name that starts with `{METHOD}`");
            self.engine.refuse(&asked.caller, Some(&system), Code::ToolUnknown, why.clone());
            return fault(&Fault::new(envelope::Code::InvalidParams, why), asked.era, Some(&id));
        }
        let (tool, arguments) = (tool.to_owned(), call.arguments.clone());
        self.decide(asked, id, system, tool, arguments).await
    }

    /// Answers a request for something beside tools, where a person has accepted what it means.
    pub(crate) async fn request(self: &Arc<Self>, asked: Asked, id: RequestId) -> Response {
        let method = asked.message.method();
        let tool = format!("{METHOD}{method}");
        let Some(system) = asked.place.system().cloned() else { return self.unmapped(&asked, &id) };
        let entry = self.engine.directory().tool(&system, &tool);
        let is_spoken = match method {
            SUBSCRIBE | UNSUBSCRIBE => asked.era == Era::Legacy,
            LISTEN => asked.era == Era::Modern,
            _ => true,
        };
        if !is_spoken || entry.and_then(|(_, entry)| entry).is_none() {
            return self.unmapped(&asked, &id);
        }
        let params = envelope::method_params(&asked.message);
        self.decide(asked, id, system, tool, params).await
    }

    /// The answers that come with a call, with the server's state as the server gave it.
    fn inputs(
        &self,
        asked: &Asked,
        system: &Name,
        tool: &str,
        arguments: &Json,
    ) -> Result<Option<Inputs>, EnvelopeError> {
        let Some(mut inputs) = envelope::inputs(&asked.message)? else { return Ok(None) };
        if asked.era == Era::Legacy {
            return Err(EnvelopeError::InputResponses);
        }
        if let Some(state) = &mut inputs.state {
            let whose = whose(&asked.caller, system.as_str(), tool, &arguments.canonical());
            *state = self.untied(whose, state).ok_or(EnvelopeError::RequestState)?;
        }
        Ok(Some(inputs))
    }

    async fn decide(
        self: &Arc<Self>,
        mut asked: Asked,
        id: RequestId,
        system: Name,
        tool: String,
        arguments: Json,
    ) -> Response {
        let live = asked.session.as_ref().map(|session| session.begin(&id));
        let read = self.inputs(&asked, &system, &tool, &arguments);
        let (inputs, logs) = match read.and_then(|inputs| Ok((inputs, logs(&asked)?))) {
            Ok(read) => read,
            Err(why) => {
                let said = why.to_string();
                self.engine.refuse(&asked.caller, Some(&system), Code::ArgumentsInvalid, said);
                return fault(&why.fault(), asked.era, Some(&id));
            }
        };
        let Some(turn) = self.calls.of(asked.caller.current()).try_take() else {
            let refusal = self.busy(&asked.caller, &system);
            return refused(&id, asked.form(), &refusal);
        };
        let attempt = Attempt {
            action: self.engine.context().id(),
            caller: asked.caller.clone(),
            system: system.clone(),
            tool,
            arguments,
            inputs,
        };
        let action = attempt.action;
        let response = match self.engine.attempt(attempt).await.and_then(Permit::dispatch) {
            Ok(dispatch) => {
                let form = asked.form();
                let able = able(&asked, &dispatch);
                let _taken = (turn, asked.taken.take());
                let waiting = Waiting { id, form, able, logs, live, _taken };
                self.forward(dispatch, &asked, waiting).await
            }
            Err(refusal) => refused(&id, asked.form(), &asked.place.named(&system, refusal)),
        };
        named(response, &action.to_string())
    }

    /// Refuses an agent more than its share of the ways to servers. Nobody waits for one: whoever does keeps a place here from
    /// others.
    pub(crate) fn busy(&self, caller: &Caller, system: &Name) -> Refusal {
        let why = "as many calls and streams of this agent as may be are on their way to servers";
        self.engine.refuse(caller, Some(system), Code::Busy, why)
    }

    /// Headers that repeat arguments must say what the body says (MCP 2026-07-28).
    fn headers_agree(
        &self,
        asked: &Asked,
        system: &Name,
        tool: &str,
        call: &ToolCall<'_>,
    ) -> Result<(), Fault> {
        let tool = self.engine.directory().tool(system, tool);
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
        waiting: Waiting,
    ) -> Response {
        let id = &waiting.id;
        let FrozenCall { server, account, tool, arguments, inputs, .. } = dispatch.call().clone();
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
        let room = self.answers.of(asked.caller.current());
        let holder = Calling { engine: &self.engine, asked, system: &server.name };
        let call = Call {
            holder: Some(&holder),
            room: Some(&room),
            id,
            tool: &tool.name,
            arguments: &arguments,
            inputs: inputs.as_deref(),
            era: asked.era,
            able: &waiting.able,
            logs: waiting.logs,
            progress: asked.message.progress_token(),
            mirror: &mirror,
            deadline: self.deadline(&dispatch),
        };
        let answer = tokio::select! {
            // A stop comes first: an answer that arrives at the same moment is not delivered.
            biased;
            () = dispatch.cut() => return self.stopped(dispatch, asked.form(), id),
            () = waiting.cancelled() => return StatusCode::NO_CONTENT.into_response(),
            answer = upstream.call(call) => answer,
        };
        match answer {
            Ok(Answer::Whole(reply, taken)) => {
                let status = status(reply.outcome, asked.era);
                (status, self.last_response(dispatch, reply, taken, &waiting).await).into_response()
            }
            Ok(Answer::Stream(events)) if asked.accepts.event_stream => {
                self.stream(dispatch, *events, waiting)
            }
            Ok(Answer::Stream(events)) => self.collect(dispatch, *events, &waiting).await,
            Err(why) => self.failed(dispatch, &why, asked.form(), id).await,
        }
    }

    /// The answer as the client gets it, once its outcome is recorded, and what a stop cuts of it.
    async fn last_word(
        self: &Arc<Self>,
        dispatch: Dispatch,
        reply: Reply,
        waiting: &Waiting,
    ) -> (Bytes, Option<Watch>) {
        let Waiting { id, form, .. } = waiting;
        self.look_after(&dispatch, reply.outcome);
        if let (Outcome::Done, Some(live)) = (reply.outcome, &waiting.live) {
            live.session.follow(&dispatch);
        }
        let digest = sha256(&[&reply.bytes]);
        let words = match reply.outcome {
            Outcome::InputRequired => self.asks(&dispatch, waiting, &reply.bytes).map(Bytes::from),
            _ => Ok(reply.bytes),
        };
        // A server that asks for what it may not is not believed that it did nothing yet.
        let ending = if words.is_ok() { ending(reply.outcome) } else { Ending::Unknown };
        match (dispatch.settle(ending, Some(digest)).await, words) {
            (Ok(watch), Ok(words)) => (words, Some(watch)),
            (Ok(_), Err(refusal)) => (refusal::response(id, *form, &INFO, &refusal).into(), None),
            (Err(refusal), _) => (refusal::withheld(id, *form, &INFO, &refusal).into(), None),
        }
    }

    async fn last_response(
        self: &Arc<Self>,
        dispatch: Dispatch,
        reply: Reply,
        taken: Option<Taken>,
        waiting: &Waiting,
    ) -> Response {
        match self.last_word(dispatch, reply, waiting).await {
            (words, Some(watch)) => guarded(words, taken, watch),
            (words, None) => json(words),
        }
    }

    /// The client takes no stream: notifications are dropped, the response is delivered whole.
    async fn collect(
        self: &Arc<Self>,
        dispatch: Dispatch,
        mut events: Events,
        waiting: &Waiting,
    ) -> Response {
        let reply = tokio::select! {
            biased;
            () = dispatch.cut() => return self.stopped(dispatch, waiting.form, &waiting.id),
            () = waiting.cancelled() => return StatusCode::NO_CONTENT.into_response(),
            reply = self.reply_of(&mut events, &dispatch) => reply,
        };
        let taken = events.take_room();
        drop(events);
        match reply {
            Ok(reply) => self.last_response(dispatch, reply, taken, waiting).await,
            Err(why) => self.failed(dispatch, &why, waiting.form, &waiting.id).await,
        }
    }

    async fn reply_of(
        self: &Arc<Self>,
        events: &mut Events,
        dispatch: &Dispatch,
    ) -> Result<Reply, UpstreamError> {
        while let Some(event) = events.next().await? {
            match event {
                Event::Reply(reply) => return Ok(reply),
                Event::Notification(bytes) => self.look_on(dispatch.call(), &bytes),
                Event::Request { id, .. } => events.refuse(&id),
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

/// What the server of a call may ask of its client: what both the client can be asked and a person has accepted.
fn able(asked: &Asked, dispatch: &Dispatch) -> Able {
    let accepted = &dispatch.call().tool.input_requests;
    answers(asked).only(|kind| accepted.contains(&kind))
}

/// What a client can be asked. One that takes no stream cannot be asked before 2026-07-28.
fn answers(asked: &Asked) -> Able {
    match asked.era {
        Era::Modern => Able::declared(&asked.message),
        Era::Legacy if asked.accepts.event_stream => Able::anything(),
        Era::Legacy => Able::default(),
    }
}

/// What a client reads of its server's logs.
fn logs(asked: &Asked) -> Result<Logs, EnvelopeError> {
    Ok(match asked.era {
        Era::Modern => Level::of_request(&asked.message)?.map_or(Logs::Nothing, Logs::From),
        Era::Legacy => {
            let wanted = asked.session.as_ref().and_then(|session| session.level());
            wanted.map_or(Logs::All, Logs::From)
        }
    })
}

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done => Ending::Completed,
        Outcome::InputRequired => Ending::InputRequired,
        Outcome::ToolError | Outcome::Error(_) => Ending::Failed,
    }
}

/// With which status a server's answer goes to the client; 2026-07-28 has some for errors that the client can mend.
fn status(outcome: Outcome, era: Era) -> StatusCode {
    let is = |code: envelope::Code| outcome == Outcome::Error(code.number());
    match era {
        Era::Modern if is(envelope::Code::MissingCapability) => StatusCode::BAD_REQUEST,
        Era::Modern if is(envelope::Code::MethodNotFound) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
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

fn cut_words(dispatch: &Dispatch, form: Form, id: &RequestId) -> Vec<u8> {
    let reason = "a stop, or a right that ended, cut this call while it was on its way; what the upstream did by then is not known";
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
