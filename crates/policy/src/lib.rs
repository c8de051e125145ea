//! What policies say about one action: load, validate, evaluate, explain. Useful alone, as an embedded decision point.
//!
//! Policies are plain Cedar; what Cedar has no word for (waiting for people, stepping up, obligations, trial runs) are
//! annotations, so that every other Cedar tool still reads the files. [`SCHEMA`] says what policies may ask.
//!
//! Never here: storage, HTTP, clocks, who is authenticated, and what a chain of delegations is: a caller evaluates each
//! hop and each (verb, resource) pair, and [`combine`]s the outcomes. Only module `cedar` knows Cedar's own types.

mod annotation;
mod cedar;
mod check;
mod combine;
mod guard;
mod load;
mod outcome;
mod policies;
mod remark;
mod request;
mod rule;
mod schema;
mod source;
mod verdict;

pub use check::check;
pub use combine::combine;
pub use guard::{GUARD_PREFIX, guard};
pub use load::{MAX_KINDS, MAX_POLICIES, MAX_POLICY_BYTES, MAX_SET_BYTES, MAX_SOURCE_BYTES};
pub use outcome::{
    Demand, DenyClass, Determining, Fault, MAX_NEAR_MISSES, NearMiss, Outcome, Shadow, Verdict,
};
pub use policies::Policies;
pub use remark::{LoadErrors, Place, Remark};
pub use request::{Buckets, Facts, Principal, Request};
pub use rule::{Effect, Lift, Method, Mode, Obligation, Rule};
pub use schema::{BUILT_IN_KINDS, GOVERNED_SYSTEM, SCHEMA, is_reserved_kind, schema};
pub use source::Source;
