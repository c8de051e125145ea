//! The one outbound HTTP client: HTTP/1.1 to places that are configured, within limits.
//!
//! A target is resolved once per connection and the checked addresses are the ones connected to; special-use addresses
//! are for targets that are configured as internal. A redirect is an error. A secret goes to its own origin alone.
//! Never here: MCP, cookies, proxies from the environment, decompression.

mod address;
mod body;
mod connection;
mod credential;
mod dial;
mod pool;
mod target;
#[cfg(test)]
pub(crate) mod tests;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header, uri::PathAndQuery};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

pub use body::{Body, BodyError, Response};
pub use credential::{Credential, CredentialError};
pub use dial::Stream;
pub use target::{Origin, Scheme, Target, TargetError};

use connection::Connection;
use dial::{Protocol, Tls, dial};

/// Sends requests. Clones share limits and TLS settings; each [`Target`] has its own connections.
#[derive(Clone)]
pub struct Outbound {
    limits: Limits,
    places: Arc<Semaphore>,
    tls: Arc<Tls>,
}

/// What one exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a free connection, resolving, connecting and the TLS handshake together.
    pub connect: Duration,
    /// From sending to the response's head, where the request has no deadline of its own.
    pub head: Duration,
    /// The longest silence inside a response body.
    pub idle: Duration,
    /// The longest response head, in bytes.
    pub head_bytes: usize,
    /// The longest response body, in bytes.
    pub body_bytes: u64,
    /// Connections in use at one target.
    pub connections: usize,
    /// Connections in use at all targets.
    pub at_once: usize,
    /// Connections kept for later at one target.
    pub parked: usize,
    /// How long a connection is kept for later.
    pub parked_for: Duration,
}

/// One request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to on the target's server; `None` is the target's own path.
    pub path: Option<PathAndQuery>,
    /// The headers, without those that frame the message and without the credential's.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// When the whole exchange must be over; takes the place of [`Limits::head`].
    pub deadline: Option<Instant>,
}

/// Why a request brought no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The credential belongs to another server.
    #[error("the credential is tied to `{bound}` and is not sent to `{target}`")]
    ForeignOrigin {
        /// The credential's server.
        bound: Origin,
        /// The request's server.
        target: Origin,
    },
    /// The request sets a header that is not its own to set.
    #[error("header `{0}` is set by the client or by the credential, not by the request")]
    ReservedHeader(HeaderName),
    /// The deadline came first.
    #[error("the deadline had passed before the request to `{0}` was sent")]
    Late(Origin),
    /// Every connection is in use, there or anywhere.
    #[error("all connections to `{0}` are in use; try again later")]
    Busy(Origin),
    /// The name has no address.
    #[error("the host of `{origin}` could not be resolved")]
    Resolve {
        /// The server.
        origin: Origin,
        /// What the resolver said.
        source: io::Error,
    },
    /// The name stands for an address that must not be reached.
    #[error("the host of `{origin}` resolves to an address that is refused")]
    Address {
        /// The server.
        origin: Origin,
        /// Which address, and why.
        source: TargetError,
    },
    /// Nothing answers there.
    #[error("could not connect to `{origin}`")]
    Connect {
        /// The server.
        origin: Origin,
        /// What the system said about the last address.
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("`{0}` did not accept a connection in time")]
    ConnectTimeout(Origin),
    /// This machine trusts no certificate authority.
    #[error(
        "no trusted root certificates were found; install the system's certificate bundle (Debian: `ca-certificates`)"
    )]
    NoRoots,
    /// The server could not prove who it is.
    #[error("the TLS handshake with `{origin}` failed")]
    Tls {
        /// The server.
        origin: Origin,
        /// What failed.
        source: io::Error,
    },
    /// The head did not come in time.
    #[error("`{0}` sent no response in time")]
    HeadTimeout(Origin),
    /// The head is longer than may be read.
    #[error("the response head of `{0}` is too large")]
    HeadTooLarge(Origin),
    /// The server points elsewhere.
    #[error(
        "`{origin}` redirects to {}; redirects are not followed, configure the address that is meant",
        to.as_ref().map_or("an unreadable place".to_owned(), |to| format!("`{to}`"))
    )]
    Redirect {
        /// The server.
        origin: Origin,
        /// The origin of its `Location`.
        to: Option<Origin>,
    },
    /// The connection ended without a response, or with something that is not HTTP/1.1.
    #[error("`{origin}` ended the connection without a proper response")]
    Broken {
        /// The server.
        origin: Origin,
        /// What failed.
        source: hyper::Error,
    },
    /// The server wants to leave HTTP.
    #[error("`{0}` wants to switch protocols, which nobody asked for")]
    Upgrade(Origin),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(30),
            // Servers send a keep-alive comment into a quiet stream every 15 seconds or so.
            idle: Duration::from_secs(60),
            head_bytes: 32 * 1024,
            body_bytes: 64 * 1024 * 1024,
            // 10,000 live streams to one server is a load that must fit.
            connections: 16_384,
            at_once: 65_536,
            parked: 64,
            // Node and uvicorn close idle connections after 5 seconds; whoever closes first avoids the race.
            parked_for: Duration::from_secs(4),
        }
    }
}

impl Outbound {
    /// A client that trusts the certificate authorities of this machine, read when they are first needed.
    pub fn new(limits: Limits) -> Self {
        Self::over(limits, Tls::new(None))
    }

    /// A client that trusts these certificate authorities alone.
    pub fn with_roots(limits: Limits, roots: Vec<CertificateDer<'static>>) -> Self {
        Self::over(limits, Tls::new(Some(roots)))
    }

