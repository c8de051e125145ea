//! A refusal that an agent can act on: words for its model, facts for its program.

use decide::Refusal;
use model::ijson::Json;

use crate::envelope::{Era, RequestId, ServerInfo, tool_error};

/// The member of `_meta` that carries the facts.
const META: &str = "bailiwick/refusal";

/// The answer to a refused call.
pub(crate) fn response(
    id: &RequestId,
    era: Era,
    server: &ServerInfo<'_>,
    refusal: &Refusal,
) -> Vec<u8> {
    tool_error(id, era, server, &words(refusal), (META, facts(refusal)))
}

fn words(refusal: &Refusal) -> String {
    let verdict = match refusal.verdict() {
        "hold" => "This call waits for approval.",
        "step_up" => "This call needs a stronger proof by the person.",
        _ => "This call was refused.",
    };
    let approval = refusal.approval.map(|id| format!("\nApproval: {id}")).unwrap_or_default();
    format!(
        "{verdict}\nWhy: {} ({})\nNext: {}{approval}",
        refusal.reason,
        refusal.code.text(),
        refusal.next
    )
}

fn facts(refusal: &Refusal) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let mut facts = vec![
        ("action", text(&refusal.action.to_string())),
        ("code", text(refusal.code.text())),
        ("next", text(&refusal.next)),
        ("policies", Json::Array(refusal.policies.iter().map(|policy| text(policy)).collect())),
        ("reason", text(&refusal.reason)),
        ("retryable", Json::Bool(refusal.code.retryable())),
        ("verdict", text(refusal.verdict())),
    ];
    facts.extend(refusal.approval.map(|id| ("approval", text(&id.to_string()))));
    Json::object(facts)
}
