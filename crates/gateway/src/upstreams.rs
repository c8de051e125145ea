//! The servers behind the gateway, each with its own credential, which is tied to its origin.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use decide::{AccountRecord, ServerRecord};
use model::{Digest, Name};
use token::Secret;
use tokio::time::Instant;

use crate::{
    broker::{Broker, BrokerError},
    envelope::Mirror,
    oauth::Challenge,
    outbound::{Credential, CredentialError, Outbound, TargetError},
    program::{PROGRAM, Program, ProgramError, UNSEPARATED},
    secrets::{SECRET_BOUND, Secrets},
    upstream::{Listing, Protocol, Upstream, UpstreamError},
};

use crate::secrets::OwnSecrets;

/// How long a secret is used before it is read again: so soon a changed one counts, and no call more reads the disk.
const SECRET_AGE: Duration = Duration::from_secs(1);
/// The most servers, with whoever acts there, whose connections and sessions are kept.
const MAX_KNOWN: usize = 10_000;
/// The most tools whose mirrored headers are remembered.
const MAX_MIRRORS: usize = 10_000;

/// Where a server is and what opens it: two calls that agree on this share a connection pool, and sessions with those of
/// the same holder, as long as the secret stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Address {
    url: String,
    internal: bool,
    opened: Opened,
}

/// What opens a server. Each kind is a shape of its own, so that no name of one is taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Opened {
    Freely,
    /// By the secret at a reference.
    Secret(String),
    /// By the token that the gateway bought for the server of this name.
    Gateway(Name),
    /// By the token of the account that binds this.
    Account(String),
}

impl Opened {
    /// Whether another secret opens it for the same account: a token that was renewed, and in whose place the sessions that
    /// were opened with the one before go on.
    const fn is_renewed(&self) -> bool {
        matches!(self, Self::Gateway(_) | Self::Account(_))
    }
}

/// A server that was called, with the secret that opened it then.
struct Known {
    upstream: Upstream,
    secret: Option<Secret>,
    read: Instant,
}

/// The servers that were called so far.
pub struct Upstreams {
    outbound: Outbound,
    own: Arc<OwnSecrets>,
    secrets: Arc<Secrets>,
    known: Mutex<HashMap<Address, Known>>,
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
        let (known, programs, broker, mirrors) = Default::default();
        let secrets = Secrets::new(own.clone());
        Self { outbound, own: Arc::new(own), secrets, known, programs, broker, mirrors }
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

    /// How many connections to servers there are at most.
    pub(crate) fn at_once(&self) -> usize {
        self.outbound.at_once()
    }

    pub(crate) fn broker(&self) -> Option<&Arc<Broker>> {
        self.broker.as_ref()
    }

