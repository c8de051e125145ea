//! The tokens that servers behind the gateway want: bought for the gateway itself, or lent by the person for whom a call is
//! made. Each is for one server's URL; the agent never sees one, and its own token never goes there.
//!
//! What a person lent is kept sealed under a key of its own, bound to the person, the server, its URL and this one link.

mod linking;
mod page;
mod slot;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use decide::{AccountRecord, Engine, OauthRecord, ServerRecord, Whose};
use model::{IdentityId, Name, Timestamp};
use token::{MasterKey, Secret, SigningKey};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::{
    oauth::{
        self, Challenge, Found, Grant, OauthError, Own, Place, Prepared, Proof, Registration,
        Scopes,
    },
    outbound::{Outbound, TargetError},
    secrets::{OwnSecrets, Secrets},
    upstream::{Protocol, Upstream},
    upstreams::DiscoverError,
};

use slot::Slot;

pub use linking::{Begun, LinkError};
use page::BACK;
pub(crate) use page::{CALLBACK, DOCUMENT, callback, document};

/// How long a call waits for a token.
const TOKEN_BOUND: Duration = Duration::from_secs(30);
/// How long what was begun may take where somebody waits for its end: longer than one request to an authorization server.
const END_BOUND: Duration = Duration::from_secs(15);
/// The most tokens held in memory at once; those in use stay.
const MAX_HELD: usize = 10_000;

/// Buys, keeps and renews tokens.
pub struct Broker {
    engine: Arc<Engine>,
    outbound: Outbound,
    oauth: oauth::Client,
    own: Own,
    secrets: Arc<Secrets>,
    key: MasterKey,
    /// Tokens by what they are for: a changed server or another link is another entry.
    held: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    /// What servers asked for beyond what a person lent.
    wanted: Mutex<HashMap<(IdentityId, Name), Scopes>>,
    /// Who this gateway is where it registered itself, by issuer.
    known: Mutex<HashMap<String, Known>>,
    links: linking::Links,
    /// What was begun at authorization servers and has to be heard to its end.
    tasks: TaskTracker,
}

