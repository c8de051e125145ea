//! What a client says beside a call about what its server asks: what it can be asked, and what it answers.

use std::collections::BTreeMap;

use decide::{InputMethod, Inputs, MAX_INPUTS};
use model::ijson::Json;

use super::{EnvelopeError, Message, era::META_CLIENT_CAPABILITIES};

/// The parts of the capabilities that MCP 2026-07-28 has; of others nothing is known, so they are not declared to a server.
const PARTS: [(InputMethod, &[&str]); 3] = [
    (InputMethod::Elicitation, &["form", "url"]),
    (InputMethod::Roots, &[]),
    (InputMethod::Sampling, &["context", "tools"]),
];

/// What a client can be asked in the middle of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Able(BTreeMap<InputMethod, Vec<&'static str>>);

impl Able {
    /// What a request of MCP 2026-07-28 declares.
    pub fn declared(message: &Message) -> Self {
        let declared = message.meta().and_then(|meta| meta.member(META_CLIENT_CAPABILITIES));
        let able = PARTS.into_iter().filter_map(|(kind, parts)| {
            let capability = declared?.member(kind.capability())?;
            let has = |part: &&&str| matches!(capability.member(part), Some(Json::Object(_)));
            matches!(capability, Json::Object(_))
                .then(|| (kind, parts.iter().filter(has).copied().collect()))
        });
        Self(able.collect())
    }

    /// What of it is among `accepted`.
    #[must_use]
    pub fn only(mut self, accepted: impl Fn(InputMethod) -> bool) -> Self {
        self.0.retain(|kind, _| accepted(*kind));
        self
    }

    /// Whether it can be asked nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything: whether a client of the revisions before 2026-07-28 can be asked, it said when it began, and no request
    /// repeats it. One that cannot answers with an error.
    pub fn anything() -> Self {
        Self(InputMethod::ALL.into_iter().map(|kind| (kind, Vec::new())).collect())
    }

    /// Whether it can be asked this.
    pub fn has(&self, kind: InputMethod) -> bool {
        self.0.contains_key(&kind)
    }

    /// As a client's capabilities.
    pub fn to_json(&self) -> Json {
        let none = || Json::object::<&str>([]);
        Json::object(self.0.iter().map(|(kind, parts)| {
            (kind.capability(), Json::object(parts.iter().map(|part| (*part, none()))))
        }))
    }
}

/// The answers that a request brings for what its server had asked
/// ([MCP 2026-07-28, multi round-trip requests](https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr)).
///
/// # Errors
/// They are no object of at most 16 answers, or an answer is none to anything that a server may ask.
pub fn inputs(message: &Message) -> Result<Option<Inputs>, EnvelopeError> {
    let state = match message.param("requestState") {
        None => None,
        Some(Json::String(state)) => Some(state.clone()),
        Some(_) => return Err(EnvelopeError::RequestState),
    };
    let answers = match message.param("inputResponses") {
        None if state.is_none() => return Ok(None),
        None => &[][..],
        Some(Json::Object(answers)) if answers.len() <= MAX_INPUTS => answers,
        Some(_) => return Err(EnvelopeError::InputResponses),
    };
    let answers = answers.iter().map(|(name, answer)| {
        let kind = kind(answer).ok_or(EnvelopeError::InputResponses)?;
        Ok::<_, EnvelopeError>((name.clone(), kind, answer.clone()))
    });
    Ok(Some(Inputs { answers: answers.collect::<Result<_, _>>()?, state }))
}

/// What an answer is an answer to: each of the three results has a member that no other has.
pub(crate) fn kind(answer: &Json) -> Option<InputMethod> {
    let has = |name| answer.member(name).is_some();
    match answer {
        Json::Object(_) if has("action") => Some(InputMethod::Elicitation),
        Json::Object(_) if has("roots") => Some(InputMethod::Roots),
        Json::Object(_) if has("role") && has("content") => Some(InputMethod::Sampling),
        _ => None,
    }
}
