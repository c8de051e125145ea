//! An agent's process, as the director sees it: a name, a public key, and lines.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin},
    sync::oneshot,
    time::timeout,
};

use super::{
    ODD, RERUN,
    order::{Answer, Order, Told},
    program::{PATIENCE, Program, lines, next_line, slow},
};
use crate::failure::{Failure, Result};

/// A running agent.
pub(super) struct Bot {
    pub(super) name: &'static str,
    /// Its URI, once it is registered.
    pub(super) uri: String,
    /// Its public key; the private one never leaves its process.
    pub(super) public_key: Value,
    child: Child,
    stdin: ChildStdin,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>,
    told: u64,
}

/// An answer that is still to come.
pub(super) struct Pending {
    answer: oneshot::Receiver<Answer>,
    name: &'static str,
}

impl Bot {
    /// Starts an agent, which makes its key.
    pub(super) async fn start(program: &Program<'_>, name: &'static str) -> Result<Self> {
        let mut child = program.leashed(name, &[], ["demo", "agent"])?;
        let stdin = child.stdin.take();
        let stdin = stdin.ok_or_else(|| {
            Failure::new("demo_failed", "an agent has no standard input").why(ODD).next(RERUN)
        })?;
        let mut lines = lines(&mut child)?;
        let public_key = next_line(&mut lines, name).await?;
        let public_key = serde_json::from_str(&public_key).map_err(|error| {
            Failure::new("demo_failed", format!("`{name}` told no key")).because(&error).next(RERUN)
        })?;
        let waiting = Arc::<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>::default();
        let hears = waiting.clone();
        // Ends with the process: its output closes, and whoever still waits hears that nobody will answer.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Answer>(&line) else { continue };
                let waits = hears.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.id);
                if let Some(waits) = waits {
                    // Nobody has to wait for an answer.
                    let _ = waits.send(answer);
                }
            }
            hears.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Ok(Self { name, uri: String::new(), public_key, child, stdin, waiting, told: 0 })
    }

    /// Tells the agent what to do and does not wait.
    pub(super) async fn tell(&mut self, order: Order) -> Result<Pending> {
        self.told += 1;
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(self.told, sender);
        let mut line =
            serde_json::to_vec(&Told { id: self.told, order }).expect("orders are texts");
        line.push(b'\n');
        let name = self.name;
        let gone = |error: std::io::Error| {
            Failure::new("demo_failed", format!("`{name}` is gone")).because(&error).next(RERUN)
        };
        self.stdin.write_all(&line).await.map_err(gone)?;
        self.stdin.flush().await.map_err(gone)?;
        Ok(Pending { answer, name })
    }

    /// Tells the agent what to do and waits for its answer.
    pub(super) async fn ask(&mut self, order: Order) -> Result<Answer> {
        self.tell(order).await?.within(PATIENCE).await?.ok_or_else(|| slow(self.name))
    }

    /// Ends the agent.
    pub(super) async fn end(mut self) {
        // A process that cannot be killed has ended.
        let _ = timeout(PATIENCE, self.child.kill()).await;
    }
}

impl Pending {
    /// The answer, or `None` when it does not come in time.
    pub(super) async fn within(self, patience: std::time::Duration) -> Result<Option<Answer>> {
        match timeout(patience, self.answer).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(_)) => {
                Err(Failure::new("demo_failed", format!("`{}` ended without an answer", self.name))
                    .why(ODD)
                    .next(RERUN))
            }
            Err(_) => Ok(None),
        }
    }
}