/// Who this gateway is at an authorization server that registered it.
#[derive(Clone)]
struct Known {
    registration: Registration,
    /// When it registers itself anew.
    until: Timestamp,
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
    /// There was none a moment ago, and nobody was asked again.
    #[error("a moment ago: {0}")]
    Lately(String),
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
            own: Own { document, callback: format!("{gateway}{BACK}") },
            secrets: Secrets::new(secrets),
            key,
            held: Mutex::default(),
            wanted: Mutex::default(),
            known: Mutex::default(),
            links: linking::Links::default(),
            tasks: TaskTracker::new(),
            engine,
        })
    }

    /// Where an issuer has to send people back to, to a client that was registered there by hand.
    pub fn callback(&self, issuer: &str) -> String {
        self.own.redirect_from(issuer)
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
        let until = Instant::now() + TOKEN_BOUND;
        // Who waits for a turn goes away with the call; only what has begun goes on without it.
        let slot = timeout_at(until, self.slot(&purpose(server, account)).lock_owned());
        let mut slot = slot.await.map_err(|_| BrokerError::Late)?;
        if let Some(known) = slot.known(self.engine.context().now()) {
            return Ok(known?);
        }
        let (broker, server, account) = (self.clone(), server.clone(), account.cloned());
        let filled = self.tasks.spawn(async move {
            let filled = broker.filled(&mut slot, &server, account.as_ref()).await;
            slot.ended(&filled, broker.engine.context().now());
            filled
        });
        match timeout_at(until, filled).await {
            Ok(Ok(token)) => token,
            Ok(Err(_)) | Err(_) => Err(BrokerError::Late.into()),
        }
    }

    /// Whether an account may be used at this moment: whoever waited for its token may have waited long.
    ///
    /// # Errors
    /// [`BrokerError::NotLinked`]
    pub(crate) fn may_use(
        &self,
        server: &ServerRecord,
        account: &AccountRecord,
    ) -> Result<(), BrokerError> {
        self.engine.may_use(server, account).map_err(BrokerError::NotLinked)
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
            let mut wanted = self.wanted();
            if wanted.len() >= MAX_HELD {
                wanted.clear();
            }
            wanted.insert((account.person.clone(), account.server.clone()), scopes);
            return;
        }
        let slot = self.slot(&purpose(server, account));
        // Whoever holds it is about to have another token.
        let Ok(mut slot) = slot.try_lock() else { return };
        if slot.fingerprint() != challenge.presented {
            return;
        }
        if challenge.insufficient {
            slot.want(&scopes, self.engine.context().now());
        } else {
            slot.refuse();
        }
    }

    /// Gives an account's tokens back where they came from, and forgets them. Whether that was done is told, and no reason
    /// to keep them.
    pub(crate) async fn give_back(&self, account: &AccountRecord, sealed: Option<Vec<u8>>) -> bool {
        let slot = self.held().remove(&account.binding());
        let (held, quiet) = match &slot {
            None => (None, true),
            // What is being renewed is worth more than what was sealed, which may be dead by now. Where that takes too
            // long, whoever renews it finds that it was taken back.
            Some(slot) => match timeout(END_BOUND, slot.lock()).await {
                Ok(mut slot) => (std::mem::take(&mut *slot).grant, true),
                Err(_) => (None, false),
            },
        };
        let sealed = || Grant::from_secret(&self.key.unwrap(&account.binding(), &sealed?).ok()?);
        let Some(grant) = held.or_else(sealed) else { return false };
        self.tasks.track_future(self.revoke(&account.server, &grant)).await && quiet
    }

    /// Gives back what people consented to and did not confirm, and waits until what was begun at authorization servers has
    /// ended, a bounded time: an answer that nobody hears may hold the only refresh token that is still good.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.drop_links();
        self.tasks.close();
        let ended = async {
            self.seal_all().await;
            self.tasks.wait().await;
        };
        if timeout(END_BOUND, ended).await.is_err() {
            tracing::warn!(code = "BW-2014", "tokens were still being renewed or given back");
        }
    }

    /// Tries once more to keep what the store did not take.
    async fn seal_all(&self) {
        let held: Vec<_> = self.held().values().cloned().collect();
        for slot in held {
            if let Ok(mut slot) = slot.try_lock() {
                // Whoever took it back has said so.
                let _ = self.seal(&mut slot).await;
            }
        }
    }

    async fn revoke(&self, server: &Name, grant: &Grant) -> bool {
        let record = self.engine.directory().server(server).map(|server| server.record);
        let oauth = record.as_ref().and_then(|record| record.oauth.as_ref());
        let revoked = async {
            let prepared = match oauth {
                Some(oauth) => self.prepared(oauth).await?,
                None => None,
            };
            Ok(self.oauth.revoke(grant, prepared.as_ref()).await.map_err(BrokerError::from)?)
        };
        revoked.await.unwrap_or_else(|why: DiscoverError| {
            tracing::warn!(code = "BW-2010", %server, %why, "a token could not be given back");
            false
        })
    }

    fn slot(&self, purpose: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut held = self.held();
        if held.len() >= MAX_HELD {
            held.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.try_lock().is_ok_and(|slot| slot.unsealed.is_some())
            });
        }
        held.entry(purpose.to_owned()).or_default().clone()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Slot>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers anew the next time, where this is the client that is known there.
    fn forget_client(&self, issuer: &str, client: &str) {
        let mut known = self.known();
        if known.get(issuer).is_some_and(|known| known.registration.id == client) {
            known.remove(issuer);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<(IdentityId, Name), Scopes>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn filled(
        self: &Arc<Self>,
        slot: &mut Slot,
        server: &ServerRecord,
        account: Option<&AccountRecord>,
    ) -> Result<Secret, DiscoverError> {
        let oauth = server.oauth.as_ref().ok_or(BrokerError::None)?;
        match (oauth.whose, account) {
            (Whose::Person, Some(account)) => self.lent(slot, oauth, account).await,
            (Whose::Person, None) => Err(BrokerError::NotLinked("there is none").into()),
            (Whose::Gateway, _) => self.own(slot, server, oauth).await,
        }
    }

    /// The token that a person lent, opened or renewed where need be.
    async fn lent(
        &self,
        slot: &mut Slot,
        oauth: &OauthRecord,
        account: &AccountRecord,
    ) -> Result<Secret, DiscoverError> {
        self.seal(slot).await?;
        let grant = match slot.grant.take() {
            Some(grant) => grant,
            None => self.opened(account).await?,
        };
        slot.grant = Some(grant);
        let now = self.engine.context().now();
        if let Some(access) = slot.access(now) {
            return Ok(access);
        }
        if slot.is_refused_at_once(now) {
            return Err(BrokerError::NotTaken.into());
        }
        let prepared = self.prepared(oauth).await?;
        let Some(grant) = slot.grant.take() else {
            return Err(BrokerError::NotLinked("there is none").into());
        };
        match self.oauth.refresh(grant, prepared.as_ref()).await {
            Ok(grant) => {
                let access = slot.fill(grant, now);
                slot.unsealed = Some(account.clone());
                self.seal(slot).await?;
                Ok(access)
            }
            Err((grant, why)) => {
                let given = oauth.client.is_none();
                Ok(self.not_renewed(slot, account, (grant, given), why).await?)
            }
        }
    }

    /// What a person lent, as it was sealed for exactly this link.
    async fn opened(&self, account: &AccountRecord) -> Result<Grant, BrokerError> {
        let sealed = self.engine.sealed_tokens(account).await;
        let sealed = sealed.map_err(|why| BrokerError::Store(why.into()))?;
        let sealed = sealed.ok_or(BrokerError::NotLinked("its sealed token is gone"))?;
        let plain = self.key.unwrap(&account.binding(), &sealed);
        let plain = plain.map_err(|_| BrokerError::NotLinked("its sealed token does not open"))?;
        Grant::from_secret(&plain).ok_or(BrokerError::NotLinked("its sealed token cannot be read"))
    }

    /// Keeps a renewed token beyond this process. Where the store does not take it, that is tried again at its next use.
    /// What was taken back meanwhile is given back: nobody else has it.
    async fn seal(&self, slot: &mut Slot) -> Result<(), BrokerError> {
        let (Some(account), Some(grant)) = (&slot.unsealed, &slot.grant) else { return Ok(()) };
        let server = account.server.clone();
        let sealed = self.key.wrap(&account.binding(), grant.to_secret().expose());
        let kept = match sealed {
            Ok(sealed) => {
                self.engine.reseal_tokens(account, sealed).await.map_err(|why| why.to_string())
            }
            Err(why) => Err(why.to_string()),
        };
        match kept {
            Ok(true) => slot.unsealed = None,
            Ok(false) => {
                if let Some(grant) = std::mem::take(slot).grant {
                    self.revoke(&server, &grant).await;
                }
                return Err(BrokerError::NotLinked("it was taken back"));
            }
            Err(why) => {
                tracing::error!(code = "BW-2011", %server, %why, "a renewed token is not kept beyond this process");
            }
        }
        Ok(())
    }

    /// What is left of a token that was not renewed. Where it is worth nothing any more the account is not linked any more.
    /// `given` says whether the client is one that the issuer gave, so that nobody but the person can do something about it.
    async fn not_renewed(
        &self,
        slot: &mut Slot,
        account: &AccountRecord,
        (grant, given): (Grant, bool),
        why: OauthError,
    ) -> Result<Secret, BrokerError> {
        let server = &account.server;
        let nothing_to_renew = matches!(why, OauthError::NoRefresh);
        if why.ends_grant() || nothing_to_renew && grant.is_over(self.engine.context().now()) {
            tracing::warn!(code = "BW-2009", %server, %why, "a person's account is not linked any more");
            if let Err(why) = self.engine.lose_account(account).await {
                tracing::error!(code = "BW-2012", %server, %why, "a lost account could not be recorded");
            }
            return Err(BrokerError::NotLinked("its token is over and was not renewed"));
        }
        let grant = slot.grant.insert(grant);
        match why {
            // It has not ended: it is shown as long as the server takes it, and again after a while where that did not.
            OauthError::NoRefresh => {
                let access = grant.access().clone();
                match slot.present_again() {
                    false => Ok(access),
                    true => Err(BrokerError::NotLinked("its token is not taken, nor renewed")),
                }
            }
            OauthError::OtherClient(_) => {
                Err(BrokerError::NotLinked("it was lent to another client than is configured"))
            }
            why if given && why.forgets_client() => {
                self.forget_client(grant.issuer(), grant.client());
                Err(BrokerError::NotLinked("its issuer does not know this gateway any more"))
            }
            why => Err(why.into()),
        }
    }

    /// The gateway's own token, bought or widened where need be.
    async fn own(
        &self,
        slot: &mut Slot,
        server: &ServerRecord,
        oauth: &OauthRecord,
    ) -> Result<Secret, DiscoverError> {
        let now = self.engine.context().now();
        if slot.is_refused_at_once(now) {
            return Err(BrokerError::NotTaken.into());
        }
        let widens = slot.begin(now);
        match (self.bought(slot, server, oauth).await, slot.access(now)) {
            (Ok(grant), _) => Ok(slot.fill(grant, now)),
            // The one that is there is as good as before for all that it was good for.
            (Err(why), Some(access)) if widens => {
                tracing::warn!(code = "BW-2015", server = %server.name, %why, "a wider token could not be bought");
                Ok(access)
            }
            (Err(why), _) => Err(why),
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
        let named = asked(oauth, &found, challenge.as_ref(), None);
        loop {
            let scopes = slot.scopes(&named);
            match self.oauth.by_itself(&found, registration.clone(), &scopes).await {
                Ok(grant) => {
                    slot.given(scopes);
                    return Ok(grant);
                }
                Err(why) if why.denies_scope() && slot.deny() => {}
                Err(why) => return Err(BrokerError::from(why).into()),
            }
        }
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
            (Some(reference), None) => Proof::Secret(self.secrets.read(reference).await?),
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
        let pem = self.secrets.read(reference).await?;
        let key = SigningKey::from_pem(pem.expose_text().unwrap_or_default());
        Ok(Some(Arc::new(key.map_err(BrokerError::from)?)))
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
