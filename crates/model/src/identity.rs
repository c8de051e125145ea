use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Digest, Timestamp};

/// A name in lower case: letters, digits, `-`, `_` and `.`, 1 to 63 bytes, starting with a letter or digit.
///
/// It names organizations, environments, systems, blueprints, teams, tools' systems and data classes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: 1 to 63 lower-case letters, digits, `-`, `_` and `.`, starting with a letter or digit, without `..`"
)]
pub struct NameError(String);

impl Name {
    /// The longest, in bytes: a name is one segment of a SPIFFE ID and one DNS label.
    pub const MAX_BYTES: usize = 63;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let starts = text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
        if starts
            && text.len() <= Self::MAX_BYTES
            && text.bytes().all(plain)
            && !text.contains("..")
        {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.chars().take(80).collect()))
        }
    }
}

/// What an identity is. Persons stand in the same directory as everything non-human.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityKind {
    /// A human being.
    Person,
    /// A program that chooses its own steps.
    Agent,
    /// An account that a service uses.
    ServiceAccount,
    /// A running program with an attested identity.
    Workload,
    /// A build or delivery pipeline.
    Pipeline,
    /// A robot that drives user interfaces.
    Bot,
    /// An application that acts by OAuth grants.
    OauthApp,
    /// A credential that nobody has claimed.
    FoundCredential,
}

impl IdentityKind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Person, "person"),
        (Self::Agent, "agent"),
        (Self::ServiceAccount, "service_account"),
        (Self::Workload, "workload"),
        (Self::Pipeline, "pipeline"),
        (Self::Bot, "bot"),
        (Self::OauthApp, "oauth_app"),
        (Self::FoundCredential, "found_credential"),
    ];

    /// The kind as the vocabulary writes it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The name of an identity within its organization: `agent/support-bot`. Never given twice.
///
/// A person's name is a pseudonym; who it stands for is known to the directory alone, so that the ledger can keep the
/// pseudonym and forget the person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId {
    kind: IdentityKind,
    name: Name,
}

impl IdentityId {
    /// Composes kind and name.
    pub fn new(kind: IdentityKind, name: Name) -> Self {
        Self { kind, name }
    }

    /// What it is.
    pub fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// Its name within the kind.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether this is a human being.
    pub fn is_person(&self) -> bool {
        self.kind == IdentityKind::Person
    }
}

impl FromStr for IdentityId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.chars().take(80).collect());
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        let (kind, _) =
            IdentityKind::ALL.into_iter().find(|(_, text)| *text == kind).ok_or_else(wrong)?;
        Ok(Self { kind, name: name.parse()? })
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for IdentityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&[self.kind.name(), "/", self.name.as_str()].concat())
    }
}

macro_rules! read_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
read_from_text!(Name, IdentityId);

/// Where a record comes from: one organization, one environment, one node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// The organization; also the trust domain of its identities.
    pub org: Name,
    /// The environment, for example `prod`.
    pub environment: Name,
    /// The node, unique within the deployment.
    pub node: u16,
}

impl Realm {
    /// The URI of an identity; a valid [SPIFFE ID](https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/).
    pub fn uri(&self, identity: &IdentityId) -> String {
        format!("spiffe://{}/{}/{identity}", self.org, self.environment)
    }

    /// The identity that a URI of this organization and environment names.
    pub fn identity(&self, uri: &str) -> Option<IdentityId> {
        let rest = uri.strip_prefix("spiffe://")?.strip_prefix(self.org.as_str())?;
        let rest = rest.strip_prefix('/')?.strip_prefix(self.environment.as_str())?;
        rest.strip_prefix('/')?.parse().ok()
    }
}

/// A human being, as the directory keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The pseudonym that tokens and the ledger use.
    pub id: IdentityId,
    /// What people type, for example `olivia`; unique.
    pub handle: Name,
    /// What people read.
    pub display_name: String,
    /// Who this person reports to.
    pub manager: Option<IdentityId>,
    /// Teams and roles, for example `support` or `administrator`.
    pub teams: Vec<Name>,
    /// Whether the person may act at all.
    pub active: bool,
}

