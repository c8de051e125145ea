//! An installation in a folder of its own, a node that serves it, and people who ask it.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long something may take to come to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a node is started.
pub(crate) const SERVE: [&str; 4] =
    ["serve", "--config", "acme/bailiwick.toml", "--print-addresses"];

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Expects an exit status.
    #[track_caller]
    pub(crate) fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "`{text}` is not said in {self:?}");
        self
    }

    /// The one document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no document in {self:?}"))
    }
}

/// A folder for one test.
pub(crate) struct Place {
    folder: TempDir,
}

/// Somebody with a key and a profile of their own.
pub(crate) struct Somebody<'a> {
    place: &'a Place,
    name: &'static str,
}

/// A node that serves; it ends with its test.
pub(crate) struct Node {
    child: Child,
    pub(crate) addresses: Value,
    pub(crate) code: Option<String>,
}

/// The sample server; it ends with its test.
pub(crate) struct Desk {
    child: Child,
    pub(crate) url: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With an installation in it whose node listens wherever it can.
    pub(crate) fn initialized() -> Self {
        let place = Self::new();
        let free = "127.0.0.1:0";
        let ports = ["--server-listen", free, "--gateway-listen", free, "--ops-listen", free];
        place.run([&["init", "--dir", "acme", "--org", "acme"], &ports[..]].concat()).ends(0);
        place
    }

    /// Says more in the installation's configuration.
    pub(crate) fn configure(&self, more: &str) {
        let config = std::fs::read_to_string(self.path("acme/bailiwick.toml")).unwrap();
        self.write("acme/bailiwick.toml", &format!("{config}\n{more}"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A file that its owner alone may read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, text);
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        self.run_into(arguments, Stdio::piped())
    }

    /// Runs the program with its stdout somewhere.
    pub(crate) fn run_into<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        stdout: Stdio,
    ) -> Ran {
        let mut command = self.command(arguments);
        command.stdout(stdout);
        ran(command)
    }

    pub(crate) fn somebody(&self, name: &'static str) -> Somebody<'_> {
        self.run(["key", "new", &format!("{name}.pem")]).ends(0);
        Somebody { place: self, name }
    }

    /// Somebody whose key and profile are there already.
    pub(crate) fn known(&self, name: &'static str) -> Somebody<'_> {
        Somebody { place: self, name }
    }

    /// Waits until something is so.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "other processes are waited for, in real time")]
    pub(crate) fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "it never came to pass that {what}");
            std::thread::yield_now();
        }
    }

    /// Starts a node, and waits until it says that it is ready.
    pub(crate) fn serve(&self) -> Node {
        self.serve_with(&[])
    }

    /// The same with more in its environment.
    pub(crate) fn serve_with(&self, environment: &[(&str, &OsStr)]) -> Node {
        let mut command = self.command(SERVE);
        command.envs(environment.iter().copied());
        self.serve_by(command)
    }

    /// The same by a command of its own, which becomes the node.
    pub(crate) fn serve_by(&self, mut command: Command) -> Node {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let Ok(addresses) = serde_json::from_str::<Value>(&line) else {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            panic!("the node is not ready: {said}");
        };
        let mut code = None;
        while code.is_none() && !addresses["enroll_socket"].is_null() {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no code is shown");
            code = line.trim().strip_prefix("code  ").map(|rest| rest[..11].to_owned());
        }
        // Whatever it says later is read, so that it never waits for a reader.
        let mut log = std::fs::File::create(self.path("node.log")).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut log));
        Node { child, addresses, code }
    }

    /// Starts the sample server; whoever knows the secret may call it.
    pub(crate) fn desk(&self, secret: &str) -> Desk {
        let mut command = self.command(["desk", "--database", "desk.sqlite"]);
        command.env("BAILIWICK_DESK_SECRET", secret).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Desk { child, url: line.trim().to_owned() }
    }

    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_bailiwick"));
        command.args(arguments);
        command
    }

    /// Any program, in this folder, without what the environment says to ours.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAILIWICK") || name == "XDG_CONFIG_HOME" {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Somebody<'_> {
    /// Runs the program as this person.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let profile = format!("{}.toml", self.name);
        self.place.run(arguments.iter().copied().chain(["--profile", &profile]))
    }

    /// The same with an editor of their own.
    pub(crate) fn edits(&self, editor: &str, arguments: &[&str]) -> Ran {
        let profile = format!("{}.toml", self.name);
        let arguments = arguments.iter().copied().chain(["--profile", &profile]);
        let mut command = self.place.command(arguments);
        command.env_remove("VISUAL").env("EDITOR", editor).stdout(Stdio::piped());
        ran(command)
    }

    /// Enrols as the first administrator.
    pub(crate) fn enroll(&self, code: &str) -> Ran {
        let (socket, key) = ("acme/data/enroll.sock", format!("{}.pem", self.name));
        let arguments =
            ["person", "enroll", "--socket", socket, "--handle", self.name, "--name", "Somebody"];
        self.run(&[&arguments[..], &["--key", &key, "--code", code]].concat())
    }

    /// Remembers who this is.
    pub(crate) fn remember(&self, server: &str, identity: &str) {
        let key = format!("{}.pem", self.name);
        self.run(&["profile", "set", "--server", server, "--key", &key, "--identity", identity])
            .ends(0);
    }
}

impl Node {
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn server(&self) -> &str {
        self.addresses["server"].as_str().unwrap()
    }

    /// Asks the node to end, and waits until it has.
    pub(crate) fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn ran(mut command: Command) -> Ran {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
