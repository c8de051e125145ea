use std::{collections::BTreeSet, fmt};

use model::{Digest, Name, Verbs};

use crate::{
    Fault, LoadErrors, Mode, Outcome, Principal, Request, Rule, Source,
    cedar::{Applies, Engine},
    load,
    rule::Kind,
    verdict,
};

/// An immutable set of validated policies, ready to answer. Cheap to share behind an `Arc`, never changed in place.
pub struct Policies {
    /// In the order of their ids; [`Engine`] knows them by their index here.
    rules: Vec<Rule>,
    engine: Engine,
    digest: Digest,
}

impl Policies {
    /// Reads, checks and validates a set of policy files as one. `kinds` are the resource kinds of the catalog.
    ///
    /// # Errors
    /// Everything that is wrong, with its place; then nothing is loaded.
    pub fn load(sources: &[Source], kinds: &BTreeSet<String>) -> Result<Self, LoadErrors> {
        let loaded = load::load(sources, kinds)?;
        Ok(Self::new(loaded.rules, loaded.engine))
    }

    /// No policies: everything is denied.
    pub fn none() -> Self {
        Self::new(Vec::new(), Engine::empty())
    }

    fn new(rules: Vec<Rule>, engine: Engine) -> Self {
        let digest = load::digest_of_set(&rules);
        Self { rules, engine, digest }
    }

    /// SHA-256 over `policies/v1`, a line feed, and the digests of the policies in the order of their ids (32 bytes
    /// each).
    ///
    /// It names what decides: the order and names of files, and what stands between policies, do not change it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The policies, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Whether these permit nothing that the set `before` does not: they forbid all that it forbids, and what permits was
    /// in it. Policies are compared by their text, so a rewritten one counts as another.
    pub fn narrows(&self, before: &Self) -> bool {
        let has = |set: &Self, digest| set.rules.iter().any(|rule| rule.digest == digest);
        let permits = |rule: &&Rule| rule.kind == Kind::Permit;
        let forbidden = before.rules.iter().filter(|rule| !permits(rule));
        forbidden.map(|rule| rule.digest).all(|digest| has(self, digest))
            && self.rules.iter().filter(permits).all(|rule| has(before, rule.digest))
    }

    /// What the policies say about one request. Pure: the same request always has the same outcome.
    ///
    /// A request that cannot be put to the policies (a kind of resource that the catalog does not have, a principal
    /// that is no person and has no owner, money in two currencies) is denied with a fault, whatever they would say.
    pub fn evaluate(&self, request: &Request<'_>) -> Outcome {
        match self.engine.ask(request) {
            Ok(question) => verdict::conclude(&self.rules, request, &question),
            Err(message) => Outcome {
                faults: vec![Fault { policy: None, message }],
                ..Outcome::not_permitted()
            },
        }
    }
}

impl Policies {
    /// Whether a request is denied whatever the id of its resource and the amount are: a hard forbid applies to all of them,
    /// or no permit to any. Conditions that ask for neither are decided as they stand now. Not a decision: where this says
    /// no, [`Policies::evaluate`] may deny all the same.
    pub fn denies_kind(&self, request: &Request<'_>) -> bool {
        let Ok(question) = self.engine.ask(request) else { return true };
        let mut permitted = false;
        for (index, applies) in question.answers_to_kind() {
            let rule = &self.rules[index];
            if !rule.mode.enforces(|| (request.canary.0)(&rule.id)) {
                continue;
            }
            match (&rule.kind, applies) {
                (Kind::Forbid, Applies::Always | Applies::Errs) => return true,
                (Kind::Permit, Applies::Always | Applies::Sometimes) => permitted = true,
                _ => {}
            }
        }
        !permitted
    }
}

impl Policies {
    /// The policies that may keep somebody waiting on something of a system, each with the verbs. Only heads are looked at,
    /// and the buckets of canaries are not: what none of these covers never waits, whatever a call's arguments and the moment
    /// are. Of what they cover, much may not wait.
    pub fn may_wait<'p>(
        &'p self,
        principal: &'p Principal,
        system: &'p Name,
    ) -> impl Iterator<Item = (&'p Rule, Verbs)> {
        let soft = |(_, rule): &(usize, &Rule)| {
            matches!(rule.kind, Kind::Soft(_)) && rule.mode != Mode::Shadow
        };
        let covered = |(index, rule)| (rule, self.engine.verbs_in(index, principal, system));
        self.rules
            .iter()
            .enumerate()
            .filter(soft)
            .map(covered)
            .filter(|(_, verbs)| !verbs.is_empty())
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policies({} of {})", self.rules.len(), self.digest)
    }
}
