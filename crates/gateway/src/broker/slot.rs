//! The token for one purpose, and what is remembered of buying it.

use decide::{AccountRecord, sha256};
use model::{Digest, Timestamp};
use token::Secret;

use super::BrokerError;
use crate::{
    oauth::{Grant, Scopes},
    upstreams::DiscoverError,
};

/// How soon nothing is asked for again, in seconds: after a failure, after a token that the server did not take, and after
/// a wider one. Nobody who takes none, or wants ever more, is a reason to ask for ever.
const AGAIN_SECONDS: u32 = 10;

/// The token for one purpose.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) grant: Option<Grant>,
    /// The account whose renewed token is only here so far: the store did not take it.
    pub(super) unsealed: Option<AccountRecord>,
    /// The server did not take the token.
    refused: bool,
    bought: Option<Timestamp>,
    failed: Option<Failed>,
    /// What to ask for beside what the server names.
    wanted: Scopes,
    /// Whether there is something new among that.
    widen: bool,
    widened: Option<Timestamp>,
    /// What was asked for last, and given.
    asked: Scopes,
    /// What was asked for and is not given; forgotten when the token is bought anew.
    denied: Scopes,
}

/// Why there was no token the last time.
struct Failed {
    at: Timestamp,
    why: String,
    /// Whose account it is has to do something about it.
    unlinked: Option<&'static str>,
}

impl Slot {
    /// What needs nobody to be asked: a good token, or why there was none a moment ago.
    pub(super) fn known(&self, now: Timestamp) -> Option<Result<Secret, BrokerError>> {
        if self.unsealed.is_some() {
            return None;
        }
        if let Some(failed) = self.failed.as_ref().filter(|failed| is_recent(failed.at, now)) {
            return Some(Err(match failed.unlinked {
                Some(why) => BrokerError::NotLinked(why),
                None => BrokerError::Lately(failed.why.clone()),
            }));
        }
        (!self.widen).then(|| self.access(now)).flatten().map(Ok)
    }

    /// The token, where it can be presented.
    pub(super) fn access(&self, now: Timestamp) -> Option<Secret> {
        let grant = self.grant.as_ref().filter(|grant| !self.refused && grant.is_fresh(now));
        grant.map(|grant| grant.access().clone())
    }

    /// Whether the server did not take what was just bought for it.
    pub(super) fn is_refused_at_once(&self, now: Timestamp) -> bool {
        self.refused && self.bought.is_some_and(|bought| is_recent(bought, now))
    }

    /// Keeps what was bought.
    pub(super) fn fill(&mut self, grant: Grant, now: Timestamp) -> Secret {
        (self.refused, self.bought) = (false, Some(now));
        self.grant.insert(grant).access().clone()
    }

    /// Notes how it ended.
    pub(super) fn ended(&mut self, with: &Result<Secret, DiscoverError>, now: Timestamp) {
        let failed = |why: &DiscoverError| Failed {
            at: now,
            why: why.to_string(),
            unlinked: match why {
                DiscoverError::Token(BrokerError::NotLinked(why)) => Some(why),
                _ => None,
            },
        };
        let lasts = |why: &&DiscoverError| {
            // The store is this node's own: it is no use to wait once it is back.
            !matches!(why, DiscoverError::Token(BrokerError::Store(_)))
        };
        self.failed = with.as_ref().err().filter(lasts).map(failed);
    }

