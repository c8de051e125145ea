//! What settings are made of.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use http::Uri;
use token::Secret;

use super::token_key::{self, TokenKey};
use crate::{
    failure::{Exit, Failure, Result},
    files,
};

/// Where a listener is bound, and how it is reached.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) public_url: Option<PublicUrl>,
}

/// An `http` or `https` URL without query, fragment, credentials or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl(Uri);

/// For how many days something is kept; `None` is always.
pub(super) struct Kept(pub(super) Option<u32>);

/// The most days: a hundred years.
const MAX_DAYS: u32 = 36_500;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretRef {
    File(PathBuf),
    Environment(String),
}

/// Where the master key is, or what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MasterRef {
    pub(crate) place: SecretRef,
    pub(crate) held: Held,
}

/// What a secret is to the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The master key itself.
    Key,
    /// A passphrase that it is derived from.
    Passphrase,
    /// The PIN of a token, of which a key has wrapped it.
    Token(TokenKey),
}

/// What the place of a passphrase starts with.
const PASSPHRASE: &str = "passphrase:";

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(super) &'static str);

impl Listen {
    /// How clients reach the listener, once it is known where it is bound. A port that the system chose is followed.
    pub(crate) fn url(&self, bound: SocketAddr) -> String {
        let Some(PublicUrl(uri)) = &self.public_url else { return format!("http://{bound}") };
        let scheme = uri.scheme_str().unwrap_or("http");
        let path = uri.path().trim_end_matches('/');
        match (self.address.port(), uri.host(), uri.authority()) {
            (0, Some(host), _) => format!("{scheme}://{host}:{}{path}", bound.port()),
            (_, _, Some(authority)) => format!("{scheme}://{authority}{path}"),
            (_, _, None) => format!("{scheme}://{bound}{path}"),
        }
    }
}

impl FromStr for Kept {
    type Err = Refused;

    fn from_str(text: &str) -> std::result::Result<Self, Refused> {
        if text == "always" {
            return Ok(Self(None));
        }
        let days = text.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
        days.map(|days| Self(Some(days)))
            .ok_or(Refused("it is a number of days from 1 to 36500, or `always`"))
    }
}

impl FromStr for PublicUrl {
    type Err = Refused;

    fn from_str(text: &str) -> std::result::Result<Self, Refused> {
        let uri: Uri = text.parse().map_err(|_| Refused("it is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return Err(Refused("it is no `http://…` or `https://…` URL"));
        }
        if uri.query().is_some() || text.contains(['#', '@']) || text.ends_with('/') {
            return Err(Refused("it has a query, a fragment, a user name, or a slash at its end"));
        }
        Ok(Self(uri))
    }
}

impl FromStr for SecretRef {
    type Err = Refused;

    fn from_str(text: &str) -> std::result::Result<Self, Refused> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            _ => Err(Refused(
                "it says where the secret is, `file:PATH` or `env:NAME`, never the secret itself",
            )),
        }
    }
}

impl FromStr for MasterRef {
    type Err = Refused;

    fn from_str(text: &str) -> std::result::Result<Self, Refused> {
        if let Some(rest) = text.strip_prefix(token_key::SCHEME) {
            let (key, place) = TokenKey::parse(rest)?;
            return Ok(Self { place, held: Held::Token(key) });
        }
        let (text, held) = match text.strip_prefix(PASSPHRASE) {
            Some(rest) => (rest, Held::Passphrase),
            None => (text, Held::Key),
        };
        Ok(Self { place: text.parse()?, held })
    }
}

impl MasterRef {
    /// The same, with a relative path below that folder.
    pub(crate) fn below(self, base: &Path) -> Self {
        Self { place: self.place.below(base), ..self }
    }

    /// The file of its secret, where that is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            SecretRef::File(path) => Some(path),
            SecretRef::Environment(_) => None,
        }
    }
}

impl fmt::Display for MasterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.held {
            Held::Key => self.place.fmt(f),
            Held::Passphrase => write!(f, "{PASSPHRASE}{}", self.place),
            Held::Token(key) => key.write(&self.place, f),
        }
    }
}

impl SecretRef {
    pub(super) fn below(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            other => other,
        }
    }

    /// Fetches the master key, or what it is derived from.
    pub(crate) fn read(&self) -> Result<Secret> {
        match self {
            Self::File(path) => files::read_secret(path).map_err(|failure| match failure.exit {
                Exit::NotFound => {
                    missing(&format!("the master key `{}` is missing", path.display()))
                }
                _ => failure,
            }),
            Self::Environment(name) => environment(name).ok_or_else(|| {
                missing(&format!("the environment has no `{name}`, where the master key should be"))
            }),
        }
    }

    /// Fetches a secret that is shown to others; the end of its line is not part of it.
    pub(crate) fn read_token(&self) -> Result<Secret> {
        let secret = match self {
            // Whoever reads a pipe or a device may wait for ever.
            Self::File(path) if path.metadata().is_ok_and(|found| !found.is_file()) => {
                let error = io::Error::other("it is not a regular file");
                return Err(files::unreadable(path, &error));
            }
            Self::File(path) => files::read_secret(path)?,
            Self::Environment(name) => environment(name).ok_or_else(|| {
                Failure::new("secret_missing", format!("the environment has no `{name}`"))
                    .why("a secret should be in it")
                    .next("set it where the node is started, or name a file")
            })?,
        };
        Ok(Secret::new(secret.expose().trim_ascii_end().to_vec()))
    }
}

fn environment(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::new)
}

fn missing(what: &str) -> Failure {
    Failure::new("master_key_missing", what)
        .why("every other key is wrapped by it, so nothing can start without it")
        .next("bring it back from where you keep it, or correct `data.master_key`")
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
        }
    }
}
