//! Responses, and bodies that stop where a limit is reached.

use std::{
    error::Error as _,
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, timeout_at};

use super::{
    Limits, Target,
    connection::{After, Connection},
    pool::Place,
};
use crate::room::{LONG, Room, Taken};

/// What a server answered. Dropping it before its end closes the connection at once.
pub struct Response {
    /// The status; never a redirect.
    pub status: StatusCode,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The body as it comes.
    pub body: Body,
}

/// A response body that arrives within the client's limits.
pub struct Body {
    incoming: Incoming,
    /// `None` once the body has ended or failed.
    connection: Option<Connection>,
    target: Target,
    places: Option<(Place, Place)>,
    left: u64,
    limit: u64,
    idle: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// Why a response body ended too early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More than may be read.
    #[error("the response body is longer than {limit} bytes")]
    TooLong {
        /// How much is read at most.
        limit: u64,
    },
    /// The server closed the connection before the end that it had declared.
    #[error("the response body ended before its declared length")]
    Short,
    /// Bytes followed the end that the server had declared.
    #[error("the response body is longer than its declared length")]
    Excess,
    /// Nothing came for too long.
    #[error("no byte of the response body came for {0:?}")]
    Idle(Duration),
    /// The request's deadline passed.
    #[error("the deadline passed before the response body was whole")]
    Deadline,
    /// The connection broke, or the server does not speak HTTP/1.1.
    #[error("the response body could not be read")]
    Broken(#[source] hyper::Error),
}

impl Response {
    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// The body is longer, or failed.
    pub async fn collect(self, limit: usize) -> Result<Bytes, BodyError> {
        self.body.collect(limit).await
    }
}

impl Body {
    pub(super) fn new(
        incoming: Incoming,
        connection: Connection,
        target: Target,
        places: (Place, Place),
        limits: &Limits,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            target,
            places: Some(places),
            left: limits.body_bytes,
            limit: limits.body_bytes,
            idle: limits.idle,
            deadline,
            timer: None,
            waiting: false,
        }
    }

    /// The next bytes, or `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The whole rest, of at most `limit` bytes.
    ///
    /// # Errors
    /// The rest is longer, or failed.
    pub async fn collect(self, limit: usize) -> Result<Bytes, BodyError> {
        Ok(self.collect_in(limit, None).await?.0)
    }

    /// The same; a long one is read on once there is room for it, which is given back with it.
    ///
    /// # Errors
    /// As [`Body::collect`]; also where there is no room before the deadline.
    pub async fn collect_in(
        mut self,
        limit: usize,
        room: Option<&Room>,
    ) -> Result<(Bytes, Option<Taken>), BodyError> {
        self.limit = self.limit.min(limit as u64);
        self.left = self.left.min(self.limit);
        let Some(first) = self.next().await.transpose()? else { return Ok((Bytes::new(), None)) };
        let mut taken = self.make_room(first.len(), room).await?;
        let Some(second) = self.next().await.transpose()? else { return Ok((first, taken)) };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        loop {
            if taken.is_none() {
                taken = self.make_room(whole.len(), room).await?;
            }
            match self.next().await.transpose()? {
                Some(more) => whole.extend_from_slice(&more),
                None => return Ok((whole.freeze(), taken)),
            }
        }
    }

    /// Room for so many bytes, where they are many.
    pub(crate) async fn make_room(
        &mut self,
        bytes: usize,
        room: Option<&Room>,
    ) -> Result<Option<Taken>, BodyError> {
        let Some(room) = room.filter(|_| bytes > LONG) else { return Ok(None) };
        let taken = match self.deadline {
            Some(deadline) => timeout_at(deadline, room.take()).await.ok(),
            None => Some(room.take().await),
        };
        taken.map(Some).ok_or(BodyError::Deadline)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.connection.is_none() {
            return Poll::Ready(None);
        }
        if self.is_late() {
            return self.fail(BodyError::Deadline);
        }
        if self.incoming.size_hint().lower() > self.left {
            return self.fail(BodyError::TooLong { limit: self.limit });
        }
        loop {
            let frame = match self.poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let late = ready!(self.poll_timer(context));
                    return self.fail(late);
                }
            };
            self.waiting = false;
            match frame {
                None => return self.finish(),
                Some(Err(error)) => return self.fail(broken(error)),
                Some(Ok(frame)) => {
                    // Trailers are not passed on: nothing here reads them.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.len() as u64 > self.left {
                        return self.fail(BodyError::TooLong { limit: self.limit });
                    }
                    self.left -= data.len() as u64;
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if let Some(connection) = &mut self.connection {
            connection.drive(context);
        }
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    /// Waits for the moment from which on the server has been silent for too long. Only waiting counts: a reader that
    /// takes its time is not the server's silence.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        if !self.waiting {
            let silent = Instant::now() + self.idle;
            timer.as_mut().reset(self.deadline.map_or(silent, |deadline| deadline.min(silent)));
            self.waiting = true;
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(if self.is_late() { BodyError::Deadline } else { BodyError::Idle(self.idle) })
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn finish(&mut self) -> Poll<Option<Result<Bytes, BodyError>>> {
        let after = self.connection.take().map(Connection::after_response);
        self.places = None;
        match after {
            Some(After::Reusable(connection)) => self.target.pool().park(connection),
            Some(After::Excess) => return Poll::Ready(Some(Err(BodyError::Excess))),
            Some(After::Over) | None => {}
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.connection = None;
        self.places = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_next(context).map(|next| next.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn broken(error: hyper::Error) -> BodyError {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => BodyError::Short,
        _ => BodyError::Broken(error),
    }
}
