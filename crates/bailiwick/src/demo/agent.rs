//! The agent's process: a client like any other. It holds its own key, proves itself with every request, and knows of
//! Bailiwick only what the protocols say (OAuth 2.0 token exchange, DPoP, MCP).

mod tool;

use std::{
    io::BufRead as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use token::{Algorithm, SigningKey, dpop::Prover};
use tokio::{sync::mpsc, time::Instant};

use super::order::{Answer, Order, Told};
use crate::{
    again::Again,
    agent::{self, Key, Refused, Who},
    demo::{ODD, RERUN},
    failure::{Failure, Result},
    output,
    proving::Place,
};

/// How long one request may take: longer than the longest tool that the demo calls.
const PATIENCE: Duration = Duration::from_secs(60);

/// The latest moment that a token can name, in milliseconds: the server ends a right where the held one ends.
const AS_LONG_AS_HELD: i64 = 1 << 52;

/// An agent that knows who it is and where it works.
struct Agent {
    itself: agent::Agent,
    resource: String,
    endpoint: Place,
    /// What it calls with.
    token: Mutex<String>,
}

/// Does what standard input says until that ends.
pub(super) async fn run() -> Result<output::Answer> {
    let key = SigningKey::generate(Algorithm::EdDSA).map_err(|error| {
        Failure::new("key_not_made", "no key could be made").because(&error).next(RERUN)
    })?;
    output::data(&key.public().to_jwk().to_value().to_string())?;
    let mut prover = Some(Prover::new(key));
    let mut agent: Option<Arc<Agent>> = None;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let Told { id, order } = serde_json::from_str(&line).map_err(|error| {
            Failure::new("order_unknown", "this order is not understood")
                .because(&error)
                .next(RERUN)
        })?;
        match (order, &agent) {
            (order @ Order::Be { .. }, None) => {
                let prover = prover.take().ok_or_else(|| {
                    Failure::new("order_unknown", "it is somebody already").why(ODD).next(RERUN)
                })?;
                agent = Some(Arc::new(Agent::new(order, prover).await?));
                say(&Answer { id, verdict: "permit".to_owned(), ..Answer::default() });
            }
            (order, Some(agent)) => {
                let agent = agent.clone();
                // A call may take long; what comes after it does not wait.
                tokio::spawn(async move { say(&agent.act(id, order).await) });
            }
            (_, None) => {
                return Err(Failure::new("order_unknown", "it is nobody yet").why(ODD).next(RERUN));
            }
        }
    }
    Ok(output::Answer::new(Value::Null, ""))
}

impl Agent {
    async fn new(order: Order, prover: Prover) -> Result<Self> {
        let Order::Be { uri, version, issuer, resource, endpoint } = order else {
            return Err(Failure::new("order_unknown", "it is nobody yet").why(ODD).next(RERUN));
        };
        let version = version.parse().map_err(|error| {
            Failure::new("version_invalid", "the version is no digest").because(&error).next(RERUN)
        })?;
        let who = Who { uri, version: Some(version) };
        let itself = agent::Agent::new(prover, who, &issuer).await?;
        let endpoint = agent::place(&endpoint, PATIENCE)?;
        Ok(Self { itself, resource, endpoint, token: Mutex::default() })
    }

    async fn act(&self, id: u64, order: Order) -> Answer {
        let began = Instant::now();
        let mut again = Again::new();
        let answer = loop {
            let answer = self.attempt(&order).await;
            if !again.once_more(answer.verdict == "deny" && answer.retryable).await {
                break answer;
            }
        };
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Answer { id, ms, ..answer }
    }

    async fn attempt(&self, order: &Order) -> Answer {
        let done = match order {
            Order::Exchange { subject } => self.exchange(subject).await,
            Order::HandOver { subject, to, verbs, resources } => {
                self.hand_over(subject, to, verbs, resources).await
            }
            Order::Call { tool, arguments } => self.call(tool, arguments).await,
            Order::Be { .. } => {
                Err(Failure::new("order_unknown", "it is somebody already").why(ODD).next(RERUN))
            }
        };
        done.unwrap_or_else(|failure| Answer {
            verdict: "error".to_owned(),
            code: Some(failure.code.clone()),
            reason: Some(failure.text()),
            ..Answer::default()
        })
    }

    /// Gets the token to call with.
    async fn exchange(&self, subject: &str) -> Result<Answer> {
        let granted =
            self.itself.exchange(subject, &[("audience", &self.resource)], Key::Agents).await?;
        Ok(granted.map_or_else(refused, |granted| {
            self.keep(granted.token);
            Answer { verdict: "permit".to_owned(), ..Answer::default() }
        }))
    }

    /// Gets a token for a sub-agent, with less than this agent has itself.
    async fn hand_over(
        &self,
        subject: &str,
        to: &str,
        verbs: &[String],
        resources: &str,
    ) -> Result<Answer> {
        let clause = json!({ "verbs": verbs, "resources": resources, "expires": AS_LONG_AS_HELD });
        let authority = json!({ "clauses": [clause], "depth": 1 });
        let details = json!([{ "type": "bailiwick", "authority": authority }]).to_string();
        let wishes = [("requested_actor", to), ("authorization_details", &details)];
        let granted = self.itself.exchange(subject, &wishes, Key::Agents).await?;
        Ok(granted.map_or_else(refused, |granted| {
            let token = Some(granted.token);
            Answer { verdict: "permit".to_owned(), token, ..Answer::default() }
        }))
    }

    fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, token: String) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

fn refused(refused: Refused) -> Answer {
    let Refused { code, reason, next, action, retryable } = refused;
    Answer {
        verdict: "deny".to_owned(),
        code,
        reason,
        next,
        action,
        retryable,
        ..Answer::default()
    }
}

fn say(answer: &Answer) {
    // Whoever listened hears nothing, and ends this; there is nobody else to tell.
    let _ = output::data(&serde_json::to_string(answer).expect("answers are texts"));
}

/// The lines of standard input, read on a thread of their own.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
