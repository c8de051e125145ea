//! The tokens that servers behind the gateway want: bought for the gateway itself, or lent by the person for whom a call is
//! made. Each is for one server's URL; the agent never sees one, and its own token never goes there.
//!
//! What a person lent is kept sealed under a key of its own, bound to the person, the server, its URL and this one link.

mod linking;
mod page;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use decide::{AccountRecord, Engine, OauthRecord, ServerRecord, Whose, sha256};
use model::{Digest, Timestamp};
use token::{MasterKey, Secret, SigningKey};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    oauth::{
        self, Challenge, Found, Grant, OauthError, Own, Place, Prepared, Proof, Registration,
        Scopes,
    },
    outbound::{Outbound, TargetError},
    upstream::{Protocol, Upstream},
    upstreams::{DiscoverError, OwnSecrets},
};

pub use linking::{Begun, LinkError};
pub(crate) use page::{CALLBACK, DOCUMENT, callback, document};

/// How long a call waits for a token, and for the secret that one is bought with.
const TOKEN_BOUND: Duration = Duration::from_secs(30);
const SECRET_BOUND: Duration = Duration::from_secs(3);
/// How soon after one was bought a refused token is not bought again, in seconds: a server that takes none is not a reason
/// to ask for ever more of them.
const AGAIN_SECONDS: u32 = 10;
/// The most tokens held in memory at once; those in use stay.
const MAX_HELD: usize = 10_000;
/// The most authorization servers whose registration of this gateway is remembered.
const MAX_KNOWN: usize = 1_000;

/// Buys, keeps and renews tokens.
pub struct Broker {
    engine: Arc<Engine>,
    outbound: Outbound,
    oauth: oauth::Client,
    own: Own,
    secrets: Arc<OwnSecrets>,
    /// One read of a secret at a time: a file system that hangs takes one thread.
    reading: Arc<Semaphore>,
    key: MasterKey,
    /// Tokens by what they are for: a changed server or another link is another entry.
    held: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    /// What servers asked for beyond what a person lent, by account.
    wanted: Mutex<HashMap<String, Scopes>>,
    /// Who this gateway is where it registered itself, by issuer.
    known: Mutex<HashMap<String, Registration>>,
    links: linking::Links,
}

/// The token for one purpose.
#[derive(Default)]
struct Slot {
    grant: Option<Grant>,
    /// The server did not take it.
    refused: bool,
    bought: Option<Timestamp>,
    /// What to ask for beside what the server names.
    wanted: Scopes,
    /// What was asked for last.
    asked: Scopes,
}

