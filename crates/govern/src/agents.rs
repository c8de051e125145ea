use std::sync::Arc;

use decide::{Act, AgentRecord, Allowed, BlueprintRecord, Changes, Directory, Engine, sha256};
use model::{
    Agent, Authority, Blueprint, Digest, IdentityId, IdentityKind, ModelName, Name, State,
    Timestamp, Verb, Version,
    ijson::{self, Json},
};
use serde::Serialize;
use store::{Expect, Governed as _, Row};

use crate::{
    Error,
    people::{claim_keys, key_taken, read_key},
};

/// Adds or replaces a template for agents.
#[derive(Debug, Clone)]
pub struct AddBlueprint {
    /// The template.
    pub blueprint: Blueprint,
}

impl Act for AddBlueprint {
    /// A blueprint's authority is what its agents hold.
    fn verb(&self) -> Verb {
        Verb::Grant
    }

    fn target(&self) -> (&'static str, String) {
        ("Registration", format!("blueprint/{}", self.blueprint.name))
    }

    fn shown(&self) -> Json {
        json(&self.blueprint)
    }
}

/// Whether a blueprint could be added like this, so that nobody is asked to approve what cannot be done.
///
/// # Errors
/// Its owner or deputy is not an active person, or some authority that it adds has ended already.
pub fn check_blueprint(engine: &Engine, wish: &AddBlueprint) -> Result<(), Error> {
    let blueprint = &wish.blueprint;
    check_owner(engine.directory(), &blueprint.owner)?;
    if let Some(deputy) = &blueprint.deputy {
        check_owner(engine.directory(), deputy)?;
    }
    // What only takes away may end when it likes.
    let held = engine.directory().blueprint(&blueprint.name);
    if held.is_some_and(|held| blueprint.narrows(&held)) {
        return Ok(());
    }
    check_ends(&blueprint.authority, engine.context().now())
}

/// Adds or replaces a blueprint.
///
/// # Errors
/// As [`check_blueprint`], or the store fails.
pub async fn add_blueprint(
    engine: &Arc<Engine>,
    allowed: Allowed<AddBlueprint>,
) -> Result<(), Error> {
    check_blueprint(engine, allowed.act())?;
    let mut record = BlueprintRecord(allowed.act().blueprint.clone());
    record.0.purpose = scrub::text(&record.0.purpose).into_owned();
    let change = move |changes: &mut Changes<'_, '_>| {
        let held = changes.get::<BlueprintRecord>(&record.key())?;
        let widens = held.is_none_or(|row| !record.0.narrows(&row.value.0));
        Ok(changes.put(&record, Expect::Any, widens)?)
    };
    engine.change(&allowed, change).await
}

/// What an agent is made of, as whoever registers it declares.
#[derive(Debug, Clone, Serialize)]
pub struct NewVersion {
    /// The model's name and revision.
    pub model: ModelName,
    /// SHA-256 of the system prompt.
    pub prompt: Digest,
    /// SHA-256 of the tool list.
    pub tools: Digest,
    /// SHA-256 of the image or program.
    pub image: Digest,
}

/// Registers an agent under an owner and puts it into operation.
#[derive(Debug, Clone)]
pub struct Register {
    /// Its name.
    pub name: Name,
    /// Its template.
    pub blueprint: Name,
    /// Who answers for it.
    pub owner: IdentityId,
    /// Who stands in.
    pub deputy: Option<IdentityId>,
    /// What it is for.
    pub purpose: String,
    /// What it is made of.
    pub version: NewVersion,
    /// Its public key as a JWK.
    pub key: Json,
}

impl Register {
    fn id(&self) -> IdentityId {
        IdentityId::new(IdentityKind::Agent, self.name.clone())
    }
}

impl Act for Register {
    fn verb(&self) -> Verb {
        Verb::Create
    }

    fn target(&self) -> (&'static str, String) {
        ("Registration", format!("agent/{}", self.name))
    }

    fn owner(&self, _directory: &Directory, _caller: &IdentityId) -> Option<IdentityId> {
        Some(self.owner.clone())
    }

    fn about(&self) -> Option<String> {
        Some(self.id().to_string())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("blueprint", json(&self.blueprint)),
            ("deputy", json(&self.deputy)),
            ("key", self.key.clone()),
            ("name", json(&self.name)),
            ("owner", json(&self.owner)),
            ("purpose", json(&self.purpose)),
            ("version", json(&self.version)),
        ])
    }
}

