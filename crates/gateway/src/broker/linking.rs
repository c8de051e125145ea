//! How a person lends an account: they are sent to consent, come back to the gateway with an answer, and say in their own
//! session the code that the page shows them. Without that last step somebody could send another person the link, and have
//! that person's account under their own name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use decide::{AccountRecord, Allowed, OauthRecord, ServerRecord};
use govern::{Consent, LinkAccount};
use model::{IdentityId, Name, Timestamp};
use token::Secret;
use tokio::time::sleep;

use super::{Broker, BrokerError, Known, asked};
use crate::{
    oauth::{Callback, Challenge, Found, Grant, OauthError, Pending, Scopes},
    upstreams::DiscoverError,
};

/// How long a person may take, from the link to the code, in seconds.
const LINK_SECONDS: u32 = 600;
/// The most people on their way at once.
const MAX_WAITING: usize = 1_000;
/// The most authorization servers whose registration of this gateway is remembered.
const MAX_KNOWN: usize = 1_000;
/// How long one is used again, in seconds: a day, where its secret does not end before.
const KNOWN_SECONDS: u32 = 86_400;
/// How many wrong codes end it.
const MAX_WRONG: u8 = 5;
/// Letters of a code: none that looks like another.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// How many letters a code has: 40 bits, for five guesses.
const CODE: usize = 8;

/// People on their way, one attempt each at a server.
#[derive(Default)]
pub(super) struct Links(Mutex<HashMap<(IdentityId, Name), Waiting>>);

struct Waiting {
    allowed: Allowed<LinkAccount>,
    /// The server's URL at the beginning.
    url: String,
    /// Names the attempt.
    link: String,
    expires: Timestamp,
    step: Step,
    wrong: u8,
}

enum Step {
    /// They are at the authorization server.
    Away(Box<Pending>),
    /// Their answer is being looked at.
    Answering,
    /// They consented, and were shown a code.
    Back { grant: Box<Grant>, code: Secret },
}

/// Where a person goes to consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The address.
    pub url: String,
    /// Who will ask them.
    pub issuer: String,
    /// For what.
    pub scopes: Vec<String>,
    /// Until when they may take.
    pub expires: Timestamp,
}

/// Why an account is not linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The server does not act for each person.
    #[error("`{0}` does not act for each person: there is no account to link")]
    NotPersonal(Name),
    /// Nobody is on their way.
    #[error(
        "no link to `{0}` waits for a code; it may be over, begin again with `bailiwick server link {0}`"
    )]
    Nothing(Name),
    /// They have not come back.
    #[error(
        "the consent has not come back yet: open the address first, then say the code that the page shows"
    )]
    NotBack,
    /// It is not the code.
    #[error("this is not the code that the page shows")]
    WrongCode,
    /// Too many at once.
    #[error("too many people are linking accounts right now; try again later")]
    Full,
    /// The server or its authorization server is not as it should be.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The library would not seal.
    #[error("the token could not be sealed")]
    Seal(#[from] token::WrapError),
}