/// Why there is no token for a call.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// This node is not set up for it.
    #[error("this node buys no tokens")]
    None,
    /// The account is not linked, or not any more.
    #[error("no usable account is linked: {0}")]
    NotLinked(&'static str),
    /// The issuer said so, or the server's metadata is not what it should be.
    #[error(transparent)]
    Oauth(#[from] OauthError),
    /// The server does not take what was just bought for it.
    #[error("the server does not take the token that was just bought for it")]
    NotTaken,
    /// It took too long.
    #[error("no token came within {} s", TOKEN_BOUND.as_secs())]
    Late,
    /// The store does not answer, so what is kept there is not at hand.
    #[error("the sealed token cannot be read")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client's key is none.
    #[error("the client's key cannot be used")]
    Key(#[from] token::KeyError),
}

impl Broker {
    /// Buys tokens as the gateway at `gateway_url`; what people lend is sealed under `key`.
    pub fn new(
        engine: Arc<Engine>,
        outbound: Outbound,
        secrets: OwnSecrets,
        key: MasterKey,
    ) -> Arc<Self> {
        let gateway = engine.issuer().gateway_url.clone();
        // Authorization servers read documents over https alone.
        let document = gateway.starts_with("https://").then(|| format!("{gateway}{DOCUMENT}"));
        let oauth = oauth::Client::new(outbound.clone(), engine.context().clone());
        Arc::new(Self {
            oauth,
            outbound,
            own: Own { document, redirect: format!("{gateway}{CALLBACK}") },
            secrets: Arc::new(secrets),
            reading: Arc::new(Semaphore::new(1)),
            key,
            held: Mutex::default(),
            wanted: Mutex::default(),
            known: Mutex::default(),
            links: linking::Links::default(),
            engine,
        })
    }

    /// A token for a server, renewed or bought where need be. Whoever waits for it may go away: what was begun ends, since
    /// a refresh token may be worth nothing once it was sent.
    ///
    /// # Errors
    /// [`DiscoverError`]; nothing was sent to the server.
    pub(crate) async fn token(
        self: &Arc<Self>,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
    ) -> Result<Secret, DiscoverError> {
        let slot = self.slot(&purpose(server, account));
        if let Ok(slot) = slot.try_lock()
            && let Some(access) = slot.usable(self.engine.context().now())
        {
            return Ok(access);
        }
        let (broker, server, account) = (self.clone(), server.clone(), account.cloned());
        let bought = tokio::spawn(async move {
            let mut slot = slot.lock_owned().await;
            broker.fill(&mut slot, &server, account.as_ref()).await
        });
        match timeout(TOKEN_BOUND, bought).await {
            Ok(Ok(token)) => token,
            Ok(Err(_)) | Err(_) => Err(BrokerError::Late.into()),
        }
    }

    /// Takes note that a server did not take a token: the next call has another one, or one that is wider. What is said of
    /// a token that is not held any more says nothing of the one that is.
    pub(crate) fn challenged(
        &self,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
        challenge: &Challenge,
    ) {
        let scopes = challenge.scopes.clone().unwrap_or_default();
        if let (Some(account), true) = (account, challenge.insufficient) {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if wanted.len() >= MAX_HELD {
                wanted.clear();
            }
            wanted.insert(account.key(), scopes);
            return;
        }
        let slot = self.slot(&purpose(server, account));
        // Whoever holds it is about to have another token.
        let Ok(mut slot) = slot.try_lock() else { return };
        if slot.fingerprint() != challenge.presented {
            return;
        }
        if !challenge.insufficient {
            slot.refused = true;
        } else if !slot.asked.covers(&scopes) {
            slot.wanted = slot.wanted.with(&scopes);
            slot.refused = true;
        }
    }

    /// Gives an account's tokens back where they came from, and forgets them. Whether that was done is told, and no reason
    /// to keep them.
    pub async fn give_back(&self, account: &AccountRecord, sealed: Option<Vec<u8>>) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&account.binding());
        let Some(sealed) = sealed else { return false };
        let server = self.engine.directory().server(&account.server);
        let key = match server.as_ref().and_then(|server| server.record.oauth.as_ref()) {
            Some(oauth) => self.client_key(oauth).await.ok().flatten(),
            None => None,
        };
        let Ok(plain) = self.key.unwrap(&account.binding(), &sealed) else { return false };
        match Grant::from_secret(&plain, key) {
            Some(grant) => self.revoke(&account.server, &grant).await,
            None => false,
        }
    }

    async fn revoke(&self, server: &model::Name, grant: &Grant) -> bool {
        self.oauth.revoke(grant).await.unwrap_or_else(|why| {
            tracing::warn!(code = "BW-2010", %server, %why, "a token could not be given back");
            false
        })
    }

    fn slot(&self, purpose: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_HELD {
            held.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        held.entry(purpose.to_owned()).or_default().clone()
    }

    async fn fill(
        self: &Arc<Self>,
        slot: &mut Slot,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
    ) -> Result<Secret, DiscoverError> {
        let oauth = server.oauth.as_ref().ok_or(BrokerError::None)?;
        if let (None, Some(account)) = (&slot.grant, account) {
            slot.grant = Some(self.opened(oauth, account).await?);
        }
        let now = self.engine.context().now();
        if let Some(access) = slot.usable(now) {
            return Ok(access);
        }
        let just = slot.bought.is_some_and(|bought| now < bought.plus_seconds(AGAIN_SECONDS));
        if slot.refused && just && slot.asked.covers(&slot.wanted) {
            return Err(BrokerError::NotTaken.into());
        }
        let grant = match (oauth.whose, account) {
            (Whose::Person, Some(account)) => self.renewed(slot, account).await?,
            (Whose::Person, None) => return Err(BrokerError::NotLinked("there is none").into()),
            (Whose::Gateway, _) => self.bought(slot, server, oauth).await?,
        };
        slot.refused = false;
        slot.bought = Some(now);
        Ok(slot.grant.insert(grant).access().clone())
    }

    /// What a person lent, as it was sealed for exactly this link.
    async fn opened(
        &self,
        oauth: &OauthRecord,
        account: &AccountRecord,
    ) -> Result<Grant, DiscoverError> {
        let sealed = self.engine.sealed_tokens(account).await;
        let sealed = sealed.map_err(|why| BrokerError::Store(why.into()))?;
        let sealed = sealed.ok_or(BrokerError::NotLinked("its sealed token is gone"))?;
        let plain = self.key.unwrap(&account.binding(), &sealed);
        let plain = plain.map_err(|_| BrokerError::NotLinked("its sealed token does not open"))?;
        let key = self.client_key(oauth).await?;
        let grant = Grant::from_secret(&plain, key);
        Ok(grant.ok_or(BrokerError::NotLinked("its sealed token cannot be read"))?)
    }

    /// Renews what a person lent. Where it is worth nothing any more the account is not linked any more.
    async fn renewed(
        &self,
        slot: &mut Slot,
        account: &AccountRecord,
    ) -> Result<Grant, BrokerError> {
        let grant = slot.grant.take().ok_or(BrokerError::NotLinked("there is none"))?;
        let server = &account.server;
        match self.oauth.refresh(grant).await {
            Ok(grant) => {
                let sealed = self.key.wrap(&account.binding(), grant.to_secret().expose());
                let kept = match sealed {
                    Ok(sealed) => self
                        .engine
                        .reseal_tokens(account, sealed)
                        .await
                        .map_err(|why| why.to_string()),
                    Err(why) => Err(why.to_string()),
                };
                if let Err(why) = kept {
                    tracing::error!(code = "BW-2011", %server, %why, "a renewed token is not kept beyond this process");
                }
                Ok(grant)
            }
            Err((_, why)) if why.ends_grant() => {
                tracing::warn!(code = "BW-2009", %server, %why, "a person's account is not linked any more");
                self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&account.issuer);
                if let Err(why) = self.engine.lose_account(account).await {
                    tracing::error!(code = "BW-2012", %server, %why, "a lost account could not be recorded");
                }
                Err(BrokerError::NotLinked("its token is over and was not renewed"))
            }
            Err((grant, why)) => {
                slot.grant = Some(grant);
                Err(why.into())
            }
        }
    }

    /// Buys a token for the gateway itself.
    async fn bought(
        &self,
        slot: &mut Slot,
        server: &ServerRecord,
        oauth: &OauthRecord,
    ) -> Result<Grant, DiscoverError> {
        let (found, challenge) = self.found(server, oauth).await?;
        let prepared = self.prepared(oauth).await?;
        let registration = self
            .oauth
            .identify(&found, prepared.as_ref(), &self.own, None)
            .await
            .map_err(BrokerError::from)?;
        let scopes = asked(oauth, &found, challenge.as_ref(), None).with(&slot.wanted);
        slot.asked = scopes.clone();
        Ok(self.oauth.by_itself(&found, registration, &scopes).await.map_err(BrokerError::from)?)
    }

    /// Who issues tokens for a server, and what it says when it is asked without one.
    async fn found(
        &self,
        server: &ServerRecord,
        oauth: &OauthRecord,
    ) -> Result<(Found, Option<Challenge>), DiscoverError> {
        let target = self.outbound.target(&server.url, server.internal)?;
        let without = Upstream::new(self.outbound.clone(), target, None, Protocol::Probe);
        let challenge = match without.list_tools().await {
            Ok(_) => None,
            Err(why) => Some(why.challenge().cloned().ok_or(why)?),
        };
        without.close().await;
        let place = Place {
            url: server.url.clone(),
            internal: server.internal,
            issuer: oauth.issuer.clone(),
            legacy: oauth.without_metadata,
        };
        let found = self.oauth.discover(&place, challenge.as_ref()).await;
        Ok((found.map_err(BrokerError::from)?, challenge))
    }

    /// The client that was registered by hand, with what it proves itself by.
    async fn prepared(&self, oauth: &OauthRecord) -> Result<Option<Prepared>, DiscoverError> {
        let (Some(client), Some(issuer)) = (&oauth.client, &oauth.issuer) else { return Ok(None) };
        let proof = match (&client.secret, self.client_key(oauth).await?) {
            (_, Some(key)) => Proof::Key(key),
            (Some(reference), None) => Proof::Secret(self.secret(reference).await?),
            (None, None) => Proof::Nothing,
        };
        Ok(Some(Prepared { issuer: issuer.clone(), id: client.id.clone(), proof }))
    }

    async fn client_key(
        &self,
        oauth: &OauthRecord,
    ) -> Result<Option<Arc<SigningKey>>, DiscoverError> {
        let key = oauth.client.as_ref().and_then(|client| client.key.as_deref());
        let Some(reference) = key else { return Ok(None) };
        let pem = self.secret(reference).await?;
        let key = SigningKey::from_pem(pem.expose_text().unwrap_or_default());
        Ok(Some(Arc::new(key.map_err(BrokerError::from)?)))
    }

    /// Reads a secret where its reference says, on a thread that may block.
    async fn secret(&self, reference: &str) -> Result<Secret, DiscoverError> {
        let late = || DiscoverError::Secret {
            reference: reference.to_owned(),
            why: format!("it did not come within {} s", SECRET_BOUND.as_secs()),
        };
        let (own, whose) = (self.secrets.clone(), reference.to_owned());
        let turn = timeout(SECRET_BOUND, self.reading.clone().acquire_owned());
        let turn = turn.await.map_err(|_| late())?.expect("the semaphore is never closed");
        let read = tokio::task::spawn_blocking(move || {
            let secret = own.resolve(&whose);
            drop(turn);
            secret
        });
        timeout(SECRET_BOUND, read).await.map_err(|_| late())?.map_err(|_| late())?
    }
}

