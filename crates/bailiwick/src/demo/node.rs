//! The node of the demo: control plane and gateway, started as anybody would start them.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use super::{
    ODD, RERUN,
    program::{PATIENCE, Program, lines, next_line, slow},
};
use crate::failure::{Failure, Result};

/// How often something is looked at until it is there.
pub(super) const LOOK: std::time::Duration = std::time::Duration::from_millis(5);

/// A running node.
pub(super) struct Node {
    child: Child,
    pub(super) server: String,
    pub(super) gateway: String,
    pub(super) ops: String,
    /// Where the first administrator is enrolled.
    pub(super) socket: String,
}

impl Node {
    /// Starts a node on free ports and waits until it is ready.
    pub(super) async fn start(program: &Program<'_>, config: &str) -> Result<Self> {
        let mut child =
            program.leashed("node", &[], ["serve", "--config", config, "--print-addresses"])?;
        let line = next_line(&mut lines(&mut child)?, "the node").await?;
        let addresses: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let text = |member: &str| {
            let text = addresses[member].as_str().map(str::to_owned);
            text.ok_or_else(|| {
                Failure::new("demo_failed", format!("the node named no `{member}`"))
                    .why(ODD)
                    .next(RERUN)
            })
        };
        Ok(Self {
            child,
            server: text("server")?,
            gateway: text("gateway")?,
            ops: text("ops")?,
            socket: text("enroll_socket")?,
        })
    }

    /// The one-time code, read from what the node shows on its terminal.
    pub(super) async fn code(&self, program: &Program<'_>) -> Result<String> {
        let file = program.log("node");
        let look = async {
            loop {
                let shown = fs::read_to_string(&file).unwrap_or_default();
                let code = shown.lines().find_map(|line| line.trim().strip_prefix("code "));
                if let Some(code) = code.and_then(|rest| rest.split_whitespace().next()) {
                    return code.to_owned();
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, look).await.map_err(|_| slow("the one-time code"))
    }

    /// Ends the node in order: live calls end, the ledger is closed.
    pub(super) async fn end(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !asked || timeout(PATIENCE, self.child.wait()).await.is_err() {
            // It ends all the same when it is dropped.
            tracing::warn!(code = "BW-1606", "the demo's node did not end in order");
        }
    }
}
