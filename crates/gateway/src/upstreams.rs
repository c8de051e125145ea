//! The servers behind the gateway, each with its own credential, which is tied to its origin.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use decide::{AccountRecord, ServerRecord};
use model::Digest;
use token::Secret;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    broker::{Broker, BrokerError},
    envelope::Mirror,
    oauth::Challenge,
    outbound::{Credential, CredentialError, Outbound, TargetError},
    program::{PROGRAM, Program, ProgramError, UNSEPARATED},
    upstream::{Listing, Protocol, Upstream, UpstreamError},
};

/// The longest secret that a reference may lead to, in bytes.
const MAX_SECRET: u64 = 16 * 1024;
/// How long a secret is used before it is read again: so soon a changed one counts, and no call more reads the disk.
const SECRET_AGE: Duration = Duration::from_secs(1);
/// How long a call waits for its server's secret: a file system that hangs must not hold up calls, or stops.
const SECRET_BOUND: Duration = Duration::from_secs(3);
/// The most servers, with whoever acts there, whose connections and sessions are kept.
const MAX_KNOWN: usize = 10_000;
/// The most tools whose mirrored headers are remembered.
const MAX_MIRRORS: usize = 10_000;

/// Where a server is and where its secret is: two calls that agree on this share a connection pool and a session, as long
/// as the secret stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Address {
    url: String,
    internal: bool,
    credential: Option<String>,
}

