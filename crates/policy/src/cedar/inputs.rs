use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy_core::{
    ast::{self, Context, Eid, Entity, EntityType, EntityUID, EntityUIDEntry, PartialValue, Value},
    entities::{Entities, NoEntitiesSchema, TCComputation},
    extensions::Extensions,
};
use model::{IdentityId, IdentityKind, Name, Timestamp, Verb};

use crate::{
    Principal, Request,
    schema::{BUILT_IN_KINDS, in_write, principal_type},
};

/// What one evaluation reads. Every entity that a validated condition can look into is here.
pub(super) struct Inputs {
    pub(super) entities: Entities,
    pub(super) request: ast::Request,
}

/// The types of the schema, parsed once.
pub(super) struct Vocabulary {
    team: EntityType,
    blueprint: EntityType,
    system: EntityType,
    identities: BTreeMap<IdentityKind, EntityType>,
    kinds: HashMap<String, EntityType>,
    /// One for each verb, in the order of [`Verb::ALL`].
    actions: Vec<Arc<Entity>>,
}

/// Attributes of an entity or members of a record; Cedar owns the names.
type Members = Vec<(&'static str, Value)>;

impl Vocabulary {
    pub(super) fn new(kinds: &BTreeSet<String>) -> Self {
        let kinds = kinds.iter().map(String::as_str).chain(BUILT_IN_KINDS);
        Self {
            team: entity_type("Team"),
            blueprint: entity_type("Blueprint"),
            system: entity_type("System"),
            identities: IDENTITIES.map(|kind| (kind, entity_type(principal_type(kind)))).into(),
            kinds: kinds.map(|kind| (kind.to_owned(), entity_type(kind))).collect(),
            actions: Verb::ALL.iter().map(|verb| Arc::new(action(*verb))).collect(),
        }
    }

    /// Refuses a request that cannot be put to the policies, whatever they would say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), String> {
        let Request { principal, resource, amount, facts, .. } = request;
        if !principal.id.is_person() && principal.answered_for().is_none() {
            let id = &principal.id;
            return Err(format!("`{id}` has no owner; give it a person who answers for it"));
        }
        if !self.kinds.contains_key(resource.kind()) {
            let kind = resource.kind();
            return Err(format!(
                "the catalog has no kind `{kind}`; accept a mapping that names it"
            ));
        }
        match (amount, facts.spent) {
            (Some(amount), Some(spent)) if amount.currency() != spent.currency() => {
                let (amount, spent) = (amount.currency(), spent.currency());
                Err(format!("{amount} are to be moved and {spent} were spent; convert one"))
            }
            _ => Ok(()),
        }
    }

    /// A request in Cedar's terms, built from values.
    ///
    /// # Errors
    /// Why it cannot be put to the policies.
    pub(super) fn inputs(&self, request: &Request<'_>) -> Result<Inputs, String> {
        let principal = Arc::new(self.identity(request.principal));
        let resource = Arc::new(self.resource(request)?);
        let action = &self.actions[request.verb as usize];
        let mut entities = vec![principal.clone(), resource.clone(), action.clone()];
        let invoker = request.facts.invoker.as_ref().filter(|invoker| invoker.id.is_person());
        if let Some(invoker) = invoker.filter(|invoker| invoker.id != request.principal.id) {
            entities.push(Arc::new(self.identity(invoker)));
        }
        let context = self.context(request);
        let known = |entity: &Entity| EntityUIDEntry::known(entity.uid().clone(), None);
        Ok(Inputs {
            request: ast::Request::new_unchecked(
                known(&principal),
                known(action),
                known(&resource),
                Some(context),
            ),
            entities: Entities::new()
                .add_entities(
                    entities,
                    None::<&NoEntitiesSchema>,
                    TCComputation::AssumeAlreadyComputed,
                    Extensions::all_available(),
                )
                .map_err(|error| error.to_string())?,
        })
    }

    fn identity(&self, principal: &Principal) -> Entity {
        let Principal { id, .. } = principal;
        let mut attributes: Members = vec![("id", id.name().as_str().into())];
        let mut parents = HashSet::new();
        if id.is_person() {
            parents.extend(principal.teams.iter().map(|team| named(&self.team, team)));
            let manager = principal.manager.as_ref().filter(|manager| manager.is_person());
            attributes.extend(manager.map(|manager| ("manager", self.uid(manager).into())));
        } else {
            let owner = principal.answered_for();
            attributes.extend(owner.map(|owner| ("owner", self.uid(owner).into())));
            attributes.push(("attested", principal.attested.into()));
            let blueprint =
                principal.blueprint.as_ref().filter(|_| id.kind() == IdentityKind::Agent);
            parents.extend(blueprint.map(|blueprint| named(&self.blueprint, blueprint)));
        }
        entity(self.uid(id), attributes, parents)
    }

    fn resource(&self, request: &Request<'_>) -> Result<Entity, String> {
        let resource = request.resource;
        let kind = self.kinds.get(resource.kind()).ok_or("the catalog has no such kind")?;
        let mut attributes: Members =
            vec![("id", resource.id().into()), ("classes", set(request.classes))];
        if BUILT_IN_KINDS.contains(&resource.kind()) {
            let owner = request.owner.filter(|owner| owner.is_person());
            attributes.extend(owner.map(|owner| ("owner", self.uid(owner).into())));
            attributes
                .extend(request.group.map(|group| ("group", named(&self.team, group).into())));
        }
        let id = format!("{}/{}", resource.system(), resource.id());
        let uid = EntityUID::from_components(kind.clone(), Eid::new(id), None);
        Ok(entity(uid, attributes, HashSet::from([named(&self.system, resource.system())])))
    }

    fn context(&self, request: &Request<'_>) -> Context {
        let Request { amount, facts, .. } = request;
        let currency = amount.or(facts.spent).map(|money| money.currency());
        let minor_units = |money: model::Money| money.minor_units().cast_signed();
        let spent = facts.spent.map_or(0, minor_units);
        let mut members: Members = vec![
            ("classes", set(request.classes)),
            ("environment", facts.environment.as_str().into()),
            ("at", facts.at.millis().into()),
            ("hour", hour(facts.at).into()),
            ("weekday", weekday(facts.at).into()),
            ("actor", facts.actor.to_string().into()),
            ("depth", i64::from(facts.depth).into()),
            (
                "history",
                Value::record([("labels", set(&facts.labels)), ("spent", spent.into())], None),
            ),
            ("administrators", i64::from(facts.administrators).into()),
        ];
        members.extend(amount.map(|amount| ("amount", minor_units(amount).into())));
        members.extend(currency.map(|currency| ("currency", currency.to_string().into())));
        let invoker = facts.invoker.as_ref().filter(|invoker| invoker.id.is_person());
        members.extend(invoker.map(|invoker| ("invoker", self.uid(&invoker.id).into())));
        let text = |text: &Arc<str>| Value::from(&**text);
        members.extend(facts.purpose.as_ref().map(|purpose| ("purpose", text(purpose))));
        members.extend(facts.tool.as_ref().map(|tool| ("tool", text(tool))));
        let members = members.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Context::Value(Arc::new(members))
    }

    fn uid(&self, id: &IdentityId) -> EntityUID {
        named(&self.identities[&id.kind()], id.name())
    }
}

