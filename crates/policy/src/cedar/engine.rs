use std::{cell::OnceCell, collections::BTreeSet, sync::Arc};

use cedar_policy_core::{evaluator::Evaluator, extensions::Extensions};
use model::{Name, Verbs};

use super::{
    condition::{Condition, Settled},
    inputs::{Inputs, Vocabulary},
    parse::Parsed,
    scope::{Extent, Scope},
};
use crate::{Principal, Request};

/// Evaluates conditions. Policies are known by their index in the order in which they were given.
pub(crate) struct Engine {
    programs: Vec<Program>,
    vocabulary: Vocabulary,
}

/// One policy, ready to be evaluated.
struct Program {
    scope: Scope,
    condition: Condition,
}

/// A request put to an engine.
pub(crate) struct Question<'a> {
    engine: &'a Engine,
    request: &'a Request<'a>,
    /// The request in Cedar's terms, made when the first condition reads it.
    inputs: OnceCell<Result<Inputs, String>>,
}

/// To which things of a kind a policy applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applies {
    Always,
    Sometimes,
    /// To all, and its condition errs.
    Errs,
}

/// What a condition gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    True,
    False,
    Erred(String),
}

impl Engine {
    pub(crate) fn empty() -> Self {
        Self { programs: Vec::new(), vocabulary: Vocabulary::new(&BTreeSet::new()) }
    }

    pub(crate) fn new<'a>(
        policies: impl Iterator<Item = &'a Parsed>,
        kinds: &BTreeSet<String>,
    ) -> Self {
        let program = |parsed: &Parsed| {
            let policy = parsed.policy.as_ref();
            let condition = Condition::new(policy.non_scope_constraints());
            Program { scope: Scope::of(policy), condition }
        };
        Self { programs: policies.map(program).collect(), vocabulary: Vocabulary::new(kinds) }
    }

    /// Whether the head of a policy covers what governance acts change, without naming a system.
    pub(crate) fn covers_governance_unnamed(&self, index: usize) -> bool {
        self.programs[index].scope.covers_governance_unnamed()
    }

    /// The verbs that the head of a policy covers for somebody on anything of a system.
    pub(crate) fn verbs_in(&self, index: usize, principal: &Principal, system: &Name) -> Verbs {
        self.programs[index].scope.verbs_in(principal, system)
    }

    /// Takes a request.
    ///
    /// # Errors
    /// Why it cannot be put to the policies.
    pub(crate) fn ask<'a>(&'a self, request: &'a Request<'a>) -> Result<Question<'a>, String> {
        self.vocabulary.check(request)?;
        Ok(Question { engine: self, request, inputs: OnceCell::new() })
    }
}

impl Question<'_> {
    /// The candidates and what their conditions give, ascending. All others neither match nor err.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (usize, Answer)> {
        let programs = self.engine.programs.iter().enumerate();
        let candidates = programs.filter(|(_, program)| program.scope.covers(self.request));
        candidates.map(|(index, program)| (index, self.answer(&program.condition)))
    }

    /// What each policy says to every thing of the request's kind in its system, and to every amount, ascending: whether it
    /// applies to all of them, to none, or to some. All others apply to none.
    pub(crate) fn answers_to_kind(&self) -> impl Iterator<Item = (usize, Applies)> {
        self.engine.programs.iter().enumerate().filter_map(|(index, program)| {
            let extent = program.scope.covers_kind(self.request);
            let settled = match (extent, program.condition.is_empty()) {
                (Extent::None, _) => return None,
                (_, true) => Settled::True,
                (_, false) => match self.evaluator() {
                    Ok(evaluator) => program.condition.settled(&evaluator),
                    Err(_) => Settled::Open,
                },
            };
            let applies = match (extent, settled) {
                (_, Settled::False) => return None,
                (Extent::All, Settled::True) => Applies::Always,
                (Extent::All, Settled::Erred) => Applies::Errs,
                (_, Settled::Erred) => return None,
                _ => Applies::Sometimes,
            };
            Some((index, applies))
        })
    }

    /// The first part of a condition that is not true, as the policy writes it.
    pub(crate) fn failed_part(&self, index: usize) -> Option<Arc<str>> {
        self.engine.programs[index].condition.failed_part(&self.evaluator().ok()?)
    }

    fn answer(&self, condition: &Condition) -> Answer {
        if condition.is_empty() {
            return Answer::True;
        }
        match self.evaluator().and_then(|evaluator| condition.truth(&evaluator)) {
            Ok(true) => Answer::True,
            Ok(false) => Answer::False,
            Err(message) => Answer::Erred(message),
        }
    }

    fn evaluator(&self) -> Result<Evaluator<'_>, String> {
        let inputs = self.inputs.get_or_init(|| self.engine.vocabulary.inputs(self.request));
        let inputs = inputs.as_ref().map_err(Clone::clone)?;
        Ok(Evaluator::new(inputs.request.clone(), &inputs.entities, Extensions::all_available()))
    }
}