/// What an agent is made of, by digest (REG3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// SHA-256 over the parts in their canonical form.
    pub digest: Digest,
    /// The model's name and revision.
    pub model: String,
    /// SHA-256 of the system prompt.
    pub prompt: Digest,
    /// SHA-256 of the tool list.
    pub tools: Digest,
    /// SHA-256 of the image or program.
    pub image: Digest,
    /// Who vouches for the digests; `None` is a self-declared version, which caps the tier.
    pub attested_by: Option<String>,
    /// The person who accepted this version.
    pub accepted_by: IdentityId,
}

/// One running copy of an agent: told from others by the thumbprint of its own key
/// ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The agent it is a copy of.
    pub agent: IdentityId,
    /// The version it runs.
    pub version: Digest,
    /// The thumbprint of the key that its tokens are bound to.
    pub key_thumbprint: String,
}

/// Where an agent is in its life (REG4).
///
/// INVARIANT: what may act has an owner. Every state that can become `Active` again carries one, so an ownerless
/// active agent cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// Somebody asked for it.
    Requested {
        /// Who asked.
        by: IdentityId,
    },
    /// It may be activated.
    Approved {
        /// Who answers for it.
        owner: IdentityId,
    },
    /// It may act.
    Active {
        /// Who answers for it.
        owner: IdentityId,
        /// Since when.
        since: Timestamp,
    },
    /// It may not act until it is reinstated.
    Suspended {
        /// Who answers for it.
        owner: IdentityId,
        /// Why.
        reason: String,
    },
    /// Something is wrong with it; it may not act until a person has looked.
    Quarantined {
        /// Who answers for it.
        owner: IdentityId,
        /// Why.
        reason: String,
    },
    /// Its rights are being returned.
    Retiring {
        /// Who answers for it.
        owner: IdentityId,
    },
    /// It is over; its name is never given again.
    Retired {
        /// When it ended.
        at: Timestamp,
    },
}

/// A change of state that the life of an agent does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {from} cannot become {to}")]
pub struct IllegalTransition {
    from: &'static str,
    to: &'static str,
}

impl State {
    /// The state's name as the vocabulary writes it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Approved { .. } => "approved",
            Self::Active { .. } => "active",
            Self::Suspended { .. } => "suspended",
            Self::Quarantined { .. } => "quarantined",
            Self::Retiring { .. } => "retiring",
            Self::Retired { .. } => "retired",
        }
    }

    /// Who answers for the agent; nobody before it is approved and after it is retired.
    pub const fn owner(&self) -> Option<&IdentityId> {
        match self {
            Self::Requested { .. } | Self::Retired { .. } => None,
            Self::Approved { owner }
            | Self::Active { owner, .. }
            | Self::Suspended { owner, .. }
            | Self::Quarantined { owner, .. }
            | Self::Retiring { owner } => Some(owner),
        }
    }
}

/// A program that chooses its own steps, as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its name.
    pub id: IdentityId,
    /// The template it comes from.
    pub blueprint: Name,
    /// Who stands in for the owner.
    pub deputy: Option<IdentityId>,
    /// What it is for.
    pub purpose: String,
    /// Where it is in its life.
    pub state: State,
    /// What it is made of.
    pub version: Version,
}

impl Agent {
    fn refuse(&self, to: &'static str) -> IllegalTransition {
        IllegalTransition { from: self.state.name(), to }
    }

