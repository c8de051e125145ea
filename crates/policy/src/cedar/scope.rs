use std::sync::Arc;

use cedar_policy_core::ast::{
    ActionConstraint, Entity, EntityReference, EntityType, EntityUID, Policy,
    PrincipalOrResourceConstraint,
};
use model::{Verb, Verbs};

use super::inputs::{self, Inputs};
use crate::schema::BUILT_IN_KINDS;

/// What the head of a policy covers. Testing it cannot err, so that what is not covered can neither match nor err.
pub(super) struct Scope {
    principal: Reach,
    verbs: Verbs,
    resource: Reach,
}

/// Which entities one part of a head covers.
enum Reach {
    Any,
    Is(Arc<EntityType>),
    Eq(Arc<EntityUID>),
    In(Arc<EntityUID>),
    IsIn(Arc<EntityType>, Arc<EntityUID>),
    /// A slot of a template; templates are refused at load.
    Nothing,
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
            Reach::Is(kind) => BUILT_IN_KINDS.contains(&kind.to_string().as_str()),
            Reach::Eq(_) | Reach::In(_) | Reach::IsIn(..) | Reach::Nothing => false,
        }
    }

    pub(super) fn covers(&self, inputs: &Inputs) -> bool {
        self.verbs.contains(inputs.verb)
            && self.resource.covers(&inputs.resource)
            && self.principal.covers(&inputs.principal)
    }
}

impl Reach {
    fn of(constraint: PrincipalOrResourceConstraint) -> Self {
        use PrincipalOrResourceConstraint as Constraint;
        match constraint {
            Constraint::Any => Self::Any,
            Constraint::Is(kind) => Self::Is(kind),
            Constraint::Eq(EntityReference::EUID(uid)) => Self::Eq(uid),
            Constraint::In(EntityReference::EUID(uid)) => Self::In(uid),
            Constraint::IsIn(kind, EntityReference::EUID(uid)) => Self::IsIn(kind, uid),
            Constraint::Eq(EntityReference::Slot(_))
            | Constraint::In(EntityReference::Slot(_))
            | Constraint::IsIn(_, EntityReference::Slot(_)) => Self::Nothing,
        }
    }

    fn covers(&self, entity: &Entity) -> bool {
        let is = |kind: &EntityType| entity.uid().entity_type() == kind;
        let within = |uid: &EntityUID| entity.uid() == uid || entity.is_descendant_of(uid);
        match self {
            Self::Any => true,
            Self::Is(kind) => is(kind),
            Self::Eq(uid) => entity.uid() == &**uid,
            Self::In(uid) => within(uid),
            Self::IsIn(kind, uid) => is(kind) && within(uid),
            Self::Nothing => false,
        }
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
