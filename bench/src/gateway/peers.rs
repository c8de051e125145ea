//! `gateway-peers`: the same tool of the same server, called through us and through a peer, in turns.
//!
//! The peer is ContextForge from PyPI as it comes, one process on SQLite, with its rate limits off and its log at errors alone. It checks
//! a token and passes the call on; a call of ours is also decided on, and recorded durably twice.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header, request::Builder};
use http_body_util::Full;
use tempfile::TempDir;

use super::{
    Place,
    load::{self, Call, Load},
    world,
};
use crate::{
    append::folder,
    clock::now,
    figure::{Figure, Report, median},
    http::{Connection, listen},
};

const PACKAGE: &str = "mcp-contextforge-gateway==1.0.7.post20260921";
/// So many times as much as the peer's is the bar.
const BAR: f64 = 40.0;
/// How many connections call at once.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 3;
/// How many calls a round has at most: more than any of the three makes in its time.
const CALLS: usize = 20_000;
/// How long the peer may take to start.
const STARTING: Duration = Duration::from_secs(120);
const SECRET: &str = "a secret of this measurement, with more than 32 bytes";
const PASSWORD: &str = "Of-This-Measurement-1!";
const ADMINISTRATOR: &str = "admin@example.com";

/// What the peer is told, beside its address.
const SETTINGS: [(&str, &str); 14] = [
    ("AUTH_ENCRYPTION_SECRET", SECRET),
    ("BASIC_AUTH_PASSWORD", PASSWORD),
    ("CACHE_TYPE", "memory"),
    ("DATABASE_URL", "sqlite:///./peer.sqlite"),
    ("DEFAULT_USER_PASSWORD", PASSWORD),
    ("JWT_SECRET_KEY", SECRET),
    ("LOG_LEVEL", "ERROR"),
    ("MCPGATEWAY_ADMIN_API_ENABLED", "false"),
    ("MCPGATEWAY_UI_ENABLED", "false"),
    ("PLATFORM_ADMIN_EMAIL", ADMINISTRATOR),
    ("PLATFORM_ADMIN_PASSWORD", PASSWORD),
    ("RATE_LIMITING_ENABLED", "false"),
    ("SSRF_ALLOW_LOCALHOST", "true"),
    ("TOOL_RATE_LIMIT", "1000000000"),
];

/// The peer, with the server behind it. Dropped, it ends.
struct Peer {
    process: Child,
    at: SocketAddr,
    token: String,
    _folder: TempDir,
}

/// Measures both, and the server without any of them.
pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    // It takes minutes the first time, and the gateway's task not many.
    let home = installed()?;
    let place = Place::set_up(1)?;
    let (mut ours, mut theirs, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let peer = Peer::start(&home, place.upstream_at).await?;
        let mut load = Load::new(&place.ready)?;
        for _ in 0..ROUNDS {
            let gateway = place.ready.address;
            ours.push(load::closed(gateway, CONNECTIONS, load.calls(CALLS)?).await?.rate());
            theirs.push(load::closed(peer.at, CONNECTIONS, peer.calls(CALLS)?).await?.rate());
            let calls = load.calls(CALLS)?;
            direct.push(load::closed(place.upstream_at, CONNECTIONS, calls).await?.rate());
        }
        anyhow::Ok(())
    })?;
    let (ours, theirs) = (median(ours), median(theirs));
    report.add(&Figure::rate("gateway-peers", ours, "calls/s", BAR * theirs));
    report.add(&Figure::alone("gateway-peers/contextforge", theirs, "calls/s"));
    report.add(&Figure::alone("gateway-peers/direct", median(direct), "calls/s"));
    report.add(&Figure::alone("gateway-peers/times", ours / theirs, "times"));
    Ok(())
}

impl Peer {
    async fn start(home: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let (listener, at) = listen().await?;
        drop(listener);
        let folder = folder()?;
        let mut command = of_peer(home, "mcpgateway", folder.path());
        command.args(["--host", "127.0.0.1", "--port", &at.port().to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("the peer does not start")?;
        let made = of_peer(home, "python", folder.path())
            .args(["-m", "mcpgateway.utils.create_jwt_token", "--username", ADMINISTRATOR])
            .args(["--exp", "60", "--secret", SECRET])
            .output()?;
        let token = String::from_utf8(made.stdout)?;
        let token = token.lines().last().context("the peer makes no token")?.to_owned();
        let peer = Self { process, at, token, _folder: folder };
        peer.ready().await?;
        let server = format!(
            r#"{{"name":"bench","url":"http://{upstream}/mcp","transport":"STREAMABLEHTTP"}}"#
        );
        let added = peer.request("/gateways").body(Full::from(server))?;
        let added = Connection::open(at).await?.send(added).await?;
        ensure!(
            added.status().is_success(),
            "the peer did not take the server: {}",
            added.status()
        );
        Ok(peer)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let start = now();
        loop {
            let request = Request::get("/health").header(header::HOST, "127.0.0.1");
            let asked = async {
                Connection::open(self.at).await?.send(request.body(Full::default())?).await
            };
            if asked.await.is_ok_and(|reply| reply.status() == StatusCode::OK) {
                return Ok(());
            }
            ensure!(start.elapsed() < STARTING, "the peer did not get ready");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn request(&self, path: &str) -> Builder {
        Request::post(path)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }

    fn calls(&self, count: usize) -> anyhow::Result<Vec<Call>> {
        let tool = format!("bench-{}", world::TOOL.replace('_', "-"));
        let call = |number: usize| -> anyhow::Result<Call> {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"order":"A-{number}"}}}}}}"#
            );
            Ok(self.request("/rpc").body(Full::<Bytes>::from(body))?)
        };
        (0..count).map(call).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of the peer's environment, with its settings and nothing else.
fn of_peer(home: &Path, program: &str, folder: &Path) -> Command {
    let mut command = Command::new(home.join("bin").join(program));
    command.current_dir(folder).envs(SETTINGS).stdin(Stdio::null());
    command
}

/// Where the peer is installed, once for all measurements: beside the programs that are measured.
fn installed() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("there is a target folder")?;
    let home = target.join("peers").join(PACKAGE);
    if home.join("bin/mcpgateway").is_file() {
        return Ok(home);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&home).status()?;
    ensure!(made.success(), "Python with `venv` is needed for the peer");
    let pip = home.join("bin/pip");
    let quiet = ["--quiet", "--disable-pip-version-check", "install", PACKAGE];
    let installed = Command::new(pip).args(quiet).status()?;
    ensure!(installed.success(), "`{PACKAGE}` could not be installed");
    Ok(home)
}
