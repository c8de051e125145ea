//! HTTP/1.1 over loopback and nothing else: the load generator's client, and a server for what stands behind a gateway.

use std::{convert::Infallible, future::Future, net::SocketAddr};

use anyhow::ensure;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// A connection that sends one request after the other.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self(connect(address).await?))
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<Bytes>> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// Sends a request that must be answered with 200 and a JSON-RPC result.
    pub(crate) async fn call(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<()> {
        let response = self.send(request).await?;
        let body = response.body();
        let found = body.windows(RESULT.len()).any(|part| part == RESULT);
        ensure!(
            response.status() == StatusCode::OK && found,
            "a call was answered with {} `{}`",
            response.status(),
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}

/// What a JSON-RPC response has when it is not an error.
const RESULT: &[u8] = b"\"isError\":false";

/// A client's end of a new connection; its driver runs by itself.
pub(crate) async fn connect<B>(address: SocketAddr) -> anyhow::Result<SendRequest<B>>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}

/// Serves one accepted connection.
pub(crate) async fn serve<S, F, B>(stream: TcpStream, one: S) -> anyhow::Result<()>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = anyhow::Result<Response<B>>>,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + 'static,
{
    stream.set_nodelay(true)?;
    let service = service_fn(|request| {
        let answer = one(request);
        async move {
            let answer = answer.await.map(|response| response.map(http_body_util::Either::Left));
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                let words = http_body_util::Either::Right(Full::from(error.to_string()));
                let mut response = Response::new(words);
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }))
        }
    });
    Ok(Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

/// A listener on a free port of this machine alone.
pub(crate) async fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
