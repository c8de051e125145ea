//! Where a request may go: a URL, parsed and checked once.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use http::{
    HeaderValue,
    uri::{Authority, PathAndQuery, Uri},
};

use super::{
    Limits,
    address::{Reach, special_use},
    pool::Pool,
};

/// The longest URL, in bytes.
const MAX_URL: usize = 2048;
/// The longest host name ([RFC 1035 §2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)), in bytes.
const MAX_HOST: usize = 253;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear; only inside.
    Http,
    /// Over TLS.
    Https,
}

/// A server as [RFC 6454](https://www.rfc-editor.org/rfc/rfc6454) names it: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// A host, in the one spelling by which two are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// A name in lower case.
    Name(Arc<str>),
    /// An address.
    Address(IpAddr),
}

/// Why a URL is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL of at most 2048 bytes with a scheme and a host, or one that programs read differently.
    #[error(
        "not a URL of the form `https://host[:port]/path` with at most 2048 plain ASCII characters"
    )]
    Malformed,
    /// Neither http nor https.
    #[error("the URL's scheme is neither `http` nor `https`")]
    Scheme,
    /// A user name or password stands in the URL.
    #[error("the URL carries a user name or password; configure a credential instead")]
    UserInfo,
    /// Plain http to somewhere outside.
    #[error(
        "plain `http` goes only to targets that were added with `--internal`; use `https` elsewhere"
    )]
    Clear,
    /// The host is a special-use address.
    #[error(
        "{address} is a {kind} address; it is reached only by targets that were added with `--internal`"
    )]
    Inside {
        /// The address.
        address: IpAddr,
        /// What it is for.
        kind: &'static str,
    },
    /// The host is an address where no server can be.
    #[error("{address} is a {kind} address, where no server is reached")]
    Unreachable {
        /// The address.
        address: IpAddr,
        /// What it is for.
        kind: &'static str,
    },
}

/// A place that requests are sent to, with its pool of connections. Clones share the pool.
#[derive(Clone)]
pub struct Target(Arc<Place>);

struct Place {
    origin: Origin,
    /// The origin's authority as requests name it.
    host: HeaderValue,
    path: PathAndQuery,
    internal: bool,
    pool: Pool,
}

impl Target {
    pub(super) fn parse(url: &str, internal: bool, limits: &Limits) -> Result<Self, TargetError> {
        let (origin, path) = split(url)?;
        if origin.scheme == Scheme::Http && !internal {
            return Err(TargetError::Clear);
        }
        if let Host::Address(address) = origin.host {
            check_address(address, internal)?;
        }
        let host =
            HeaderValue::from_str(&origin.authority()).map_err(|_| TargetError::Malformed)?;
        Ok(Self(Arc::new(Place { origin, host, path, internal, pool: Pool::new(limits) })))
    }

    /// The value of the `Host` header.
    pub(super) fn host(&self) -> HeaderValue {
        self.0.host.clone()
    }

    /// The server.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The path and query that requests go to unless they name another.
    pub fn path(&self) -> &PathAndQuery {
        &self.0.path
    }

    /// Whether special-use addresses and plain http are allowed.
    pub fn is_internal(&self) -> bool {
        self.0.internal
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }
}

