//! The one road: attempt → verified chain ∩ authority ∩ policy ∩ guardrails → decision → [`Permit`].
//!
//! It knows what is in force (fed by the store), what has happened (folded from the ledger) and what is stopped. Every
//! right is computed here and nowhere else; what grants is durable in the ledger before it leaves.
//!
//! It must not know HTTP, SQL, or how people change things. Only [`Engine::attempt`] makes a [`Permit`], only
//! [`Permit::dispatch`] frees a call, and only [`Engine::allow`] makes an [`Allowed`].

mod accounts;
mod allow;
mod attempt;
mod authenticate;
mod catalog;
mod context;
mod deciding;
mod directory;
mod ending;
mod enforcement;
mod engine;
mod entries;
mod erasing;
mod evaluate;
mod exchange;
mod expiring;
mod fold;
mod governance;
mod hash;
mod help;
mod holding;
mod inputs;
mod issue;
mod lasting;
mod noticing;
mod opening;
mod parking;
mod permit;
mod question;
mod recompute;
mod record;
mod records;
mod refusal;
mod retiring;
mod searching;
mod sinking;
mod spare;
mod standing;
mod stop;
mod stopping;
mod subject;
mod tally;
mod tasks;
#[cfg(test)]
mod tests;
mod unbound;
mod unsettled;
mod waiting;
mod watch;

pub use accounts::{AccountRecord, AccountState, OauthClient, OauthRecord, Whose};
pub use allow::{Act, Allowed};
pub use attempt::Attempt;
pub use authenticate::{Caller, NotAuthenticated, PROOF_WINDOW_SECONDS, Presented};
pub use catalog::{
    Difference, METHOD, MappingError, Pair, ResolveError, Tool, ToolEntry, ToolState, check_named,
    compile, differences,
};
pub use context::{Clock, ClockWentBack, Context};
pub use directory::{AgentEntry, Directory, PersonEntry, ServerEntry, with_guards};
pub use ending::{EndTask, Ended};
pub use enforcement::{EnforcementPoint, LEASE_MILLIS};
pub use engine::{Counters, Engine, Parts, StartError};
pub use erasing::{EraseSubject, Erasure, NotErased, subject_by_handle};
pub use exchange::Exchange;
pub use expiring::Retention;
pub use governance::{Changes, NotInForce};
pub use hash::sha256;
pub use help::{Help, Missing};
pub use inputs::{InputMethod, Inputs, MAX_INPUTS};
pub use issue::{Issued, Issuer, TokenRefused};
pub use lasting::Lasting;
pub use noticing::{FoundTool, Look, Occasion};
pub use opening::{OpenTask, Opened, TASK_SECONDS_MAX};
pub use parking::UnparkTask;
pub use permit::{Dispatch, Ending, FrozenCall, Permit};
pub use question::{Answer, PolicyChange};
pub use recompute::{Recomputed, Remade};
pub use record::RECORD_BOUND;
pub use records::{
    AgentRecord, Answer as ApprovalAnswer, ApprovalRecord, BlueprintRecord, DemandRecord, Effect,
    Former, GrantRecord, HoldRecord, Mapping, PROGRAM, PersonRecord, PolicyFile, PolicySetRecord,
    ServerRecord, Standing, ToolRecord, UNSEPARATED,
};
pub use refusal::{Code, Refusal};
pub use sinking::GapNotRecorded;
pub use stop::{
    Acknowledgement, JournalError, MAX_REASON_BYTES, NotAScope, Order, StopReport, StopScope, Stops,
};
pub use stopping::{Resume, ResumeError, Stop};
pub use subject::{NotASubject, Subject};
pub use tasks::{Parking, REFUSALS_MAX, Task, Tasks};
pub use watch::Watch;
