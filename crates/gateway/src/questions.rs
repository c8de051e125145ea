//! What servers ask clients while a call is on its way, as they do before 2026-07-28, until the answer comes: a request in the
//! call's stream, and a response that the client posts.

use std::sync::Arc;

use axum::response::{IntoResponse, Response as HttpResponse};
use dashmap::DashMap;
use decide::{Caller, Code, Dispatch, InputMethod, Refusal};
use http::StatusCode;
use model::{Digest, ijson::Json};
use tokio::sync::oneshot;

use crate::{
    envelope::{EnvelopeError, Era, Response, input_kind},
    gate::{Gateway, fault},
    place::Place,
    rounds::whose,
    upstream::not_passed_on,
};

/// Questions that clients have not answered yet, by the id under which they were asked.
#[derive(Default)]
pub(crate) struct Questions(Arc<DashMap<String, Asked>>);

struct Asked {
    of: Digest,
    answer: oneshot::Sender<Answered>,
}

/// A client's answer, and where to say what became of it.
struct Answered {
    outcome: Result<Json, Json>,
    taken: oneshot::Sender<Result<(), Refusal>>,
}

/// One question on its way. Dropped, it is not asked any more.
pub(crate) struct Question {
    questions: Arc<DashMap<String, Asked>>,
    /// The id under which the client is asked.
    pub(crate) id: String,
    upstream_id: String,
    kind: InputMethod,
    answer: oneshot::Receiver<Answered>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.questions.remove(&self.id);
    }
}

/// A question with its answer; `None` where the client's answer got lost.
pub(crate) struct Heard {
    upstream_id: String,
    kind: InputMethod,
    answer: Option<Answered>,
}

impl Question {
    /// Waits for the answer.
    pub(crate) async fn heard(mut self) -> Heard {
        let answer = (&mut self.answer).await.ok();
        Heard { upstream_id: std::mem::take(&mut self.upstream_id), kind: self.kind, answer }
    }
}

impl Heard {
    /// What the server hears under its id of the question: the answer, if it may leave.
    pub(crate) async fn decided(self, dispatch: &Dispatch) -> Option<(String, Result<Json, Json>)> {
        let Answered { outcome, taken } = self.answer?;
        let (may, heard) = match outcome {
            Err(_) => (Ok(()), Err(no_answer())),
            Ok(result) => match permitted(dispatch, self.kind, &result).await {
                Ok(()) => (Ok(()), Ok(result)),
                Err(refusal) => (Err(refusal), Err(not_passed_on())),
            },
        };
        let _ = taken.send(may);
        Some((self.upstream_id, heard))
    }
}

async fn permitted(dispatch: &Dispatch, kind: InputMethod, result: &Json) -> Result<(), Refusal> {
    if input_kind(result) != Some(kind) {
        let reason = format!("this is no result of `{}`", kind.method());
        return Err(Refusal::new(dispatch.action(), Code::ArgumentsInvalid, reason));
    }
    dispatch.answer(kind, result).await
}

impl Gateway {
    /// Notes that the client of a call is asked something.
    pub(crate) fn question(
        &self,
        dispatch: &Dispatch,
        upstream_id: String,
        kind: InputMethod,
    ) -> Question {
        let id = format!("ask-{}", self.engine.unguessable());
        let (sender, answer) = oneshot::channel();
        let of = asker(dispatch.caller());
        let questions = self.questions.0.clone();
        questions.insert(id.clone(), Asked { of, answer: sender });
        Question { questions, id, upstream_id, kind, answer }
    }

    /// Takes a client's response. Only the client that was asked can answer, once.
    pub(crate) async fn answered(
        &self,
        caller: &Caller,
        place: &Place,
        response: Response,
    ) -> HttpResponse {
        let of = asker(caller);
        let asked = self.questions.0.remove_if(&response.id, |_, asked| asked.of == of);
        let refuse = |code: Code, reason: String| {
            self.engine.refuse(caller, place.system(), code, reason);
            fault(&EnvelopeError::Response.fault(), Era::Legacy, None)
        };
        let Some((_, asked)) = asked else {
            return refuse(Code::ArgumentsInvalid, "a response to nothing that was asked".into());
        };
        let (taken, heard) = oneshot::channel();
        // Whoever had asked may be gone by now; then nobody hears the answer.
        let _ = asked.answer.send(Answered { outcome: response.outcome, taken });
        match heard.await {
            Ok(Ok(())) => StatusCode::ACCEPTED.into_response(),
            Ok(Err(refusal)) => refuse(refusal.code, refusal.reason),
            Err(_) => refuse(Code::ArgumentsInvalid, "the call that this answers is over".into()),
        }
    }
}

/// Who a client is, whatever it calls with its token: whose session it is, and who answers a question.
pub(crate) fn asker(caller: &Caller) -> Digest {
    whose(caller, &caller.claims.aud, "", b"")
}

/// What a server hears whose client gave no answer: always the same, as nothing of what a client says here is decided on.
fn no_answer() -> Json {
    let code = crate::envelope::Code::Internal.number();
    let words = "the client gave no answer";
    Json::object([("code", Json::Integer(code)), ("message", Json::String(words.to_owned()))])
}
