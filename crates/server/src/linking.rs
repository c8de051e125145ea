//! Lending accounts at upstream servers: what the handlers need of the gateway, which this crate must not know.

use decide::{AccountRecord, Allowed, ServerRecord};
use futures_util::future::BoxFuture;
use govern::LinkAccount;
use model::{IdentityId, Name, Timestamp};

use crate::problem::{Fault, Problem};

/// Sends people to consent at the authorization servers of upstream servers.
pub trait Linking: Send + Sync {
    /// Prepares a consent that was allowed.
    fn begin(
        &self,
        allowed: Allowed<LinkAccount>,
        server: ServerRecord,
    ) -> BoxFuture<'_, Result<Begun, NotLinked>>;

    /// What a person consented to, by the code that they were shown.
    fn confirm(
        &self,
        person: IdentityId,
        server: Name,
        code: String,
    ) -> BoxFuture<'_, Result<Linked, NotLinked>>;

    /// Where an issuer has to send people back to, to a client that was registered there by hand.
    fn callback(&self, issuer: &str) -> String;

    /// Gives tokens back where they came from; whether that was done.
    fn give_back(&self, account: AccountRecord, sealed: Option<Vec<u8>>) -> BoxFuture<'_, bool>;
}

/// Where a person goes to consent.
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

/// An account as it was consented to.
pub struct Linked {
    /// The decision that the consent was prepared by.
    pub allowed: Allowed<LinkAccount>,
    /// The account.
    pub account: AccountRecord,
    /// Its tokens, sealed for exactly this account.
    pub sealed: Vec<u8>,
}

/// Why an account is not linked, in words for whoever asked.
#[derive(Debug)]
pub enum NotLinked {
    /// The server has no accounts to link.
    Invalid(String),
    /// It is not the moment, or not the code.
    Conflict(String),
    /// The server or its authorization server is not as it should be.
    Upstream(String),
}

impl From<NotLinked> for Problem {
    fn from(why: NotLinked) -> Self {
        match why {
            NotLinked::Invalid(why) => Self::new(Fault::Invalid, why),
            NotLinked::Conflict(why) => Self::new(Fault::Conflict, why),
            NotLinked::Upstream(why) => Self::new(Fault::Upstream, why),
        }
    }
}
