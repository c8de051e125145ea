//! `gateway-stream`: event streams on which nothing is said, and calls beside them.
//!
//! Each stream is one of a session of its own (MCP 2025-11-25), on a connection of its own, with nothing open behind the gateway.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};

use super::{
    Place,
    load::{self, Load},
};
use crate::{
    figure::{Figure, Report, median},
    http::connect,
};

/// How many streams are open.
const STREAMS: usize = 10_000;
/// How many sessions a client of the gateway has at most.
const OF_ONE_TASK: usize = 16;
/// How much memory the gateway may hold then.
const MEMORY_MB: f64 = 400.0;
/// How many calls a second are made beside them, and for how many seconds.
const PACE: f64 = 1_000.0;
const SECONDS: usize = 3;
/// How often they are.
const ROUNDS: usize = 3;

const HELLO: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;

/// A stream with its connection. Dropped, it ends.
struct Open {
    _connection: SendRequest<Full<Bytes>>,
    _events: Incoming,
}

/// Measures what streams hold, and what calls take beside them.
pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let place = Place::set_up(STREAMS.div_ceil(OF_ONE_TASK))?;
    let before = place.gateway.resident_mb()?;
    let (memory, rates, p50) = runtime.block_on(async {
        let mut load = Load::new(&place.ready)?;
        let mut open = Vec::with_capacity(STREAMS);
        for number in 0..STREAMS {
            open.push(stream(place.ready.address, &mut load, number / OF_ONE_TASK).await?);
        }
        let memory = place.gateway.resident_mb()?;
        let (mut rates, mut p50) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let calls = load.calls(PACE as usize * SECONDS)?;
            let paced = load::paced(place.ready.address, PACE, calls).await?;
            rates.push(paced.rate);
            p50.push(paced.p50);
        }
        drop(open);
        anyhow::Ok((memory, rates, p50))
    })?;
    report.add(&Figure::cost("gateway-stream/memory", memory, "MB", MEMORY_MB));
    let each = (memory - before) * 1e3 / STREAMS as f64;
    report.add(&Figure::alone("gateway-stream/each", each, "kB"));
    report.add(&Figure::rate("gateway-stream/calls", median(rates), "calls/s", PACE));
    report.add(&Figure::alone("gateway-stream/p50", median(p50), "us"));
    Ok(())
}

/// Opens a session and the stream of it.
async fn stream(to: SocketAddr, load: &mut Load, task: usize) -> anyhow::Result<Open> {
    let mut connection = connect::<Full<Bytes>>(to).await?;
    let hello = load.request("POST", task)?.body(Full::from(HELLO))?;
    let answer = connection.send_request(hello).await?;
    let session = session(&answer)?;
    answer.into_body().collect().await?;

    let request = load.request("GET", task)?.header("mcp-session-id", session);
    connection.ready().await?;
    let answer = connection.send_request(request.body(Full::default())?).await?;
    ensure!(answer.status() == StatusCode::OK, "a stream was answered with {}", answer.status());
    Ok(Open { _connection: connection, _events: answer.into_body() })
}

fn session(answer: &Response<Incoming>) -> anyhow::Result<HeaderValue> {
    let session = answer.headers().get("mcp-session-id");
    session.cloned().with_context(|| format!("there is no session, but {}", answer.status()))
}
