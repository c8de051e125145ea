//! Token exchange (RFC 8693): an agent gets a token of its own for a person's task, or one to hand to a sub-agent.

use std::sync::Arc;

use model::{ActionId, Authority, Blueprint, Digest, IdentityId, Timestamp, ijson::Json};
use token::{
    Thumbprint,
    assertion::Assertion,
    claims::BEARER_SECONDS_MAX,
    exchange::{self, Actor, ExchangeError, Issuance, Limits, Wish},
};

use crate::{
    authenticate::Caller,
    directory::AgentEntry,
    engine::Engine,
    entries::Decision,
    issue::{Issued, TokenRefused, whole},
    parking::not_parked,
    refusal::{Code, Refusal},
    standing::Standing,
    stop::Touches,
};

/// The longest life of an agent's token, whatever its blueprint says, in seconds.
const TOKEN_SECONDS_MAX: u32 = 15 * 60;

/// A request for an exchange, as parsed from the form.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client's own assertion (`private_key_jwt`).
    pub client_assertion: &'a str,
    /// The token to exchange.
    pub subject_token: &'a str,
    /// The proof of the client's key, from the `DPoP` header; without one the token is bound to no key, where the blueprint
    /// lets it be so.
    pub proof: Option<&'a str>,
    /// Where the new token is for, by `audience`.
    pub audience: Option<&'a str>,
    /// Where the new token is for, by `resource`.
    pub resource: Option<&'a str>,
    /// A narrower authority.
    pub authority: Option<Authority>,
    /// The sub-agent that the new token is handed to; then it can only be exchanged.
    pub requested_actor: Option<&'a str>,
}

impl Engine {
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
        let proof = request.proof.map(|proof| self.prove_at_token_endpoint(proof)).transpose()?;
        let assertion = self.check_assertion(request.client_assertion, now)?;
        let client =
            self.context.realm.identity(&assertion.client).filter(|client| !client.is_person());
        let client = client.ok_or_else(|| {
            TokenRefused::InvalidClient("people do not exchange tokens".to_owned())
        })?;
        let key = proof.map(|proof| proof.thumbprint);
        let subject = self.verified(request.subject_token, &self.issuer.url)?;
        let result =
            self.exchange_checked(request, action, now, &client, &subject, &assertion, key).await;
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
        key: Option<Thumbprint>,
    ) -> Result<Issued, TokenRefused> {
        if key.is_none() {
            self.check_unbound_wish(&subject.agents, client, request.requested_actor)?;
        }
        let entry = self.found_agent(client, action)?;
        let mut touches = Touches {
            action: Some(action),
            person: Some(subject.person.clone()),
            task: subject.claims.task,
            links: subject.claims.links.iter().map(|link| link.id).collect(),
            agents: vec![entry.touch.clone()],
            system: None,
            tool: None,
        };
        let standing = self.standing(subject, action, None, now)?;
        touches.agents.extend(standing.touches.agents.iter().cloned());
        self.not_halted(&touches, action)?;
        self.may_act(&entry, action)?;
        if let Some((_, task)) = &standing.task {
            not_parked(task, [client], action)?;
        }
        if let Some(above) = standing.agents.last() {
            self.is_child(above, &entry, action)?;
        }
        if assertion.version != Some(entry.agent.version.digest) {
            let reason = format!("`{client}` runs a version that is not the accepted one");
            return Err(Refusal::new(action, Code::VersionNotAccepted, reason).into());
        }
        let blueprint = self.directory.blueprint(&entry.agent.blueprint);
        let children = self.children(blueprint.as_deref(), request.requested_actor);
        // A token that is handed on can only be exchanged; one that is used is for one system, or for all where that is wished.
        let all = self.issuer.audience_of_all();
        let audiences: Vec<String> = if request.requested_actor.is_some() {
            vec![self.issuer.url.clone()]
        } else if request.audience.or(request.resource) == Some(&all) {
            vec![all]
        } else {
            self.directory.servers().iter().map(|system| self.issuer.audience_of(system)).collect()
        };
        let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
        let ttl = blueprint.as_ref().map_or(0, |blueprint| blueprint.token_ttl_seconds);
        let uri = self.context.realm.uri(client);
        let held = self.held_by_actor(&entry, &standing, action)?;
        let actor = Actor { uri: &uri, version: assertion.version, thumbprint: key, held: &held };
        let wish = Wish {
            audience: request.audience,
            resource: request.resource,
            authority: request.authority.clone(),
            ttl_seconds: None,
            may_act: request.requested_actor,
        };
        let longest = if key.is_some() { TOKEN_SECONDS_MAX } else { BEARER_SECONDS_MAX };
        let limits = Limits {
            now,
            ttl_cap_seconds: ttl.min(longest),
            audiences: &audiences,
            max_depth: model::MAX_DEPTH,
            children: &children.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        let narrowed = exchange::narrow(&subject.claims, &actor, wish, self.context.id(), &limits)
            .map_err(|why| exchange_refused(action, &why))?;
        let narrowed = match key {
            Some(_) => narrowed,
            None => {
                let is_wish = request.authority.is_some();
                self.without_waiting(narrowed, &standing, &entry, is_wish, action)?
            }
        };
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

    /// What the agent holds, as far as everyone above it still does: a token is not renewed for a right that is gone.
    fn held_by_actor(
        &self,
        entry: &AgentEntry,
        above: &Standing,
        action: ActionId,
    ) -> Result<Authority, Refusal> {
        let own = self.directory.held_by_agent(&entry.agent);
        let hops = above.agents.len() + 1;
        let by_person = self.directory.held_by_person(&above.person.person.id, hops);
        let by_agents = above.agents.iter().map(|one| self.directory.held_by_agent(&one.agent));
        let mut held = std::iter::once(by_person).chain(by_agents);
        let common = held.try_fold(Authority::clone(&own), |held, one| held.intersect(&one));
        let beyond =
            |why: model::Widened| Refusal::new(action, Code::BeyondAuthority, why.to_string());
        Ok(Authority { depth: own.depth, ..common.map_err(beyond)? })
    }

    /// The one child that a hand-over may name: an agent whose blueprint the client's blueprint lists.
    fn children(&self, blueprint: Option<&Blueprint>, requested: Option<&str>) -> Vec<String> {
        let agent = requested
            .and_then(|uri| self.context.realm.identity(uri))
            .and_then(|id| self.directory.agent(&id));
        let named = agent.filter(|entry| {
            blueprint.is_some_and(|own| own.children.contains(&entry.agent.blueprint))
        });
        named.map(|entry| self.context.realm.uri(&entry.agent.id)).into_iter().collect()
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
            TokenRefused::InvalidProof(why) => Refusal::new(action, Code::Unauthenticated, why),
            other => Refusal::new(action, Code::NotDelegable, other.to_string()),
        };
        let body = Decision {
            tool: Some("token".to_owned()),
            code: Some(refusal.code.text().to_owned()),
            ..Decision::default()
        };
        let mut draft = self.decision(subject, action, &body);
        draft.agent = Some(ledger::AgentMark { id: client.clone(), instance: None, version: None });
        draft.payload = Some(Json::String(refusal.reason.clone()).canonical());
        self.note_refused(client, draft, &refusal);
    }
}

fn exchange_refused(action: ActionId, why: &ExchangeError) -> TokenRefused {
    use ExchangeError as Why;
    match why {
        Why::Unbound | Why::NotExchangeable | Why::OtherActor(_) | Why::NotAChild(_) => {
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
