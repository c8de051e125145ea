//! Changes made by people: enrol, register, suspend, grant, add a server, accept a tool, apply policies, answer a request.
//!
//! Each use case takes an [`decide::Allowed`] that owns what was decided, stores it with its record in one transaction, and
//! returns when it is in force.
//!
//! It must not know HTTP, SQL, or the syntax of policies; and it never decides who may: that is the one road's.

mod accounts;
mod agents;
mod approvals;
mod error;
mod evidence;
mod grants;
mod holds;
mod people;
mod policies;
mod proposing;
mod servers;

pub use accounts::{Consent, LinkAccount, TakenBack, UnlinkAccount, link_account, unlink_account};
pub use agents::{
    AddBlueprint, ChangeState, NewVersion, Register, add_blueprint, change_state, check_blueprint,
    check_key, check_registration, register, version_of,
};
pub use approvals::{AnswerApproval, answer, may_answer};
pub use decide::FoundTool;
pub use error::Error;
pub use evidence::{ReadGovernance, ReadPayloads, SearchPayloads};
pub use grants::{GiveGrant, RevokeGrant, check_grant, give_grant, revoke_grant};
pub use holds::{ChangeHold, change_hold, check_hold};
pub use people::{AddPerson, add_person, check_person, enrol_first};
pub use policies::{ApplyPolicies, apply_policies, asked_policies, check_policies};
pub use proposing::{Proposal, propose};
pub use servers::{
    AcceptTools, Acceptance, AddServer, RefreshTools, accept_tools, add_server, asked_tools,
    check_acceptance, check_server, is_accepted, record_tools,
};
