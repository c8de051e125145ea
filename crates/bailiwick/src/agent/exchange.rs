//! Token exchange ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)), the client proved by `private_key_jwt`.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use token::assertion;

use super::{Agent, MAX_ANSWER, unanswered};
use crate::{
    client,
    failure::{Exit, Failure, Result, TELL_US},
    proving::Ask,
    random,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How long an assertion may be used, in seconds.
const ASSERTION_SECONDS: u32 = 60;

/// What a token is to be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The agent's key.
    Agents,
    /// Nothing.
    None,
}

/// A token of the agent's own.
pub(crate) struct Granted {
    pub(crate) token: String,
    /// How long it may be used, in seconds.
    pub(crate) seconds: u64,
}

/// What a refusal of the token endpoint says ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)).
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<String>,
    pub(crate) reason: Option<String>,
    /// What to do next, where the server says it.
    pub(crate) next: Option<String>,
    /// Names the attempt in the ledger.
    pub(crate) action: Option<String>,
    /// Nothing was done, and the same may succeed in a moment.
    pub(crate) retryable: bool,
}

impl Agent {
    /// Exchanges a token that was meant for this agent; `wishes` are further parameters of the request.
    pub(crate) async fn exchange(
        &self,
        subject: &str,
        wishes: &[(&str, &str)],
        bound: Key,
    ) -> Result<std::result::Result<Granted, Refused>> {
        let (mut status, mut document) = self.ask(subject, wishes, bound).await?;
        if document["error"] == "use_dpop_nonce" {
            (status, document) = self.ask(subject, wishes, bound).await?;
        }
        if !status.is_success() {
            return Ok(Err(Refused::of(status, &document)));
        }
        let token = document["access_token"].as_str().map(str::to_owned).ok_or_else(|| {
            Failure::new("no_token", "the server gave no token")
                .why("its answer has no `access_token`")
                .next("check that the server is a Bailiwick, of this version")
                .exit(Exit::SignIn)
        })?;
        Ok(Ok(Granted { token, seconds: document["expires_in"].as_u64().unwrap_or(0) }))
    }

    async fn ask(
        &self,
        subject: &str,
        wishes: &[(&str, &str)],
        bound: Key,
    ) -> Result<(StatusCode, Value)> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        // An assertion is good for one request, so each try signs its own.
        let assertion = self.assertion()?;
        let known = [
            ("grant_type", TOKEN_EXCHANGE),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_token", subject),
        ];
        let body = Bytes::from(form(known.iter().chain(wishes)));
        let ask = Ask { method: Method::POST, path: "", headers, body, token: None };
        let place = &self.token_endpoint;
        let reply = match bound {
            Key::Agents => place.send(&self.prover, ask).await,
            Key::None => place.send_plain(ask).await,
        };
        let reply = reply.map_err(|error| unanswered(place.url(), error))?;
        let status = reply.status;
        let bytes = reply.collect(MAX_ANSWER).await.unwrap_or_default();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    fn assertion(&self) -> Result<String> {
        let draft = assertion::Draft {
            client: &self.uri,
            audience: &self.issuer,
            now: client::now(),
            life_seconds: ASSERTION_SECONDS,
            jti: &random::name()?,
            version: self.version,
        };
        assertion::create(self.prover.key(), &draft).map_err(|error| {
            Failure::new("not_signed", "nothing could be signed").because(&error).next(TELL_US)
        })
    }
}

impl Refused {
    fn of(status: StatusCode, document: &Value) -> Self {
        let text = |member: &str| document[member].as_str().map(str::to_owned);
        let next = text("bailiwick_next");
        // For clients that read nothing else, the description says it all; here each part is told in its place.
        let reason = text("error_description").map(|said| match &next {
            Some(next) => said.strip_suffix(next.as_str()).unwrap_or(&said).trim_end().to_owned(),
            None => said,
        });
        Self {
            code: text("bailiwick_code").or_else(|| text("error")),
            reason,
            next,
            action: text("bailiwick_action"),
            retryable: status == StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// `application/x-www-form-urlencoded`, with every byte escaped that might mean something.
fn form<'a>(pairs: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    form.push(char::from(byte))
                }
                // Writing into a string does not fail.
                other => drop(write!(form, "%{other:02X}")),
            }
        }
    }
    form
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_form_escapes_whatever_is_not_a_plain_letter() {
        let pairs = [("grant_type", "urn:a"), ("details", r#"[{"é":1}]"#)];
        assert_eq!(
            super::form(pairs.iter()),
            "grant_type=urn%3Aa&details=%5B%7B%22%C3%A9%22%3A1%7D%5D"
        );
    }
}
