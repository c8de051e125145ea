//! Tokens: who issues them, a person's session, and the one way out. Each is in the ledger before it leaves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::{
    ActionId, Authority, Clause, Conditions, Digest, IdentityId, Name, Pattern, Sender, Timestamp,
    Verb, Verbs,
};
use policy::GOVERNED_SYSTEM;
use token::{
    Claims, Keyring, PublicKey, SeenHeader,
    assertion::{self, Assertion},
    claims::{AccessError, Confirmation, Expect, Link},
    dpop::{self, Proof},
};

use crate::{
    authenticate::NotAuthenticated,
    engine::Engine,
    entries::{self, TokenIssued, to_json},
    hash::sha256,
    refusal::{Code, Refusal},
};

/// What a person's own session is used as.
const SESSION: &str = "session";
/// How long a person's session lasts, in seconds.
const SESSION_SECONDS: u32 = 15 * 60;
/// The longest life of a client's assertion, in seconds.
const ASSERTION_SECONDS_MAX: u32 = 5 * 60;
/// How far a verifier's clock may differ from ours, in seconds. Tokens are checked where they are made: not at all.
const LEEWAY_SECONDS: u32 = 0;
/// Who issues, where tokens are accepted, and with which keys.
pub struct Issuer {
    /// The issuer, byte for byte as metadata names it.
    pub url: String,
    /// The token endpoint.
    pub token_endpoint: String,
    /// The admin API: the audience of a person's session.
    pub admin_audience: String,
    /// The gateway's origin. An agent's token is for one server behind it, or for all: see [`Issuer::audience_of`].
    pub gateway_url: String,
    /// The signing keys.
    pub keys: ArcSwap<Keyring>,
}

impl Issuer {
    /// The audience of tokens for one system: the URL of its MCP endpoint at the gateway.
    pub fn audience_of(&self, system: &Name) -> String {
        format!("{}/mcp/{system}", self.gateway_url)
    }

    /// The audience of tokens for all systems: the URL of the endpoint that has the tools of each.
    pub fn audience_of_all(&self) -> String {
        format!("{}/mcp", self.gateway_url)
    }

    pub(crate) fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Claims, AccessError> {
        let keys = self.keys.load();
        let expect = Expect {
            issuer: &self.url,
            audiences: &[audience],
            now,
            leeway_seconds: LEEWAY_SECONDS,
        };
        token::claims::verify_access(token, |kid| keys.key(kid, now), &expect)
    }
}

/// A token on its way out.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token; worth nothing without its key, where it has one.
    pub access_token: String,
    /// What has to come with it.
    pub sender: Sender,
    /// When it ends.
    pub expires: Timestamp,
    /// What it allows.
    pub authority: Authority,
    /// Where it is accepted.
    pub audience: String,
    /// The issuance entry.
    pub index: u64,
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefused {
    /// The client or person is not believed.
    #[error("the client is not known by this assertion: {0}")]
    InvalidClient(String),
    /// The subject token or assertion gives no right.
    #[error("{0}")]
    InvalidGrant(String),
    /// The wish goes beyond what there is.
    #[error("{0}")]
    InvalidTarget(String),
    /// The proof of possession does not fit.
    #[error("{0}")]
    InvalidProof(String),
    /// The proof needs a nonce.
    #[error("the proof needs a nonce from this server")]
    UseNonce,
    /// The road said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<NotAuthenticated> for TokenRefused {
    fn from(why: NotAuthenticated) -> Self {
        match why {
            NotAuthenticated::UseNonce => Self::UseNonce,
            NotAuthenticated::Proof(_) => Self::InvalidProof(why.to_string()),
            _ => Self::InvalidGrant(why.to_string()),
        }
    }
}

impl Engine {
    /// A person's own session, for an assertion signed with their enrolled key (RFC 7523 §2.1).
    ///
    /// # Errors
    /// [`TokenRefused`]
    pub async fn open_session(
        self: &Arc<Self>,
        assertion: &str,
        proof: &str,
    ) -> Result<Issued, TokenRefused> {
        let action = self.context.id();
        // A store that is down keeps nobody from ordering a stop: whether a session may do anything is decided with each act.
        let now = self.context.now();
        let proof = self.prove_at_token_endpoint(proof)?;
        let assertion = self.check_assertion(assertion, now)?;
        let person = self.context.realm.identity(&assertion.client).filter(IdentityId::is_person);
        let person = person
            .ok_or_else(|| TokenRefused::InvalidGrant("only people open sessions".to_owned()))?;
        let active = self.directory.person(&person).is_some_and(|entry| entry.person.active);
        if !active {
            return Err(Refusal::new(
                action,
                Code::IdentityNotActive,
                format!("`{person}` is not active"),
            )
            .into());
        }
        let mark = self.mark_assertion(&assertion)?;
        let expires = whole(now.plus_seconds(SESSION_SECONDS));
        let sub = self.context.realm.uri(&person);
        let claims = Claims {
            iss: self.issuer.url.clone(),
            sub: sub.clone(),
            aud: self.issuer.admin_audience.clone(),
            client_id: sub.clone(),
            iat: whole(now),
            exp: expires,
            jti: self.context.id(),
            cnf: Some(Confirmation { jkt: proof.thumbprint }),
            act: None,
            may_act: None,
            authority: governance_authority(expires),
            task: None,
            links: vec![Link { id: self.context.id(), sub, exp: expires }],
            entry: Digest::default(),
            version: None,
            scope: Some(SESSION.to_owned()),
        };
        Ok(self.issue(action, claims, SESSION, Some((mark, assertion.expires)), Vec::new()).await?)
    }

