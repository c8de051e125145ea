use std::sync::Arc;

use cedar_policy_core::{
    ast::{Expr, ExprKind, Literal, SlotEnv, UnaryOp, ValueKind, Var},
    evaluator::Evaluator,
    parser::Loc,
};

/// The deepest nesting of a condition, chains of one operator `&&` or `||` counted once.
///
/// Cedar's evaluator recurses, takes some 60 KiB of stack a level in an unoptimized build, and errs when little is
/// left. This bound keeps that from happening on a thread of the usual 2 MiB: a condition must not err for where it
/// is evaluated.
const MAX_NESTING: usize = 16;
/// The deepest nesting, every operator counted. Cedar's validator recurses as well and **passes** a condition that it
/// has not the stack to look at; this bound, and the large stack that policies are loaded on, keep that from
/// happening.
const MAX_CHAIN: usize = 500;

/// A condition, taken apart along `&&`, `||` and `!`; what is left is Cedar's to interpret.
pub(super) struct Condition {
    /// All must be true; none is always true.
    parts: Vec<Part>,
}

struct Part {
    test: Test,
    written: Option<Loc>,
}

/// What a condition comes to for every id and amount that a call could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It never is false.
    True,
    /// It never is true.
    False,
    /// It always errs.
    Erred,
    /// That depends.
    Open,
}

enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Atom(Expr),
}

/// Refuses a condition that is too much for the validator or the evaluator.
///
/// # Errors
/// What it has too much of.
pub(super) fn check(condition: Option<&Expr>) -> Result<(), &'static str> {
    let mut rest: Vec<(&Expr, usize, usize)> =
        condition.map(|top| (top, 1, 1)).into_iter().collect();
    while let Some((expression, nesting, depth)) = rest.pop() {
        if depth > MAX_CHAIN {
            return Err("more than 500 operators in one another");
        }
        if nesting > MAX_NESTING {
            return Err("more than 16 levels of operators and brackets in one another");
        }
        let kind = expression.expr_kind();
        for (index, child) in children(kind).into_iter().enumerate() {
            let chains = index == 0 && is_chain(kind) && is_same(kind, child.expr_kind());
            rest.push((child, if chains { nesting } else { nesting + 1 }, depth + 1));
        }
    }
    Ok(())
}

fn is_chain(kind: &ExprKind) -> bool {
    matches!(kind, ExprKind::And { .. } | ExprKind::Or { .. })
}

fn is_same(kind: &ExprKind, other: &ExprKind) -> bool {
    std::mem::discriminant(kind) == std::mem::discriminant(other)
}

fn children(kind: &ExprKind) -> Vec<&Expr> {
    match kind {
        ExprKind::And { left, right } | ExprKind::Or { left, right } => vec![left, right],
        ExprKind::If { test_expr, then_expr, else_expr } => vec![test_expr, then_expr, else_expr],
        ExprKind::BinaryApp { arg1, arg2, .. } => vec![arg1, arg2],
        ExprKind::UnaryApp { arg: expr, .. }
        | ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => vec![expr],
        ExprKind::ExtensionFunctionApp { args, .. } | ExprKind::Set(args) => args.iter().collect(),
        ExprKind::Record(members) => members.values().collect(),
        ExprKind::Lit(_) | ExprKind::Var(_) | ExprKind::Slot(_) | ExprKind::Unknown(_) => vec![],
    }
}

/// Whether an expression reads what only a call's arguments say: which thing it is, and how much money moves. The spent
/// budget is told in the currency of what moves.
fn asks_arguments(expression: &Expr) -> bool {
    let of =
        |expression: &Expr, var| matches!(expression.expr_kind(), ExprKind::Var(it) if *it == var);
    match expression.expr_kind() {
        ExprKind::Var(Var::Resource | Var::Context) => true,
        ExprKind::Is { expr, .. } if of(expr, Var::Resource) => false,
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr }
            if of(expr, Var::Resource) =>
        {
            attr != "classes"
        }
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr }
            if of(expr, Var::Context) =>
        {
            ["amount", "currency", "history"].contains(&attr.as_str())
        }
        kind => children(kind).into_iter().any(asks_arguments),
    }
}

fn all_settled<'t>(tests: impl Iterator<Item = &'t Test>, evaluator: &Evaluator<'_>) -> Settled {
    let mut open = false;
    for test in tests {
        match test.settled(evaluator) {
            Settled::True => {}
            Settled::Open => open = true,
            Settled::Erred if !open => return Settled::Erred,
            Settled::False | Settled::Erred => return Settled::False,
        }
    }
    if open { Settled::Open } else { Settled::True }
}

