use std::{cell::OnceCell, collections::BTreeSet, sync::Arc};

use cedar_policy_core::{evaluator::Evaluator, extensions::Extensions};

use super::{
    condition::Condition,
    inputs::{Inputs, Vocabulary},
    parse::Parsed,
    scope::Scope,
};
use crate::Request;

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
