//! The load: calls with a proof each, signed before anything is measured, and ways to send them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use decide::Clock;
use http::{Request, header, request::Builder};
use http_body_util::Full;
use token::dpop::{self, Prover};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{serve::Ready, world};
use crate::{
    clock::{micros, now},
    figure::median,
    http::Connection,
};

/// Over how many connections a paced load is spread.
const PACED: usize = 8;
/// How long one round of calls may take; on a slow machine it has fewer calls.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sent {
    /// How many a second.
    pub(super) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// One call, ready to be sent.
pub(super) type Call = Request<Full<Bytes>>;

/// Makes calls of the agent that the gateway's token is for.
pub(super) struct Load {
    prover: Prover,
    clock: Clock,
    url: String,
    tokens: Vec<String>,
    nonce: String,
    made: u64,
}

impl Load {
    pub(super) fn new(ready: &Ready) -> anyhow::Result<Self> {
        Ok(Self {
            prover: Prover::new(world::key(world::AGENT)?),
            clock: Clock::system(),
            url: ready.url.clone(),
            tokens: ready.tokens.clone(),
            nonce: ready.nonce.clone(),
            made: 0,
        })
    }

    /// So many calls, each with a fresh proof.
    pub(super) fn calls(&mut self, count: usize) -> anyhow::Result<Vec<Call>> {
        (0..count).map(|_| self.call()).collect()
    }

    fn call(&mut self) -> anyhow::Result<Call> {
        let number = self.made;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"get_order","arguments":{{"order":"A-{number}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        let request = self.request("POST", 0)?;
        Ok(request
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "get_order")
            .body(Full::from(body))?)
    }

    /// The beginning of a request in one of the tasks, with a fresh proof.
    pub(super) fn request(&mut self, method: &str, task: usize) -> anyhow::Result<Builder> {
        self.made += 1;
        let (url, token) = (&self.url, self.tokens.get(task).context("there is such a task")?);
        let of = dpop::Request { method, url, access_token: Some(token.as_str().into()) };
        let jti = format!("bench-{:016x}", self.made);
        let proof = self.prover.prove(&of, Some(&self.nonce), self.clock.now(), &jti)?;
        let path = url.find("/mcp/").map(|at| &url[at..]).context("the URL has a path")?;
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::AUTHORIZATION, format!("DPoP {token}"))
            .header("dpop", proof))
    }
}

/// What came of sending calls.
pub(super) struct Sent {
    pub(super) count: usize,
    pub(super) seconds: f64,
}

/// Sends the calls as fast as answers come, as far as the time allows.
pub(super) async fn closed(
    to: SocketAddr,
    connections: usize,
    calls: Vec<Call>,
) -> anyhow::Result<Sent> {
    let open = connect(to, connections).await?;
    let calls = Arc::new(Mutex::new(calls));
    let start = now();
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let calls = calls.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while start.elapsed() < PATIENCE {
                // By itself, so that the lock is not held while the call is under way.
                let call = calls.lock().await.pop();
                let Some(call) = call else { break };
                connection.call(call).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    ensure!(count > 0, "no call was answered");
    Ok(Sent { count, seconds: start.elapsed().as_secs_f64() })
}

/// What came of sending calls at a pace.
pub(super) struct Paced {
    /// How many were answered a second.
    pub(super) rate: f64,
    /// The median time of an answer in microseconds.
    pub(super) p50: f64,
}

/// Sends so many calls a second, whatever comes back.
pub(super) async fn paced(to: SocketAddr, pace: f64, calls: Vec<Call>) -> anyhow::Result<Paced> {
    let open = connect(to, PACED).await?;
    let every = Duration::from_secs_f64(PACED as f64 / pace);
    let calls = Arc::new(Mutex::new(calls));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, mut connection) in open.into_iter().enumerate() {
        let calls = calls.clone();
        let first = start + every.mul_f64(at as f64 / PACED as f64);
        tasks.spawn(async move {
            let mut ticks = interval_at(first, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut times = Vec::new();
            loop {
                ticks.tick().await;
                let Some(call) = calls.lock().await.pop() else { return anyhow::Ok(times) };
                let sent = now();
                connection.call(call).await?;
                times.push(micros(sent.elapsed()));
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    ensure!(!times.is_empty(), "there is no answer to time");
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Paced { rate, p50: median(times) })
}

async fn connect(to: SocketAddr, connections: usize) -> anyhow::Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(to).await?);
    }
    Ok(open)
}
