//! The life of a task.

use model::{Digest, EntryId, IdentityId, Money, Name, Timestamp};
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// A piece of work was opened.
    TaskOpened "task" {
        /// Who works on it.
        agent: Option<IdentityId>,
        /// What it may spend.
        #[serde(skip_serializing_if = "Option::is_none")]
        budget: Option<Money>,
        /// When it ends by itself.
        deadline: Timestamp,
        /// What it is for.
        purpose: String,
    }

    /// A task was closed, with the count of its entries before this one.
    TaskEnded "task_end" {
        /// Who or what closed it; none in entries from before this was said.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<EndedBy>,
        /// How many calls were dispatched.
        calls: u64,
        /// How many entries it has, its own `task` among them.
        entries: u64,
        /// How many of them are outcomes.
        outcomes: u64,
        /// How many of them permit a call.
        permits: u64,
        /// How many of them refuse one, or let it wait.
        refusals: u64,
        /// What their outcomes say that was spent.
        #[serde(skip_serializing_if = "Option::is_none")]
        spent: Option<Money>,
        /// How many of them issue a token.
        tokens: u64,
    }

    /// An agent was retired: how many entries it has, those in which it acts, before this one.
    AgentEnded "agent_end" {
        /// Which agent.
        agent: Option<IdentityId>,
        /// How many entries.
        entries: u64,
        /// How many of them are outcomes.
        outcomes: u64,
        /// How many of them permit a call.
        permits: u64,
        /// How many of them refuse one, or let it wait.
        refusals: u64,
        /// How many of them issue a token.
        tokens: u64,
    }

    /// An agent's work in a task was parked: it was refused the same again and again.
    Parked "parked" {
        /// Stands for the canonical arguments of the call.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<Digest>,
        /// Why it was refused.
        code: String,
        /// How often.
        refusals: u32,
        /// The system.
        #[serde(skip_serializing_if = "Option::is_none")]
        system: Option<Name>,
        /// The tool, as the agent names it.
        tool: String,
    }

    /// A person let a parked task go on.
    Unparked "unparked" {
        /// The entries of the parkings that ended; a later one is none of them.
        parkings: Vec<EntryId>,
    }
}

/// Who or what closed a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndedBy {
    /// Its agent was retired.
    Agent,
    /// Its time was over.
    Deadline,
    /// A person, before.
    Person,
}
