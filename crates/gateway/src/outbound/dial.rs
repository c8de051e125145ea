//! Opening a connection: resolve once, check every address, connect to exactly those, then TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    SendError, Target,
    target::{Host, Scheme, check_address},
};

/// How many addresses of one name are tried; more are a sign of trouble, not of resilience.
const MAX_ADDRESSES: usize = 8;

/// A byte stream to a server, in the clear or over TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Which certificates are trusted, and the TLS settings made of them when they are first needed.
pub(super) struct Tls {
    roots: Option<Vec<CertificateDer<'static>>>,
    config: OnceCell<Arc<ClientConfig>>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    /// Something that TLS has no name for.
    Other,
}

/// Opens a connection before `until`.
pub(super) async fn dial(
    target: &Target,
    tls: &Tls,
    protocol: Protocol,
    until: Instant,
) -> Result<Box<dyn Stream>, SendError> {
    let origin = target.origin();
    let late = || SendError::ConnectTimeout(origin.clone());
    let addresses = timeout_at(until, resolve(target)).await.map_err(|_| late())??;
    let stream = connect(target, &addresses, until).await?;
    if origin.scheme() == Scheme::Http {
        return Ok(Box::new(stream));
    }
    let mut config = timeout_at(until, tls.config()).await.map_err(|_| late())??;
    if protocol == Protocol::Other {
        Arc::make_mut(&mut config).alpn_protocols.clear();
    }
    let connector = TlsConnector::from(config);
    let name = server_name(target)?;
    let secured = timeout_at(until, connector.connect(name, stream)).await.map_err(|_| late())?;
    let secured = secured.map_err(|source| SendError::Tls { origin: origin.clone(), source })?;
    Ok(Box::new(secured))
}

/// The addresses of the target, every one of them checked. They are looked up once: what is checked is what is
/// connected to, so that a second answer of the name server cannot slip in between.
async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, SendError> {
    let origin = target.origin();
    let name = match origin.host() {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, origin.port())]),
        Host::Name(name) => name,
    };
    let failed = |source| SendError::Resolve { origin: origin.clone(), source };
    let found = tokio::net::lookup_host((&**name, origin.port())).await.map_err(failed)?;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    // One special address refuses the name as a whole: a mixed answer is how names are rebound.
    for address in &addresses {
        check_address(address.ip(), target.is_internal())
            .map_err(|source| SendError::Address { origin: origin.clone(), source })?;
    }
    Ok(addresses)
}

/// Connects to the first address that answers; each gets an equal share of the time that is left.
async fn connect(
    target: &Target,
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<TcpStream, SendError> {
    let mut failure = SendError::ConnectTimeout(target.origin().clone());
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it a small write waits for the peer's delayed acknowledgement: 40 ms.
                stream.set_nodelay(true).map_err(|source| connect_error(target, source))?;
                return Ok(stream);
            }
            Ok(Err(source)) => failure = connect_error(target, source),
            Err(_) => {}
        }
    }
    Err(failure)
}

fn connect_error(target: &Target, source: io::Error) -> SendError {
    SendError::Connect { origin: target.origin().clone(), source }
}

fn server_name(target: &Target) -> Result<ServerName<'static>, SendError> {
    match target.origin().host() {
        Host::Address(address) => Ok(ServerName::IpAddress(IpAddr::into(*address))),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| SendError::Tls {
            origin: target.origin().clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "not a name for a certificate"),
        }),
    }
}

impl Tls {
    /// Trusts these certificates alone; with `None` those that the machine trusts.
    pub(super) fn new(roots: Option<Vec<CertificateDer<'static>>>) -> Self {
        Self { roots, config: OnceCell::new() }
    }

    /// Read at the first use, and again until there are some: a machine without certificates can still talk to
    /// what is internal, and one that gets them needs no restart.
    async fn config(&self) -> Result<Arc<ClientConfig>, SendError> {
        let config = self.config.get_or_try_init(|| async {
            let roots = match &self.roots {
                Some(roots) => roots.clone(),
                None => native_roots().await?,
            };
            let mut store = RootCertStore::empty();
            // A machine's bundle may hold a certificate of a kind that is no longer read.
            let (usable, _) = store.add_parsable_certificates(roots);
            if usable == 0 {
                return Err(SendError::NoRoots);
            }
            Ok(Arc::new(client_config(store)))
        });
        config.await.cloned()
    }
}

async fn native_roots() -> Result<Vec<CertificateDer<'static>>, SendError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    loaded.map(|found| found.certs).map_err(|_| SendError::NoRoots)
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
