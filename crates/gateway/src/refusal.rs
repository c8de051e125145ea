//! A refusal that an agent can act on: words for its model, facts for its program.

use decide::{Code, Help, Missing, Refusal};
use model::ijson::Json;

use crate::envelope::{self, Era, Fault, RequestId, ServerInfo, tool_error};

/// The member of `_meta` that carries the facts.
const META: &str = "bailiwick/refusal";

/// To whom an answer goes: in which revision, and whether as a tool's result, which its model reads, or as an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) era: Era,
    pub(crate) is_tool: bool,
}

/// The answer to a refused call.
pub(crate) fn response(
    id: &RequestId,
    form: Form,
    server: &ServerInfo<'_>,
    refusal: &Refusal,
) -> Vec<u8> {
    said(id, form, server, refusal, refusal.code.retryable())
}

/// The answer to a call that was made and whose result is not handed out, because nothing proves that it was. Whatever
/// kept the record may pass, but the call must not be repeated blindly.
pub(crate) fn withheld(
    id: &RequestId,
    form: Form,
    server: &ServerInfo<'_>,
    refusal: &Refusal,
) -> Vec<u8> {
    let what = match refusal.code {
        Code::Stopped => "its result is withheld",
        _ => "its outcome could not be recorded",
    };
    let reason = format!("the call was made, but {what}: {}", refusal.reason);
    let next = "Do not repeat the call before its effect was looked at.".to_owned();
    let refusal = Refusal { reason, next, ..refusal.clone() };
    said(id, form, server, &refusal, false)
}

fn said(
    id: &RequestId,
    form: Form,
    server: &ServerInfo<'_>,
    refusal: &Refusal,
    retryable: bool,
) -> Vec<u8> {
    let (words, facts) = (words(refusal), facts(refusal, retryable));
    if form.is_tool {
        return tool_error(id, form.era, server, &words, (META, facts));
    }
    let code = if retryable { envelope::Code::Unavailable } else { envelope::Code::Denied };
    Fault::new(code, words).with_data(Json::object([(META, facts)])).response(Some(id))
}

fn words(refusal: &Refusal) -> String {
    let verdict = match refusal.verdict() {
        "hold" => "This call waits for approval.",
        "step_up" => "This call needs a stronger proof by the person.",
        _ => "This call was refused.",
    };
    let approval = refusal.approval.map(|id| format!("\nApproval: {id}")).unwrap_or_default();
    let instead = match &refusal.help.nearest[..] {
        [] => String::new(),
        tools => format!("\nMay be called: `{}`", tools.join("`, `")),
    };
    format!(
        "{verdict}\nWhy: {} ({})\nNext: {}{instead}{approval}",
        refusal.reason,
        refusal.code.text(),
        refusal.next
    )
}

fn facts(refusal: &Refusal, retryable: bool) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let mut facts = vec![
        ("action", text(&refusal.action.to_string())),
        ("code", text(refusal.code.text())),
        ("next", text(&refusal.next)),
        ("policies", Json::Array(refusal.policies.iter().map(|policy| text(policy)).collect())),
        ("reason", text(&refusal.reason)),
        ("retryable", Json::Bool(retryable)),
        ("verdict", text(refusal.verdict())),
    ];
    let Help { missing, nearest, ask } = &refusal.help;
    let list = |texts: &[String]| Json::Array(texts.iter().map(|one| text(one)).collect());
    for (name, texts) in [("ask", ask), ("nearest", nearest)] {
        facts.extend((!texts.is_empty()).then(|| (name, list(texts))));
    }
    facts.extend(missing.as_ref().map(|Missing { verb, resource, system }| {
        let right = [
            ("resource", text(resource)),
            ("system", text(system.as_str())),
            ("verb", text(verb.name())),
        ];
        ("missing", Json::object(right))
    }));
    facts.extend(refusal.approval.map(|id| ("approval", text(&id.to_string()))));
    Json::object(facts)
}
