//! Listening, so that nobody keeps a connection busy by being slow, and nobody keeps others out by having many.

mod connection;
mod crowd;

use std::{future::Future, io, pin::pin, time::Duration};

use axum::Router;
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use connection::converse;
use crowd::Crowd;

/// How long to wait when this machine has nothing left to accept a connection with.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How much of an answer the kernel holds for a client, in bytes: so little that a slow one is seen to read, and that many of
/// them are no burden.
const SEND_BUFFER: usize = 256 * 1024;

/// What a listener puts up with.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the start of a connection, or the end of the answer before, to the end of a request's head. A connection
    /// that is slower, or idle for so long, is closed.
    pub head: Duration,
    /// From the first wait for a request's body to its end. A slower one is answered with 408.
    pub body: Duration,
    /// The longest that a client reads nothing of what it is sent. Then its connection is closed.
    pub write: Duration,
    /// How many connections there are at once. One more takes the place of one that waits for its client; where all are
    /// at work, it waits outside until one is not.
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        // Longer than the pools of common clients keep a connection that nobody uses, so that they close it first.
        let head = Duration::from_secs(30);
        // Within the bound of a whole request, with time left to do what it asks.
        let body = Duration::from_secs(20);
        let write = Duration::from_secs(30);
        // What a process may have open where nobody has set anything is twice that.
        Self { head, body, write, connections: 512 }
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
    let mut crowd = Crowd::new(bounds.connections);
    let mut stopping = pin!(stopping);
    loop {
        let stream = tokio::select! {
            () = &mut stopping => break,
            () = crowd.ended() => continue,
            stream = accept(&listener) => stream,
        };
        tokio::select! {
            () = &mut stopping => break,
            () = crowd.room() => {}
        }
        crowd.admit(|seat| converse(stream, router.clone(), bounds, seat, is_over.clone()));
    }
    drop(listener);
    over.send_replace(true);
    crowd.emptied().await;
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
                if let Err(error) = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER) {
                    tracing::debug!(%error, "SO_SNDBUF could not be set");
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
