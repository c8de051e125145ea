use std::sync::Arc;

use decide::{Act, Allowed, Changes, Engine, PersonRecord, subject_by_handle};
use model::{IdentityId, IdentityKind, Name, Person, Verb, ijson::Json};
use store::Expect;
use token::{Jwk, PublicKey};

use crate::Error;

/// The longest name that people read, in bytes.
const MAX_DISPLAY_NAME: usize = 200;
/// The most teams of one person.
const MAX_TEAMS: usize = 64;

/// Enrols a person with their key. It gives a right to act, so it is a grant.
#[derive(Debug, Clone)]
pub struct AddPerson {
    /// The pseudonym; drawn by [`Engine::pseudonym`].
    pub id: Name,
    /// What people type.
    pub handle: Name,
    /// What people read.
    pub display_name: String,
    /// Who they report to.
    pub manager: Option<IdentityId>,
    /// Teams and roles.
    pub teams: Vec<Name>,
    /// Their public key as a JWK.
    pub key: Json,
}

impl Act for AddPerson {
    fn verb(&self) -> Verb {
        Verb::Grant
    }

    fn target(&self) -> (&'static str, String) {
        ("Registration", format!("person/{}", self.handle))
    }

    fn about(&self) -> Option<String> {
        Some(subject_by_handle(&self.handle))
    }

    fn shown(&self) -> Json {
        let text = |text: &str| Json::String(text.to_owned());
        Json::object([
            ("display_name", text(&self.display_name)),
            ("handle", text(self.handle.as_str())),
            ("key", self.key.clone()),
            (
                "manager",
                self.manager
                    .as_ref()
                    .map_or(Json::Null, |manager| Json::String(manager.to_string())),
            ),
            ("teams", Json::Array(self.teams.iter().map(|team| text(team.as_str())).collect())),
        ])
    }
}

/// Whether a person could be enrolled like this, so that nobody is asked to approve what cannot be done, and no key
/// that should be private is kept with a request.
///
/// # Errors
/// As [`add_person`].
pub async fn check_person(engine: &Engine, wish: &AddPerson) -> Result<(), Error> {
    record_of(wish)?;
    let manager = wish.manager.as_ref();
    if let Some(manager) = manager.filter(|manager| engine.directory().person(manager).is_none()) {
        return Err(Error::NotFound { kind: "person", name: manager.to_string() });
    }
    let (handle, thumbprint) = (wish.handle.clone(), read_key(&wish.key)?.kid().to_owned());
    let claimed = engine.store().read(move |view| {
        Ok::<_, store::Error>((
            view.claimed("handle", handle.as_str())?,
            view.claimed("key", &thumbprint)?,
        ))
    });
    match claimed.await? {
        (Some(_), _) => Err(handle_taken(&wish.handle)),
        (None, Some(_)) => Err(key_taken()),
        (None, None) => Ok(()),
    }
}

/// Enrols a person.
///
/// # Errors
/// The handle or the key belongs to somebody else, the manager is unknown, or the record is not sound.
pub async fn add_person(
    engine: &Arc<Engine>,
    allowed: Allowed<AddPerson>,
) -> Result<IdentityId, Error> {
    check_person(engine, allowed.act()).await?;
    let record = record_of(allowed.act())?;
    engine.change(&allowed, move |changes| enrol(changes, &record)).await
}

/// Enrols the first administrator, whom nobody could have allowed.
///
/// # Errors
/// There is a person already, or the record is not sound.
pub async fn enrol_first(engine: &Arc<Engine>, mut person: AddPerson) -> Result<IdentityId, Error> {
    if engine.directory().ever_held("person") {
        return Err(Error::Conflict("the first administrator was enrolled before".to_owned()));
    }
    person.teams = vec!["administrator".parse().expect("`administrator` is a name")];
    let record = record_of(&person)?;
    engine
        .bootstrap(move |changes| {
            // One claim that only one enrolment ever gets, so that two at the same moment cannot both be the first.
            changes.claim("bootstrap", "administrator", &record.person.id.to_string()).map_err(
                |_| Error::Conflict("the first administrator is enrolled already".to_owned()),
            )?;
            enrol(changes, &record)
        })
        .await
}

fn enrol(changes: &mut Changes<'_, '_>, record: &PersonRecord) -> Result<IdentityId, Error> {
    let id = record.person.id.clone();
    let owner = id.to_string();
    claim_handle(changes, &record.person.handle, &owner)?;
    claim_keys(changes, &record.keys, &owner)?;
    changes.put(record, Expect::New, true)?;
    Ok(id)
}

fn claim_handle(changes: &mut Changes<'_, '_>, handle: &Name, owner: &str) -> Result<(), Error> {
    changes.claim("handle", handle.as_str(), owner).map_err(|_| handle_taken(handle))
}

fn handle_taken(handle: &Name) -> Error {
    Error::Conflict(format!(
        "the handle `{handle}` is taken, and a handle is never given again; choose another one"
    ))
}

pub(crate) fn key_taken() -> Error {
    Error::Conflict(
        "this key belongs to another identity; every identity has its own, so make a new one"
            .to_owned(),
    )
}

/// Claims keys for one identity: no credential is shared by two (REG2).
pub(crate) fn claim_keys(
    changes: &mut Changes<'_, '_>,
    keys: &[Json],
    owner: &str,
) -> Result<(), Error> {
    for key in keys {
        let thumbprint = read_key(key)?.kid().to_owned();
        changes.claim("key", &thumbprint, owner).map_err(|_| key_taken())?;
    }
    Ok(())
}

pub(crate) fn read_key(jwk: &Json) -> Result<PublicKey, Error> {
    Jwk::from_json(jwk)
        .map(Jwk::into_key)
        .map_err(|why| Error::Invalid(format!("the key cannot be used: {why}")))
}

fn record_of(person: &AddPerson) -> Result<PersonRecord, Error> {
    read_key(&person.key)?;
    if person.display_name.is_empty() || person.display_name.len() > MAX_DISPLAY_NAME {
        return Err(Error::Invalid(format!("a display name has 1 to {MAX_DISPLAY_NAME} bytes")));
    }
    if person.teams.len() > MAX_TEAMS {
        return Err(Error::Invalid(format!("a person is in at most {MAX_TEAMS} teams")));
    }
    Ok(PersonRecord {
        person: Person {
            id: IdentityId::new(IdentityKind::Person, person.id.clone()),
            handle: person.handle.clone(),
            display_name: person.display_name.clone(),
            manager: person.manager.clone(),
            teams: person.teams.clone(),
            active: true,
        },
        keys: vec![person.key.clone()],
    })
}
