use std::{fmt, sync::Arc};

use model::{Digest, Name};

use crate::Place;

/// One loaded policy, beside its condition: who it is and what follows when it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(crate) id: Name,
    pub(crate) digest: Digest,
    pub(crate) place: Place,
    pub(crate) text: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) next: Option<Arc<str>>,
    pub(crate) explained_to_agents: bool,
}

/// What a policy does when it applies; only a soft forbid can be lifted, so only it says by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Permit,
    Forbid,
    Soft(Lift),
}

/// What a policy does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Allows, unless something forbids.
    Permit,
    /// Denies, whatever else says.
    Forbid,
    /// Denies until its demand is met: `@hold` or `@step_up`.
    SoftForbid,
}

/// What lifts a soft forbid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lift {
    /// Approvals: `@hold("finance:2")`.
    Hold {
        /// The team whose members may approve.
        group: Name,
        /// How many of them must; one person counts once.
        quorum: u8,
    },
    /// A fresh proof that the person is present: `@step_up("passkey")`.
    StepUp {
        /// By what.
        method: Method,
    },
}

/// How a person proves to be present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// A passkey assertion over the digest of the action.
    Passkey,
    /// A signature by the person's enrolled key over the digest of the action.
    Key,
}

/// Whether a policy decides or is only watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It decides.
    Enforce,
    /// It is evaluated and reported, and never decides: `@mode("shadow")`.
    Shadow,
    /// It decides for the buckets below this percentage, 1 to 99, and is a shadow for the others: `@mode("canary:10")`.
    Canary(u8),
}

/// What an enforcement point must do with a permitted action: `@obligation("mask:card")`.
///
/// An enforcement point that does not know an obligation denies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Obligation {
    /// What to do, for example `mask`.
    pub name: Name,
    /// To what, for example `card`.
    pub argument: Option<Arc<str>>,
}

impl Rule {
    /// Its `@id`.
    pub fn id(&self) -> &Name {
        &self.id
    }

    /// SHA-256 over `policy/v1`, a line feed, and the policy's text with its annotations.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its text, annotations included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it does when it applies.
    pub fn effect(&self) -> Effect {
        match self.kind {
            Kind::Permit => Effect::Permit,
            Kind::Forbid => Effect::Forbid,
            Kind::Soft(_) => Effect::SoftForbid,
        }
    }

    /// What lifts it, when it is a soft forbid.
    pub fn lift(&self) -> Option<&Lift> {
        match &self.kind {
            Kind::Soft(lift) => Some(lift),
            Kind::Permit | Kind::Forbid => None,
        }
    }

    /// Whether it decides.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it obliges to, when the action is permitted and this policy had a part in it.
    pub fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }
}

impl Effect {
    /// The effect as records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
            Self::SoftForbid => "soft_forbid",
        }
    }
}

impl Method {
    pub(crate) const ALL: [Self; 2] = [Self::Passkey, Self::Key];

    /// The method as policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Key => "key",
        }
    }
}

impl Mode {
    /// Whether the policy decides for a bucket.
    pub(crate) fn enforces(self, bucket: impl FnOnce() -> u8) -> bool {
        match self {
            Self::Enforce => true,
            Self::Shadow => false,
            Self::Canary(percent) => bucket() < percent,
        }
    }
}

/// `hold finance:2` or `step_up passkey`.
impl fmt::Display for Lift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold { group, quorum } => write!(f, "hold {group}:{quorum}"),
            Self::StepUp { method } => write!(f, "step_up {}", method.name()),
        }
    }
}

/// `mask:card`, as policies write it.
impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.argument {
            Some(argument) => write!(f, "{}:{argument}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}
