//! MCP servers that are programs on this machine, spoken to over their stdin and stdout.
//!
//! A program runs behind a fence (Landlock): it sees the system's own folders and what its configuration names, and neither
//! the data folder of this node nor its keys. It has an environment of its own, a folder of its own for what it writes for
//! the moment, and ends with the node.

mod fence;

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tempfile::TempDir;
use token::Secret;
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep},
};

pub use fence::{FenceError, can_fence};

pub use decide::{PROGRAM, UNSEPARATED};
/// Where programs look for programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that speaks MCP, as the operator of this machine configured it.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Its file.
    pub command: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// Its environment, beside what every program gets.
    pub variables: Vec<(String, String)>,
    /// More of it: names, and references to secrets (`env:NAME`, `file:PATH`).
    pub secrets: Vec<(String, String)>,
    /// Files and folders that it may read and execute, beside the system's.
    pub reads: Vec<PathBuf>,
    /// Files and folders that it may write to.
    pub writes: Vec<PathBuf>,
    /// Run it without a fence, as the user of this node: it can read whatever the node can.
    pub unsafe_same_user: bool,
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Nobody configured it.
    #[error(
        "no `{0}` is configured on this node; its operator may have taken it out, or changed whether it is separated"
    )]
    Unknown(String),
    /// The fence would have a gap.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// It cannot be started.
    #[error("`{}` cannot be started", command.display())]
    Start {
        /// Its file.
        command: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has ended, most likely at once.
    #[error(
        "the program ended only a moment ago, as this node's log says; it is started again in another"
    )]
    TooSoon,
    /// An earlier start is not through.
    #[error("the program is still being started; a file system may hang")]
    Starting,
    /// It ended, or closed its stdout.
    #[error("the program has ended; this node's log says how")]
    Ended,
}

/// A started program with its own folder, which goes when this is dropped; so does the program.
pub(crate) struct Started {
    pub(crate) child: Child,
    _own: TempDir,
}

impl Program {
    /// Whether it runs behind a fence.
    pub fn is_separated(&self) -> bool {
        !self.unsafe_same_user
    }

    /// Starts it with these secrets in its environment; `turn` is held until that is through.
    pub(crate) async fn start(
        &self,
        secrets: Vec<(String, Secret)>,
        turn: OwnedSemaphorePermit,
    ) -> Result<Started, ProgramError> {
        let failed = |source| ProgramError::Start { command: self.command.clone(), source };
        let (program, runtime) = (self.clone(), Handle::current());
        let (sender, started) = oneshot::channel();
        // A fence stands around the thread that raises it, and around whatever that thread starts: so it has one of its own.
        let thread = std::thread::Builder::new().name("start-program".to_owned());
        thread
            .spawn(move || {
                let _entered = runtime.enter();
                let started = program.start_here(&secrets);
                drop(turn);
                // Where nobody waits any more, the program ends with what is dropped here.
                let _ = sender.send(started);
            })
            .map_err(failed)?;
        started.await.unwrap_or_else(|_| Err(failed(io::ErrorKind::Other.into())))
    }

    fn start_here(&self, secrets: &[(String, Secret)]) -> Result<Started, ProgramError> {
        let failed = |source| ProgramError::Start { command: self.command.clone(), source };
        let own = tempfile::Builder::new().prefix("bailiwick-").tempdir().map_err(failed)?;
        if self.is_separated() {
            self.raise(own.path())?;
        }
        let mut command = Command::new(&self.command);
        command.args(&self.arguments).env_clear().current_dir(own.path());
        let folder = own.path();
        command.env("PATH", PATH).env("LANG", "C.UTF-8").env("HOME", folder).env("TMPDIR", folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.envs(secrets.iter().filter_map(|(name, value)| Some((name, value.expose_text()?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts itself ends with it.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        Ok(Started { child, _own: own })
    }

    fn raise(&self, own: &Path) -> Result<(), FenceError> {
        let reads = self.reads.iter().map(PathBuf::as_path).chain([self.command.as_path()]);
        let writes = self.writes.iter().map(PathBuf::as_path).chain([own]);
        fence::raise(reads, writes)
    }

    /// Whether the fence leaves out all of these, which are this node's own: neither they nor what is in them may be reached
    /// by what the program may read or write.
    ///
    /// # Errors
    /// A path leads there, or is not there.
    pub fn leaves_out(&self, own: &[PathBuf]) -> Result<(), FenceError> {
        if !self.is_separated() {
            return Ok(());
        }
        let named = self.reads.iter().chain(&self.writes).chain([&self.command]);
        named.into_iter().try_for_each(|path| fence::leaves_out(path, own))
    }

    /// The address by which a server's record names it: whoever reads the record sees whether it is separated, and a record
    /// that was approved with a fence leads nowhere once there is none.
    pub fn address(&self, name: &str) -> String {
        let scheme = if self.is_separated() { PROGRAM } else { UNSEPARATED };
        format!("{scheme}{name}")
    }
}

impl Started {
    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    /// How the process ended, once it has; `None` where it goes on for longer than `patience`. It is not reaped, so that its
    /// number is nobody else's before its group is killed.
    pub(crate) async fn ending(&self, patience: Duration) -> Option<String> {
        /// How often the kernel is asked.
        const PERIOD: Duration = Duration::from_millis(10);
        let (pid, over) = (self.pid()?, Instant::now() + patience);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            if let Some(ended) = waitid(WaitId::Pid(pid), options).ok()? {
                return Some(match (ended.exit_status(), ended.terminating_signal()) {
                    (Some(status), _) => format!("status {status}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "no status".to_owned(),
                });
            }
            if Instant::now() >= over {
                return None;
            }
            sleep(PERIOD).await;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(group) = self.pid() {
            // A group whose last process has gone is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
