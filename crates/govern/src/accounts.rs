use std::sync::{Arc, Mutex, PoisonError};

use decide::{AccountRecord, AccountState, Act, Allowed, Directory, Engine, ServerRecord};
use model::{IdentityId, Name, Verb, ijson::Json};
use store::{Expect, Row};

use crate::{Error, agents::json};

/// Lends one's account at a server to this gateway, which then acts there with it.
#[derive(Debug, Clone)]
pub struct LinkAccount {
    /// The server.
    pub server: Name,
    /// Whose account: the caller's.
    pub person: IdentityId,
}

impl Act for LinkAccount {
    fn verb(&self) -> Verb {
        Verb::Create
    }

    fn target(&self) -> (&'static str, String) {
        ("LinkedAccount", format!("{}/{}", self.server, self.person))
    }

    fn owner(&self, _: &Directory, _: &IdentityId) -> Option<IdentityId> {
        Some(self.person.clone())
    }

    fn shown(&self) -> Json {
        Json::object([("person", json(&self.person)), ("server", json(&self.server))])
    }
}

/// What an authorization server has given for an account.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Where its token goes, which was the server's URL when the person consented.
    pub url: String,
    /// Who gave it.
    pub issuer: String,
    /// For what.
    pub scopes: Vec<String>,
    /// Names this link.
    pub link: String,
}

impl Consent {
    /// The account that a consent makes.
    pub fn account(self, server: Name, person: IdentityId) -> AccountRecord {
        let Self { url, issuer, scopes, link } = self;
        AccountRecord { server, person, url, issuer, scopes, link, state: AccountState::Linked }
    }
}

/// Links an account, in place of one that was linked before. `sealed` opens for exactly this record.
///
/// # Errors
/// The server is gone or has moved meanwhile, the account is somebody else's, or the store fails.
pub async fn link_account(
    engine: &Arc<Engine>,
    allowed: Allowed<LinkAccount>,
    account: AccountRecord,
    sealed: Vec<u8>,
) -> Result<(), Error> {
    let LinkAccount { server, person } = allowed.act().clone();
    if account.person != person || account.server != server || allowed.caller().person != person {
        return Err(Error::NotYours("only the person whose account it is links it".to_owned()));
    }
    engine
        .change(&allowed, move |changes| {
            let known: Option<Row<ServerRecord>> = changes.get(server.as_str())?;
            if known.is_none_or(|known| known.value.url != account.url) {
                let why = format!("`{server}` has moved while you consented; link it again");
                return Err(Error::Conflict(why));
            }
            changes.keep_sealed(&account.key(), &sealed)?;
            Ok(changes.put(&account, Expect::Any, true)?)
        })
        .await
}

/// Takes an account back.
#[derive(Debug, Clone)]
pub struct UnlinkAccount {
    /// The server.
    pub server: Name,
    /// Whose account.
    pub person: IdentityId,
}

impl Act for UnlinkAccount {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("LinkedAccount", format!("{}/{}", self.server, self.person))
    }

    fn owner(&self, _: &Directory, _: &IdentityId) -> Option<IdentityId> {
        Some(self.person.clone())
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn shown(&self) -> Json {
        Json::object([("person", json(&self.person)), ("server", json(&self.server))])
    }
}

/// An account that was taken back, with what was sealed for it.
#[derive(Debug, Clone)]
pub struct TakenBack {
    /// The account.
    pub account: AccountRecord,
    /// Its tokens, which nobody has any more.
    pub sealed: Option<Vec<u8>>,
}

/// Takes an account back; it is in force at once, and cuts the calls that use it. Returns what was sealed, to be given back
/// where it came from, whatever becomes of the change: nothing is kept that its person wanted gone.
///
/// The second value says why it is not in force, where it is not: there is no such account, or store or ledger fail.
pub async fn unlink_account(
    engine: &Arc<Engine>,
    allowed: Allowed<UnlinkAccount>,
) -> (Option<TakenBack>, Result<(), Error>) {
    let UnlinkAccount { server, person } = allowed.act().clone();
    let taken = Arc::new(Mutex::new(None));
    let noted = taken.clone();
    let changed = engine
        .change(&allowed, move |changes| {
            let key = format!("{server}/{person}");
            let row: Option<Row<AccountRecord>> = changes.get(&key)?;
            let row = row.filter(|row| row.value.state == AccountState::Linked);
            let row = row.ok_or_else(|| Error::NotFound { kind: "account", name: key.clone() })?;
            let sealed = changes.sealed(&key)?;
            changes.drop_sealed(&key)?;
            let record = AccountRecord { state: AccountState::Unlinked, ..row.value.clone() };
            changes.put(&record, Expect::Version(row.version), false)?;
            let taken = TakenBack { account: row.value, sealed };
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            Ok(())
        })
        .await;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    (taken, changed)
}