impl Condition {
    /// Takes a condition apart that [`check`] has passed.
    pub(super) fn new(condition: Option<&Expr>) -> Self {
        let part = |expression: &Expr| Part {
            test: Test::new(expression),
            written: expression.source_loc().cloned(),
        };
        Self { parts: condition.map(conjuncts).unwrap_or_default().into_iter().map(part).collect() }
    }

    /// Whether there is none, so that it is always true.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it is true, as Cedar would say: from left to right, and no further than needed.
    ///
    /// # Errors
    /// Why it is neither.
    pub(super) fn truth(&self, evaluator: &Evaluator<'_>) -> Result<bool, String> {
        all(self.parts.iter().map(|part| &part.test), evaluator)
    }

    /// What it comes to, whatever the arguments of a call are.
    pub(super) fn settled(&self, evaluator: &Evaluator<'_>) -> Settled {
        all_settled(self.parts.iter().map(|part| &part.test), evaluator)
    }

    /// The first part that is not true, as the policy writes it.
    pub(super) fn failed_part(&self, evaluator: &Evaluator<'_>) -> Option<Arc<str>> {
        let failed = |part: &&Part| part.test.truth(evaluator) != Ok(true);
        let text = self.parts.iter().find(failed)?.written.as_ref()?.snippet()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" ").into())
    }
}

impl Test {
    fn new(expression: &Expr) -> Self {
        let each = |chain: Vec<&Expr>| chain.into_iter().map(Self::new).collect();
        match expression.expr_kind() {
            ExprKind::And { .. } => Self::All(each(conjuncts(expression))),
            ExprKind::Or { .. } => Self::Any(each(disjuncts(expression))),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Self::Not(Box::new(Self::new(arg))),
            _ => Self::Atom(expression.clone()),
        }
    }

    /// What it comes to, whatever the arguments of a call are. A part that is open may err as well, so what stands behind
    /// one makes the whole at most false or erred, or at least true or erred.
    fn settled(&self, evaluator: &Evaluator<'_>) -> Settled {
        match self {
            Self::All(tests) => all_settled(tests.iter(), evaluator),
            Self::Any(tests) => {
                let mut open = false;
                for test in tests {
                    match test.settled(evaluator) {
                        Settled::True => return Settled::True,
                        Settled::False => {}
                        Settled::Open => open = true,
                        Settled::Erred if open => return Settled::Open,
                        Settled::Erred => return Settled::Erred,
                    }
                }
                if open { Settled::Open } else { Settled::False }
            }
            Self::Not(test) => match test.settled(evaluator) {
                Settled::True => Settled::False,
                Settled::False => Settled::True,
                other => other,
            },
            Self::Atom(expression) if asks_arguments(expression) => Settled::Open,
            Self::Atom(_) => match self.truth(evaluator) {
                Ok(true) => Settled::True,
                Ok(false) => Settled::False,
                Err(_) => Settled::Erred,
            },
        }
    }

    fn truth(&self, evaluator: &Evaluator<'_>) -> Result<bool, String> {
        match self {
            Self::All(tests) => all(tests.iter(), evaluator),
            Self::Any(tests) => {
                for test in tests {
                    if test.truth(evaluator)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(test) => test.truth(evaluator).map(|truth| !truth),
            Self::Atom(expression) => interpret(expression, evaluator),
        }
    }
}

fn all<'a>(
    tests: impl Iterator<Item = &'a Test>,
    evaluator: &Evaluator<'_>,
) -> Result<bool, String> {
    for test in tests {
        if !test.truth(evaluator)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn interpret(expression: &Expr, evaluator: &Evaluator<'_>) -> Result<bool, String> {
    let value =
        evaluator.interpret(expression, &SlotEnv::new()).map_err(|error| error.to_string())?;
    match value.value_kind() {
        ValueKind::Lit(Literal::Bool(truth)) => Ok(*truth),
        _ => Err("the condition is neither true nor false".to_owned()),
    }
}

/// The operands of a chain of `&&`, from left to right; anything else is a chain of one.
fn conjuncts(expression: &Expr) -> Vec<&Expr> {
    chain(expression, |kind| match kind {
        ExprKind::And { left, right } => Some((left, right)),
        _ => None,
    })
}

/// The operands of a chain of `||`.
fn disjuncts(expression: &Expr) -> Vec<&Expr> {
    chain(expression, |kind| match kind {
        ExprKind::Or { left, right } => Some((left, right)),
        _ => None,
    })
}

fn chain(
    mut expression: &Expr,
    operands: impl Fn(&ExprKind) -> Option<(&Arc<Expr>, &Arc<Expr>)>,
) -> Vec<&Expr> {
    let mut found = Vec::new();
    while let Some((left, right)) = operands(expression.expr_kind()) {
        found.push(&**right);
        expression = left;
    }
    found.push(expression);
    found.reverse();
    found
}
