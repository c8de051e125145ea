//! One HTTP/1.1 connection that is driven by whoever waits on it.
//!
//! No task stands behind a connection. Its owner polls it, so dropping the owner closes the socket there and then:
//! that is how a stop cuts a call at the upstream side.

use std::{
    error::Error as _,
    future::{Future as _, poll_fn},
    io, mem,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;

use super::{Limits, dial::Stream};

/// The smallest read buffer that hyper accepts, in bytes.
const MIN_BUFFER: usize = 8192;

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection, carrying at most one request at a time.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    state: State,
}

enum State {
    Open(Box<Driver>),
    /// The socket is closed; `excess` tells whether bytes came that no response had declared.
    Closed {
        excess: bool,
    },
}

/// How a connection stands after a whole response.
pub(super) enum After {
    /// It can carry another request.
    Reusable(Connection),
    /// It is over.
    Over,
    /// The server sent more than it had declared.
    Excess,
}

impl Connection {
    pub(super) async fn open(stream: Box<dyn Stream>, limits: &Limits) -> hyper::Result<Self> {
        let (sender, driver) = http1::Builder::new()
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.max(MIN_BUFFER))
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, state: State::Open(Box::new(driver)) })
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let state = &mut self.state;
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            // Progress may have brought the answer, and a driver that ends fails it: so look again.
            state.drive(context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        self.state.drive(context);
    }

    /// Whether a connection between two requests still stands and has received nothing that nobody asked for.
    pub(super) fn is_idle(&mut self) -> bool {
        self.state.drive(&mut Context::from_waker(Waker::noop()));
        matches!(self.state, State::Open(_)) && self.sender.is_ready()
    }

    /// What becomes of a connection whose response was read to the end.
    pub(super) fn after_response(mut self) -> After {
        if self.is_idle() {
            return After::Reusable(self);
        }
        match self.state {
            State::Closed { excess: true } => After::Excess,
            State::Closed { excess: false } | State::Open(_) => After::Over,
        }
    }
}

impl State {
    fn drive(&mut self, context: &mut Context<'_>) {
        let Self::Open(driver) = self else { return };
        let Poll::Ready(ended) = driver.poll_without_shutdown(context) else { return };
        // Taking the driver apart closes the socket and fails whoever still waits on it.
        if let Self::Open(driver) = mem::replace(self, Self::Closed { excess: false }) {
            let unread = !driver.into_parts().read_buf.is_empty();
            *self =
                Self::Closed { excess: unread || ended.is_err_and(|error| is_unexpected(&error)) };
        }
    }
}

/// Whether a connection ended by a byte that nobody asked for, rather than by the network.
fn is_unexpected(error: &hyper::Error) -> bool {
    !error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>)
}
