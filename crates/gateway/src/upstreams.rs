//! The servers behind the gateway, each with its own credential, which is tied to its origin.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use model::Digest;
use token::Secret;

use crate::{
    envelope::Mirror,
    outbound::{Credential, CredentialError, Outbound, TargetError},
    upstream::{Listing, Protocol, Upstream, UpstreamError},
};

/// The longest secret that a reference may lead to, in bytes.
const MAX_SECRET: u64 = 16 * 1024;
/// The most tools whose mirrored headers are remembered.
const MAX_MIRRORS: usize = 10_000;

/// Where a server is and what opens it: two calls that agree on this share a connection pool and a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Address {
    url: String,
    internal: bool,
    credential: Option<String>,
}

/// Where this program's own secrets are. No reference leads there: a server's credential is sent away.
#[derive(Debug, Clone, Default)]
pub struct OwnSecrets {
    /// Files, and folders with all that is in them.
    pub files: Vec<PathBuf>,
    /// Names of environment variables, or how they begin.
    pub variables: Vec<String>,
}

/// The servers that were called so far.
pub struct Upstreams {
    outbound: Outbound,
    own: OwnSecrets,
    known: Mutex<HashMap<Address, Upstream>>,
    mirrors: Mutex<HashMap<Digest, Mirror>>,
}

/// Why a server cannot be called or asked for its tools.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// Its address is not one that may be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its secret cannot be found.
    #[error("the secret at `{reference}` cannot be read: {why}")]
    Secret {
        /// Where it should be.
        reference: String,
        /// What is wrong; never the secret.
        why: String,
    },
    /// Its secret cannot be sent.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Upstreams {
    /// No server yet; all of them are reached through `outbound`, and none gets a secret of our own.
    pub fn new(outbound: Outbound, own: OwnSecrets) -> Self {
        Self { outbound, own, known: Mutex::default(), mirrors: Mutex::default() }
    }

    /// The server at an address.
    ///
    /// # Errors
    /// The address may not be called, or its secret is not there.
    pub fn get(
        &self,
        url: &str,
        internal: bool,
        credential: Option<&str>,
    ) -> Result<Upstream, DiscoverError> {
        let address =
            Address { url: url.to_owned(), internal, credential: credential.map(str::to_owned) };
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(upstream) = known.get(&address) {
            return Ok(upstream.clone());
        }
        let target = self.outbound.target(url, internal)?;
        let credential = match credential {
            Some(reference) => {
                Some(Credential::bearer(target.origin().clone(), &self.own.resolve(reference)?)?)
            }
            None => None,
        };
        let upstream = Upstream::new(self.outbound.clone(), target, credential, Protocol::Probe);
        known.insert(address, upstream.clone());
        Ok(upstream)
    }

    /// The tools that a server shows now.
    ///
    /// # Errors
    /// The server cannot be called, or does not answer as it should.
    pub async fn discover(
        &self,
        url: &str,
        internal: bool,
        credential: Option<&str>,
    ) -> Result<Listing, DiscoverError> {
        Ok(self.get(url, internal, credential)?.list_tools().await?)
    }

    /// Which arguments of a tool are repeated as headers. A definition whose marks are invalid repeats none: it was
    /// accepted as it is, and a client's headers are then not compared with anything.
    pub(crate) fn mirror(&self, pin: Digest, definition: &str) -> Mirror {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mirror) = mirrors.get(&pin) {
            return mirror.clone();
        }
        let schema = serde_json::from_str::<model::ijson::Json>(definition).ok();
        let schema = schema.as_ref().and_then(|definition| definition.member("inputSchema"));
        let mirror = schema.and_then(|schema| Mirror::of(schema).ok()).unwrap_or_default();
        if mirrors.len() >= MAX_MIRRORS {
            mirrors.clear();
        }
        mirrors.insert(pin, mirror.clone());
        mirror
    }
}

impl OwnSecrets {
    /// Reads a secret where its reference says: `env:NAME` or `file:PATH`.
    fn resolve(&self, reference: &str) -> Result<Secret, DiscoverError> {
        let wrong = |why: String| DiscoverError::Secret { reference: reference.to_owned(), why };
        let text = if let Some(name) = reference.strip_prefix("env:") {
            if self.variables.iter().any(|own| name.starts_with(own.as_str())) {
                return Err(wrong("it is this program's own".to_owned()));
            }
            std::env::var(name).map_err(|why| wrong(why.to_string()))?
        } else if let Some(path) = reference.strip_prefix("file:") {
            // Links and `..` are followed before the path is judged.
            let path = std::fs::canonicalize(path).map_err(|why| wrong(why.to_string()))?;
            if self.covers(&path) {
                return Err(wrong("it is this program's own".to_owned()));
            }
            read_secret(&path).map_err(|why| wrong(why.to_string()))?
        } else {
            return Err(wrong("a reference starts with `env:` or `file:`".to_owned()));
        };
        Ok(Secret::new(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec()))
    }

    fn covers(&self, path: &Path) -> bool {
        let own = self.files.iter().filter_map(|own| std::fs::canonicalize(own).ok());
        own.into_iter().any(|own| path.starts_with(own))
    }
}

fn read_secret(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_SECRET {
        return Err(std::io::Error::other("the file is too long for a secret"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reference_leads_to_a_secret_of_this_program() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("data")).unwrap();
        for name in ["master.key", "data/token.key", "theirs"] {
            std::fs::write(path(name), "secret").unwrap();
        }
        std::os::unix::fs::symlink(path("master.key"), path("link")).unwrap();
        let own = OwnSecrets {
            files: vec![path("master.key"), path("data")],
            variables: vec!["BAILIWICK_".to_owned()],
        };
        let reads = |reference: String| own.resolve(&reference).is_ok();
        assert!(reads(format!("file:{}", path("theirs").display())));
        for name in ["master.key", "data/token.key", "data/../master.key", "link", "nothing"] {
            assert!(!reads(format!("file:{}", path(name).display())), "{name}");
        }
        assert!(!reads("env:BAILIWICK_MASTER_KEY".to_owned()));
        assert!(!reads("master.key".to_owned()));
    }
}