    /// Gives a requested agent an owner.
    ///
    /// # Errors
    /// The agent is past that state.
    pub fn approve(self, owner: IdentityId) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Requested { .. } => Ok(Self { state: State::Approved { owner }, ..self }),
            _ => Err(self.refuse("approved")),
        }
    }

    /// Lets an approved, suspended or quarantined agent act.
    ///
    /// # Errors
    /// The agent is in another state.
    pub fn activate(self, since: Timestamp) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Approved { owner }
            | State::Suspended { owner, .. }
            | State::Quarantined { owner, .. } => {
                Ok(Self { state: State::Active { owner, since }, ..self })
            }
            _ => Err(self.refuse("active")),
        }
    }

    /// Suspends an active agent; no other state can be suspended.
    ///
    /// # Errors
    /// The agent is not active.
    pub fn suspend(self, reason: String) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Active { owner, .. } => {
                Ok(Self { state: State::Suspended { owner, reason }, ..self })
            }
            _ => Err(self.refuse("suspended")),
        }
    }

    /// Quarantines an agent that is alive: approved, active, suspended or retiring.
    ///
    /// # Errors
    /// The agent is not alive, or quarantined already.
    pub fn quarantine(self, reason: String) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Approved { owner }
            | State::Active { owner, .. }
            | State::Suspended { owner, .. }
            | State::Retiring { owner } => {
                Ok(Self { state: State::Quarantined { owner, reason }, ..self })
            }
            _ => Err(self.refuse("quarantined")),
        }
    }

    /// Starts the end of an agent that is alive.
    ///
    /// # Errors
    /// The agent is not alive, or retiring already.
    pub fn retire(self) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Approved { owner }
            | State::Active { owner, .. }
            | State::Suspended { owner, .. }
            | State::Quarantined { owner, .. } => {
                Ok(Self { state: State::Retiring { owner }, ..self })
            }
            _ => Err(self.refuse("retiring")),
        }
    }

    /// Ends a retiring agent, once its rights are returned.
    ///
    /// # Errors
    /// The agent is not retiring.
    pub fn retired(self, at: Timestamp) -> Result<Self, IllegalTransition> {
        match self.state {
            State::Retiring { .. } => Ok(Self { state: State::Retired { at }, ..self }),
            _ => Err(self.refuse("retired")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str) -> IdentityId {
        IdentityId::new(IdentityKind::Person, name.parse().unwrap())
    }

    fn agent(state: State) -> Agent {
        let digest = Digest([7; 32]);
        Agent {
            id: "agent/support-bot".parse().unwrap(),
            blueprint: "support".parse().unwrap(),
            deputy: None,
            purpose: "answers customers".to_owned(),
            state,
            version: Version {
                digest,
                model: "m-1".to_owned(),
                prompt: digest,
                tools: digest,
                image: digest,
                attested_by: None,
                accepted_by: person("p1"),
            },
        }
    }

    /// What can become of an agent in this state, one letter a transition.
    fn transitions(state: &State) -> String {
        let at = Timestamp::default();
        let tries = [
            ("approve ", agent(state.clone()).approve(person("p1")).is_ok()),
            ("activate ", agent(state.clone()).activate(at).is_ok()),
            ("suspend ", agent(state.clone()).suspend(String::new()).is_ok()),
            ("quarantine ", agent(state.clone()).quarantine(String::new()).is_ok()),
            ("retire ", agent(state.clone()).retire().is_ok()),
            ("end ", agent(state.clone()).retired(at).is_ok()),
        ];
        tries.iter().filter(|(_, legal)| *legal).map(|(name, _)| *name).collect()
    }

    #[test]
    fn only_the_transitions_of_an_agents_life_are_legal() {
        let owner = person("p1");
        let since = Timestamp::default();
        let table = [
            (State::Requested { by: owner.clone() }, "approve "),
            (State::Approved { owner: owner.clone() }, "activate quarantine retire "),
            (State::Active { owner: owner.clone(), since }, "suspend quarantine retire "),
            (
                State::Suspended { owner: owner.clone(), reason: String::new() },
                "activate quarantine retire ",
            ),
            (
                State::Quarantined { owner: owner.clone(), reason: String::new() },
                "activate retire ",
            ),
            (State::Retiring { owner }, "quarantine end "),
            (State::Retired { at: since }, ""),
        ];
        for (state, legal) in table {
            assert_eq!(transitions(&state), legal, "{}", state.name());
        }
    }

    #[test]
    fn an_active_agent_without_an_owner_cannot_be_read() {
        assert!(serde_json::from_str::<State>(r#"{"name":"active","since":0}"#).is_err());
    }

    #[test]
    fn a_uri_of_another_realm_names_nobody() {
        let realm = Realm {
            org: "acme.example".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            node: 1,
        };
        let bot: IdentityId = "agent/support-bot".parse().unwrap();
        assert_eq!(realm.uri(&bot), "spiffe://acme.example/prod/agent/support-bot");
        assert_eq!(realm.identity(&realm.uri(&bot)), Some(bot));
        for uri in [
            "spiffe://acme.example/test/agent/support-bot",
            "spiffe://acme.example.evil/prod/agent/support-bot",
            "spiffe://acme.example/prod/agent/Support-Bot",
            "agent/support-bot",
        ] {
            assert_eq!(realm.identity(uri), None, "{uri}");
        }
    }
}