/// Whether an agent could be registered like this, so that nobody is asked to approve what cannot be done, and no key
/// that should be private is kept with a request.
///
/// # Errors
/// As [`register`], as far as the directory tells.
pub fn check_registration(directory: &Directory, wish: &Register) -> Result<(), Error> {
    read_key(&wish.key)?;
    check_owner(directory, &wish.owner)?;
    if let Some(deputy) = &wish.deputy {
        check_owner(directory, deputy)?;
    }
    if directory.blueprint(&wish.blueprint).is_none() {
        return Err(Error::Blueprint(wish.blueprint.clone()));
    }
    if directory.agent(&wish.id()).is_some() {
        return Err(Error::Conflict(format!(
            "there is an agent `{}`, and a name is never given again; choose another one",
            wish.name
        )));
    }
    Ok(())
}

/// Whether the key of a registration is nobody else's.
///
/// # Errors
/// It belongs to another identity.
pub async fn check_key(engine: &Engine, wish: &Register) -> Result<(), Error> {
    let thumbprint = read_key(&wish.key)?.kid().to_owned();
    let has = engine.store().read(move |view| view.claimed("key", &thumbprint)).await?;
    match has {
        Some(owner) if owner != wish.id().to_string() => Err(key_taken()),
        _ => Ok(()),
    }
}

/// Registers an agent: requested, approved by this decision, active.
///
/// # Errors
/// The name was given before, the owner is not one active person, the blueprint is unknown, or the key belongs to
/// somebody else.
pub async fn register(
    engine: &Arc<Engine>,
    allowed: Allowed<Register>,
) -> Result<IdentityId, Error> {
    let wish = allowed.act().clone();
    check_registration(engine.directory(), &wish)?;
    let by = allowed.caller().person.clone();
    engine.change(&allowed, move |changes| store_agent(changes, &wish, &by)).await
}

fn store_agent(
    changes: &mut Changes<'_, '_>,
    wish: &Register,
    by: &IdentityId,
) -> Result<IdentityId, Error> {
    let id = wish.id();
    let agent = Agent {
        id: id.clone(),
        blueprint: wish.blueprint.clone(),
        deputy: wish.deputy.clone(),
        purpose: scrub::text(&wish.purpose).into_owned(),
        state: State::Requested { by: by.clone() },
        version: version_of(&wish.version, by.clone()),
    };
    let agent = agent.approve(wish.owner.clone())?.activate(changes.at())?;
    let keys = vec![wish.key.clone()];
    claim_keys(changes, &keys, &id.to_string())?;
    // `New`: a retired agent keeps its row, so a name is never given again.
    changes.put(&AgentRecord { agent, keys, proposed: None }, Expect::New, true)?;
    Ok(id)
}

/// The version that these parts make; its digest is what tokens name.
pub fn version_of(parts: &NewVersion, accepted_by: IdentityId) -> Version {
    let canonical = json(parts).canonical();
    Version {
        digest: sha256(&[b"version/v1\0", &canonical]),
        model: parts.model.to_string(),
        prompt: parts.prompt,
        tools: parts.tools,
        image: parts.image,
        attested_by: None,
        accepted_by,
    }
}

/// A step in an agent's life that a person takes.
#[derive(Debug, Clone)]
pub enum ChangeState {
    /// It may not act until it is reinstated.
    Suspend {
        /// Which agent.
        agent: Name,
        /// Why.
        reason: String,
    },
    /// It may act again. [`ChangeState::reinstate`] makes one.
    Reinstate {
        /// Which agent.
        agent: Name,
        /// Where it was in its life when this was asked: no later suspension ends by it.
        from: State,
    },
    /// Its life ends.
    Retire {
        /// Which agent.
        agent: Name,
    },
}

impl ChangeState {
    /// The end of the suspension or quarantine that an agent is in now.
    ///
    /// # Errors
    /// There is no such agent, or it is in neither.
    pub fn reinstate(directory: &Directory, agent: Name) -> Result<Self, Error> {
        let id = IdentityId::new(IdentityKind::Agent, agent.clone());
        let entry = directory.agent(&id).ok_or_else(|| unknown(&id))?;
        entry.agent.clone().activate(Timestamp::default())?;
        Ok(Self::Reinstate { agent, from: entry.agent.state.clone() })
    }

