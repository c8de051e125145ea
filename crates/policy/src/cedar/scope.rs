use cedar_policy_core::ast::{
    ActionConstraint, EntityReference, EntityUID, Policy, PrincipalOrResourceConstraint,
};
use model::{IdentityKind, Name, Resource, Verb, Verbs};

use super::inputs;
use crate::{
    Principal, Request,
    schema::{BUILT_IN_KINDS, principal_type},
};

/// What the head of a policy covers. Testing it cannot err, so that what is not covered can neither match nor err; and it
/// needs nothing of Cedar's, so that a policy costs nothing where it does not apply.
pub(super) struct Scope {
    principal: Reach,
    verbs: Verbs,
    resource: Reach,
}

/// How many things of one kind in one system a head covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    None,
    Some,
    All,
}

/// Which entities one part of a head covers.
enum Reach {
    Any,
    Is(String),
    Eq(Uid),
    In(Uid),
    IsIn(String, Uid),
    /// A slot of a template; templates are refused at load.
    Nothing,
}

/// An entity by type and id.
struct Uid {
    kind: String,
    id: String,
}

/// What a head is compared with.
trait Entity {
    /// Its type.
    fn kind(&self) -> &str;
    /// Whether this is it.
    fn is(&self, uid: &Uid) -> bool;
    /// Whether it stands below this one.
    fn is_below(&self, uid: &Uid) -> bool;
}

impl Scope {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            principal: Reach::of(policy.principal_constraint().into_inner()),
            verbs: verbs(policy.action_constraint()),
            resource: Reach::of(policy.resource_constraint().into_inner()),
        }
    }

    /// Whether it covers what governance acts change, without naming a system.
    pub(super) fn covers_governance_unnamed(&self) -> bool {
        match &self.resource {
            Reach::Any => true,
            Reach::Is(kind) => BUILT_IN_KINDS.contains(&kind.as_str()),
            Reach::Eq(_) | Reach::In(_) | Reach::IsIn(..) | Reach::Nothing => false,
        }
    }

    /// Whether it covers the request whatever the id of its resource is: all of the kind, some, or none.
    pub(super) fn covers_kind(&self, request: &Request<'_>) -> Extent {
        if !self.verbs.contains(request.verb) || !self.principal.covers(request.principal) {
            return Extent::None;
        }
        match &self.resource {
            Reach::Eq(uid) | Reach::In(uid) | Reach::IsIn(_, uid) if uid.kind != "System" => {
                let system = request.resource.system().as_str();
                let within = uid.id.strip_prefix(system).is_some_and(|rest| rest.starts_with('/'));
                let may_be = within && uid.kind == request.resource.kind();
                if may_be { Extent::Some } else { Extent::None }
            }
            reach if reach.covers(request.resource) => Extent::All,
            _ => Extent::None,
        }
    }

    /// The verbs that it covers for somebody on anything of a system, whatever kinds of things there are.
    pub(super) fn verbs_in(&self, principal: &Principal, system: &Name) -> Verbs {
        let within = match &self.resource {
            Reach::Any => true,
            // Of the built-in kinds there is nothing in any other system.
            Reach::Is(kind) => !BUILT_IN_KINDS.contains(&kind.as_str()),
            Reach::Eq(uid) | Reach::In(uid) | Reach::IsIn(_, uid) if uid.kind == "System" => {
                uid.id == system.as_str()
            }
            Reach::Eq(uid) | Reach::In(uid) | Reach::IsIn(_, uid) => {
                uid.id.strip_prefix(system.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            Reach::Nothing => false,
        };
        if within && self.principal.covers(principal) { self.verbs } else { Verbs::default() }
    }

    pub(super) fn covers(&self, request: &Request<'_>) -> bool {
        self.verbs.contains(request.verb)
            && self.resource.covers(request.resource)
            && self.principal.covers(request.principal)
    }
}

impl Reach {
    fn of(constraint: PrincipalOrResourceConstraint) -> Self {
        use PrincipalOrResourceConstraint as Constraint;
        match constraint {
            Constraint::Any => Self::Any,
            Constraint::Is(kind) => Self::Is(kind.to_string()),
            Constraint::Eq(EntityReference::EUID(uid)) => Self::Eq(Uid::of(&uid)),
            Constraint::In(EntityReference::EUID(uid)) => Self::In(Uid::of(&uid)),
            Constraint::IsIn(kind, EntityReference::EUID(uid)) => {
                Self::IsIn(kind.to_string(), Uid::of(&uid))
            }
            Constraint::Eq(EntityReference::Slot(_))
            | Constraint::In(EntityReference::Slot(_))
            | Constraint::IsIn(_, EntityReference::Slot(_)) => Self::Nothing,
        }
    }

    fn covers(&self, entity: &impl Entity) -> bool {
        let within = |uid: &Uid| entity.is(uid) || entity.is_below(uid);
        match self {
            Self::Any => true,
            Self::Is(kind) => entity.kind() == kind,
            Self::Eq(uid) => entity.is(uid),
            Self::In(uid) => within(uid),
            Self::IsIn(kind, uid) => entity.kind() == kind && within(uid),
            Self::Nothing => false,
        }
    }
}

impl Uid {
    fn of(uid: &EntityUID) -> Self {
        let id: &str = uid.eid().as_ref();
        Self { kind: uid.entity_type().to_string(), id: id.to_owned() }
    }
}

impl Entity for Principal {
    fn kind(&self) -> &str {
        principal_type(self.id.kind())
    }

    fn is(&self, uid: &Uid) -> bool {
        uid.id == self.id.name().as_str() && uid.kind == self.kind()
    }

    fn is_below(&self, uid: &Uid) -> bool {
        let named = |name: &model::Name| name.as_str() == uid.id;
        match self.id.kind() {
            IdentityKind::Person => uid.kind == "Team" && self.teams.iter().any(named),
            IdentityKind::Agent => {
                uid.kind == "Blueprint" && self.blueprint.as_ref().is_some_and(named)
            }
            _ => false,
        }
    }
}

impl Entity for Resource {
    fn kind(&self) -> &str {
        self.kind()
    }

    fn is(&self, uid: &Uid) -> bool {
        let within = uid.id.strip_prefix(self.system().as_str());
        let id = within.and_then(|rest| rest.strip_prefix('/'));
        uid.kind == self.kind() && id == Some(self.id())
    }

    fn is_below(&self, uid: &Uid) -> bool {
        uid.kind == "System" && uid.id == self.system().as_str()
    }
}

/// The verbs that an action constraint covers, groups resolved.
fn verbs(constraint: &ActionConstraint) -> Verbs {
    let covered = |verb: &Verb| match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => inputs::is_verb(uid, *verb),
        ActionConstraint::In(uids) => {
            uids.iter().any(|uid| inputs::is_verb(uid, *verb) || inputs::is_group_of(uid, *verb))
        }
    };
    Verb::ALL.iter().copied().filter(covered).collect()
}
