//! What a server asks of a client in the middle of a call, and what the client answers. An answer leaves for the server, so it is
//! decided on and recorded like the call itself, and only a tool whose accepted mapping says so may ask.

use std::collections::BTreeSet;

use model::ijson::Json;
use serde::{Deserialize, Serialize};

use crate::{
    entries::{self, Input},
    permit::Dispatch,
    record::{NotRecorded, Said},
    refusal::{Code, Refusal},
};

/// The most answers that one call carries.
pub const MAX_INPUTS: usize = 16;

/// What a server may ask of a client
/// ([MCP 2026-07-28, multi round-trip requests](https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InputMethod {
    /// Something from the person in front of the client.
    #[serde(rename = "elicitation/create")]
    Elicitation,
    /// The folders that the client works in.
    #[serde(rename = "roots/list")]
    Roots,
    /// Words from the client's model.
    #[serde(rename = "sampling/createMessage")]
    Sampling,
}

/// The answers that come with a call which its server wants to have again.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Under the server's name for each question: which kind it was, and the answer.
    pub answers: Vec<(String, InputMethod, Json)>,
    /// What the server wants back, as it gave it.
    pub state: Option<String>,
}

impl InputMethod {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Elicitation, Self::Roots, Self::Sampling];

    /// The method, as the protocol names it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Roots => "roots/list",
            Self::Sampling => "sampling/createMessage",
        }
    }

    /// The kind that a method is, where it is one.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The capability by which a client says that it answers such questions.
    pub const fn capability(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Roots => "roots",
            Self::Sampling => "sampling",
        }
    }
}

impl Inputs {
    /// The answers and the state as they stand beside a call's arguments on the wire.
    pub fn to_json(&self) -> Json {
        let answers = self.answers.iter().map(|(name, _, answer)| (name.clone(), answer.clone()));
        let mut members = vec![("inputResponses", Json::object(answers))];
        members.extend(self.state.clone().map(|state| ("requestState", Json::String(state))));
        Json::object(members)
    }

    /// The kinds that a tool may not ask for.
    pub(crate) fn beyond(&self, may: &BTreeSet<InputMethod>) -> Option<InputMethod> {
        self.answers.iter().map(|(_, kind, _)| *kind).find(|kind| !may.contains(kind))
    }
}

impl Dispatch {
    /// Lets an answer to the server leave while the call is on its way, as servers ask before 2026-07-28: if everything that was
    /// true at the decision still is, and once the answer's record is durable.
    ///
    /// # Errors
    /// [`Refusal`]: nobody has accepted that the tool asks for this, people approved the call without the answer, something has
    /// moved, a stop has cut the call, or the record cannot be written in time. Nothing may leave then.
    pub async fn answer(&self, kind: InputMethod, answer: &Json) -> Result<(), Refusal> {
        let held = self.held();
        let (engine, action) = (&held.engine, held.action);
        if !held.call.tool.input_requests.contains(&kind) {
            return Err(Refusal::new(action, Code::MethodNotMapped, not_asked(kind)));
        }
        if held.reserved.approval.is_some() {
            let reason = "people approved this call as they saw it, and this answer they did not see; with MCP 2026-07-28 the call is made again with its answers, which they see then";
            return Err(Refusal::new(action, Code::MethodNotMapped, reason));
        }
        let bytes = answer.canonical();
        if bytes.len() > ledger::MAX_PAYLOAD {
            let reason =
                format!("the answer takes more than {} bytes to record", ledger::MAX_PAYLOAD);
            return Err(Refusal::new(action, Code::ArgumentsInvalid, reason));
        }
        let unavailable = |why: NotRecorded| why.refusal(action);
        let whose = engine.said_by(&held.caller, ledger::PayloadClass::Calls);
        engine.keys_at_hand([whose]).await.map_err(unavailable)?;
        let said = engine.blinded(&held.caller, Said::Inputs, &bytes).map_err(unavailable)?;
        let body = Input { answer: Some(said), method: kind.method().to_owned() };
        let draft = engine.about(&held.caller, &body, engine.context.id());
        // An action of its own: were its record late, it would lapse and leave the call as it is.
        let own = engine.context.id();
        let mut draft = entries::of_action(draft, own, vec![held.decision]);
        draft.class = ledger::PayloadClass::Calls;
        draft.payload = Some(bytes);
        let sealed = engine.seal(draft).map_err(unavailable)?;
        engine.record(sealed, own, |_| {}).await.map_err(unavailable)?;
        held.unmoved()?;
        if self.is_cut() {
            return Err(Refusal::new(
                action,
                Code::Stopped,
                "a stop cut the call that this answers",
            ));
        }
        Ok(())
    }
}

/// Why an answer does not pass.
pub(crate) fn not_asked(kind: InputMethod) -> String {
    format!("nobody has accepted that this tool asks clients for `{}`", kind.method())
}
