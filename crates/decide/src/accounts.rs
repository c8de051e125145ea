//! Accounts that people have at servers behind the gateway: whose token a call takes there, and what is kept of it.
//!
//! The tokens themselves are sealed before they come here and opened after they leave; the key is the gateway's.

use std::sync::Arc;

use model::{ActionId, IdentityId, Name};
use serde::{Deserialize, Serialize};
use store::Expect;

use crate::{
    authenticate::Caller,
    engine::Engine,
    governance::NotInForce,
    records::ServerRecord,
    refusal::{Code, Refusal},
    stop::Touches,
};

/// How tokens for a protected server are bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthRecord {
    /// Whose they are.
    pub whose: Whose,
    /// The one issuer that is believed, where it is not the first that the server names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The client that was registered for this gateway by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<OauthClient>,
    /// What to ask for, where the server does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whether the server is one of MCP 2025-03-26, which publishes no protected resource metadata.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_metadata: bool,
}

/// Whose token a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// That of the person for whom the call is made, who linked their account.
    Person,
    /// The gateway's own, the same for everybody.
    Gateway,
}

/// A client that was registered by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    /// Its client id.
    pub id: String,
    /// Where its secret is: `env:NAME` or `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Where its private key is (PKCS#8 in PEM), likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One person's account at one server, as they linked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRecord {
    /// The server.
    pub server: Name,
    /// Whose account it is.
    pub person: IdentityId,
    /// The server's URL when it was linked: the token is for that alone.
    pub url: String,
    /// Who issued the token.
    pub issuer: String,
    /// What the person consented to, as far as the issuer says.
    pub scopes: Vec<String>,
    /// Names this link, so that what is sealed for another one does not open.
    pub link: String,
    /// Whether it is linked; the record is kept when it is not any more, so that no older row can come back.
    pub state: AccountState,
}

/// Where an account is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Its token is used.
    Linked,
    /// Its person, or who governs, took it back.
    Unlinked,
    /// Its token is over, and its issuer does not renew it.
    Lost,
}

/// The key of a person's account at a server.
pub(crate) fn account_key(server: &Name, person: &IdentityId) -> String {
    format!("{server}/{person}")
}

impl OauthRecord {
    /// Whether it can ever buy a token.
    ///
    /// # Errors
    /// What is missing or contradicts itself.
    pub fn check(&self) -> Result<(), &'static str> {
        let client = self.client.as_ref();
        let proof = client.map(|client| (client.secret.is_some(), client.key.is_some()));
        match (self.whose, proof) {
            (_, Some((true, true))) => {
                Err("a client proves itself by a secret or by a key, not by both")
            }
            (_, Some(_)) if self.issuer.is_none() => {
                Err("a client belongs to one issuer: name it, so that its secret goes nowhere else")
            }
            (Whose::Gateway, None | Some((false, false))) => {
                Err("the gateway's own token needs a client with a secret or a key")
            }
            _ => Ok(()),
        }
    }
}

impl AccountRecord {
    /// Its key, under which its sealed tokens are kept, too.
    pub fn key(&self) -> String {
        account_key(&self.server, &self.person)
    }

    /// What its sealed tokens are bound to: nothing that was sealed for another person, server, address or link opens.
    pub fn binding(&self) -> String {
        let Self { server, person, url, issuer, link, .. } = self;
        let parts = [server.as_str(), &person.to_string(), url, issuer, link];
        format!("account/v1/{}", serde_json::Value::from(parts.map(str::to_owned).to_vec()))
    }
}

impl Engine {
    /// The account that a call takes, where its server wants one.
    ///
    /// # Errors
    /// [`Code::AccountNotLinked`]: the person has none, or the server has moved since.
    pub(crate) fn account_for(
        &self,
        server: &ServerRecord,
        caller: &Caller,
        action: ActionId,
    ) -> Result<Option<Arc<AccountRecord>>, Refusal> {
        if server.oauth.as_ref().is_none_or(|oauth| oauth.whose != Whose::Person) {
            return Ok(None);
        }
        match self.account(server, &caller.person) {
            Some(account) => Ok(Some(account)),
            None => Err(self.not_linked(&server.name, &caller.person, action)),
        }
    }

