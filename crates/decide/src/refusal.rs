//! Every way in which an action is refused, with a stable code and what to do next.

use model::{ActionId, ApprovalId};

use crate::help::Help;

macro_rules! codes {
    ($($variant:ident $text:literal $retryable:literal $next:literal),* $(,)?) => {
        /// Why an action was refused; the text is stable and documented in `docs/errors.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $next] $variant),* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable text.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Whether the same call may succeed later without anybody changing anything.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),* }
            }

            /// What the caller does next.
            pub const fn next(self) -> &'static str {
                match self { $(Self::$variant => $next),* }
            }
        }
    };
}

codes! {
    Stopped "stopped" false "A stop is in force; only `resume` ends it. Ask the agent's owner.",
    Stale "stale" true "This enforcement point has lost touch with the control plane; try again in a few seconds.",
    Clock "clock" true "The clock went back; try again when it has caught up.",
    Unauthenticated "unauthenticated" false "Present a valid access token with a proof of possession.",
    NotIssued "not_issued" false "This token is not in the ledger; its key may be stolen. Tell the security lead.",
    IdentityUnknown "identity_unknown" false "Register the identity first.",
    IdentityNotActive "identity_not_active" false "Ask the owner to reinstate it; one that is retired never comes back, so register another.",
    OwnerNotActive "owner_not_active" false "Nobody active answers for this agent; name an owner.",
    VersionNotAccepted "version_not_accepted" false "Run the version that was registered, or register the changed agent under another name.",
    RecordTampered "record_tampered" false "A directory row differs from its ledger entry; tell the security lead.",
    TaskOver "task_over" false "The task has ended; open a new one.",
    TaskParked "task_parked" false "Stop trying: nothing more of this is done until who opened the task, its agent's owner or an administrator lets it go on (`bailiwick task unpark`).",
    LinkRevoked "link_revoked" false "The delegation was withdrawn; ask the person for a new one.",
    BeyondAuthority "beyond_authority" false "Ask whoever delegated for a wider authority, or do less.",
    NotDelegable "not_delegable" false "Only the agent that a token names in `may_act` can exchange it.",
    SystemUnknown "system_unknown" false "Ask an administrator to add the server.",
    ToolUnknown "tool_unknown" false "List the tools again; this one does not exist.",
    ToolNotAccepted "tool_not_accepted" false "Ask an administrator to accept the tool's mapping.",
    ToolQuarantined "tool_quarantined" false "Ask an administrator to look at what changed (`bailiwick catalog diff`) and to accept it.",
    AccountNotLinked "account_not_linked" false "The person for whom this is done links their account: `bailiwick server link SERVER`.",
    AccountTooNarrow "account_too_narrow" false "The person links their account again, with what the server asks for: `bailiwick server link SERVER`.",
    MethodNotMapped "method_not_mapped" false "Only mapped MCP methods pass.",
    ArgumentsInvalid "arguments_invalid" false "Correct the arguments; the reason names the member.",
    MappingFailed "mapping_failed" false "Correct the arguments, or ask an administrator to correct the mapping.",
    Forbidden "forbidden" false "A policy forbids this; the reason names it.",
    NotPermitted "not_permitted" false "No policy permits this; ask an administrator for one.",
    PolicyError "policy_error" false "A policy failed on this request; ask its author.",
    Held "held" true "Wait for the approval, then make exactly the same call again.",
    StepUp "step_up" true "The person has to confirm with a stronger proof, then make the same call again.",
    BudgetExceeded "budget_exceeded" false "The task's budget does not cover this; do less or open a task with a larger one.",
    BudgetReserved "budget_reserved" true "Calls on their way may spend what is left of the task's budget; try again when they have ended.",
    Busy "busy" true "Too much of this agent is on its way at once; try again in a few seconds.",
    LedgerSlow "ledger_slow" true "The ledger did not confirm in time, so nothing was done; try again.",
    LedgerUnavailable "ledger_unavailable" true "The ledger cannot write, so nothing is permitted; try again later.",
    StoreUnavailable "store_unavailable" true "The database does not answer; try again later.",
    Replayed "replayed" false "This proof, assertion or approval was used before; make a fresh one.",
    Internal "internal" true "Something failed inside; nothing was done. Tell the operator the action id.",
}

/// An action that will not happen, or not yet.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The attempt that was refused; find its record by it.
    pub action: ActionId,
    /// Why, as a stable code.
    pub code: Code,
    /// Why, in words that say what was wrong with this attempt.
    pub reason: String,
    /// The policies that decided, by id.
    pub policies: Vec<String>,
    /// What to do next; the code's own advice unless a policy gave a better one.
    pub next: String,
    /// The request for approval, where somebody can say yes.
    pub approval: Option<ApprovalId>,
    /// What helps beside words.
    pub help: Help,
}

impl Refusal {
    /// A refusal with the code's own advice.
    pub fn new(action: ActionId, code: Code, reason: impl Into<String>) -> Self {
        Self {
            action,
            code,
            reason: reason.into(),
            policies: Vec::new(),
            next: code.next().to_owned(),
            approval: None,
            help: Help::default(),
        }
    }

    /// The verdict's name: `deny`, `hold` or `step_up`.
    pub const fn verdict(&self) -> &'static str {
        self.code.verdict()
    }
}

impl Code {
    /// The verdict of a refusal with this code.
    pub(crate) const fn verdict(self) -> &'static str {
        match self {
            Self::Held => "hold",
            Self::StepUp => "step_up",
            _ => "deny",
        }
    }

    /// Whether it is authority or policy that refuses by this code, and not the state of something else.
    pub(crate) const fn is_of_policy(self) -> bool {
        matches!(
            self,
            Self::BeyondAuthority
                | Self::Forbidden
                | Self::Held
                | Self::NotPermitted
                | Self::PolicyError
                | Self::StepUp
        )
    }
}
