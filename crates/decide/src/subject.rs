//! Whose what is sealed can be kept or erased.

use std::{fmt, str::FromStr};

use model::{IdentityId, Name, TaskId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Whom or what something that is sealed belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person or an agent.
    Identity(IdentityId),
    /// Somebody of whom only a handle was ever said: enrolling them was asked for and did not happen.
    Handle(Name),
    /// A task. It has no key of its own, so it can be kept and not erased.
    Task(TaskId),
}

/// How a handle is told from an identity.
const HANDLE: &str = "handle/";
/// How a task is.
const TASK: &str = "task/";

/// Why a text names no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no subject: `person/NAME`, `agent/NAME`, `handle/NAME` and `task/ID` are")]
pub struct NotASubject(String);

impl Subject {
    /// The word under which the ledger seals what tells of it; nobody's for a task.
    pub fn word(&self) -> Option<String> {
        (!matches!(self, Self::Task(_))).then(|| self.to_string())
    }
}

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        let subject = if let Some(handle) = text.strip_prefix(HANDLE) {
            handle.parse().ok().map(Self::Handle)
        } else if let Some(task) = text.strip_prefix(TASK) {
            task.parse().ok().map(Self::Task)
        } else {
            text.parse().ok().map(Self::Identity)
        };
        subject.ok_or_else(|| NotASubject(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(id) => id.fmt(f),
            Self::Handle(handle) => write!(f, "{HANDLE}{handle}"),
            Self::Task(task) => write!(f, "{TASK}{task}"),
        }
    }
}

impl From<IdentityId> for Subject {
    fn from(id: IdentityId) -> Self {
        Self::Identity(id)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn a_subject_is_read_as_it_is_written_and_nothing_else_is_one() {
        let task = "task/01890a5d-ac96-774b-bcce-b302099a8057";
        for text in ["person/p1", "agent/support-bot", "handle/una", task] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["", "una", "organization", "handle/", "handle/A b", "task/1", "robot/x"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
