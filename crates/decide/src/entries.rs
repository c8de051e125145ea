//! The bodies of ledger entries, one type a kind: written when something happens, read back when a node starts.

use std::collections::BTreeSet;

use ledger::Draft;
use model::{
    ActionId, Digest, EntryId, IdentityId, LinkId, Money, Name, Sender, Timestamp,
    ijson::{self, Canonical, Json},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::stop::StopScope;

/// What an entry's body says; the kind stands beside it in the leaf.
pub(crate) trait Body: Serialize + DeserializeOwned {
    /// The leaf's `kind`.
    const KIND: &'static str;
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident $kind:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name { $($(#[$field_meta])* pub(crate) $field: $type),* }

        impl Body for $name {
            const KIND: &'static str = $kind;
        }
    )*};
}

bodies! {
    /// One attempt and its verdict.
    Decision "decision" {
        /// SHA-256 over the canonical arguments.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<Digest>,
        /// SHA-256 over the accepted mapping.
        #[serde(skip_serializing_if = "Option::is_none")]
        catalog: Option<Digest>,
        /// Why it was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The pin of the tool's definition.
        #[serde(skip_serializing_if = "Option::is_none")]
        definition: Option<Digest>,
        /// What the call does.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        effects: Vec<EffectMark>,
        /// SHA-256 over the answers to what the server asked before.
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
        /// How long arguments and reason are where they are too long to keep; their digest is `call`.
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
        /// SHA-256 over the result's bytes, as far as they came.
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
        /// SHA-256 over the canonical answer.
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

    /// A task was ended, with the count of its calls.
    TaskEnded "task_end" {
        /// How many calls were dispatched.
        calls: u64,
        /// What was spent.
        #[serde(skip_serializing_if = "Option::is_none")]
        spent: Option<Money>,
    }

    /// An agent's work in a task was parked: it was refused the same again and again.
    Parked "parked" {
        /// SHA-256 over the canonical arguments of the call.
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

    /// A token was issued.
    TokenIssued "token" {
        /// Where it is accepted.
        audience: String,
        /// When it ends.
        expires: Timestamp,
        /// The thumbprint of the key it is bound to; none where it is bound to none.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The delegation it carries, where it adds one.
        #[serde(skip_serializing_if = "Option::is_none")]
        link: Option<LinkId>,
        /// What was used up to get it: the digest of an assertion's issuer and id.
        #[serde(skip_serializing_if = "Option::is_none")]
        mark: Option<Digest>,
        /// Until when that may not be used again.
        #[serde(skip_serializing_if = "Option::is_none")]
        mark_until: Option<Timestamp>,
        /// `bearer` where it is bound to no key.
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
        /// `session`, `task`, `on_behalf_of` or `hand_over`.
        use_as: String,
        /// The token's own id.
        token: String,
    }

    /// Delegations were withdrawn.
    Revoked "revoked" {
        /// Which.
        links: Vec<LinkId>,
        /// When the last of them would have ended by itself.
        until: Timestamp,
    }

    /// A stop was ordered.
    Stopped "stop" {
        /// What it halts.
        scope: Option<StopScope>,
    }

    /// A stop was ended.
    Resumed "resume" {
        /// The order that ended.
        order: Option<EntryId>,
    }

    /// A governance object changed.
    Governed "governance" {
        /// Whether rights widen by it.
        widens: bool,
        /// What kind of object.
        object: String,
        /// Its key.
        key: String,
        /// Its new version.
        version: u64,
        /// SHA-256 over its new content.
        digest: Digest,
    }

    /// A node became ready.
    Started "start" {
        /// The program's version.
        program: String,
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

/// A draft of an entry with this body.
pub(crate) fn draft<B: Body>(id: EntryId, at: Timestamp, body: &B) -> Draft {
    let mut draft = Draft::new(id, B::KIND, at);
    draft.body = Canonical::of(body).expect("our own types are I-JSON");
    draft
}

/// The body of a leaf, read back.
pub(crate) fn read<B: Body>(body: &Json) -> Result<B, serde_json::Error> {
    serde_json::from_value(body.to_value())
}

/// Our own types as JSON; they hold nothing that I-JSON cannot.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Json {
    let bytes = serde_json::to_vec(value).expect("our own types serialize");
    let limits = ijson::Limits { bytes: usize::MAX, depth: 64 };
    ijson::parse(&bytes, limits).expect("our own types are I-JSON")
}

/// The attempt that an entry belongs to, and what it follows from.
pub(crate) fn of_action(mut draft: Draft, action: ActionId, parents: Vec<Digest>) -> Draft {
    draft.action = Some(action);
    draft.parents = parents;
    draft
}
