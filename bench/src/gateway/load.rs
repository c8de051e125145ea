//! The load: calls with a proof each, signed before anything is measured, and ways to send them.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use decide::Clock;
use http::{Request, header, request::Builder};
use http_body_util::Full;
use token::dpop::{self, Prover};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{serve::Ready, world};
use crate::{
    append::Plain,
    clock::{micros, now, pause},
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

/// What came of doing something at a pace.
pub(super) struct Paced {
    /// How often it was done a second.
    pub(super) rate: f64,
    /// Its median time in microseconds.
    pub(super) p50: f64,
}

/// What can be done one time after the other.
trait Repeated: Send + 'static {
    /// Does it once more; `false` where nothing is left to do.
    fn once(&mut self) -> impl Future<Output = anyhow::Result<bool>> + Send;
}

/// Sends so many calls a second, whatever comes back.
pub(super) async fn paced(to: SocketAddr, pace: f64, calls: Vec<Call>) -> anyhow::Result<Paced> {
    let each = calls.len().div_ceil(PACED);
    let mut calls = calls.into_iter();
    let callers = connect(to, PACED).await?.into_iter();
    at_pace(pace, callers.map(|connection| Caller(connection, calls.by_ref().take(each).collect())))
        .await
}

struct Caller(Connection, Vec<Call>);

impl Repeated for Caller {
    async fn once(&mut self) -> anyhow::Result<bool> {
        let Some(call) = self.1.pop() else { return Ok(false) };
        self.0.call(call).await?;
        Ok(true)
    }
}

/// Appends so many times a second twice, one append after the other: the least that the two records of a call add to it.
pub(super) async fn two_appends(
    plain: &Plain,
    record: &Arc<[u8]>,
    pace: f64,
    count: usize,
) -> anyhow::Result<Paced> {
    let writer = || Writer { plain: plain.clone(), record: record.clone(), left: count / PACED };
    at_pace(pace, (0..PACED).map(|_| writer())).await
}

struct Writer {
    plain: Plain,
    record: Arc<[u8]>,
    left: usize,
}

impl Repeated for Writer {
    async fn once(&mut self) -> anyhow::Result<bool> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
        self.left = left;
        self.plain.append(self.record.clone()).await?;
        self.plain.append(self.record.clone()).await?;
        Ok(true)
    }
}

/// Has each of these repeat what it does, so often a second all together, and takes the time.
async fn at_pace(
    pace: f64,
    repeated: impl Iterator<Item = impl Repeated>,
) -> anyhow::Result<Paced> {
    let mut tasks = JoinSet::new();
    let mut turns = Vec::new();
    for mut one in repeated {
        let (turn, mut mine) = mpsc::unbounded_channel();
        turns.push(turn);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while mine.recv().await.is_some() {
                let begun = now();
                if !one.once().await? {
                    break;
                }
                times.push(micros(begun.elapsed()));
            }
            anyhow::Ok(times)
        });
    }
    let start = now();
    std::thread::spawn(move || give_turns(&turns, Duration::from_secs_f64(1.0 / pace)));
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    ensure!(!times.is_empty(), "there is nothing to time");
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Paced { rate, p50: median(times) })
}

/// Gives each its turn, one after the other, until nobody takes one any more. On a thread of its own, since the runtime's
/// timers are exact to a millisecond only, in which several turns would come at once and wait for each other.
fn give_turns(turns: &[mpsc::UnboundedSender<()>], every: Duration) {
    let mut next = now();
    while turns.iter().any(|turn| !turn.is_closed()) {
        for turn in turns {
            pause(next.saturating_duration_since(now()));
            next += every;
            let _ = turn.send(());
        }
    }
}

async fn connect(to: SocketAddr, connections: usize) -> anyhow::Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(to).await?);
    }
    Ok(open)
}
