use std::{fmt, sync::Arc};

use model::{Digest, Name};

use crate::{Effect, Lift, Obligation};

/// The most near misses that one outcome names.
pub const MAX_NEAR_MISSES: usize = 8;

/// What the policies say, from the most to the least permissive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It may happen, with the obligations of the outcome.
    Permit,
    /// It may happen once the person has proved to be present.
    StepUp,
    /// It may happen once others have approved (and, where demanded, the person has stepped up).
    Hold,
    /// It may not happen.
    Deny,
}

/// Why an action is denied, from the least to the most final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenyClass {
    /// No policy permits it, or the request cannot be put to the policies at all.
    NotPermitted,
    /// A hard forbid could not be evaluated, so it counts as matched.
    PolicyError,
    /// A hard forbid applies.
    Forbidden,
}

/// The answer to one request, or to several that [`combine`](crate::combine) put together.
///
/// Lists are in the order of the policies' ids, each entry once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Why it is denied; `Some` exactly when it is.
    pub class: Option<DenyClass>,
    /// The policies that made the verdict: the hard forbids of a deny; otherwise the permits, and every soft forbid
    /// that applies, lifted or not. An approval therefore finds the same policies before and after it. Empty when
    /// nothing permits.
    pub determining: Vec<Determining>,
    /// Every soft forbid that applies and is not lifted. Listed with a deny too, where meeting them is not enough.
    pub demands: Vec<Demand>,
    /// What the enforcement point must do; only with a permit.
    pub obligations: Vec<Obligation>,
    /// What could not be evaluated.
    pub faults: Vec<Fault>,
    /// Policies that are not enforced for this request and would have counted.
    pub shadow: Vec<Shadow>,
    /// When nothing permits: the permits that came closest. For people who may read policies, never for an agent.
    pub near_misses: Vec<NearMiss>,
}

/// One policy that made the verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Determining {
    /// Which policy.
    pub policy: Name,
    /// In which wording.
    pub digest: Digest,
    /// What it does.
    pub effect: Effect,
    /// Its `@reason`: for people. An agent sees it only through [`Determining::reason_for_agent`].
    pub reason: Option<Arc<str>>,
    /// Its `@next`: what to do now; for everybody.
    pub next: Option<Arc<str>>,
    /// Whether the policy says `@explain("agent")`.
    pub explained_to_agents: bool,
}

/// What must be met before the action may happen; one person meets one demand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// The soft forbid that demands it, and that it lifts.
    pub policy: Name,
    /// What lifts it.
    pub lift: Lift,
}

/// Something that could not be evaluated. Its message may show values: it is for operators, never for an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The policy whose condition erred; `None` when the request itself is at fault.
    pub policy: Option<Name>,
    /// What went wrong.
    pub message: String,
}

/// A policy in shadow that would have counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shadow {
    /// Which policy.
    pub policy: Name,
    /// In which wording.
    pub digest: Digest,
    /// What it would have done.
    pub effect: Effect,
}

/// A permit whose scope covers the request and whose condition does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearMiss {
    /// Which policy.
    pub policy: Name,
    /// The first part of its condition that is not true, as the policy writes it.
    pub part: Option<Arc<str>>,
}

impl Outcome {
    /// A deny that no policy made.
    pub(crate) fn not_permitted() -> Self {
        Self {
            verdict: Verdict::Deny,
            class: Some(DenyClass::NotPermitted),
            determining: Vec::new(),
            demands: Vec::new(),
            obligations: Vec::new(),
            faults: Vec::new(),
            shadow: Vec::new(),
            near_misses: Vec::new(),
        }
    }
}

impl Determining {
    /// The reason, when the policy allows that an agent reads it: a reason may tell a threshold.
    pub fn reason_for_agent(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.explained_to_agents)
    }
}

impl Verdict {
    /// The verdict as records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::StepUp => "step_up",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

impl DenyClass {
    /// The class as records and refusals write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::PolicyError => "policy_error",
            Self::Forbidden => "forbidden",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DenyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
