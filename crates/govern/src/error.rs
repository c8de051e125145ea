use decide::{MappingError, NotInForce, Refusal};
use model::{IdentityId, IllegalTransition, Name};
use store::{ClaimError, PutError};

/// Why a change of governance was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The road said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is nothing of that name.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By which name.
        name: String,
    },
    /// Something else has the name, or the key.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for is not sound.
    #[error("{0}")]
    Invalid(String),
    /// Somebody has to answer for an agent, in person.
    #[error("`{0}` cannot own an agent: an owner is one active person")]
    Owner(IdentityId),
    /// The blueprint is unknown.
    #[error("there is no blueprint `{0}`; add it first")]
    Blueprint(Name),
    /// An agent's life has no such step.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// A mapping cannot be applied to calls.
    #[error("tool `{tool}`: {why}")]
    Mapping {
        /// The tool.
        tool: String,
        /// What is wrong.
        #[source]
        why: MappingError,
    },
    /// The policies do not load.
    #[error("{0}")]
    Policies(String),
    /// The person may not answer this request.
    #[error("{0}")]
    NotYours(String),
    /// The change is not in force.
    #[error(transparent)]
    NotInForce(#[from] NotInForce),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<PutError> for Error {
    fn from(why: PutError) -> Self {
        match why {
            PutError::Store(why) => Self::Store(why),
            other => Self::Conflict(other.to_string()),
        }
    }
}

impl From<ClaimError> for Error {
    fn from(why: ClaimError) -> Self {
        match why {
            ClaimError::Store(why) => Self::Store(why),
            other => Self::Conflict(other.to_string()),
        }
    }
}
