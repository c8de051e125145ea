//! Real servers on free ports that misbehave as told.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::outbound::{Outbound, Target};

/// A server on a free port that handles each connection by a closure.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start<F, Handled>(handle: F) -> Self
    where
        F: Fn(TcpStream) -> Handled + Send + 'static,
        Handled: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers every request with these bytes and keeps the connection open.
    pub(crate) async fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(answer).await.unwrap();
            }
        })
        .await
    }

    /// Answers one request with these bytes and closes.
    pub(crate) async fn closing(answer: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        })
        .await
    }

    /// Answers each request with what a function makes of it; an empty answer leaves the client waiting.
    pub(crate) async fn replying(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::start(move |mut stream| {
            let reply = reply.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    let answer = reply(&request);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn target(&self, client: &Outbound) -> Target {
        client.target(&format!("http://{}/mcp", self.address), true).unwrap()
    }
}

/// Reads one request with its body; `None` when the client closed the connection.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= declared.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}
