//! Tool calls over MCP 2026-07-28
//! ([Streamable HTTP](https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http)).

use bytes::Bytes;
use gateway::{
    envelope::{Message, Mirror, request_headers},
    sse::{MAX_EVENT, Parser},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Agent, Answer};
use crate::{
    agent::unanswered,
    demo::RERUN,
    failure::{Failure, Result},
    proving::{Ask, wants_nonce},
};

const VERSION: &str = "2026-07-28";
/// The member of a result's `_meta` in which the gateway says the same as in its words, for programs.
const REFUSAL: &str = "bailiwick/refusal";

impl Agent {
    pub(super) async fn call(&self, tool: &str, arguments: &Value) -> Result<Answer> {
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
        let body = Bytes::from(request.to_string());
        let message = Message::parse(&body).map_err(|error| {
            Failure::new("order_unknown", "this is no call").because(&error).next(RERUN)
        })?;
        let headers = request_headers(&message, None, &Mirror::default());
        let (mut status, mut headers_back, mut text) = self.post(&headers, &body).await?;
        if wants_nonce(&headers_back) {
            (status, headers_back, text) = self.post(&headers, &body).await?;
        }
        let action = headers_back.get("bailiwick-action").and_then(|action| action.to_str().ok());
        let action = action.map(str::to_owned);
        let kind = headers_back.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let response = match kind.unwrap_or_default().starts_with(b"text/event-stream") {
            true => last_event(&text),
            false => serde_json::from_slice(&text).unwrap_or(Value::Null),
        };
        if !status.is_success() && response.is_null() {
            return Err(Failure::new("no_answer", format!("the server answered {status}"))
                .why(String::from_utf8_lossy(&text))
                .next(RERUN));
        }
        Ok(Answer { action, ..read(&response) })
    }

    async fn post(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let (headers, body, token) = (headers.clone(), body.clone(), self.token());
        let ask = Ask { method: Method::POST, path: "", headers, body, token: Some(&token) };
        let place = &self.endpoint;
        let reply = place.send(&self.itself.prover, ask).await;
        let mut reply = reply.map_err(|error| unanswered(place.url(), error))?;
        let (status, headers) = (reply.status, std::mem::take(&mut reply.headers));
        let text = reply.collect(MAX_EVENT).await.map_err(|error| {
            Failure::new("no_answer", "the answer broke off").because(&error).next(RERUN)
        })?;
        Ok((status, headers, text))
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
fn last_event(stream: &Bytes) -> Value {
    let (mut parser, mut input, mut last) = (Parser::default(), stream.clone(), Value::Null);
    while let Ok(Some(data)) = parser.next(&mut input) {
        last = serde_json::from_slice(&data).unwrap_or(Value::Null);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_the_last_event_that_has_data() {
        let stream = "event: message\ndata: {\"n\":1}\n\n: still here\n\nevent: message\r\ndata: {\"n\":\r\ndata: 2}\r\n\r\n";
        assert_eq!(last_event(&Bytes::from_static(stream.as_bytes())), json!({ "n": 2 }));
        assert_eq!(last_event(&Bytes::from_static(b": nothing\n\n")), Value::Null);
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