impl Origin {
    /// How the server is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the host is this machine by its spelling: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Name(name) => &**name == "localhost",
            Host::Address(address) => address.is_loopback(),
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header, without a default port.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl FromStr for Origin {
    type Err = TargetError;

    /// Reads the origin of a URL; whatever follows the host and port is left out.
    fn from_str(url: &str) -> Result<Self, TargetError> {
        split(url).map(|(origin, _)| origin)
    }
}

impl FromStr for Host {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(bracketed) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address = bracketed.parse().map_err(|_| TargetError::Malformed)?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let name = text.strip_suffix('.').unwrap_or(text);
        // `127.1`, `0x7f.1` and `2130706433` are addresses to some programs and names to others.
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.to_ascii_lowercase().starts_with("0x");
        let dotted = name.split('.').any(str::is_empty);
        if name.len() > MAX_HOST || dotted || numeric || !name.bytes().all(plain) {
            return Err(TargetError::Malformed);
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }
}

/// Whether an address may be reached, by what the target is configured for.
pub(super) fn check_address(address: IpAddr, internal: bool) -> Result<(), TargetError> {
    match special_use(address) {
        Some(special) if special.reach == Reach::Nobody => {
            Err(TargetError::Unreachable { address, kind: special.kind })
        }
        Some(special) if !internal => Err(TargetError::Inside { address, kind: special.kind }),
        _ => Ok(()),
    }
}

fn split(url: &str) -> Result<(Origin, PathAndQuery), TargetError> {
    // A fragment and a backslash are read differently by different programs, and `Uri` drops the one silently.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"#\\".contains(&byte);
    if url.len() > MAX_URL || !url.bytes().all(plain) {
        return Err(TargetError::Malformed);
    }
    let uri: Uri = url.parse().map_err(|_| TargetError::Malformed)?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(_) => return Err(TargetError::Scheme),
        None => return Err(TargetError::Malformed),
    };
    let authority = uri.authority().ok_or(TargetError::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(TargetError::UserInfo);
    }
    let origin = Origin {
        scheme,
        host: authority.host().parse()?,
        port: port(authority)?.unwrap_or(scheme.default_port()),
    };
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    Ok((origin, path))
}

/// The port, where the authority names one that is a number other than 0.
fn port(authority: &Authority) -> Result<Option<u16>, TargetError> {
    let named = authority.as_str().len() > authority.host().len();
    match authority.port_u16() {
        Some(port) if port > 0 => Ok(Some(port)),
        None if !named => Ok(None),
        _ => Err(TargetError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, internal: bool) -> Result<String, TargetError> {
        let target = Target::parse(url, internal, &Limits::default())?;
        Ok(format!("{} {}", target.origin(), target.path()))
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (url, expected) in [
            ("https://Desk.Example", "https://desk.example /"),
            ("https://desk.example.:443/mcp?a=1", "https://desk.example /mcp?a=1"),
            ("https://desk.example:8443/mcp", "https://desk.example:8443 /mcp"),
            ("https://1.1.1.1:0443/", "https://1.1.1.1 /"),
            ("https://[2600:0::0001]/", "https://[2600::1] /"),
        ] {
            assert_eq!(parse(url, false).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_two_programs_may_read_differently_is_no_target() {
        let long = format!("https://desk.example/{}", "a".repeat(MAX_URL));
        for url in [
            "",
            "desk.example",
            "/mcp",
            "https://",
            "https:///mcp",
            "https://desk.example:/",
            "https://desk.example:0/",
            "https://desk.example:65536/",
            "https://desk.example/#top",
            "https://desk.example\\@evil.example/",
            "https://desk example/",
            "https://d\u{e9}sk.example/",
            "https://desk..example/",
            "https://.example/",
            "https://./",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0x1/",
            "https://0177.0.0.1/",
            "https://[::1%25lo]/",
            "https://[v1.a]/",
            "https://desk%2eexample/",
            long.as_str(),
        ] {
            assert_eq!(parse(url, true), Err(TargetError::Malformed), "{url}");
        }
        assert_eq!(parse("ftp://desk.example/", true), Err(TargetError::Scheme));
        assert_eq!(parse("https://a:b@desk.example/", true), Err(TargetError::UserInfo));
        assert_eq!(parse("https://a@desk.example/", true), Err(TargetError::UserInfo));
    }

    #[test]
    fn plain_http_and_inside_addresses_need_an_internal_target() {
        assert_eq!(parse("http://desk.example/", false), Err(TargetError::Clear));
        assert!(parse("http://desk.example/", true).is_ok());
        for address in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00::1]"] {
            let url = format!("https://{address}/");
            assert!(matches!(parse(&url, false), Err(TargetError::Inside { .. })), "{url}");
            assert!(parse(&url, true).is_ok(), "{url}");
        }
        for address in ["0.0.0.0", "224.0.0.1", "[::]", "[::ffff:127.0.0.1]", "192.0.2.1"] {
            let url = format!("https://{address}/");
            assert!(matches!(parse(&url, true), Err(TargetError::Unreachable { .. })), "{url}");
        }
    }
}
