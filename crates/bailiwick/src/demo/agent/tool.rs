//! Tool calls over MCP 2026-07-28
//! ([Streamable HTTP](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http)).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{Agent, Answer, wire};
use crate::demo::RERUN;
use crate::failure::{Failure, Result};

const VERSION: &str = "2026-07-28";
/// The member of a result's `_meta` in which the gateway says the same as in its words, for programs.
const REFUSAL: &str = "bailiwick/refusal";

impl Agent {
    pub(super) async fn call(&self, tool: &str, arguments: &Value) -> Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert("mcp-protocol-version", HeaderValue::from_static(VERSION));
        headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
        headers.insert("mcp-name", wire::text(tool)?);
        let request = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": tool,
                "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": VERSION,
                    "io.modelcontextprotocol/clientInfo": { "name": "demo-agent", "version": env!("CARGO_PKG_VERSION") },
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "progressToken": "demo",
                },
            },
        });
        let body = || Ok(Bytes::from(request.to_string()));
        let reply = self.endpoint.post(&self.prover, &headers, body, Some(&self.token())).await?;
        let action = reply.headers.get("bailiwick-action").and_then(|action| action.to_str().ok());
        let action = action.map(str::to_owned);
        let kind =
            reply.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let response = match kind.starts_with(b"text/event-stream") {
            true => last_event(&reply.body),
            false => reply.document(),
        };
        if !reply.status.is_success() && response.is_null() {
            let what = format!("the server answered {}", reply.status);
            return Err(Failure::new("no_answer", what)
                .why(String::from_utf8_lossy(&reply.body))
                .next(RERUN));
        }
        Ok(Answer { action, ..read(&response) })
    }
}

/// What a JSON-RPC response says of the call.
fn read(response: &Value) -> Answer {
    let text = |value: &Value, member: &str| value[member].as_str().map(str::to_owned);
    let error = &response["error"];
    if !error.is_null() {
        let code = Some(error["code"].to_string());
        return Answer {
            verdict: "error".to_owned(),
            code,
            reason: text(error, "message"),
            ..Answer::default()
        };
    }
    let result = &response["result"];
    let refusal = &result["_meta"][REFUSAL];
    if !refusal.is_null() {
        let policies = refusal["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
        return Answer {
            verdict: text(refusal, "verdict").unwrap_or_else(|| "deny".to_owned()),
            code: text(refusal, "code"),
            reason: text(refusal, "reason"),
            next: text(refusal, "next"),
            policies: policies.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            approval: text(refusal, "approval"),
            retryable: refusal["retryable"] == true,
            ..Answer::default()
        };
    }
    if result["isError"] == true {
        let reason = text(&result["content"][0], "text");
        return Answer {
            verdict: "error".to_owned(),
            code: Some("tool".to_owned()),
            reason,
            ..Answer::default()
        };
    }
    let result = Some(result["structuredContent"].clone());
    Answer { verdict: "permit".to_owned(), result, ..Answer::default() }
}

/// The response is the last event of the stream; progress came before it.
fn last_event(stream: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n");
    let data = |event: &str| {
        let lines: Vec<&str> =
            event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        Some(lines.join("\n")).filter(|data| !data.trim().is_empty())
    };
    let last = text.split("\n\n").filter_map(data).last();
    last.and_then(|data| serde_json::from_str(&data).ok()).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_the_last_event_that_has_data() {
        let stream = "event: message\ndata: {\"n\":1}\n\n: still here\n\nevent: message\r\ndata: {\"n\":\r\ndata: 2}\r\n\r\n";
        assert_eq!(last_event(stream.as_bytes()), json!({ "n": 2 }));
        assert_eq!(last_event(b": nothing\n\n"), Value::Null);
    }

    #[test]
    fn a_refusal_is_read_from_its_facts_and_not_from_its_words() {
        let facts = json!({ "verdict": "hold", "code": "held", "policies": ["p"], "approval": "a", "reason": "r", "next": "n" });
        let response = json!({ "result": { "isError": true, "_meta": { REFUSAL: facts } } });
        let answer = read(&response);
        assert_eq!((answer.verdict.as_str(), answer.code.as_deref()), ("hold", Some("held")));
        assert_eq!(
            (answer.policies, answer.approval.as_deref()),
            (vec!["p".to_owned()], Some("a"))
        );
    }
}