/// Whether an entity is the action of a verb.
pub(super) fn is_verb(uid: &EntityUID, verb: Verb) -> bool {
    uid.entity_type().is_action() && uid.eid().as_ref() == verb.name()
}

/// Whether an entity is the group of actions that a verb is in.
pub(super) fn is_group_of(uid: &EntityUID, verb: Verb) -> bool {
    in_write(verb) && uid.entity_type().is_action() && uid.eid().as_ref() == WRITE
}

/// The group of actions.
const WRITE: &str = "write";

const IDENTITIES: [IdentityKind; 8] = [
    IdentityKind::Person,
    IdentityKind::Agent,
    IdentityKind::ServiceAccount,
    IdentityKind::Workload,
    IdentityKind::Pipeline,
    IdentityKind::Bot,
    IdentityKind::OauthApp,
    IdentityKind::FoundCredential,
];

fn action(verb: Verb) -> Entity {
    let kind = entity_type("Action");
    let uid = |id: &str| EntityUID::from_components(kind.clone(), Eid::new(id), None);
    let parents = if in_write(verb) { HashSet::from([uid(WRITE)]) } else { HashSet::new() };
    entity(uid(verb.name()), Vec::new(), parents)
}

fn entity(uid: EntityUID, attributes: Members, parents: HashSet<EntityUID>) -> Entity {
    let attributes =
        attributes.into_iter().map(|(name, value)| (name.into(), PartialValue::Value(value)));
    Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), parents, [])
}

fn entity_type(name: &str) -> EntityType {
    let name = ast::Name::parse_unqualified_name(name);
    name.expect("type names are constants or were checked with the catalog").into()
}

fn named(kind: &EntityType, name: &Name) -> EntityUID {
    EntityUID::from_components(kind.clone(), Eid::new(name.as_str()), None)
}

fn set(names: &BTreeSet<Name>) -> Value {
    Value::set_of_lits(names.iter().map(|name| name.as_str().into()), None)
}

/// The hour of the day in UTC.
fn hour(at: Timestamp) -> i64 {
    at.seconds().rem_euclid(86_400) / 3_600
}

/// The day of the week in UTC, 1 is Monday; 1970-01-01 was a Thursday.
fn weekday(at: Timestamp) -> i64 {
    (at.seconds().div_euclid(86_400) + 3).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_weekdays_are_those_of_the_calendar_before_and_after_1970() {
        let table = [
            (0, 0, 4),
            (-1, 23, 3),
            (1_700_000_000, 22, 2),
            (1_732_406_400, 0, 7),
            (1_732_489_200, 23, 7),
            (1_732_492_800, 0, 1),
        ];
        for (seconds, expected_hour, expected_weekday) in table {
            let at = Timestamp::from_seconds(seconds);
            assert_eq!((hour(at), weekday(at)), (expected_hour, expected_weekday), "{seconds}");
        }
    }
}