    /// The server of a record, with the token of `account` or of the gateway itself where it wants one.
    ///
    /// # Errors
    /// It may not be called, or its secret or token is not there, or not to be used any more. Nothing was sent to it.
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
        let Some(account) = account else {
            let secret = broker.token(server, None).await?;
            let opened = Opened::Gateway(server.name.clone());
            let address = Address { url: url.clone(), internal: *internal, opened };
            return self.opened_by(address, Some(secret), Instant::now());
        };
        let lent = async {
            let secret = broker.token(server, Some(account)).await?;
            let opened = Opened::Account(account.binding());
            let address = Address { url: url.clone(), internal: *internal, opened };
            let upstream = self.opened_by(address, Some(secret), Instant::now())?;
            // Looked at last: what is taken back from now on is forgotten by whoever takes it back.
            broker.may_use(server, account)?;
            Ok(upstream)
        };
        lent.await.inspect_err(|why| {
            if matches!(why, DiscoverError::Token(BrokerError::NotLinked(_))) {
                self.forget(account);
            }
        })
    }

    /// Gives an account's tokens back where they came from, and forgets them. Whether that was done is told, and no reason
    /// to keep them.
    pub async fn give_back(&self, account: &AccountRecord, sealed: Option<Vec<u8>>) -> bool {
        self.forget(account);
        match &self.broker {
            Some(broker) => broker.give_back(account, sealed).await,
            None => false,
        }
    }

    fn forget(&self, account: &AccountRecord) {
        let opened = Opened::Account(account.binding());
        self.known().retain(|address, _| address.opened != opened);
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

    /// Ends the sessions that these holders have with servers, in the background.
    pub(crate) fn end_sessions(&self, holders: &[Digest]) {
        if holders.is_empty() {
            return;
        }
        let known: Vec<Upstream> = self.known().values().map(|it| it.upstream.clone()).collect();
        known.iter().for_each(|upstream| upstream.end_sessions(holders));
    }

    /// Ends all programs, and hears what authorization servers have been asked.
    pub async fn close(&self) {
        for program in self.programs.values() {
            program.close();
        }
        if let Some(broker) = &self.broker {
            broker.close().await;
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
        let opened =
            credential.map_or(Opened::Freely, |reference| Opened::Secret(reference.to_owned()));
        let address = Address { url: url.to_owned(), internal, opened };
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
                let turn = match self.secrets.try_turn(reference) {
                    Some(turn) => turn,
                    // Somebody reads it; what it was a moment ago is as good until then.
                    None => match held(SECRET_AGE + SECRET_BOUND) {
                        Some(upstream) => return Ok(upstream),
                        None => self.secrets.turn(reference).await?,
                    },
                };
                if let Some(upstream) = held(SECRET_AGE) {
                    return Ok(upstream);
                }
                let (secret, turn) = self.secrets.read_in(reference, turn).await?;
                (Some(secret), Some(turn))
            }
        };
        self.opened_by(address, secret, now)
    }

    /// The server at an address as it is opened by a secret: the one that is known, also where its token was renewed, or a
    /// new one with connections and sessions of its own.
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
        let target = self.outbound.target(&address.url, address.internal)?;
        let bearer = |secret| Credential::bearer(target.origin().clone(), secret);
        let credential = secret.as_ref().map(bearer).transpose()?;
        if let Some(held) = known.get_mut(&address).filter(|_| address.opened.is_renewed()) {
            held.upstream.renew(credential);
            (held.secret, held.read) = (secret, now);
            return Ok(held.upstream.clone());
        }
        if known.len() >= MAX_KNOWN
            && let Some(oldest) =
                known.iter().min_by_key(|(_, held)| held.read).map(|(it, _)| it.clone())
        {
            known.remove(&oldest);
        }
        let upstream = Upstream::new(self.outbound.clone(), target, credential, Protocol::Probe);
        known.insert(address, Known { upstream: upstream.clone(), secret, read: now });
        Ok(upstream)
    }

    /// Held for a moment only: nobody reads a disk or waits for a server behind it.
    fn known(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::outbound::{Limits, tests::server::Server};

    fn account(person: &str) -> AccountRecord {
        AccountRecord {
            server: "bank".parse().expect("it is a name"),
            person: person.parse().expect("it is a person"),
            url: "http://127.0.0.1:9/mcp".to_owned(),
            issuer: "https://as.example".to_owned(),
            scopes: Vec::new(),
            link: "1".to_owned(),
            state: decide::AccountState::Linked,
        }
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
        let turn = upstreams.secrets.turn(&hung).await.unwrap();
        let (waits, comes) = tokio::join!(get(&hung), get(&good));
        assert!(comes.is_ok());
        assert!(waits.err().unwrap().to_string().contains("it did not come within 3 s"));
        drop(turn);
        assert!(get(&hung).await.is_ok());
    }

    #[tokio::test]
    async fn a_token_that_is_renewed_opens_the_same_sessions_and_another_secret_new_ones() {
        let upstreams = Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default());
        let open = |opened: &Opened, secret: &str| {
            let url = "http://127.0.0.1:9/mcp".to_owned();
            let address = Address { url, internal: true, opened: opened.clone() };
            upstreams
                .opened_by(address, Some(Secret::new(secret.to_owned())), Instant::now())
                .unwrap()
        };
        let renewed =
            [Opened::Account("lena".to_owned()), Opened::Gateway("bank".parse().unwrap())];
        for opened in &renewed {
            assert!(open(opened, "one").is(&open(opened, "another")));
        }
        let [lena, bank] = renewed.each_ref().map(|opened| open(opened, "another"));
        assert!(!lena.is(&bank));
        let file = Opened::Secret("file:secret".to_owned());
        assert!(!open(&file, "one").is(&open(&file, "another")));
    }

    #[tokio::test]
    async fn what_is_given_back_is_forgotten_and_no_reference_is_taken_for_it() {
        let upstreams = Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default());
        let (lena, max) = (account("person/lena"), account("person/max"));
        for account in [&lena, &max] {
            let opened = Opened::Account(account.binding());
            let address = Address { url: account.url.clone(), internal: true, opened };
            let token = Some(Secret::new("token".to_owned()));
            upstreams.opened_by(address, token, Instant::now()).unwrap();
        }
        let stolen = upstreams.get(&lena.url, true, Some(&lena.binding())).await;
        assert!(matches!(stolen, Err(DiscoverError::Secret { .. })));
        upstreams.give_back(&lena, None).await;
        let known: Vec<Opened> =
            upstreams.known().keys().map(|address| address.opened.clone()).collect();
        assert_eq!(known, [Opened::Account(max.binding())]);
    }

    #[tokio::test]
    async fn sessions_end_where_another_secret_opens_the_server_and_where_an_account_is_given_back()
    {
        let (sent, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::replying(move |request| {
            let secret = request.lines().find_map(|line| line.strip_prefix("authorization: "));
            let body: serde_json::Value =
                serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap_or_default();
            let result = match body["method"].as_str() {
                Some("initialize") => r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#,
                Some("tools/list") => r#"{"tools":[]}"#,
                Some("server/discover") => r#"{"supportedVersions":["2025-11-25"]}"#,
                Some(_) => "{}",
                None => {
                    sent.send(secret.unwrap().to_owned()).unwrap();
                    "{}"
                }
            };
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, body["id"]);
            let length = body.len();
            format!(
                "HTTP/1.1 200 x\r\nmcp-session-id: s\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        })
        .await;
        let upstreams = Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default());
        let lena = account("person/lena");
        for (opened, secret) in [
            (Opened::Secret("file:secret".to_owned()), "one"),
            (Opened::Secret("file:secret".to_owned()), "another"),
            (Opened::Account(lena.binding()), "lent"),
        ] {
            let url = format!("http://{}/mcp", server.address);
            let address = Address { url, internal: true, opened };
            let secret = Some(Secret::new(secret.to_owned()));
            let upstream = upstreams.opened_by(address, secret, Instant::now()).unwrap();
            upstream.list_tools().await.unwrap();
        }
        assert_eq!(ended.recv().await.as_deref(), Some("Bearer one"));
        upstreams.give_back(&lena, None).await;
        assert_eq!(ended.recv().await.as_deref(), Some("Bearer lent"));
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
