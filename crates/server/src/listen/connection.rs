//! One connection: its requests one after the other, and none of its client's silences for long.

use std::{
    future::ready,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, header},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Sleep,
};

use super::{Bounds, crowd::Seat};
use crate::problem::{Fault, Problem};

/// Answers the requests of one connection, one after the other, until it has to make room for another one.
pub(super) async fn converse(
    stream: TcpStream,
    router: Router,
    bounds: Bounds,
    seat: Arc<Seat>,
    mut is_over: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        let answering = Answering::begin(seat.clone());
        let Some(answering) = answering else { return Either::Left(ready(Err(MakesRoom))) };
        let late = Arc::new(AtomicBool::new(false));
        let timed = |body| Body::new(Timed::new(body, bounds.body, late.clone(), seat.clone()));
        let answer = router.call(request.map(timed));
        let seat = seat.clone();
        Either::Right(async move {
            let Ok(response) = answer.await;
            let mut response = if late.load(Ordering::Acquire) { too_slow() } else { response };
            if seat.is_wanted() {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answer { body, _answering: answering }))
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let stream = Patient { stream, patience: bounds.write, until: None, seat: seat.clone() };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // However it ended: whoever was cut off knows, and there is nobody else to tell.
        _ = connection.as_mut() => return,
        () = seat.left() => return,
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

/// A request that is worked on, until it is dropped.
struct Answering(Arc<Seat>);

/// The connection is closed for another one; a request that comes at that moment is not begun.
#[derive(Debug, thiserror::Error)]
#[error("the connection makes room for another one")]
struct MakesRoom;

impl Answering {
    /// `None` where the connection is to make room.
    fn begin(seat: Arc<Seat>) -> Option<Self> {
        seat.begins().then(|| Self(seat))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// An answer's body, which ends the work on its request.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body that has to come in time.
struct Timed {
    body: Incoming,
    patience: Duration,
    /// `None` until there was something to wait for: most bodies are there with their head.
    until: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
    seat: Arc<Seat>,
}

/// A body took too long.
#[derive(Debug, thiserror::Error)]
#[error("the body did not come within {0:?}")]
struct Late(Duration);

impl Timed {
    fn new(body: Incoming, patience: Duration, late: Arc<AtomicBool>, seat: Arc<Seat>) -> Self {
        Self { body, patience, until: None, late, seat }
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
            if self.until.is_some() {
                self.seat.starves(false);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.seat.starves(true);
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        task::ready!(until.as_mut().poll(context));
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

impl Drop for Timed {
    fn drop(&mut self) {
        // Nobody waits for the rest any more.
        self.seat.starves(false);
    }
}

/// A connection whose client has to read what it is sent.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// `None` while what is sent goes out at once.
    until: Option<Pin<Box<Sleep>>>,
    seat: Arc<Seat>,
}

impl Patient {
    /// What became of an attempt to send something; an error where the client has read nothing for too long.
    fn sent(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if sent.is_ready() {
            if self.until.take().is_some() {
                self.seat.sticks(false);
            }
            return sent;
        }
        if self.until.is_none() {
            self.seat.sticks(true);
        }
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        task::ready!(until.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
