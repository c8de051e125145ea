//! What an agent may do, for whom, until when: ids, states, authority, money, I-JSON. Pure.
//!
//! Never here: clock, randomness, I/O, async. The serde forms below are the one canonical form that tokens,
//! rows and ledger leaves share; wire types of the HTTP API live at the edge and convert.

mod authority;
mod blueprint;
mod canonical;
mod digest;
mod foreign;
mod id;
mod identity;
pub mod ijson;
mod model_name;
mod money;
mod nearest;
mod resource;
mod time;
mod verb;

pub use authority::{Authority, Clause, Conditions, MAX_CLAUSES, MAX_DEPTH, Question, Widened};
pub use blueprint::{Blueprint, Sender};
pub use digest::Digest;
pub use foreign::Foreign;
pub use id::{ActionId, ApprovalId, EntryId, Id, LinkId, TaskId, of};
pub use identity::{
    Agent, IdentityId, IdentityKind, IllegalTransition, Instance, Name, NameError, Person, Realm,
    State, Version,
};
pub use model_name::{ModelName, NotAModelName};
pub use money::{Currency, Money, MoneyError};
pub use nearest::nearest;
pub use resource::{Pattern, Resource, ResourceError, Scope};
pub use time::{Seconds, Timestamp};
pub use verb::{Verb, Verbs};