/// A server that was called, with the secret that opened it then.
struct Known {
    upstream: Upstream,
    secret: Option<Secret>,
    read: Instant,
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
    own: Arc<OwnSecrets>,
    known: Mutex<HashMap<Address, Known>>,
    /// One reader for each reference: a file that cannot be read to its end takes one thread, not one a call.
    readers: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// The programs of this machine, by their addresses.
    programs: HashMap<String, Upstream>,
    /// What buys tokens, where servers want some.
    broker: Option<Arc<Broker>>,
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
    /// There is no token for it.
    #[error(transparent)]
    Token(#[from] BrokerError),
    /// It did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Upstreams {
    /// No server yet; all of them are reached through `outbound`, and none gets a secret of our own.
    pub fn new(outbound: Outbound, own: OwnSecrets) -> Self {
        let (known, readers, programs, broker, mirrors) = Default::default();
        Self { outbound, own: Arc::new(own), known, readers, programs, broker, mirrors }
    }

    /// With the programs that this machine's operator configured, by name. None of them runs before it is called.
    #[must_use]
    pub fn with_programs(mut self, programs: impl IntoIterator<Item = (String, Program)>) -> Self {
        let upstream = |(name, program): (String, Program)| {
            (program.address(&name), Upstream::program(Arc::new(program), self.own.clone()))
        };
        self.programs = programs.into_iter().map(upstream).collect();
        self
    }

    /// With what buys tokens for servers that want some.
    #[must_use]
    pub fn with_broker(mut self, broker: Arc<Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    pub(crate) fn broker(&self) -> Option<&Arc<Broker>> {
        self.broker.as_ref()
    }

    /// The server of a record, with the token of `account` or of the gateway itself where it wants one.
    ///
    /// # Errors
    /// It may not be called, or its secret or token is not there. Nothing was sent to it.
    pub async fn reach(
        &self,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
    ) -> Result<Upstream, DiscoverError> {
        let ServerRecord { url, internal, credential, .. } = server;
        if server.oauth.is_none() {
            return self.get(url, *internal, credential.as_deref()).await;
        }
        let broker = self.broker.as_ref().ok_or(BrokerError::None)?;
        let secret = broker.token(server, account).await?;
        let whose =
            account.map_or_else(|| format!("oauth:{}", server.name), AccountRecord::binding);
        let address = Address { url: url.clone(), internal: *internal, credential: Some(whose) };
        self.opened_by(address, Some(secret), Instant::now())
    }

    /// Takes note that a server did not take a token.
    pub(crate) fn challenged(
        &self,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
        challenge: &Challenge,
    ) {
        if let (Some(broker), Some(_)) = (&self.broker, &server.oauth) {
            broker.challenged(server, account, challenge);
        }
    }

    /// Ends all programs.
    pub async fn close(&self) {
        for program in self.programs.values() {
            program.close().await;
        }
    }

    /// The server at an address, or the program of that address ([`Program::address`]). A secret that changed is used from the next second on, in connections and sessions of its
    /// own; calls on their way end with the old one.
    ///
    /// # Errors
    /// The address may not be called, or its secret is not there, or not there any more.
    pub async fn get(
        &self,
        url: &str,
        internal: bool,
        credential: Option<&str>,
    ) -> Result<Upstream, DiscoverError> {
        if [PROGRAM, UNSEPARATED].iter().any(|scheme| url.starts_with(scheme)) {
            let known = self.programs.get(url).cloned();
            let unknown = || UpstreamError::from(ProgramError::Unknown(url.to_owned()));
            return Ok(known.ok_or_else(unknown)?);
        }
        self.get_at(url, internal, credential, Instant::now()).await
    }

    async fn get_at(
        &self,
        url: &str,
        internal: bool,
        credential: Option<&str>,
        now: Instant,
    ) -> Result<Upstream, DiscoverError> {
        let address =
            Address { url: url.to_owned(), internal, credential: credential.map(str::to_owned) };
        let held = |age| {
            let known = self.known();
            let held = known.get(&address);
            let held = held.filter(|held| held.secret.is_none() || now < held.read + age);
            held.map(|held| held.upstream.clone())
        };
        if let Some(upstream) = held(SECRET_AGE) {
            return Ok(upstream);
        }
        // Kept until what was read is known, so that of many calls at once one reads.
        let (secret, _turn) = match credential {
            None => (None, None),
            Some(reference) => {
                let reader = self.reader(reference);
                let turn = match reader.clone().try_acquire_owned() {
                    Ok(turn) => turn,
                    // Somebody reads it; what it was a moment ago is as good until then.
                    Err(_) => match held(SECRET_AGE + SECRET_BOUND) {
                        Some(upstream) => return Ok(upstream),
                        None => timeout(SECRET_BOUND, reader.acquire_owned())
                            .await
                            .map_err(|_| late(reference))?
                            .expect("the semaphore is never closed"),
                    },
                };
                if let Some(upstream) = held(SECRET_AGE) {
                    return Ok(upstream);
                }
                let (secret, turn) = self.read(reference, turn).await?;
                (Some(secret), Some(turn))
            }
        };
        self.opened_by(address, secret, now)
    }

    /// The server at an address as it is opened by a secret: the one that is known, or a new one with connections and a
    /// session of its own.
    fn opened_by(
        &self,
        address: Address,
        secret: Option<Secret>,
        now: Instant,
    ) -> Result<Upstream, DiscoverError> {
        let mut known = self.known();
        if let Some(held) = known.get_mut(&address)
            && held.secret == secret
        {
            held.read = held.read.max(now);
            return Ok(held.upstream.clone());
        }
        if known.len() >= MAX_KNOWN
            && let Some(oldest) =
                known.iter().min_by_key(|(_, held)| held.read).map(|(it, _)| it.clone())
        {
            known.remove(&oldest);
        }
        let target = self.outbound.target(&address.url, address.internal)?;
        let bearer = |secret| Credential::bearer(target.origin().clone(), secret);
        let credential = secret.as_ref().map(bearer).transpose()?;
        let upstream = Upstream::new(self.outbound.clone(), target, credential, Protocol::Probe);
        known.insert(address, Known { upstream: upstream.clone(), secret, read: now });
        Ok(upstream)
    }

    /// Held for a moment only: nobody reads a disk or waits for a server behind it.
    fn known(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a secret on a thread that may block, and waits for it a bounded time; a read that hangs keeps its turn.
    async fn read(
        &self,
        reference: &str,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Secret, OwnedSemaphorePermit), DiscoverError> {
        let (own, whose) = (self.own.clone(), reference.to_owned());
        let read = tokio::task::spawn_blocking(move || (own.resolve(&whose), turn));
        match timeout(SECRET_BOUND, read).await {
            Ok(Ok((read, turn))) => Ok((read?, turn)),
            Ok(Err(why)) => {
                Err(DiscoverError::Secret { reference: reference.to_owned(), why: why.to_string() })
            }
            Err(_) => Err(late(reference)),
        }
    }

    fn reader(&self, reference: &str) -> Arc<Semaphore> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = readers.entry(reference.to_owned());
        reader.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    /// The tools that a server shows now, to whoever has this account where it acts for each person.
    ///
    /// # Errors
    /// The server cannot be called, or does not answer as it should.
    pub async fn discover(
        &self,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
    ) -> Result<Listing, DiscoverError> {
        let listed = self.reach(server, account).await?.list_tools().await;
        if let Some(challenge) = listed.as_ref().err().and_then(UpstreamError::challenge) {
            self.challenged(server, account, challenge);
        }
        Ok(listed?)
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

fn late(reference: &str) -> DiscoverError {
    let why = format!("it did not come within {} s", SECRET_BOUND.as_secs());
    DiscoverError::Secret { reference: reference.to_owned(), why }
}

impl OwnSecrets {
    /// Reads a secret where its reference says: `env:NAME` or `file:PATH`.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Secret, DiscoverError> {
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

/// Reads a file of a bounded length. Opening a pipe waits for a writer, and some devices have no end.
fn read_secret(path: &Path) -> std::io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::other("the file is too long for a secret"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::outbound::{Limits, tests::server::Server};

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

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_a_secret() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("longest"), "x".repeat(MAX_SECRET as usize)).unwrap();
        std::fs::write(path("longer"), "x".repeat(MAX_SECRET as usize + 1)).unwrap();
        std::fs::write(path("bytes"), b"\xff").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        let own = OwnSecrets::default();
        let said = |path: &Path| {
            own.resolve(&format!("file:{}", path.display()))
                .map(|_| "read")
                .map_err(|why| why.to_string())
        };
        assert_eq!(said(&path("longest")), Ok("read"));
        for (name, why) in [
            ("longer", "too long"),
            ("bytes", "UTF-8"),
            ("folder", "not a regular file"),
            ("pipe", "not a regular file"),
            ("link", "not a regular file"),
        ] {
            let said = said(&path(name)).unwrap_err();
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(said(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn a_secret_that_does_not_come_holds_up_nobody_but_who_needs_it() {
        let place = tempfile::tempdir().unwrap();
        let reference = |name: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, "secret").unwrap();
            format!("file:{}", path.display())
        };
        let (hung, good) = (reference("hung"), reference("good"));
        let upstreams = Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default());
        let get = |reference| upstreams.get("http://127.0.0.1:9/mcp", true, Some(reference));
        // As when a file system hangs in the middle of a read.
        let turn = upstreams.reader(&hung).acquire_owned().await.unwrap();
        let (waits, comes) = tokio::join!(get(&hung), get(&good));
        assert!(comes.is_ok());
        assert!(waits.err().unwrap().to_string().contains("it did not come within 3 s"));
        drop(turn);
        assert!(get(&hung).await.is_ok());
    }

    #[tokio::test]
    async fn a_secret_that_was_changed_is_used_without_a_restart_and_one_that_is_gone_is_not_used()
    {
        let server = Server::replying(|request| {
            let secret = request.lines().find_map(|line| line.strip_prefix("authorization: "));
            let tools = format!(
                r#"{{"tools":[{{"name":"t","description":"{}","inputSchema":{{"type":"object"}}}}]}}"#,
                secret.unwrap()
            );
            let body: serde_json::Value =
                serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
            let result = match body["method"].as_str().unwrap() {
                "server/discover" => r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#,
                _ => &tools,
            };
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, body["id"]);
            let length = body.len();
            format!(
                "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        })
        .await;
        let place = tempfile::tempdir().unwrap();
        let (path, url) = (place.path().join("secret"), format!("http://{}/mcp", server.address));
        let reference = format!("file:{}", path.display());
        let upstreams = Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default());
        let get = |at| upstreams.get_at(&url, true, Some(&reference), at);
        // What the server was shown, as it repeats it.
        let shown = async |upstream: Upstream| {
            let listing = upstream.list_tools().await.unwrap();
            String::from_utf8(listing.tools[0].bytes().to_vec()).unwrap()
        };
        let start = Instant::now();
        std::fs::write(&path, "first\n").unwrap();
        assert!(shown(get(start).await.unwrap()).await.contains("Bearer first"));
        std::fs::write(&path, "other\n").unwrap();
        assert!(
            shown(get(start).await.unwrap()).await.contains("Bearer first"),
            "not read at every call"
        );
        assert!(shown(get(start + SECRET_AGE).await.unwrap()).await.contains("Bearer other"));
        let accepted = server.accepted.load(Ordering::SeqCst);
        assert!(shown(get(start + SECRET_AGE * 2).await.unwrap()).await.contains("Bearer other"));
        assert_eq!(
            server.accepted.load(Ordering::SeqCst),
            accepted,
            "what stays keeps its connections"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(get(start + SECRET_AGE * 3).await, Err(DiscoverError::Secret { .. })));
    }
}
