//! Tokens: a person's session, a task's hand-over, and every exchange after it. Each is in the ledger before it leaves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::{
    ActionId, Authority, Clause, Conditions, Digest, IdentityId, Money, Name, Pattern, TaskId,
    Timestamp, Verb, Verbs, ijson::Json,
};
use policy::GOVERNED_SYSTEM;
use token::{
    Claims, Keyring, PublicKey,
    assertion::{self, Assertion},
    claims::{AccessError, Confirmation, Expect, Link, MayAct},
    dpop::{self, Proof},
    exchange::{self, Actor, Issuance, Limits, Wish},
};

use crate::{
    allow::{Act, Allowed},
    authenticate::{Caller, NotAuthenticated},
    directory::Directory,
    engine::Engine,
    entries::{self, Decision, TaskOpened, TokenIssued, to_json},
    hash::sha256,
    refusal::{Code, Refusal},
    tasks::Task,
};

/// How long a person's session lasts, in seconds.
const SESSION_SECONDS: u32 = 15 * 60;
/// The longest life of an agent's token, whatever its blueprint says, in seconds.
const TOKEN_SECONDS_MAX: u32 = 15 * 60;
/// The longest life of a client's assertion, in seconds.
const ASSERTION_SECONDS_MAX: u32 = 5 * 60;
/// How far a verifier's clock may differ from ours, in seconds. Tokens are checked where they are made: not at all.
const LEEWAY_SECONDS: u32 = 0;
/// The longest task, in seconds.
pub const TASK_SECONDS_MAX: u32 = 24 * 3600;

/// Who issues, where tokens are accepted, and with which keys.
pub struct Issuer {
    /// The issuer, byte for byte as metadata names it.
    pub url: String,
    /// The token endpoint.
    pub token_endpoint: String,
    /// The admin API: the audience of a person's session.
    pub admin_audience: String,
    /// The gateway's origin. An agent's token is for one server behind it: see [`Issuer::audience_of`].
    pub gateway_url: String,
    /// The signing keys.
    pub keys: ArcSwap<Keyring>,
}

impl Issuer {
    /// The audience of tokens for one system: the URL of its MCP endpoint at the gateway.
    pub fn audience_of(&self, system: &Name) -> String {
        format!("{}/mcp/{system}", self.gateway_url)
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
    /// The token; a secret only together with its key.
    pub access_token: String,
    /// When it ends.
    pub expires: Timestamp,
    /// What it allows.
    pub authority: Authority,
    /// Where it is accepted.
    pub audience: String,
    /// The issuance entry.
    pub index: u64,
}

/// A request for an exchange, as parsed from the form.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client's own assertion (`private_key_jwt`).
    pub client_assertion: &'a str,
    /// The token to exchange.
    pub subject_token: &'a str,
    /// The proof of the client's key, from the `DPoP` header.
    pub proof: &'a str,
    /// Where the new token is for, by `audience`.
    pub audience: Option<&'a str>,
    /// Where the new token is for, by `resource`.
    pub resource: Option<&'a str>,
    /// A narrower authority.
    pub authority: Option<Authority>,
    /// The sub-agent that the new token is handed to; then it can only be exchanged.
    pub requested_actor: Option<&'a str>,
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

/// Opens a task: who works, for what, how long, for how much, and with how much of the opener's own right.
#[derive(Debug, Clone)]
pub struct OpenTask {
    /// The agent that is asked.
    pub agent: IdentityId,
    /// What it is for, in a word or two; policies read it.
    pub purpose: String,
    /// What is to be done, in the person's own words.
    pub intent: String,
    /// What the agent was told, verbatim.
    pub prompt: String,
    /// What the agent may do; `None` is all that person and agent have in common.
    pub authority: Option<Authority>,
    /// What it may spend.
    pub budget: Option<Money>,
    /// How long it may take.
    pub seconds: u32,
}

impl Act for OpenTask {
    fn verb(&self) -> Verb {
        Verb::Delegate
    }

    fn target(&self) -> (&'static str, String) {
        ("Task", self.agent.name().to_string())
    }

