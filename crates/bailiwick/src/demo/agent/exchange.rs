//! Token exchange ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)), the client proved by `private_key_jwt`.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use token::assertion;

use super::{Agent, Answer};
use crate::{
    client,
    demo::{ODD, RERUN},
    failure::{Failure, Result},
    random,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How long an assertion may be used, in seconds.
const ASSERTION_SECONDS: u32 = 60;
/// The latest moment that a token can name, in milliseconds: the server ends a right where the held one ends.
const AS_LONG_AS_HELD: i64 = 1 << 52;

impl Agent {
    /// Gets the token to call with.
    pub(super) async fn exchange(&self, subject: &str) -> Result<Answer> {
        let answer = self.ask(subject, &[("audience", &self.resource)]).await?;
        Ok(match answer {
            Ok(token) => {
                self.keep(token);
                Answer { verdict: "permit".to_owned(), ..Answer::default() }
            }
            Err(refused) => refused,
        })
    }

    /// Gets a token for a sub-agent, with less than this agent has itself.
    pub(super) async fn hand_over(
        &self,
        subject: &str,
        to: &str,
        verbs: &[String],
        resources: &str,
    ) -> Result<Answer> {
        let clause = json!({ "verbs": verbs, "resources": resources, "expires": AS_LONG_AS_HELD });
        let authority = json!({ "clauses": [clause], "depth": 1 });
        let details = json!([{ "type": "bailiwick", "authority": authority }]).to_string();
        let answer = self
            .ask(subject, &[("requested_actor", to), ("authorization_details", &details)])
            .await?;
        Ok(match answer {
            Ok(token) => {
                Answer { verdict: "permit".to_owned(), token: Some(token), ..Answer::default() }
            }
            Err(refused) => refused,
        })
    }

    async fn ask(
        &self,
        subject: &str,
        wishes: &[(&str, &str)],
    ) -> Result<std::result::Result<String, Answer>> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        // An assertion is good for one request, so each try signs its own.
        let body = || {
            let assertion = self.assertion()?;
            let known = [
                ("grant_type", TOKEN_EXCHANGE),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", &assertion),
                ("subject_token_type", ACCESS_TOKEN),
                ("subject_token", subject),
            ];
            Ok(Bytes::from(form(known.iter().chain(wishes))))
        };
        let reply = self.token_endpoint.post(&self.prover, &headers, body, None).await?;
        let document = reply.document();
        if !reply.status.is_success() {
            let retryable = reply.status == StatusCode::SERVICE_UNAVAILABLE;
            return Ok(Err(Answer { retryable, ..refused(&document) }));
        }
        let token = document["access_token"].as_str().map(str::to_owned);
        Ok(Ok(token.ok_or_else(|| {
            Failure::new("no_token", "the server gave no token").why(ODD).next(RERUN)
        })?))
    }

    fn assertion(&self) -> Result<String> {
        let draft = assertion::Draft {
            client: &self.uri,
            audience: &self.issuer,
            now: client::now(),
            life_seconds: ASSERTION_SECONDS,
            jti: &random::name()?,
            version: Some(self.version),
        };
        assertion::create(self.prover.key(), &draft).map_err(|error| {
            Failure::new("not_signed", "nothing could be signed").because(&error).next(RERUN)
        })
    }
}

/// What a refusal of the token endpoint says ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)).
fn refused(document: &Value) -> Answer {
    let text = |member: &str| document[member].as_str().map(str::to_owned);
    Answer {
        verdict: "deny".to_owned(),
        code: text("bailiwick_code").or_else(|| text("error")),
        reason: text("error_description"),
        action: text("bailiwick_action"),
        ..Answer::default()
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
