//! What callers type for people and agents, turned into identities.

use std::collections::BTreeMap;

use decide::{Caller, Engine, Subject};
use model::{IdentityId, IdentityKind, Name};
use serde::Serialize;
use serde_json::Value;

use crate::problem::{Fault, Problem};

/// The person whom a pseudonym (`p1f…`, `person/p1f…`) or a handle names.
pub(crate) async fn person(engine: &Engine, text: &str) -> Result<IdentityId, Problem> {
    let name = name(text.strip_prefix("person/").unwrap_or(text))?;
    let by_pseudonym = IdentityId::new(IdentityKind::Person, name.clone());
    // Pseudonyms first: a handle that somebody is given later cannot take one over.
    if engine.directory().person(&by_pseudonym).is_some() {
        return Ok(by_pseudonym);
    }
    // The directory's rows are what the ledger says; a claim in the database is nobody's word.
    let found = engine.directory().person_by_handle(&name).map(|entry| entry.person.id.clone());
    found.ok_or_else(|| Problem::not_found("person", name))
}

/// The handles of the people who occur in an answer, for a caller who may look at people: what a person can recognize.
pub(crate) fn handles(
    engine: &Engine,
    caller: &Caller,
    answer: &impl Serialize,
) -> BTreeMap<String, Name> {
    let mut found = BTreeMap::new();
    if engine.sees(caller, "Registration", "persons")
        && let Ok(answer) = serde_json::to_value(answer)
    {
        write_handles(engine, &answer, &mut found);
    }
    found
}

fn write_handles(engine: &Engine, value: &Value, found: &mut BTreeMap<String, Name>) {
    match value {
        Value::String(text) if text.starts_with("person/") => {
            let id = text.parse().ok();
            if let Some(entry) = id.and_then(|id| engine.directory().person(&id)) {
                found.insert(text.clone(), entry.person.handle.clone());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| write_handles(engine, item, found)),
        Value::Object(members) => {
            members.values().for_each(|value| write_handles(engine, value, found));
        }
        _ => {}
    }
}

/// The same for somebody who may be left out.
pub(crate) async fn maybe_person(
    engine: &Engine,
    text: Option<&str>,
) -> Result<Option<IdentityId>, Problem> {
    match text {
        None => Ok(None),
        Some(text) => person(engine, text).await.map(Some),
    }
}

/// The agent of that name, with or without `agent/` before it.
pub(crate) fn agent(text: &str) -> Result<IdentityId, Problem> {
    Ok(IdentityId::new(IdentityKind::Agent, name(text.strip_prefix("agent/").unwrap_or(text))?))
}

/// `agent/NAME`, `task/ID`, `handle/NAME` of somebody who was never enrolled, or whatever names a person.
pub(crate) async fn subject(engine: &Engine, text: &str) -> Result<Subject, Problem> {
    match text.parse::<Subject>() {
        Ok(Subject::Handle(handle)) => {
            let enrolled = engine.directory().person_by_handle(&handle);
            let enrolled = enrolled.map(|entry| Subject::Identity(entry.person.id.clone()));
            Ok(enrolled.unwrap_or(Subject::Handle(handle)))
        }
        Ok(task @ Subject::Task(_)) => Ok(task),
        _ if text.starts_with("agent/") => agent(text).map(Subject::Identity),
        _ => person(engine, text).await.map(Subject::Identity),
    }
}

/// A name.
pub(crate) fn name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|why: model::NameError| Problem::new(Fault::Invalid, why.to_string()))
}

/// An id, as ids are written.
pub(crate) fn id<Of>(text: &str) -> Result<model::Id<Of>, Problem> {
    text.parse().map_err(|_| Problem::new(Fault::Invalid, "an id is a UUID in lower case"))
}
