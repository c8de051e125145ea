//! Processes that serve while this one measures: this program again, in another role.
//!
//! A role prints one line of JSON once it is ready. Afterwards it answers each line on its standard input with a line, and
//! ends with that input, so that it never outlives the measurement.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use crate::{clock, gateway, memory::resident_mb};

/// The role of the gateway under test.
pub(crate) const GATEWAY: &str = "serve-gateway";
/// The role of the MCP server behind it.
pub(crate) const UPSTREAM: &str = "serve-upstream";
/// The role of the bare pass-through that the gateway is compared with.
pub(crate) const PASS: &str = "serve-pass";

/// A process in a role. Dropped, it ends.
pub(crate) struct Served {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What a role says of itself at any time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    /// The processor time it has used, in nanoseconds.
    pub(crate) cpu_nanos: u64,
}

/// Plays a role until standard input ends.
pub(crate) fn play(role: &str, argument: &str) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    match role {
        GATEWAY => runtime.block_on(gateway::serve::gateway(argument)),
        UPSTREAM => runtime.block_on(gateway::serve::upstream()),
        PASS => runtime.block_on(gateway::serve::pass(argument)),
        _ => bail!("there is no role `{role}`"),
    }
}

/// Says that the role is ready, then answers questions. Blocks, so that waiting costs no processor time.
pub(crate) fn answer<R: Serialize>(ready: &R) -> anyhow::Result<()> {
    say(ready)?;
    for question in std::io::stdin().lock().lines() {
        question?;
        let nanos = clock::cpu().as_nanos();
        say(&Used { cpu_nanos: u64::try_from(nanos).unwrap_or(u64::MAX) })?;
    }
    Ok(())
}

fn say<T: Serialize>(line: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

impl Served {
    /// Starts a role and waits until it is ready: the process, and what it says of itself.
    pub(crate) fn start<R: DeserializeOwned>(
        role: &str,
        argument: &str,
    ) -> anyhow::Result<(Self, R)> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["--role", role, argument]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("`{role}` does not start"))?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.context("standard output is piped")?);
        let mut served = Self { child, ask, answers };
        let ready = served.line().with_context(|| format!("`{role}` did not get ready"))?;
        Ok((served, ready))
    }

    /// The processor time that the process has used so far.
    pub(crate) fn cpu(&mut self) -> anyhow::Result<Duration> {
        let ask = self.ask.as_mut().context("a role is asked only while it runs")?;
        ask.write_all(b"\n")?;
        let used: Used = self.line()?;
        Ok(Duration::from_nanos(used.cpu_nanos))
    }

    /// The memory that the process holds, in millions of bytes.
    pub(crate) fn resident_mb(&self) -> anyhow::Result<f64> {
        resident_mb(self.child.id())
    }

    fn line<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the process ended or said something else")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Its input ends, and with it the process in order: it removes its folder.
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}