    fn over(limits: Limits, tls: Tls) -> Self {
        let places = Arc::new(Semaphore::new(limits.at_once.min(Semaphore::MAX_PERMITS)));
        Self { limits, places, tls: Arc::new(tls) }
    }

    /// How many connections there are at all targets at most.
    pub(crate) const fn at_once(&self) -> usize {
        self.limits.at_once
    }

    /// Parses and checks a URL. `internal` allows plain http and the special-use addresses inside.
    ///
    /// # Errors
    /// The URL is malformed, carries a user name, or needs `internal`.
    pub fn target(&self, url: &str, internal: bool) -> Result<Target, TargetError> {
        Target::parse(url, internal, &self.limits)
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// Dropping the future, or later the response, closes the connection at once.
    ///
    /// # Errors
    /// See [`SendError`]; [`SendError::may_have_arrived`] tells whether the server may have acted.
    pub async fn send(
        &self,
        target: &Target,
        request: Request,
        credential: Option<&Credential>,
    ) -> Result<Response, SendError> {
        let origin = target.origin();
        let deadline = request.deadline;
        let mut head = build(target, request, credential)?;
        let started = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= started) {
            return Err(SendError::Late(origin.clone()));
        }
        let connected_by = deadline.map_or(started + self.limits.connect, |deadline| {
            deadline.min(started + self.limits.connect)
        });
        // Of the target first: nobody who waits there keeps a place that others could use elsewhere.
        let places = async { (target.pool().place().await, pool::place(&self.places).await) };
        let place =
            timeout_at(connected_by, places).await.map_err(|_| SendError::Busy(origin.clone()))?;
        loop {
            let parked = target.pool().take();
            let fresh = parked.is_none();
            let mut connection = match parked {
                Some(connection) => connection,
                None => self.open(target, connected_by).await?,
            };
            let answered_by = deadline.unwrap_or_else(|| Instant::now() + self.limits.head);
            let exchange = timeout_at(answered_by, connection.exchange(head)).await;
            match exchange.map_err(|_| SendError::HeadTimeout(origin.clone()))? {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    check_head(target, &head)?;
                    let body = Body::new(
                        incoming,
                        connection,
                        target.clone(),
                        place,
                        &self.limits,
                        deadline,
                    );
                    return Ok(Response { status: head.status, headers: head.headers, body });
                }
                // A kept connection that ended before it took the request: nothing was sent.
                Err(mut unsent) if !fresh && unsent.message().is_some() => {
                    head = unsent.take_message().expect("seen one line above");
                }
                Err(failed) => return Err(no_response(target, failed.into_error())),
            }
        }
    }

    /// Connects to a target that speaks something else than HTTP, over TLS where its URL says `https`. The connection is the
    /// caller's own, and beside those that requests use.
    ///
    /// # Errors
    /// Nobody can be connected to before `until`; see [`SendError`].
    pub async fn connect(
        &self,
        target: &Target,
        until: Instant,
    ) -> Result<Box<dyn Stream>, SendError> {
        dial(target, &self.tls, Protocol::Other, until).await
    }

    async fn open(&self, target: &Target, until: Instant) -> Result<Connection, SendError> {
        let stream = dial(target, &self.tls, Protocol::Http, until).await?;
        Connection::open(stream, &self.limits).await.map_err(|error| no_response(target, error))
    }
}

impl SendError {
    /// Whether the server may have received the request: then nobody can say that it did not act on it.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::ForeignOrigin { .. }
            | Self::ReservedHeader(_)
            | Self::Late(_)
            | Self::Busy(_)
            | Self::Resolve { .. }
            | Self::Address { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout(_)
            | Self::NoRoots
            | Self::Tls { .. } => false,
            Self::HeadTimeout(_)
            | Self::HeadTooLarge(_)
            | Self::Redirect { .. }
            | Self::Broken { .. }
            | Self::Upgrade(_) => true,
        }
    }
}

fn build(
    target: &Target,
    request: Request,
    credential: Option<&Credential>,
) -> Result<http::Request<Full<Bytes>>, SendError> {
    let origin = target.origin();
    let Request { method, path, mut headers, body, .. } = request;
    let secret = credential.map(Credential::header);
    let reserved = |name: &&HeaderName| credential::FRAMING.contains(name) || secret == Some(*name);
    if let Some(name) = headers.keys().find(reserved) {
        return Err(SendError::ReservedHeader(name.clone()));
    }
    if let Some(credential) = credential {
        if credential.origin() != origin {
            let (bound, target) = (credential.origin().clone(), origin.clone());
            return Err(SendError::ForeignOrigin { bound, target });
        }
        headers.insert(credential.header().clone(), credential.value());
    }
    headers.insert(header::HOST, target.host());
    let mut built = http::Request::new(Full::new(body));
    *built.method_mut() = method;
    *built.uri_mut() = path.unwrap_or_else(|| target.path().clone()).into();
    *built.headers_mut() = headers;
    Ok(built)
}

fn check_head(target: &Target, head: &http::response::Parts) -> Result<(), SendError> {
    let origin = target.origin();
    if head.status.is_informational() {
        return Err(SendError::Upgrade(origin.clone()));
    }
    if head.status.is_redirection() {
        let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let to = location.and_then(|location| match location.strip_prefix("//") {
            None if location.starts_with('/') => Some(origin.clone()),
            _ => location.parse().ok(),
        });
        return Err(SendError::Redirect { origin: origin.clone(), to });
    }
    Ok(())
}

fn no_response(target: &Target, error: hyper::Error) -> SendError {
    let origin = target.origin().clone();
    if error.is_parse_too_large() {
        SendError::HeadTooLarge(origin)
    } else {
        SendError::Broken { origin, source: error }
    }
}
