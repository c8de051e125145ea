use std::{collections::BTreeSet, sync::Arc};

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

/// A request in Cedar's terms, put to an engine.
pub(crate) struct Question<'a> {
    engine: &'a Engine,
    inputs: Inputs,
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

    /// Prepares a request.
    ///
    /// # Errors
    /// Why it cannot be put to the policies.
    pub(crate) fn ask(&self, request: &Request<'_>) -> Result<Question<'_>, String> {
        Ok(Question { engine: self, inputs: self.vocabulary.inputs(request)? })
    }
}

impl Question<'_> {
    /// The candidates and what their conditions give, ascending. All others neither match nor err.
    pub(crate) fn answers(&self) -> Vec<(usize, Answer)> {
        let evaluator = self.evaluator();
        let answer = |index: usize| match self.engine.programs[index].condition.truth(&evaluator) {
            Ok(true) => Answer::True,
            Ok(false) => Answer::False,
            Err(message) => Answer::Erred(message),
        };
        self.candidates().map(|index| (index, answer(index))).collect()
    }

    /// The first part of a condition that is not true, as the policy writes it.
    pub(crate) fn failed_part(&self, index: usize) -> Option<Arc<str>> {
        self.engine.programs[index].condition.failed_part(&self.evaluator())
    }

    fn candidates(&self) -> impl Iterator<Item = usize> {
        let programs = self.engine.programs.iter().enumerate();
        programs.filter(|(_, program)| program.scope.covers(&self.inputs)).map(|(index, _)| index)
    }

    fn evaluator(&self) -> Evaluator<'_> {
        let request = self.inputs.request.clone();
        Evaluator::new(request, &self.inputs.entities, Extensions::all_available())
    }
}