impl Broker {
    /// Prepares a person's consent. An attempt of theirs that was under way at this server is over.
    ///
    /// # Errors
    /// [`LinkError`]
    pub async fn begin(
        self: &Arc<Self>,
        allowed: Allowed<LinkAccount>,
        server: &ServerRecord,
    ) -> Result<Begun, LinkError> {
        let LinkAccount { server: name, person } = allowed.act().clone();
        let oauth = server.oauth.as_ref().filter(|oauth| oauth.whose == decide::Whose::Person);
        let oauth = oauth.ok_or_else(|| LinkError::NotPersonal(name.clone()))?;
        let (found, challenge) = self.found(server, oauth).await?;
        let prepared = self.prepared(oauth).await?;
        let now = self.engine.context().now();
        let known = self.known().get(&found.server.issuer).cloned();
        let known = known.filter(|known| now < known.until).map(|known| known.registration);
        let registration = self
            .oauth
            .identify(&found, prepared.as_ref(), &self.own, known.as_ref())
            .await
            .map_err(refused)?;
        if prepared.is_none() && known.is_none() {
            let until = now.plus_seconds(KNOWN_SECONDS);
            let until = registration.expires.map_or(until, |expires| expires.min(until));
            let mut known = self.known();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            let issuer = registration.issuer.clone();
            known.insert(issuer, Known { registration: registration.clone(), until });
        }
        let account = self.engine.account(server, &person);
        let scopes = self.scopes_for(oauth, account.as_deref(), &found, challenge.as_ref());
        let redirect = self.own.redirect(&registration);
        let pending = self.oauth.begin(found, registration, &redirect, scopes).map_err(refused)?;
        let begun = Begun {
            url: pending.url().to_owned(),
            issuer: pending.issuer().to_owned(),
            scopes: pending.scopes().iter().map(str::to_owned).collect(),
            expires: now.plus_seconds(LINK_SECONDS),
        };
        let waiting = Waiting {
            allowed,
            url: server.url.clone(),
            link: format!(
                "{:016x}{:016x}",
                self.engine.context().random(),
                self.engine.context().random()
            ),
            expires: begun.expires,
            step: Step::Away(Box::new(pending)),
            wrong: 0,
        };
        let mut links = self.waiting(now);
        if links.len() >= MAX_WAITING {
            return Err(LinkError::Full);
        }
        if let Some(former) = links.insert((person.clone(), name.clone()), waiting) {
            self.drop_later((person, name), former);
        }
        Ok(begun)
    }

    /// What to ask a person for: what they lent before and what the server wanted since, or what it names.
    fn scopes_for(
        &self,
        oauth: &OauthRecord,
        account: Option<&AccountRecord>,
        found: &Found,
        challenge: Option<&Challenge>,
    ) -> Scopes {
        let lent = |account: &AccountRecord| account.scopes.iter().map(String::as_str).collect();
        let granted: Option<Scopes> = account.map(lent);
        let whose = |account: &AccountRecord| (account.person.clone(), account.server.clone());
        let wanted = account.and_then(|account| self.wanted().get(&whose(account)).cloned());
        asked(oauth, found, challenge, granted.as_ref()).with(&wanted.unwrap_or_default())
    }

    /// Takes what a person came back with to the address `at`, once. Returns the code that they have to say in their own session.
    ///
    /// # Errors
    /// The answer belongs to nobody on their way, or they did not consent.
    pub(super) async fn came_back(
        self: &Arc<Self>,
        at: &str,
        callback: &Callback,
    ) -> Result<(Name, String), OauthError> {
        let unknown = OauthError::Callback(
            "nobody is on their way with this `state`; it may be used or over",
        );
        let state = callback.state.as_deref().unwrap_or_default();
        let taken = {
            let mut links = self.waiting(self.engine.context().now());
            let found = links.iter_mut().find(|(_, waiting)| {
                matches!(&waiting.step, Step::Away(pending) if pending.is_answered_by(state))
            });
            found.map(|(whose, waiting)| {
                let step = std::mem::replace(&mut waiting.step, Step::Answering);
                (whose.clone(), waiting.link.clone(), step)
            })
        };
        let Some((whose, link, Step::Away(pending))) = taken else { return Err(unknown) };
        let (issuer, client) = (pending.issuer().to_owned(), pending.client().to_owned());
        match self.oauth.finish(*pending, at, callback).await {
            Ok(grant) => match self.shown_a_code(&whose, &link, grant) {
                Ok(code) => Ok((whose.1, code)),
                // Begun anew, or over, while the code was redeemed.
                Err(grant) => {
                    self.revoke(&whose.1, &grant).await;
                    Err(unknown)
                }
            },
            Err(why) => {
                if why.denies_scope() {
                    // The next attempt asks for what the server names by itself.
                    self.wanted().remove(&whose);
                }
                if why.forgets_client() {
                    self.forget_client(&issuer, &client);
                }
                let mut links = self.waiting(self.engine.context().now());
                if links.get(&whose).is_some_and(|waiting| waiting.link == link) {
                    links.remove(&whose);
                }
                Err(why)
            }
        }
    }

