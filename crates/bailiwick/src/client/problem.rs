//! What a server's refusal means for whoever asked.

use http::StatusCode;
use model::Foreign;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A refusal of the token endpoint (RFC 6749 §5.2).
pub(super) fn of_oauth(status: StatusCode, document: &Value, what: &str, sources: &str) -> Failure {
    let code = text(document, "bailiwick_code").or_else(|| text(document, "error"));
    let code = code.unwrap_or_else(|| status.as_str().to_owned());
    let why = text(document, "error_description");
    let failure = Failure::new(code, format!("the server refused {what}"))
        .why(why.unwrap_or_else(|| format!("it answered {status}")));
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            failure.next("try again in a moment").exit(Exit::Unreachable)
        }
        _ => {
            let check = || {
                format!(
                    "check {sources}, and that you are enrolled and active there; `--profile FILE` names another profile"
                )
            };
            failure.next(text(document, "bailiwick_next").unwrap_or_else(check)).exit(Exit::SignIn)
        }
    }
}

/// Something else listens there: the server always tells its metadata.
pub(super) fn no_server(status: StatusCode) -> Failure {
    Failure::new("not_the_server", "this URL is not the admin API of a Bailiwick")
        .why(format!("it has no metadata of a token endpoint; it answered {status}"))
        .next("name the URL that `serve` calls `server`, not `gateway` or `ops` (`--server`, `BAILIWICK_SERVER` or the profile)")
        .exit(Exit::Unreachable)
}

/// A refusal of the admin API (RFC 9457).
pub(super) fn of_api(status: StatusCode, document: &Value) -> Failure {
    let code = text(document, "code").unwrap_or_else(|| status.as_str().to_owned());
    let title = text(document, "title").unwrap_or_else(|| format!("the server answered {status}"));
    if let Some(approval) = text(document, "approval").filter(|_| code == "held") {
        return held(document, &approval);
    }
    let exit = match (status, code.as_str()) {
        (_, "held" | "step_up") => Exit::Waiting,
        (StatusCode::UNAUTHORIZED, _) => Exit::SignIn,
        (StatusCode::FORBIDDEN, _) => Exit::NotPermitted,
        (StatusCode::NOT_FOUND, _) => Exit::NotFound,
        (StatusCode::CONFLICT, _) => Exit::Conflict,
        (StatusCode::SERVICE_UNAVAILABLE, _) => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let why = lines(document, "detail").unwrap_or_else(|| format!("it answered {status}"));
    let next = text(document, "next");
    let next =
        next.unwrap_or_else(|| "look into the log of the node, or ask its operator".to_owned());
    Failure::new(code, title).why(why).next(next).exit(exit)
}

fn held(document: &Value, approval: &str) -> Failure {
    let why = lines(document, "detail");
    Failure::new("held", format!("waiting for approval {approval}"))
        .why(why.unwrap_or_else(|| "somebody has to approve it first".to_owned()))
        .next(format!("ask for `bailiwick approve {approval}`; then run the same command again"))
        .exit(Exit::Waiting)
}

/// A server's text, escaped: it may quote what somebody else wrote.
fn text(document: &Value, member: &str) -> Option<String> {
    let text = document.get(member)?.as_str().filter(|text| !text.is_empty())?;
    Some(Foreign::new(text).to_string())
}

/// The same for a text of several lines, each escaped.
fn lines(document: &Value, member: &str) -> Option<String> {
    let text = document.get(member)?.as_str().filter(|text| !text.is_empty())?;
    Some(text.lines().map(|line| Foreign::new(line).to_string()).collect::<Vec<_>>().join("\n"))
}
