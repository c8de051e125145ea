//! The bodies of ledger entries, one type a kind: written when something happens, read back when a node starts.

use ledger::Draft;
use model::{
    ActionId, Digest, EntryId, Timestamp,
    ijson::{self, Canonical, Json},
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::{
    calls::{Decision, EffectMark, Given, Input, Lapsed, Outcome, PolicyMark},
    erasure::{Erased, Expired},
    governance::Governed,
    node::{Resumed, Searched, SinkGap, Started, StopFinal, Stopped},
    tasks::{AgentEnded, EndedBy, Parked, TaskEnded, TaskOpened, Unparked},
    tokens::{Revoked, TokenIssued},
};

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

mod calls;
mod erasure;
mod governance;
mod node;
mod tasks;
mod tokens;

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