    /// Notes that the server did not take a token.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Lets a token be presented again that the server did not take and that nobody can renew.
    pub(super) fn present_again(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Notes scopes that the server wants, where they may be given.
    pub(super) fn want(&mut self, scopes: &Scopes, now: Timestamp) {
        let new = scopes.without(&self.denied);
        let just = self.widened.is_some_and(|widened| is_recent(widened, now));
        if !just && !self.asked.covers(&new) {
            (self.widen, self.wanted) = (true, self.wanted.with(&new));
        }
    }

    /// Whether this purchase is for a wider token; then it is the last one for a while. Any other is a reason to ask anew for
    /// what was denied.
    pub(super) fn begin(&mut self, now: Timestamp) -> bool {
        if self.widen {
            self.widened = Some(now);
        } else {
            self.denied = Scopes::default();
        }
        std::mem::take(&mut self.widen)
    }

    /// What to ask for beside `named`.
    pub(super) fn scopes(&self, named: &Scopes) -> Scopes {
        named.with(&self.wanted)
    }

    /// Notes what was asked for and given.
    pub(super) fn given(&mut self, asked: Scopes) {
        self.asked = asked;
    }

    /// Notes that what was asked for is not given, and asks for less: first without what is new, then for what the server
    /// names alone. Whether there is something left to leave out.
    pub(super) fn deny(&mut self) -> bool {
        let new = self.wanted.without(&self.asked);
        let denied = if new.is_empty() { self.wanted.clone() } else { new };
        self.denied = self.denied.with(&denied);
        self.wanted = self.wanted.without(&denied);
        !denied.is_empty()
    }

    /// As [`crate::outbound::Credential::fingerprint`] of the token.
    pub(super) fn fingerprint(&self) -> Option<Digest> {
        self.grant.as_ref().map(|grant| sha256(&[b"Bearer ", grant.access().expose()]))
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now < at.plus_seconds(AGAIN_SECONDS)
}

#[cfg(test)]
mod tests {
    use decide::AccountState;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn filled() -> Slot {
        let sealed = r#"{"resource":null,"token_endpoint":"t","revocation_endpoint":null,"internal":false,"issuer":"i","client":"us","method":"nothing","client_secret":null,"access":"a","expires":null,"refresh":null,"scopes":""}"#;
        let mut slot = Slot::default();
        slot.fill(Grant::from_secret(&Secret::new(sealed.to_owned())).unwrap(), NOW);
        slot
    }

    #[test]
    fn a_token_that_the_store_did_not_take_is_sealed_before_it_is_used_again() {
        let mut slot = filled();
        assert!(matches!(slot.known(NOW), Some(Ok(_))));
        slot.unsealed = Some(AccountRecord {
            server: "bank".parse().unwrap(),
            person: "person/lena".parse().unwrap(),
            url: "https://bank.example/mcp".to_owned(),
            issuer: "i".to_owned(),
            scopes: Vec::new(),
            link: "1".to_owned(),
            state: AccountState::Linked,
        });
        assert!(slot.known(NOW).is_none());
        assert!(slot.access(NOW).is_some(), "and no call waits for that in vain");
    }

    #[test]
    fn what_is_denied_is_left_out_first_what_is_new_and_then_all_that_the_server_does_not_name() {
        let (mut slot, named) = (filled(), Scopes::of("look"));
        slot.want(&Scopes::of("close"), NOW);
        assert!(slot.begin(NOW));
        slot.given(slot.scopes(&named));
        let later = NOW.plus_seconds(AGAIN_SECONDS);
        slot.want(&Scopes::of("admin"), NOW);
        assert!(!slot.begin(NOW), "not so soon");
        slot.want(&Scopes::of("admin"), later);
        assert!(slot.begin(later));
        assert_eq!(slot.scopes(&named), Scopes::of("look close admin"));
        assert!(slot.deny());
        assert_eq!(slot.scopes(&named), Scopes::of("look close"));
        assert!(slot.deny());
        assert_eq!(slot.scopes(&named), named);
        assert!(!slot.deny(), "there is nothing left to leave out");
        let much_later = later.plus_seconds(AGAIN_SECONDS);
        slot.want(&Scopes::of("close admin"), much_later);
        assert!(!slot.begin(much_later), "what is denied is not asked for");
        slot.want(&Scopes::of("admin"), much_later);
        assert!(slot.begin(much_later), "unless the token is bought anew");
    }
}
