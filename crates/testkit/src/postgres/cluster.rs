use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Database, fail};

/// A PostgreSQL cluster of one test's own, which the test may stop and start. It ends with this value.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
}

impl Cluster {
    /// Creates and starts a cluster.
    ///
    /// # Panics
    /// PostgreSQL's programs are missing or fail.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("bailiwick-postgres-{}-{count}", process::id()));
        create(&directory, process::id());
        start(&directory);
        Self { directory }
    }

    /// An empty database in this cluster.
    pub fn database(&self) -> Database {
        Database::create(&url(&self.directory))
    }

    /// Stops the server; connections break.
    pub fn stop(&self) {
        run(control(&self.directory).args(["-m", "fast", "stop"]));
    }

    /// Starts the server again after [`Cluster::stop`].
    pub fn restart(&self) {
        start(&self.directory);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Stopped already or not: nothing is left behind.
        let _ = control(&self.directory).args(["-m", "immediate", "stop"]).output();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Creates a cluster that ends, with its directory, when the process `until` has ended.
#[expect(clippy::zombie_processes, reason = "the watcher outlives this process")]
pub(super) fn create(directory: &Path, until: u32) {
    // What an earlier process of the same number may have left.
    let _ = control(directory).args(["-m", "immediate", "stop"]).output();
    let _ = fs::remove_dir_all(directory);
    run(program("initdb")
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        .args(["--no-sync", "--pgdata"])
        .arg(directory));
    let watch = r#"tail --pid="$1" -f /dev/null; "$2" -D "$3" -m immediate stop; rm -rf "$3""#;
    as_server("sh")
        .args(["-c", watch, "watch", &until.to_string()])
        .arg(programs().join("pg_ctl"))
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| fail(&format!("no watcher for the cluster: {error}")));
}

/// Starts the server and waits until it answers; it listens on a socket in its own directory only.
pub(super) fn start(directory: &Path) {
    let settings = format!(
        "-k {} -c listen_addresses= -c max_connections=200 -c fsync=off -c full_page_writes=off",
        directory.display()
    );
    run(control(directory).arg("-l").arg(directory.join("log")).args(["-o", &settings, "start"]));
}

/// The superuser's URL of the cluster in that directory.
pub(super) fn url(directory: &Path) -> String {
    format!("postgres://postgres@/postgres?host={}", directory.display())
}

fn control(directory: &Path) -> Command {
    let mut command = program("pg_ctl");
    command.arg("--wait").arg("-D").arg(directory);
    command
}

fn program(name: &str) -> Command {
    as_server(programs().join(name))
}

/// PostgreSQL refuses to run as root: there it runs as the user that its package made.
fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// Where the newest PostgreSQL has its programs, as Debian lays them out.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
            let programs = entry.path().join("bin");
            programs.join("initdb").exists().then_some((version, programs))
        })
        .max();
    let Some((_, programs)) = newest else {
        fail("no PostgreSQL: install it, or name a server in `BAILIWICK_TEST_POSTGRES`")
    };
    programs
}

/// Output goes to a file-less end: the server inherits it and would hold a pipe open for ever.
fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    if !status.as_ref().is_ok_and(process::ExitStatus::success) {
        fail(&format!("{command:?}: {status:?}"));
    }
}