    /// Keeps what somebody consented to until they say the code, where their attempt is still the same.
    fn shown_a_code(
        self: &Arc<Self>,
        whose: &(IdentityId, Name),
        link: &str,
        grant: Grant,
    ) -> Result<String, Box<Grant>> {
        let grant = Box::new(grant);
        let mut links = self.waiting(self.engine.context().now());
        let Some(waiting) = links.get_mut(whose).filter(|waiting| waiting.link == link) else {
            return Err(grant);
        };
        let code = self.code();
        waiting.step = Step::Back { grant, code: Secret::new(code.clone()) };
        // Nobody may come by again to notice that it was never said.
        let broker = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(Duration::from_secs(LINK_SECONDS.into())).await;
            if let Some(broker) = broker.upgrade() {
                drop(broker.waiting(broker.engine.context().now()));
            }
        });
        Ok(code)
    }

    /// Ends an attempt: by the code that the person saw, what they consented to becomes their account, sealed.
    ///
    /// # Errors
    /// [`LinkError`]; five wrong codes end the attempt.
    pub fn confirm(
        self: &Arc<Self>,
        person: &IdentityId,
        server: &Name,
        said: &str,
    ) -> Result<(Allowed<LinkAccount>, AccountRecord, Vec<u8>), LinkError> {
        let said: String = said
            .chars()
            .filter(|letter| *letter != '-' && *letter != ' ')
            .collect::<String>()
            .to_ascii_uppercase();
        let whose = (person.clone(), server.clone());
        let (waiting, grant) = {
            let mut links = self.waiting(self.engine.context().now());
            let nothing = || LinkError::Nothing(server.clone());
            let waiting = links.get_mut(&whose).ok_or_else(nothing)?;
            let Step::Back { code, .. } = &waiting.step else { return Err(LinkError::NotBack) };
            if !code.matches(said.as_bytes()) {
                waiting.wrong += 1;
                if waiting.wrong >= MAX_WRONG
                    && let Some(over) = links.remove(&whose)
                {
                    self.drop_later(whose.clone(), over);
                }
                return Err(LinkError::WrongCode);
            }
            let mut waiting = links.remove(&whose).ok_or_else(nothing)?;
            match std::mem::replace(&mut waiting.step, Step::Answering) {
                Step::Back { grant, .. } => (waiting, grant),
                _ => return Err(LinkError::NotBack),
            }
        };
        let consent = Consent {
            url: waiting.url,
            issuer: grant.issuer().to_owned(),
            scopes: grant.scopes().iter().map(str::to_owned).collect(),
            link: waiting.link,
        };
        let account = consent.account(server.clone(), person.clone());
        let sealed = self.key.wrap(&account.binding(), grant.to_secret().expose())?;
        self.wanted().remove(&whose);
        Ok((waiting.allowed, account, sealed))
    }

    /// Everybody on their way whose time is not over. What others consented to and did not confirm is given back.
    fn waiting(
        self: &Arc<Self>,
        now: Timestamp,
    ) -> MutexGuard<'_, HashMap<(IdentityId, Name), Waiting>> {
        let mut links = self.links.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (whose, over) in links.extract_if(|_, waiting| waiting.expires <= now) {
            self.drop_later(whose, over);
        }
        links
    }

    /// Ends all attempts.
    pub(super) fn drop_links(self: &Arc<Self>) {
        let mut links = self.waiting(self.engine.context().now());
        for (whose, over) in links.drain() {
            self.drop_later(whose, over);
        }
    }

    /// Gives back what an attempt that is over has brought, without anybody's waiting for it.
    fn drop_later(self: &Arc<Self>, whose: (IdentityId, Name), over: Waiting) {
        match over.step {
            Step::Back { grant, .. } => {
                let broker = self.clone();
                self.tasks.spawn(async move { broker.revoke(&whose.1, &grant).await });
            }
            // From there nobody came back. It may be that the client is not known there any more, or that more was asked
            // for than is given: the next attempt does without.
            Step::Away(pending) => {
                self.forget_client(pending.issuer(), pending.client());
                self.wanted().remove(&whose);
            }
            Step::Answering => {}
        }
    }

    fn code(&self) -> String {
        let bits = self.engine.context().random();
        let letter = |at: usize| char::from(LETTERS[(bits >> (5 * at)) as usize & 31]);
        (0..CODE).map(letter).collect()
    }
}

fn refused(why: OauthError) -> LinkError {
    DiscoverError::from(BrokerError::from(why)).into()
}
