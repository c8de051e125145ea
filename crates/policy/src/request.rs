use std::{collections::BTreeSet, fmt, sync::Arc};

use model::{IdentityId, Money, Name, Resource, Timestamp, Verb};

/// One question: may this principal do this to that, given these facts?
///
/// A chain of delegations is one request for each hop, and an action on several things one for each
/// (verb, resource) pair; [`combine`](crate::combine) puts the outcomes together.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whose right is asked for: the person, or one agent of the chain.
    pub principal: &'a Principal,
    /// What is to be done.
    pub verb: Verb,
    /// To what.
    pub resource: &'a Resource,
    /// The data classes of the resource.
    pub classes: &'a BTreeSet<Name>,
    /// Who answers for the resource; only the built-in kinds of system `bailiwick` have one.
    pub owner: Option<&'a IdentityId>,
    /// The team that is asked to decide on the resource (an approval); built-in kinds only.
    pub group: Option<&'a Name>,
    /// How much money moves.
    pub amount: Option<Money>,
    /// What else is known.
    pub facts: &'a Facts,
    /// Ids of the soft forbids that an approval or a step-up has lifted. A hard forbid is never lifted.
    pub lifted: &'a BTreeSet<Name>,
    /// Which part of all actions this one belongs to, for policies that decide for a part only.
    pub canary: Buckets<'a>,
}

/// The bucket, 0 to 99, of an action for a policy: one in mode `canary:10` is enforced below 10. It is one for all actions of
/// a delegation root, and another for another policy, so that no root meets every canary.
#[derive(Clone, Copy)]
pub struct Buckets<'a>(pub &'a dyn Fn(&Name) -> u8);

impl fmt::Debug for Buckets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buckets")
    }
}

/// An identity as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its name.
    pub id: IdentityId,
    /// A person's teams and roles; no other kind of identity has teams.
    pub teams: Vec<Name>,
    /// An agent's template.
    pub blueprint: Option<Name>,
    /// Who answers for it. Everything that is not a person needs one, or is denied.
    pub owner: Option<IdentityId>,
    /// Who a person reports to.
    pub manager: Option<IdentityId>,
    /// Whether somebody other than itself vouches for what it is made of.
    pub attested: bool,
}

impl Principal {
    /// A person in these teams, without a manager.
    pub fn person(id: IdentityId, teams: Vec<Name>) -> Self {
        Self { id, teams, blueprint: None, owner: None, manager: None, attested: false }
    }

    /// An agent of a blueprint, answered for by `owner`, self-declared.
    pub fn agent(id: IdentityId, blueprint: Name, owner: IdentityId) -> Self {
        let (blueprint, owner) = (Some(blueprint), Some(owner));
        Self { id, teams: Vec::new(), blueprint, owner, manager: None, attested: false }
    }

    /// The person who answers for it, where it has one.
    pub(crate) fn answered_for(&self) -> Option<&IdentityId> {
        self.owner.as_ref().filter(|owner| owner.is_person())
    }
}

/// What is known about an action, beside who, what, to what and for how much: Cedar's `context`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The environment, for example `prod`.
    pub environment: Name,
    /// When.
    pub at: Timestamp,
    /// The person at the root of the chain. Anything but a person is not shown to policies: nobody invoked it.
    pub invoker: Option<Principal>,
    /// Who acts in the end, the last of the chain.
    pub actor: IdentityId,
    /// How many delegations the chain has; 0 is a person's own session, or an agent by itself.
    pub depth: u8,
    /// What the task is for.
    pub purpose: Option<Arc<str>>,
    /// The tool that is called.
    pub tool: Option<Arc<str>>,
    /// The labels that the delegation root has gathered.
    pub labels: Arc<BTreeSet<Name>>,
    /// What the delegation root has spent, in the currency of what moves; `None` is nothing.
    pub spent: Option<Money>,
    /// How many active persons are administrators.
    pub administrators: u32,
}
