//! What happens to one attempt.

use std::collections::BTreeSet;

use model::{Digest, Money, Name, Timestamp};
use serde::{Deserialize, Serialize};

use super::Body;

bodies! {
    /// One attempt and its verdict.
    Decision "decision" {
        /// Stands for the canonical arguments.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<Digest>,
        /// SHA-256 over the accepted mapping.
        #[serde(skip_serializing_if = "Option::is_none")]
        catalog: Option<Digest>,
        /// Why it was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// When the call ends, answered or not: an outcome without an answer follows within the minute.
        #[serde(skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
        /// The pin of the tool's definition.
        #[serde(skip_serializing_if = "Option::is_none")]
        definition: Option<Digest>,
        /// What the call does.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        effects: Vec<EffectMark>,
        /// Stands for the answers to what the server asked before.
        #[serde(skip_serializing_if = "Option::is_none")]
        inputs: Option<Digest>,
        /// The data classes touched.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        labels: BTreeSet<Name>,
        /// The determining policies.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        policies: Vec<PolicyMark>,
        /// The digest of all policies in force.
        #[serde(skip_serializing_if = "Option::is_none")]
        policy_epoch: Option<Digest>,
        /// How long arguments and reason are where they are too long to keep; `call` stands for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_kept: Option<u64>,
        /// What was set aside in the task's budget.
        #[serde(skip_serializing_if = "Option::is_none")]
        reserve: Option<Money>,
        /// Policies on trial that would have counted.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        shadow: Vec<PolicyMark>,
        /// The system.
        #[serde(skip_serializing_if = "Option::is_none")]
        system: Option<Name>,
        /// The tool, as the accepted catalog names it.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
    }

    /// How a dispatched call ended.
    Outcome "outcome" {
        /// Stands for the result, as far as it came.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Digest>,
        /// What was spent; what was reserved and is not here was given back.
        #[serde(skip_serializing_if = "Option::is_none")]
        spent: Option<Money>,
        /// `completed`, `input_required`, `failed`, `not_sent`, `cut` or `unknown`.
        status: String,
    }

    /// An answer went to the server of a call that is on its way.
    Input "input" {
        /// Stands for the canonical answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        answer: Option<Digest>,
        /// What the server had asked for.
        method: String,
    }

    /// A recorded permit that was not used: nothing left, reservations are released.
    Lapsed "lapsed" {
        /// Why.
        code: String,
    }
}

/// One (verb, resource) pair as a leaf may show it: the resource's id is a blind index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EffectMark {
    /// What is done.
    pub(crate) verb: model::Verb,
    /// The resource's type.
    pub(crate) kind: String,
    /// Keyed hash of the resource's id: equal ids are found, no id is told.
    pub(crate) id: String,
}

/// One determining policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyMark {
    /// Its id.
    pub(crate) id: String,
    /// SHA-256 over its text.
    pub(crate) digest: Digest,
}

impl PolicyMark {
    /// A policy in the wording in which it decided.
    pub(crate) fn of(one: &policy::Determining) -> Self {
        Self { id: one.policy.to_string(), digest: one.digest }
    }
}