    /// Records the issuance, then signs: the token names the leaf hash of its own entry.
    pub(crate) async fn issue(
        self: &Arc<Self>,
        action: ActionId,
        mut claims: Claims,
        use_as: &str,
        mark: Option<(Digest, Timestamp)>,
        parents: Vec<Digest>,
    ) -> Result<Issued, Refusal> {
        let realm = &self.context.realm;
        let body = TokenIssued {
            audience: claims.aud.clone(),
            expires: claims.exp,
            key: claims.cnf.map(|bound| bound.jkt.to_string()),
            sender: (!claims.is_bound()).then_some(Sender::Bearer),
            link: claims.links.last().map(|link| link.id),
            mark: mark.map(|(mark, _)| mark),
            mark_until: mark.map(|(_, until)| until),
            use_as: use_as.to_owned(),
            token: claims.jti.to_string(),
        };
        let mut draft = entries::draft(claims.jti, self.context.now(), &body);
        draft.person = realm.identity(&claims.sub);
        draft.task = claims.task;
        draft.chain = claims.links.iter().map(|link| link.id).collect();
        draft.agent =
            realm.identity(claims.acting()).filter(|acting| !acting.is_person()).map(|id| {
                ledger::AgentMark {
                    id,
                    instance: claims.cnf.map(|bound| bound.jkt.to_string()),
                    version: claims.version,
                }
            });
        draft.class = ledger::PayloadClass::Calls;
        draft.payload = Some(to_json(&claims.authority).canonical());
        // What takes away waits for no key: whoever has a session has one at hand for what they order.
        let orders = ledger::SealedFor {
            slot: ledger::Slot::of(ledger::PayloadClass::Governance, draft.at),
            ..draft.whose()
        };
        let orders = draft.agent.is_none().then_some(orders);
        match self.keys_at_hand(orders.into_iter().chain([draft.whose()])).await {
            Ok(()) => {}
            // Nobody has to wait for a key, or for its disk, to order a stop.
            Err(_) if use_as == SESSION => self.bare_without_key(&mut draft),
            Err(why) => return Err(why.refusal(action)),
        }
        if let (SESSION, Some(person)) = (use_as, &draft.person)
            && self.log.is_sparing()
            && !self.admitted.is_first(person, draft.at)
        {
            let reason = "while the disk is full, a person gets one session a second";
            return Err(Refusal::new(action, Code::LedgerSlow, reason));
        }
        let sealed = self
            .seal(entries::of_action(draft, action, parents))
            .map_err(|why| why.refusal(action))?;
        claims.entry = sealed.hash();
        let recorded = match use_as {
            SESSION => self.record_session(sealed, action).await,
            _ => self.record(sealed, action, |_| ()).await,
        };
        let receipt = recorded.map_err(|why| why.refusal(action))?;
        let keys = self.issuer.keys.load_full();
        let access_token = claims
            .sign(keys.current())
            .map_err(|why| Refusal::new(action, Code::BeyondAuthority, why.to_string()))?;
        self.tasks.issue(claims.entry, claims.exp);
        Ok(Issued {
            access_token,
            sender: body.sender.unwrap_or_default(),
            expires: claims.exp,
            authority: claims.authority,
            audience: claims.aud,
            index: receipt.index,
        })
    }

    pub(crate) fn prove_at_token_endpoint(&self, proof: &str) -> Result<Proof, TokenRefused> {
        let request =
            dpop::Request { method: "POST", url: &self.issuer.token_endpoint, access_token: None };
        Ok(self.check_proof(proof, &request, None, &SeenHeader::default())?)
    }

    pub(crate) fn check_assertion(
        &self,
        assertion: &str,
        now: Timestamp,
    ) -> Result<Assertion, TokenRefused> {
        let expect = assertion::Expect {
            issuer_audiences: &[&self.issuer.url],
            now,
            max_life_seconds: ASSERTION_SECONDS_MAX,
        };
        assertion::check(assertion, &expect, |uri, kid| self.key_of(uri, kid))
            .map_err(|why| TokenRefused::InvalidClient(why.to_string()))
    }

    /// The one key that an assertion may be signed with: named by its thumbprint, or the identity's only one.
    fn key_of(&self, uri: &str, kid: Option<&str>) -> Option<PublicKey> {
        let id = self.context.realm.identity(uri)?;
        let pick = |keys: &[PublicKey]| match (kid, keys) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid() == kid).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        };
        if id.is_person() {
            pick(&self.directory.person(&id)?.keys)
        } else {
            pick(&self.directory.agent(&id)?.keys)
        }
    }

    pub(crate) fn mark_assertion(&self, assertion: &Assertion) -> Result<Digest, TokenRefused> {
        let mark = sha256(&[
            b"assertion/v1\0",
            assertion.client.as_bytes(),
            b"\0",
            assertion.jti.as_bytes(),
        ]);
        if self.tasks.mark(mark, assertion.expires) {
            Ok(mark)
        } else {
            Err(TokenRefused::InvalidClient("the assertion was used before".to_owned()))
        }
    }
}

/// What a session allows: asking governance, where policy decides each act.
fn governance_authority(expires: Timestamp) -> Authority {
    let clause = Clause {
        verbs: Verbs::of(Verb::ALL),
        resources: Pattern::system(
            GOVERNED_SYSTEM.parse().expect("the governed system's name is a name"),
        ),
        conditions: Conditions::default(),
        expires,
    };
    Authority { clauses: vec![clause], depth: 0 }
}

/// The moment in whole seconds, as tokens write it.
pub(crate) fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_seconds(moment.seconds())
}
