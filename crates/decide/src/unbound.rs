//! Tokens that are bound to no key: for an agent whose blueprint says `sender = "bearer"`, as that of every agent above it does,
//! since whoever has such a token can use what all of them handed on. One system, five minutes at the most, and nothing that
//! people may be asked about.
//!
//! The blueprint and the policies count as they are at each use, not as they were when the token was issued.

use model::{ActionId, Authority, Clause, IdentityId, Name, Sender, Verbs};
use policy::Principal;
use token::exchange::Narrowed;

use crate::{
    authenticate::{Caller, NotAuthenticated},
    catalog::Pair,
    directory::AgentEntry,
    engine::Engine,
    issue::TokenRefused,
    refusal::{Code, Refusal},
    standing::Standing,
};

impl Engine {
    /// The first of a chain's agents that wants its right bound to a key, as the blueprints stand now.
    fn wants_a_key<'a>(
        &self,
        chain: impl IntoIterator<Item = &'a IdentityId>,
    ) -> Option<&'a IdentityId> {
        chain.into_iter().find(|agent| {
            let entry = self.directory.agent(agent);
            let blueprint =
                entry.and_then(|entry| self.directory.blueprint(&entry.agent.blueprint));
            blueprint.is_none_or(|blueprint| blueprint.sender != Sender::Bearer)
        })
    }

    /// Refuses an exchange without a proof where the token has to be bound to a key.
    pub(crate) fn check_unbound_wish(
        &self,
        above: &[IdentityId],
        client: &IdentityId,
        requested_actor: Option<&str>,
    ) -> Result<(), TokenRefused> {
        let missing = |why: String| {
            Err(TokenRefused::InvalidProof(format!(
                "exactly one `DPoP` header has to be there: {why}"
            )))
        };
        if let Some(agent) = self.wants_a_key(above.iter().chain([client])) {
            return missing(format!(
                "the blueprint of `{agent}` does not say `sender = \"bearer\"`"
            ));
        }
        match requested_actor {
            Some(_) => {
                missing("what is handed on is bound to the key of who hands it on".to_owned())
            }
            None => Ok(()),
        }
    }

    /// Refuses a token without a key where somebody of its chain wants one, or does by now. A person always does.
    pub(crate) fn check_unbound(&self, caller: &Caller) -> Result<(), NotAuthenticated> {
        let may = || !caller.agents.is_empty() && self.wants_a_key(&caller.agents).is_none();
        if caller.claims.is_bound() || may() { Ok(()) } else { Err(NotAuthenticated::Unbound) }
    }

    /// What a token without a key allows of what one with a key would: every verb that no policy in force may keep waiting for
    /// somebody of the chain at this system, and nothing to pass on. A wish that names another verb is refused.
    pub(crate) fn without_waiting(
        &self,
        narrowed: Narrowed,
        above: &Standing,
        actor: &AgentEntry,
        is_wish: bool,
        action: ActionId,
    ) -> Result<Narrowed, Refusal> {
        let system = self.system_of(&narrowed.audience);
        let system = system.ok_or_else(|| {
            let reason = "a token without a key is for one system behind the gateway";
            let next = "Name one server's URL, or use a token that is bound to a key (`bailiwick connect`).";
            Refusal { next: next.to_owned(), ..Refusal::new(action, Code::BeyondAuthority, reason) }
        })?;
        let chain = principals(above).chain([&actor.principal]);
        let (waiting, policies) = self.may_wait(chain, &system);
        let asked = narrowed.authority;
        let clauses = asked.clauses.iter().filter_map(|clause| {
            let verbs = clause.verbs.without(waiting);
            (!verbs.is_empty()).then(|| Clause { verbs, ..clause.clone() })
        });
        let clauses: Vec<Clause> = clauses.collect();
        if clauses.is_empty() || (is_wish && clauses != asked.clauses) {
            return Err(waits(waiting, policies, action));
        }
        Ok(Narrowed { authority: Authority { clauses, depth: 0 }, ..narrowed })
    }

    /// Refuses to a token without a key what a policy that came into force since may keep waiting.
    pub(crate) fn never_waits(
        &self,
        caller: &Caller,
        standing: &Standing,
        pairs: &[Pair],
        action: ActionId,
    ) -> Result<(), Refusal> {
        if caller.claims.is_bound() {
            return Ok(());
        }
        for pair in pairs {
            let (waiting, policies) = self.may_wait(principals(standing), pair.resource.system());
            if waiting.contains(pair.verb) {
                return Err(waits(Verbs::of(&[pair.verb]), policies, action));
            }
        }
        Ok(())
    }

    /// The verbs that policies may keep waiting for any of these at a system, and which policies they are.
    fn may_wait<'p>(
        &self,
        principals: impl Iterator<Item = &'p Principal>,
        system: &Name,
    ) -> (Verbs, Vec<String>) {
        let policies = self.directory.policies();
        let mut waiting = Verbs::default();
        let mut names = Vec::new();
        for principal in principals {
            for (rule, verbs) in policies.may_wait(principal, system) {
                waiting = waiting.union(verbs);
                names.push(rule.id().to_string());
            }
        }
        names.sort();
        names.dedup();
        (waiting, names)
    }

    /// What tokens of these agents that are bound to no key leave out at a system, whoever they work for.
    pub fn verbs_that_wait(&self, agents: &[IdentityId], system: &Name) -> Verbs {
        let entries = agents.iter().filter_map(|agent| self.directory.agent(agent));
        let entries: Vec<_> = entries.collect();
        self.may_wait(entries.iter().map(|entry| &entry.principal), system).0
    }

    fn system_of(&self, audience: &str) -> Option<Name> {
        let servers = self.directory.servers().into_iter();
        servers.into_iter().find(|system| self.issuer.audience_of(system) == audience)
    }
}

fn principals(standing: &Standing) -> impl Iterator<Item = &Principal> {
    let agents = standing.agents.iter().map(|entry| &entry.principal);
    std::iter::once(&standing.person.principal).chain(agents)
}

fn waits(verbs: Verbs, policies: Vec<String>, action: ActionId) -> Refusal {
    let verbs: Vec<&str> = verbs.iter().map(model::Verb::name).collect();
    let reason = format!(
        "people may have to be asked about `{}` there, which a token without a key never allows",
        verbs.join("`, `")
    );
    let next = "Use a token that is bound to a key (`bailiwick connect`), or do less.".to_owned();
    Refusal { policies, next, ..Refusal::new(action, Code::BeyondAuthority, reason) }
}
