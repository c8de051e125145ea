//! An agent's HTTP client, which sends what it is told, right or wrong.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::soon;

/// Sends requests as they are.
#[derive(Clone)]
pub(crate) struct Client(Legacy<HttpConnector, Full<Bytes>>);

/// An answer, whose body is read as it comes. Dropped before its end it closes the connection.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    unread: String,
}

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Legacy::builder(TokioExecutor::new()).build(connector))
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().unwrap();
        *request.headers_mut() = headers;
        let (parts, body) = soon(self.0.request(request)).await.unwrap().into_parts();
        Reply { status: parts.status, headers: parts.headers, body, unread: String::new() }
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// How many bytes of the body come before it ends or breaks off.
    pub(crate) async fn length(mut self) -> usize {
        let mut length = 0;
        while let Some(Ok(frame)) = soon(self.body.frame()).await {
            length += frame.data_ref().map_or(0, Bytes::len);
        }
        length
    }

    /// The whole body.
    pub(crate) async fn text(self) -> String {
        let bytes = soon(self.body.collect()).await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The whole body; `null` where it is no JSON.
    pub(crate) async fn json(self) -> Value {
        serde_json::from_str(&self.text().await).unwrap_or_default()
    }

    /// The data of the next event; `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<String> {
        let event = self.whole_event().await?;
        let data = event.lines().filter_map(|line| line.strip_prefix("data: "));
        Some(data.collect::<Vec<_>>().join("\n"))
    }

    /// The next event with all that stands in it; `None` at the end of the stream.
    pub(crate) async fn whole_event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                return Some(event);
            }
            let frame = soon(self.body.frame()).await?.unwrap();
            self.unread += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }
}