    /// The account by which a person looks at a server themselves.
    ///
    /// # Errors
    /// As [`Engine::attempt`], where the server wants one.
    pub fn account_of(
        &self,
        server: &ServerRecord,
        caller: &Caller,
    ) -> Result<Option<Arc<AccountRecord>>, Refusal> {
        self.account_for(server, caller, self.context.id())
    }

    /// The account that a person has linked at a server, where it is for the server as it is now: its URL, and its issuer
    /// where one is configured.
    pub fn account(
        &self,
        server: &ServerRecord,
        person: &IdentityId,
    ) -> Option<Arc<AccountRecord>> {
        let account = self.directory.account(&account_key(&server.name, person))?;
        let issuer = server.oauth.as_ref().and_then(|oauth| oauth.issuer.as_ref());
        let same_issuer = issuer.is_none_or(|issuer| *issuer == account.issuer);
        (account.url == server.url && same_issuer).then_some(account)
    }

    /// Whether the token of an account may be shown to a server at this moment: it is still what is linked there, its person
    /// is active, and no stop halts the server.
    ///
    /// # Errors
    /// Why not.
    pub fn may_use(
        &self,
        server: &ServerRecord,
        account: &AccountRecord,
    ) -> Result<(), &'static str> {
        if self.account(server, &account.person).is_none_or(|linked| *linked != *account) {
            return Err("it was taken back");
        }
        if !self.directory.person(&account.person).is_some_and(|known| known.person.active) {
            return Err("its person is not active");
        }
        let person = Some(account.person.clone());
        let touches = Touches { person, system: Some(server.name.clone()), ..Touches::default() };
        self.stops.halts(&touches).map_or(Ok(()), |_| Err("the server is stopped"))
    }

    /// What whoever lacks an account is told.
    pub fn not_linked(&self, server: &Name, person: &IdentityId, action: ActionId) -> Refusal {
        let known = self.directory.person(person);
        let who = known.map_or_else(|| person.to_string(), |it| it.person.handle.to_string());
        let reason =
            format!("`{who}` has linked no account at `{server}`, which acts for each person");
        let next = format!("Ask `{who}` to run `bailiwick server link {server}`, then call again.");
        Refusal { next, ..Refusal::new(action, Code::AccountNotLinked, reason) }
    }

    /// The sealed tokens of an account.
    ///
    /// # Errors
    /// The store fails.
    pub async fn sealed_tokens(
        &self,
        account: &AccountRecord,
    ) -> Result<Option<Vec<u8>>, store::Error> {
        let key = account.key();
        self.store.read(move |view| view.sealed_bytes(&key)).await
    }

    /// Keeps renewed tokens, where the account is still linked as it was; whether it is.
    ///
    /// # Errors
    /// The store fails.
    pub async fn reseal_tokens(
        &self,
        account: &AccountRecord,
        bytes: Vec<u8>,
    ) -> Result<bool, store::Error> {
        let account = account.clone();
        self.store
            .write(move |tx| {
                let row = tx.get::<AccountRecord>(&account.key())?;
                let linked = row.is_some_and(|row| row.value == account);
                if linked {
                    tx.keep_sealed(&account.key(), &bytes)?;
                }
                Ok(linked)
            })
            .await
    }

    /// Takes an account out of force whose tokens are worth nothing any more. Nobody has to allow it: it only takes away.
    ///
    /// # Errors
    /// [`NotInForce`]
    pub async fn lose_account(self: &Arc<Self>, account: &AccountRecord) -> Result<(), NotInForce> {
        let account = account.clone();
        self.change_unasked(move |changes| {
            let row = changes.get::<AccountRecord>(&account.key())?;
            if row.is_none_or(|row| row.value != account) {
                return Ok(()); // linked anew meanwhile, or gone
            }
            let lost = AccountRecord { state: AccountState::Lost, ..account.clone() };
            changes.drop_sealed(&account.key())?;
            match changes.put(&lost, Expect::Any, false) {
                Ok(()) => Ok(()),
                Err(store::PutError::Store(why)) => Err(why.into()),
                Err(_) => Ok(()),
            }
        })
        .await
    }
}