    fn owner(&self, directory: &Directory) -> Option<IdentityId> {
        directory.agent(&self.agent).and_then(|entry| entry.agent.state.owner().cloned())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("agent", to_json(&self.agent)),
            ("authority", to_json(&self.authority)),
            ("budget", to_json(&self.budget)),
            ("intent", Json::String(self.intent.clone())),
            ("prompt", Json::String(self.prompt.clone())),
            ("purpose", Json::String(self.purpose.clone())),
            ("seconds", to_json(&self.seconds)),
        ])
    }
}

/// A task that was opened, and the token to hand to its agent.
#[derive(Debug)]
pub struct Opened {
    /// The task.
    pub task: TaskId,
    /// The hand-over token: only the agent named in it can exchange it.
    pub token: Issued,
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
        let now = self.sure_moment(action)?;
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
            cnf: Confirmation { jkt: proof.thumbprint },
            act: None,
            may_act: None,
            authority: governance_authority(expires),
            task: None,
            links: vec![Link { id: self.context.id(), sub, exp: expires }],
            entry: Digest::default(),
            version: None,
            scope: Some("session".to_owned()),
        };
        Ok(self
            .issue(action, claims, "session", Some((mark, assertion.expires)), Vec::new())
            .await?)
    }

    /// Opens a task in the ledger and issues the token that its agent exchanges.
    ///
    /// # Errors
    /// [`Refusal`]: the opener holds less than is wished, the agent may not act, or the ledger cannot record it.
    pub async fn open_task(
        self: &Arc<Self>,
        allowed: &Allowed<OpenTask>,
    ) -> Result<Opened, Refusal> {
        let (action, caller, wish) = (allowed.action(), allowed.caller(), allowed.act());
        let now = self.sure_moment(action)?;
        let agent = self.found_agent(&wish.agent, action)?;
        self.may_act(&agent, action)?;
        if wish.seconds == 0 || wish.seconds > TASK_SECONDS_MAX {
            let reason =
                format!("a task takes between one second and {} hours", TASK_SECONDS_MAX / 3600);
            return Err(Refusal::new(action, Code::ArgumentsInvalid, reason));
        }
        let deadline = whole(now.plus_seconds(wish.seconds));
        let beyond =
            |why: model::Widened| Refusal::new(action, Code::BeyondAuthority, why.to_string());
        let held = self.directory.held_by_person(&caller.person);
        let authority = match &wish.authority {
            Some(authority) => held.attenuate(authority, deadline),
            None => held.intersect(&self.directory.held_by_agent(&agent.agent)),
        };
        let authority = authority.map_err(beyond)?;
        let task = Task {
            person: caller.person.clone(),
            agent: wish.agent.clone(),
            purpose: wish.purpose.clone(),
            deadline,
            budget: wish.budget,
            spent: 0,
            reserved: 0,
            labels: std::collections::BTreeSet::new(),
            calls: 0,
            ended: false,
        };
        let id: TaskId = self.context.id();
        let opening = self.record_task(allowed, id, &task).await?;
        self.tasks.open(id, task);
        let token = self.hand_over(caller, wish, id, authority, deadline, action, opening).await?;
        Ok(Opened { task: id, token })
    }

    async fn record_task(
        self: &Arc<Self>,
        allowed: &Allowed<OpenTask>,
        id: TaskId,
        task: &Task,
    ) -> Result<Digest, Refusal> {
        let action = allowed.action();
        let body = TaskOpened {
            agent: Some(task.agent.clone()),
            budget: task.budget,
            deadline: task.deadline,
            purpose: task.purpose.clone(),
        };
        let mut draft = self.about(allowed.caller(), &body, self.context.id());
        draft.task = Some(id);
        draft.payload = Some(allowed.act().shown().canonical());
        let sealed = self
            .seal(entries::of_action(draft, action, vec![allowed.decision()]))
            .map_err(|why| why.refusal(action))?;
        let hash = sealed.hash();
        self.record(sealed, action, |_| ()).await.map_err(|why| why.refusal(action))?;
        Ok(hash)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one claim of the token")]
    async fn hand_over(
        self: &Arc<Self>,
        caller: &Caller,
        wish: &OpenTask,
        task: TaskId,
        authority: Authority,
        deadline: Timestamp,
        action: ActionId,
        opening: Digest,
    ) -> Result<Issued, Refusal> {
        let now = self.context.now();
        let sub = self.context.realm.uri(&caller.person);
        let claims = Claims {
            iss: self.issuer.url.clone(),
            sub: sub.clone(),
            aud: self.issuer.url.clone(),
            client_id: sub.clone(),
            iat: whole(now),
            exp: deadline,
            jti: self.context.id(),
            cnf: Confirmation { jkt: caller.claims.cnf.jkt },
            act: None,
            may_act: Some(MayAct { sub: self.context.realm.uri(&wish.agent) }),
            authority,
            task: Some(task),
            links: vec![Link { id: self.context.id(), sub, exp: deadline }],
            entry: Digest::default(),
            version: None,
            scope: None,
        };
        self.issue(action, claims, "task", None, vec![opening]).await
    }

    /// Exchanges a token for one that the client may use itself, or hand to a sub-agent (RFC 8693).
    ///
    /// # Errors
    /// [`TokenRefused`]; a refusal about a known client is in the ledger.
    pub async fn exchange(
        self: &Arc<Self>,
        request: &Exchange<'_>,
    ) -> Result<Issued, TokenRefused> {
        let action = self.context.id();
        let now = self.sure_moment(action)?;
        let proof = self.prove_at_token_endpoint(request.proof)?;
        let assertion = self.check_assertion(request.client_assertion, now)?;
        let client =
            self.context.realm.identity(&assertion.client).filter(|client| !client.is_person());
        let client = client.ok_or_else(|| {
            TokenRefused::InvalidClient("people do not exchange tokens".to_owned())
        })?;
        let subject = self.verified(request.subject_token, &self.issuer.url)?;
        let result = self
            .exchange_checked(request, action, now, &client, &subject, &assertion, &proof)
            .await;
        if let Err(why) = &result {
            self.note_exchange_refused(&subject, &client, action, why);
        }
        result
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "everything that was verified before the decision"
    )]
    async fn exchange_checked(
        self: &Arc<Self>,
        request: &Exchange<'_>,
        action: ActionId,
        now: Timestamp,
        client: &IdentityId,
        subject: &Caller,
        assertion: &Assertion,
        proof: &Proof,
    ) -> Result<Issued, TokenRefused> {
        let entry = self.found_agent(client, action)?;
        let mut touches = crate::stop::Touches {
            action: Some(action),
            task: subject.claims.task,
            links: subject.claims.links.iter().map(|link| link.id).collect(),
            agents: vec![Directory::touch(&entry.agent)],
            system: None,
        };
        let standing = self.standing(subject, action, None, now)?;
        touches.agents.extend(standing.touches.agents);
        self.not_halted(&touches, action)?;
        self.may_act(&entry, action)?;
        if assertion.version != Some(entry.agent.version.digest) {
            let reason = format!("`{client}` runs a version that is not the accepted one");
            return Err(Refusal::new(action, Code::VersionNotAccepted, reason).into());
        }
        let blueprint = self.directory.blueprint(&entry.agent.blueprint);
        let children = self.children(blueprint.as_deref(), request.requested_actor);
        // A token that is handed on can only be exchanged; one that is used is for one system.
        let audiences: Vec<String> = if request.requested_actor.is_some() {
            vec![self.issuer.url.clone()]
        } else {
            self.directory.servers().iter().map(|system| self.issuer.audience_of(system)).collect()
        };
        let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
        let ttl = blueprint.as_ref().map_or(0, |blueprint| blueprint.token_ttl_seconds);
        let uri = self.context.realm.uri(client);
        let held = self.directory.held_by_agent(&entry.agent);
        let actor = Actor {
            uri: &uri,
            version: assertion.version,
            thumbprint: proof.thumbprint,
            held: &held,
        };
        let wish = Wish {
            audience: request.audience,
            resource: request.resource,
            authority: request.authority.clone(),
            ttl_seconds: None,
            may_act: request.requested_actor,
        };
        let limits = Limits {
            now,
            ttl_cap_seconds: ttl.min(TOKEN_SECONDS_MAX),
            audiences: &audiences,
            max_depth: model::MAX_DEPTH,
            children: &children.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        let narrowed = exchange::narrow(&subject.claims, &actor, wish, self.context.id(), &limits)
            .map_err(|why| exchange_refused(action, &why))?;
        let mark = self.mark_assertion(assertion)?;
        let use_as = if request.requested_actor.is_some() { "hand_over" } else { "on_behalf_of" };
        let issuance = Issuance {
            issuer: &self.issuer.url,
            client_id: &uri,
            at: whole(now),
            jti: self.context.id(),
            entry: Digest::default(),
        };
        let claims = narrowed.into_claims(&issuance);
        Ok(self
            .issue(
                action,
                claims,
                use_as,
                Some((mark, assertion.expires)),
                vec![subject.claims.entry],
            )
            .await?)
    }

    /// The one child that a hand-over may name: an agent whose blueprint the client's blueprint lists.
    fn children(
        &self,
        blueprint: Option<&model::Blueprint>,
        requested: Option<&str>,
    ) -> Vec<String> {
        let agent = requested
            .and_then(|uri| self.context.realm.identity(uri))
            .and_then(|id| self.directory.agent(&id));
        let named = agent.filter(|entry| {
            blueprint.is_some_and(|own| own.children.contains(&entry.agent.blueprint))
        });
        named.map(|entry| self.context.realm.uri(&entry.agent.id)).into_iter().collect()
    }

    /// Records the issuance, then signs: the token names the leaf hash of its own entry.
    async fn issue(
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
            key: claims.cnf.jkt.to_string(),
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
                    instance: Some(claims.cnf.jkt.to_string()),
                    version: claims.version,
                }
            });
        draft.payload = Some(to_json(&claims.authority).canonical());
        let sealed = self
            .seal(entries::of_action(draft, action, parents))
            .map_err(|why| why.refusal(action))?;
        claims.entry = sealed.hash();
        let receipt =
            self.record(sealed, action, |_| ()).await.map_err(|why| why.refusal(action))?;
        let keys = self.issuer.keys.load_full();
        let access_token = claims
            .sign(keys.current())
            .map_err(|why| Refusal::new(action, Code::BeyondAuthority, why.to_string()))?;
        self.tasks.issue(claims.entry, claims.exp);
        Ok(Issued {
            access_token,
            expires: claims.exp,
            authority: claims.authority,
            audience: claims.aud,
            index: receipt.index,
        })
    }

    fn prove_at_token_endpoint(&self, proof: &str) -> Result<Proof, TokenRefused> {
        let request =
            dpop::Request { method: "POST", url: &self.issuer.token_endpoint, access_token: None };
        Ok(self.check_proof(proof, &request)?)
    }

    fn check_assertion(&self, assertion: &str, now: Timestamp) -> Result<Assertion, TokenRefused> {
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

    fn mark_assertion(&self, assertion: &Assertion) -> Result<Digest, TokenRefused> {
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

    fn note_exchange_refused(
        &self,
        subject: &Caller,
        client: &IdentityId,
        action: ActionId,
        why: &TokenRefused,
    ) {
        let refusal = match why {
            TokenRefused::Refused(refusal) => refusal.clone(),
            other => Refusal::new(action, Code::NotDelegable, other.to_string()),
        };
        let body = Decision {
            tool: Some("token".to_owned()),
            code: Some(refusal.code.text().to_owned()),
            ..Decision::default()
        };
        let mut draft = self.decision(subject, action, &body);
        draft.agent = Some(ledger::AgentMark { id: client.clone(), instance: None, version: None });
        draft.verdict = Some(refusal.verdict().to_owned());
        draft.payload = Some(Json::String(refusal.reason).canonical());
        self.note(draft);
    }
}

fn exchange_refused(action: ActionId, why: &exchange::ExchangeError) -> TokenRefused {
    use exchange::ExchangeError as Why;
    match why {
        Why::NotExchangeable | Why::OtherActor(_) | Why::NotAChild(_) => {
            Refusal::new(action, Code::NotDelegable, why.to_string()).into()
        }
        Why::Widened(_) | Why::Nothing | Why::Exhausted | Why::TooDeep(_) => {
            Refusal::new(action, Code::BeyondAuthority, why.to_string()).into()
        }
        Why::Disagree | Why::Audience(_) | Why::NoAudience => {
            TokenRefused::InvalidTarget(why.to_string())
        }
        Why::Cycle(_) | Why::Ended => TokenRefused::InvalidGrant(why.to_string()),
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
fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_seconds(moment.seconds())
}