impl Slot {
    fn usable(&self, now: Timestamp) -> Option<Secret> {
        let grant = self.grant.as_ref().filter(|grant| !self.refused && grant.is_fresh(now));
        grant.map(|grant| grant.access().clone())
    }

    /// As [`crate::outbound::Credential::fingerprint`] of the token.
    fn fingerprint(&self) -> Option<Digest> {
        self.grant.as_ref().map(|grant| sha256(&[b"Bearer ", grant.access().expose()]))
    }
}

/// What to ask for: what the server names; where it names nothing, what is configured.
fn asked(
    oauth: &OauthRecord,
    found: &Found,
    challenge: Option<&Challenge>,
    granted: Option<&Scopes>,
) -> Scopes {
    let named = found.scopes(challenge, granted);
    if named.is_empty() { oauth.scopes.iter().map(String::as_str).collect() } else { named }
}

/// What a token is for: two that agree on this are one.
fn purpose(server: &ServerRecord, account: Option<&AccountRecord>) -> String {
    match account {
        Some(account) => account.binding(),
        None => serde_json::to_string(server).unwrap_or_default(),
    }
}

impl From<TargetError> for BrokerError {
    fn from(why: TargetError) -> Self {
        Self::Oauth(OauthError::Target { url: model::Foreign::new("the server"), why })
    }
}
