//! A call in several rounds (MCP 2026-07-28): its server wants answers first, and the call again with them. What the server wants
//! back goes through the client's hands, so it is tied to that client and that call.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use decide::{Caller, Code, Dispatch, InputMethod, MAX_INPUTS, Refusal, sha256};
use model::{
    Digest, Foreign, Timestamp,
    ijson::{self, Json, Limits},
};

use crate::{
    calls::Waiting,
    envelope::{Era, MAX_BYTES, MAX_DEPTH},
    gate::Gateway,
};

/// How long a client may take with its answers, in seconds: a person may have to be found first.
const ROUND_SECONDS: u32 = 3_600;
/// The longest state of a server, in bytes. It comes back in a header of nothing, so there is no other bound.
const MAX_STATE: usize = 64 * 1024;

/// Whose call it is that goes into another round: the caller with its key, where it has one, and task, and what is called with what.
pub(crate) fn whose(caller: &Caller, system: &str, tool: &str, arguments: &[u8]) -> Digest {
    let text = |text: &str| Json::String(text.to_owned());
    let chain = caller.chain().iter().map(|hop| text(&hop.to_string())).collect();
    let call = Json::object([
        ("chain", Json::Array(chain)),
        ("key", caller.claims.cnf.map_or(Json::Null, |bound| text(&bound.jkt.to_string()))),
        ("system", text(system)),
        ("task", caller.claims.task.map_or(Json::Null, |task| text(&task.to_string()))),
        ("tool", text(tool)),
    ]);
    sha256(&[b"round/v1\0", &call.canonical(), b"\0", arguments])
}

impl Gateway {
    /// A server's state as its client gets it: with until when it holds, and a tag that only we can make.
    fn tied(&self, whose: Digest, state: &str) -> String {
        let until = self.engine.context().now().plus_seconds(ROUND_SECONDS);
        let until = until.millis().to_be_bytes();
        let tag = self.engine.tag(&[&whose.0, &until[..], state.as_bytes()].concat());
        URL_SAFE_NO_PAD.encode([&tag[..], &until, state.as_bytes()].concat())
    }

    /// The server's state in what a client sends back; `None` where that is not what this client got for this call, or too old.
    pub(crate) fn untied(&self, whose: Digest, text: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, rest) = bytes.split_at_checked(32)?;
        let (until, state) = rest.split_first_chunk::<8>()?;
        let ours = self.engine.tag(&[&whose.0, rest].concat());
        verify_slices_are_equal(&ours, tag).ok()?;
        let until = Timestamp::from_millis(i64::from_be_bytes(*until));
        (self.engine.context().now() < until).then(|| String::from_utf8(state.to_vec()).ok())?
    }

    /// What the client hears of a server that wants answers: its questions as they are, and its state tied to this call.
    ///
    /// # Errors
    /// The server asks for what nobody has accepted or what this client does not answer.
    pub(crate) fn asks(
        &self,
        dispatch: &Dispatch,
        waiting: &Waiting,
        reply: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let refuse = |code, reason| Refusal::new(dispatch.action(), code, reason);
        if waiting.form.era == Era::Legacy {
            let reason = "the server asks in a revision of MCP that this client does not speak";
            return Err(refuse(Code::MethodNotMapped, reason.to_owned()));
        }
        let limits = Limits { bytes: MAX_BYTES, depth: MAX_DEPTH };
        let malformed = || "the server asks in a form that is not understood".to_owned();
        let mut reply =
            ijson::parse(reply, limits).map_err(|_| refuse(Code::MethodNotMapped, malformed()))?;
        let result = member(&mut reply, "result")
            .ok_or_else(|| refuse(Code::MethodNotMapped, malformed()))?;
        if let Some(beyond) = beyond(result, waiting) {
            let next = "Ask an administrator to accept `input_requests` for this tool, or use a client that answers such questions.";
            let reason = format!("the server asks the client for `{beyond}`, which does not pass");
            return Err(Refusal { next: next.to_owned(), ..refuse(Code::MethodNotMapped, reason) });
        }
        match member(result, "requestState") {
            None => {}
            Some(Json::String(state)) if state.len() <= MAX_STATE => {
                let call = dispatch.call();
                let (system, tool) = (call.server.name.as_str(), &call.tool.name);
                let whose = whose(dispatch.caller(), system, tool, &call.arguments);
                *state = self.tied(whose, state);
            }
            Some(_) => return Err(refuse(Code::MethodNotMapped, malformed())),
        }
        Ok(reply.canonical())
    }
}

/// The first question that may not be asked; a result without any is fine: the server wants the call again as it is.
fn beyond(result: &mut Json, waiting: &Waiting) -> Option<Foreign> {
    let shown = |text: &str| Foreign::new(text.chars().take(64).collect::<String>());
    let questions = match member(result, "inputRequests") {
        None => return None,
        Some(Json::Object(questions)) if questions.len() <= MAX_INPUTS => questions,
        Some(_) => return Some(shown("inputRequests")),
    };
    questions.iter().find_map(|(name, question)| {
        let method = question.member("method").and_then(Json::as_str);
        let kind = method.and_then(InputMethod::of);
        let passes = kind.is_some_and(|kind| waiting.able.has(kind));
        (!passes).then(|| shown(method.unwrap_or(name)))
    })
}

fn member<'j>(object: &'j mut Json, name: &str) -> Option<&'j mut Json> {
    let Json::Object(members) = object else { return None };
    members.iter_mut().find(|(member, _)| member == name).map(|(_, value)| value)
}
