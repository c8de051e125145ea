//! `start`: the built program on an empty data folder, from its start until it says that it is ready.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::{
    append::folder,
    clock::now,
    figure::{Figure, Report, median},
    memory::resident_mb,
};

/// How often the program is started.
const STARTS: usize = 7;
/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a started program is left alone before its memory is read.
const IDLE: Duration = Duration::from_millis(300);
/// What a start may take, and an idle node may hold.
const READY_MILLIS: f64 = 100.0;
const MEMORY_MB: f64 = 60.0;

/// A running program. Dropped, it ends.
struct Running(Child);

/// The addresses that `serve --print-addresses` prints; the others are not needed here.
#[derive(Deserialize)]
struct Addresses {
    ops: String,
}

/// Starts the program some times.
pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let program = program()?;
    let (mut millis, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let folder = folder()?;
        let dir = folder.path().join("node");
        init(&program, &dir)?;
        let start = now();
        let running = serve(&program, &dir, start)?;
        millis.push(start.elapsed().as_secs_f64() * 1e3);
        idle();
        memory.push(resident_mb(running.0.id())?);
    }
    report.add(&Figure::cost("start/ready", median(millis), "ms", READY_MILLIS));
    report.add(&Figure::cost("start/memory", median(memory), "MB", MEMORY_MB));
    Ok(())
}

/// The program beside this one, where one build puts both.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("bailiwick");
    ensure!(
        program.is_file(),
        "`{}` is not built; `cargo xtask bench` builds it",
        program.display()
    );
    Ok(program)
}

fn init(program: &Path, dir: &Path) -> anyhow::Result<()> {
    let listen = ["--server-listen", "--gateway-listen", "--ops-listen"];
    let listen = listen.iter().flat_map(|option| [option, "127.0.0.1:0"]);
    let made = Command::new(program).arg("init").arg("--dir").arg(dir).args(listen).output()?;
    let why = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "`bailiwick init` failed: {}", why.trim());
    Ok(())
}

/// Starts the program and waits until `/readyz` says yes.
fn serve(program: &Path, dir: &Path, start: Instant) -> anyhow::Result<Running> {
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(dir.join("bailiwick.toml")).arg("--print-addresses");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn()?);
    let out = running.0.stdout.take().context("standard output is piped")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let Addresses { ops } =
        serde_json::from_str(&line).context("`bailiwick serve` did not print its addresses")?;
    let ops = ops.strip_prefix("http://").context("the address of operations is plain http")?;
    while !is_ready(ops.trim_end_matches('/')) {
        ensure!(start.elapsed() < PATIENCE, "the program did not get ready");
        std::thread::yield_now();
    }
    Ok(running)
}

fn is_ready(ops: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(ops)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("GET /readyz HTTP/1.1\r\nhost: {ops}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

#[expect(
    clippy::disallowed_methods,
    reason = "idle memory is what is there after nothing happened"
)]
fn idle() {
    std::thread::sleep(IDLE);
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
