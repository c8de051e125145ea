//! What serves under load, each in a process of its own: the gateway, the MCP server behind it, and the bare pass-through.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use gateway::{
    Gateway, OwnSecrets, Upstreams,
    outbound::{Limits, Outbound},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use server::Bounds;
use tokio::{net::TcpListener, sync::Mutex};

use super::world;
use crate::{append::folder, http as wire, role};

/// More connections than any measurement has.
const CONNECTIONS: usize = 16_384;

/// Where a role listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
}

/// The gateway, and what its callers need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    /// The URL that proofs are for.
    pub(crate) url: String,
    /// Tokens of the agent, one for each of its tasks.
    pub(crate) tokens: Vec<String>,
    /// The nonce that proofs carry.
    pub(crate) nonce: String,
    /// How many bytes the ledger writes for one of a call's records, on average.
    pub(crate) record_bytes: usize,
}

/// The real gateway on a ledger and a database of its own, listening as `bailiwick serve` does. The argument says where its
/// upstream is, and after a space for how many tasks there are tokens.
pub(crate) async fn gateway(argument: &str) -> anyhow::Result<()> {
    let (upstream, tasks) = argument.split_once(' ').unwrap_or((argument, "1"));
    let folder = folder()?;
    let (listener, address) = wire::listen().await?;
    let engine = world::boot(&folder, &format!("http://{address}"), upstream).await?;
    let upstreams =
        Arc::new(Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default()));
    let gateway = Gateway::new(engine.clone(), upstreams);
    let router = gateway::router(gateway);
    let bounds = Bounds { connections: CONNECTIONS, ..Bounds::default() };
    tokio::spawn(server::serve(listener, router, bounds, std::future::pending()));
    let url = engine.issuer().audience_of(&world::SYSTEM.parse()?);
    let mut tokens = Vec::new();
    for _ in 0..tasks.parse()? {
        tokens.push(world::token(&engine).await?);
    }
    let first = tokens.first().ok_or_else(|| anyhow::anyhow!("there is no task"))?;
    let record_bytes = world::record_bytes(&engine, first).await?;
    let nonce = engine.nonce().ok_or_else(|| anyhow::anyhow!("there is no nonce"))?;
    role::answer(&Ready { address, url, tokens, nonce, record_bytes })?;
    Ok(engine.log().close()?)
}

/// An MCP server whose tool answers at once, always the same.
pub(crate) async fn upstream() -> anyhow::Result<()> {
    let (listener, address) = wire::listen().await?;
    tokio::spawn(accept(listener, |stream| wire::serve(stream, mcp)));
    role::answer(&Listening { address })
}

/// Passes requests on and answers back: the least that any gateway does.
pub(crate) async fn pass(upstream: &str) -> anyhow::Result<()> {
    let upstream: SocketAddr = upstream.parse()?;
    let (listener, address) = wire::listen().await?;
    tokio::spawn(accept(listener, move |stream| async move {
        let onward = Mutex::new(wire::connect::<Incoming>(upstream).await?);
        wire::serve(stream, |mut request: Request<Incoming>| {
            // The gateway keeps these to itself, too.
            request.headers_mut().remove(header::AUTHORIZATION);
            request.headers_mut().remove("dpop");
            let onward = &onward;
            async move {
                let mut onward = onward.lock().await;
                onward.ready().await?;
                let mut response = onward.send_request(request).await?;
                response.headers_mut().insert("bailiwick-action", HeaderValue::from_static(ACTION));
                response.headers_mut().insert("dpop-nonce", HeaderValue::from_static(NONCE));
                Ok(response)
            }
        })
        .await
    }));
    role::answer(&Listening { address })
}

/// As long as what the gateway adds to an answer.
const ACTION: &str = "00000000-0000-0000-0000-000000000000";
const NONCE: &str = "00000000000000000000000000000000000000000000000000000000000000";

/// Serves each connection in a task of its own.
async fn accept<F>(listener: TcpListener, serve: impl Fn(tokio::net::TcpStream) -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream));
    }
}

/// A JSON-RPC message, as far as its answer depends on it.
#[derive(Deserialize)]
struct Asked {
    /// None in a notification.
    id: Option<u64>,
    method: String,
}

async fn mcp(request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
    if request.method() != Method::POST {
        return bare(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let Asked { id, method } = serde_json::from_slice(&body)?;
    let Some(id) = id else { return bare(StatusCode::ACCEPTED) };
    let result = match &*method {
        "tools/call" => json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": "Order A-1042 of Ada Example, paid on 2026-08-01." }],
            "structuredContent": {
                "order": "A-1042", "customer": "Ada Example", "status": "paid", "currency": "EUR",
                "total": 12_900, "lines": [{ "article": "4711", "count": 2 }, { "article": "815", "count": 1 }],
            },
            "isError": false,
        }),
        // What comes next are the words of the older revision, which a peer of ours speaks.
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "bench", "version": "1" },
        }),
        // Byte for byte: whoever accepted a tool sees any change of it.
        "tools/list" => {
            return answer(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","tools":{}}}}}"#,
                world::listing()
            ));
        }
        _ => json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "bench", "version": "1" },
        }),
    };
    answer(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string())
}

fn answer(body: &str) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::from(body.to_owned()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn bare(status: StatusCode) -> anyhow::Result<Response<Full<Bytes>>> {
    Ok(Response::builder().status(status).body(Full::default())?)
}
