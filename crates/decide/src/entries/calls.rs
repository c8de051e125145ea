//! What happens to one attempt.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, IdentityId, Money, Name, Timestamp};
use serde::{Deserialize, Serialize};

use super::Body;
use crate::evaluate::{Asked, HeldBy};

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
        /// What it was decided on, beside the call itself; nothing where it was refused before that.
        #[serde(skip_serializing_if = "Option::is_none")]
        given: Option<Given>,
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

/// What a decision stands on beside the call, so that whoever has the ledger and its payloads can decide it again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// How many persons govern Bailiwick: rules that want a second one look at it.
    pub(crate) administrators: u32,
    /// The moment for which it was decided.
    pub(crate) at: Timestamp,
    /// For each policy that decides for a part of all actions, the part that this one belongs to, from 0 to 99.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) buckets: BTreeMap<Name, u8>,
    /// The team that is asked to decide on the thing; governance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Name>,
    /// The labels that the task had gathered.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) labels: BTreeSet<Name>,
    /// The digests of the governed objects, as `governance` entries have them: the person, the agents of the chain in
    /// order, what says what they hold, server and tool.
    pub(crate) objects: Vec<Digest>,
    /// Who answers for the thing; governance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<IdentityId>,
    /// What the task had spent or reserved, in the currency of what moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spent: Option<Money>,
}

impl Given {
    /// What an answer will stand on.
    pub(crate) fn of(asked: &Asked<'_>, held: &[HeldBy<'_>], more: &[Digest]) -> Self {
        let (about, facts) = (&asked.about, &asked.facts);
        let standing = about.standing;
        let mut objects = vec![standing.person.row];
        objects.extend(standing.agents.iter().map(|entry| entry.row));
        objects.extend(held.iter().flat_map(|one| one.holding.rows.iter()));
        objects.extend(more);
        Self {
            administrators: facts.administrators,
            at: facts.at,
            buckets: BTreeMap::new(),
            group: about.group.cloned(),
            labels: BTreeSet::clone(&facts.labels),
            objects,
            owner: about.owner.cloned(),
            spent: facts.spent,
        }
    }

    /// Notes the buckets that were asked for.
    pub(crate) fn drawn(&mut self, asked: &Asked<'_>) {
        self.buckets = asked.buckets();
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