    fn agent(&self) -> IdentityId {
        let (Self::Suspend { agent, .. } | Self::Reinstate { agent, .. } | Self::Retire { agent }) =
            self;
        IdentityId::new(IdentityKind::Agent, agent.clone())
    }

    fn apply(&self, agent: Agent, at: Timestamp) -> Result<Agent, Error> {
        Ok(match self {
            Self::Suspend { reason, .. } => agent.suspend(scrub::text(reason).into_owned())?,
            Self::Reinstate { from, .. } if *from == agent.state => agent.activate(at)?,
            Self::Reinstate { .. } => {
                return Err(Error::Conflict(format!(
                    "`{}` is not as it was when this was asked; look again",
                    agent.id
                )));
            }
            Self::Retire { .. } => agent.retire()?.retired(at)?,
        })
    }
}

impl Act for ChangeState {
    fn verb(&self) -> Verb {
        match self {
            Self::Suspend { .. } => Verb::Admin,
            Self::Reinstate { .. } => Verb::Deploy,
            Self::Retire { .. } => Verb::Delete,
        }
    }

    fn target(&self) -> (&'static str, String) {
        ("Registration", self.agent().to_string())
    }

    fn owner(&self, directory: &Directory, caller: &IdentityId) -> Option<IdentityId> {
        directory.agent(&self.agent())?.answers(caller)
    }

    fn about(&self) -> Option<String> {
        Some(self.agent().to_string())
    }

    fn takes_away(&self) -> bool {
        !matches!(self, Self::Reinstate { .. })
    }

    fn shown(&self) -> Json {
        let (name, more) = match self {
            Self::Suspend { reason, .. } => ("suspend", ("reason", json(reason))),
            Self::Reinstate { from, .. } => ("reinstate", ("from", json(from))),
            Self::Retire { .. } => ("retire", ("reason", json(&""))),
        };
        Json::object([("agent", json(&self.agent())), ("step", json(&name)), more])
    }
}

/// Takes a step in an agent's life.
///
/// # Errors
/// There is no such agent, or its life has no such step from where it is.
pub async fn change_state(
    engine: &Arc<Engine>,
    allowed: Allowed<ChangeState>,
) -> Result<Agent, Error> {
    let step = allowed.act().clone();
    let changed = engine
        .change(&allowed, move |changes| {
            let key = step.agent().to_string();
            let row: Option<Row<AgentRecord>> = changes.get(&key)?;
            let row = row.ok_or_else(|| unknown(&step.agent()))?;
            let agent = step.apply(row.value.agent.clone(), changes.at())?;
            let record = AgentRecord { agent: agent.clone(), ..row.value };
            changes.put(&record, Expect::Version(row.version), !step.takes_away())?;
            Ok(agent)
        })
        .await;
    // Also where its record is not in the ledger yet: what takes away is in force.
    engine.close_agents();
    changed
}

fn unknown(agent: &IdentityId) -> Error {
    Error::NotFound { kind: "agent", name: agent.name().to_string() }
}

/// An owner is one active person; "IT" or a group is refused (REG2).
fn check_owner(directory: &Directory, owner: &IdentityId) -> Result<(), Error> {
    if owner.is_person() && directory.person(owner).is_some_and(|entry| entry.person.active) {
        Ok(())
    } else {
        Err(Error::Owner(owner.clone()))
    }
}

/// A right that is over before it is given gives nothing, and nobody should be asked about it.
pub(crate) fn check_ends(authority: &Authority, now: Timestamp) -> Result<(), Error> {
    let over = authority.clauses.iter().position(|clause| clause.expires <= now);
    match over {
        None => Ok(()),
        Some(at) => Err(Error::Invalid(format!(
            "clause {} (`{}`) is over already: its end, `until`, lies in the past; write a later one, or leave the \
             clause out",
            at + 1,
            authority.clauses[at].resources
        ))),
    }
}

/// Our own types as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Json {
    let bytes = serde_json::to_vec(value).expect("our own types serialize");
    ijson::parse(&bytes, ijson::Limits { bytes: usize::MAX, depth: 64 })
        .expect("our own types are I-JSON")
}
