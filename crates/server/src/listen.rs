//! Listening, so that nobody keeps a connection busy by being slow.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, header},
    response::{IntoResponse, Response},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Sleep,
};

use crate::problem::{Fault, Problem};

/// How long to wait when this machine has nothing left to accept a connection with.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a listener puts up with.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the start of a connection, or the end of the answer before, to the end of a request's head. A connection
    /// that is slower, or idle for so long, is closed.
    pub head: Duration,
    /// From the first wait for a request's body to its end. A slower one is answered with 408.
    pub body: Duration,
    /// How many connections there are at once; more wait outside until one ends.
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        // Longer than the pools of common clients keep a connection that nobody uses, so that they close it first.
        let head = Duration::from_secs(30);
        // Within the bound of a whole request, with time left to do what it asks.
        let body = Duration::from_secs(20);
        // What a process may have open where nobody has set anything is twice that.
        Self { head, body, connections: 512 }
    }
}

/// Serves a router until `stopping` resolves, then lets live requests end. Dropped, it cuts them.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopping: impl Future<Output = ()>,
) {
    let (over, is_over) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stopping = pin!(stopping);
    loop {
        let stream = tokio::select! {
            () = &mut stopping => break,
            // What has ended makes room.
            Some(_) = connections.join_next() => continue,
            stream = accept(&listener), if connections.len() < bounds.connections => stream,
        };
        connections.spawn(converse(stream, router.clone(), bounds, is_over.clone()));
    }
    drop(listener);
    over.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// The next connection that can be had.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Nagle's algorithm would hold small writes of a stream back for a round trip.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(code = "BW-1504", %error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection, one after the other.
async fn converse(
    stream: TcpStream,
    router: Router,
    bounds: Bounds,
    mut is_over: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let late = Arc::new(AtomicBool::new(false));
        let timed = |body| Body::new(Timed::new(body, bounds.body, late.clone()));
        let answer = router.call(request.map(timed));
        async move {
            let Ok(response) = answer.await;
            Ok::<_, Infallible>(if late.load(Ordering::Acquire) { too_slow() } else { response })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // However it ended: whoever was cut off knows, and there is nobody else to tell.
        _ = connection.as_mut() => return,
        _ = is_over.wait_for(|over| *over) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// [RFC 9110 §15.5.9](https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9)
fn too_slow() -> Response {
    let mut response =
        Problem::new(Fault::TooSlow, "the body did not come in time").into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A request's body that has to come in time.
struct Timed {
    body: Incoming,
    patience: Duration,
    /// `None` until there was something to wait for: most bodies are there with their head.
    until: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
}

/// A body took too long.
#[derive(Debug, thiserror::Error)]
#[error("the body did not come within {0:?}")]
struct Late(Duration);

impl Timed {
    fn new(body: Incoming, patience: Duration, late: Arc<AtomicBool>) -> Self {
        Self { body, patience, until: None, late }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(until.as_mut().poll(context));
        self.late.store(true, Ordering::Release);
        Poll::Ready(Some(Err(Late(patience).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
