//! Running this same program as other processes: commands of people, and what runs until the demo ends.

use std::{ffi::OsStr, fs::File, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

use super::{ODD, RERUN, place::Place};
use crate::failure::{Failure, Result};

/// How long a process may take to say its next line, or a command to end: much longer than on the slowest machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where this program is.
pub(super) fn path() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| {
        Failure::new("program_not_found", "this program cannot be found")
            .because(&error)
            .next(RERUN)
    })
}

/// Somebody who acts by the command line.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) handle: &'static str,
    pub(super) uri: String,
    /// The pseudonym that the ledger uses: `person/…`.
    pub(super) id: String,
}

impl Person {
    /// A person by the URI that the server gave them.
    pub(super) fn new(handle: &'static str, uri: &Value) -> Result<Self> {
        let uri = uri.as_str().unwrap_or_default();
        let id = uri.rfind("/person/").and_then(|at| uri.get(at + 1..));
        let id = id.ok_or_else(|| {
            Failure::new("demo_failed", format!("`{handle}` got no URI")).why(ODD).next(RERUN)
        })?;
        Ok(Self { handle, uri: uri.to_owned(), id: id.to_owned() })
    }

    /// Somebody who is not enrolled yet.
    pub(super) fn stranger(handle: &'static str) -> Self {
        Self { handle, uri: String::new(), id: String::new() }
    }
}

/// What a command came to.
pub(super) struct Done {
    pub(super) exit: i32,
    pub(super) document: Value,
    pub(super) ms: u64,
}

/// This program, in the demo's folder, with nothing of the user's environment.
pub(super) struct Program<'p> {
    path: PathBuf,
    place: &'p Place,
}

impl<'p> Program<'p> {
    pub(super) fn new(place: &'p Place) -> Result<Self> {
        Ok(Self { path: path()?, place })
    }

    pub(super) fn place(&self) -> &'p Place {
        self.place
    }

    /// Runs a command to its end, as one person or as nobody in particular.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        who: Option<&str>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Done> {
        let mut command = self.command();
        command.args(["--output", "json"]).args(arguments);
        // Without a profile of their own, people of the demo would find the user's.
        let profile = self.place.path(&format!("people/{}.toml", who.unwrap_or("nobody")));
        command.env("BAILIWICK_PROFILE", profile);
        let began = Instant::now();
        let output = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await;
        let output = output.map_err(|_| slow("a command"))?.map_err(|error| unstartable(&error))?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ok(Done { exit: output.status.code().unwrap_or(-1), document, ms })
    }

    /// A process that ends with the demo. It reads and answers lines; what else it says goes into a file of that name.
    pub(super) fn leashed<S: AsRef<OsStr>>(
        &self,
        name: &str,
        environment: &[(&str, &str)],
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Child> {
        let log = File::create(self.log(name)).map_err(|error| unstartable(&error))?;
        let parent = std::process::id().to_string();
        let mut command = self.command();
        command.args(["demo", "leash", "--parent", parent.as_str(), "--"]).args(arguments);
        command.envs(environment.iter().copied());
        // Ctrl-C is for the director, who then ends the others in order.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        command.spawn().map_err(|error| unstartable(&error))
    }

    /// Where a leashed process writes what is no answer.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.place.path(&format!("logs/{name}.log"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().kill_on_drop(true);
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command
    }
}

impl Done {
    /// The document of a command that did what it was asked.
    pub(super) fn accepted(self, what: &str) -> Result<Value> {
        if self.exit == 0 { Ok(self.document) } else { Err(self.failure(what)) }
    }

    /// A command that came to something that no story has a place for.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let error = &self.document["error"];
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        Failure::new("demo_failed", format!("{what} failed: {}", text("what")))
            .why(format!("exit status {}, code `{}`: {}", self.exit, text("code"), text("why")))
            .next(RERUN)
    }

    /// The request for approval that a held command waits for.
    pub(super) fn approval(&self) -> Option<String> {
        let waiting = self.document["error"]["what"].as_str()?;
        waiting.strip_prefix("waiting for approval ").map(str::to_owned)
    }
}

/// The lines that a process says.
pub(super) fn lines(child: &mut Child) -> Result<Lines<BufReader<ChildStdout>>> {
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| {
        Failure::new("demo_failed", "a process has no standard output").why(ODD).next(RERUN)
    })?;
    Ok(BufReader::new(stdout).lines())
}

/// The next line of a process that has one to say.
pub(super) async fn next_line(
    lines: &mut Lines<BufReader<ChildStdout>>,
    whose: &str,
) -> Result<String> {
    match timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(_) => Err(Failure::new("demo_failed", format!("{whose} has ended without a word"))
            .why(ODD)
            .next(RERUN)),
        Err(_) => Err(slow(whose)),
    }
}

pub(super) fn slow(whose: &str) -> Failure {
    Failure::new("demo_failed", format!("{whose} took longer than {} s", PATIENCE.as_secs()))
        .why(ODD)
        .next(RERUN)
}

fn unstartable(error: &std::io::Error) -> Failure {
    Failure::new("demo_failed", "a process of the demo could not be started")
        .because(error)
        .next(RERUN)
}
