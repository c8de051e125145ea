use model::Name;

use crate::{
    Demand, DenyClass, Determining, Effect, Fault, Lift, MAX_NEAR_MISSES, NearMiss, Outcome,
    Request, Rule, Shadow, Verdict,
    cedar::{Answer, Question},
    rule::Kind,
};

/// The policies that count for one request, by what they do; indices into the rules, ascending.
#[derive(Default)]
struct Tally {
    permits: Vec<usize>,
    /// Permits whose scope covers the request and whose condition is false.
    missed: Vec<usize>,
    matched_forbids: Vec<usize>,
    /// Hard forbids whose condition erred: they count as matched.
    erred_forbids: Vec<usize>,
    unmet: Vec<usize>,
    lifted: Vec<usize>,
    shadow: Vec<usize>,
    faults: Vec<Fault>,
}

/// Draws the verdict: hard forbid, soft forbid, permit, default deny, in this order.
///
/// - A forbid whose condition errs counts as matched, hard or soft; a permit whose condition errs does not.
/// - Soft forbids give `hold` or `step_up` only if lifting all that are unmet would give `permit`; else the answer is
///   `deny`. When both kinds are unmet the answer is `hold`, because it takes longer and involves others.
/// - Policies in shadow, and canaries outside their buckets, are reported and decide nothing.
pub(crate) fn conclude(rules: &[Rule], request: &Request<'_>, question: &Question<'_>) -> Outcome {
    let tally = tally(rules, request, question);
    let forbidden = || tally.matched_forbids.iter().chain(&tally.erred_forbids);
    let (verdict, class) = if !tally.matched_forbids.is_empty() {
        (Verdict::Deny, Some(DenyClass::Forbidden))
    } else if !tally.erred_forbids.is_empty() {
        (Verdict::Deny, Some(DenyClass::PolicyError))
    } else if tally.permits.is_empty() {
        (Verdict::Deny, Some(DenyClass::NotPermitted))
    } else {
        (demanded(rules, &tally.unmet), None)
    };
    let mut determining: Vec<usize> = match class {
        Some(DenyClass::NotPermitted) => Vec::new(),
        Some(DenyClass::PolicyError | DenyClass::Forbidden) => forbidden().copied().collect(),
        None => [&tally.permits[..], &tally.unmet, &tally.lifted].concat(),
    };
    determining.sort_unstable();
    let mut obligations = Vec::new();
    if verdict == Verdict::Permit {
        obligations
            .extend(determining.iter().flat_map(|index| &rules[*index].obligations).cloned());
        obligations.sort();
        obligations.dedup();
    }
    let mut near_misses = Vec::new();
    if class == Some(DenyClass::NotPermitted) {
        near_misses.extend(tally.missed.iter().take(MAX_NEAR_MISSES).map(|index| NearMiss {
            policy: rules[*index].id.clone(),
            part: question.failed_part(*index),
        }));
    }
    Outcome {
        verdict,
        class,
        determining: determining.into_iter().map(|index| determined(&rules[index])).collect(),
        demands: tally.unmet.iter().filter_map(|index| demand(&rules[*index])).collect(),
        obligations,
        faults: tally.faults,
        shadow: tally.shadow.iter().map(|index| shadow(&rules[*index])).collect(),
        near_misses,
    }
}

fn tally(rules: &[Rule], request: &Request<'_>, question: &Question<'_>) -> Tally {
    let mut tally = Tally::default();
    for (index, answer) in question.answers() {
        let rule = &rules[index];
        let enforced = rule.mode.enforces(|| (request.canary.0)(&rule.id));
        let erred = matches!(answer, Answer::Erred(_));
        if let Answer::Erred(message) = &answer {
            tally.faults.push(Fault { policy: Some(rule.id.clone()), message: message.clone() });
        }
        let counts = match rule.effect() {
            Effect::Permit => answer == Answer::True,
            Effect::Forbid | Effect::SoftForbid => answer == Answer::True || erred,
        };
        let list = match &rule.kind {
            _ if counts && !enforced => &mut tally.shadow,
            Kind::Permit if counts => &mut tally.permits,
            Kind::Permit if enforced && !erred => &mut tally.missed,
            Kind::Forbid if counts && erred => &mut tally.erred_forbids,
            Kind::Forbid if counts => &mut tally.matched_forbids,
            Kind::Soft(_) if counts && request.lifted.contains(&rule.id) => &mut tally.lifted,
            Kind::Soft(_) if counts => &mut tally.unmet,
            _ => continue,
        };
        list.push(index);
    }
    tally
}

/// The verdict of a permitted action under its unmet soft forbids.
fn demanded(rules: &[Rule], unmet: &[usize]) -> Verdict {
    let verdict = |index: &usize| match rules[*index].lift() {
        Some(Lift::StepUp { .. }) => Verdict::StepUp,
        Some(Lift::Hold { .. }) | None => Verdict::Hold,
    };
    unmet.iter().map(verdict).max().unwrap_or(Verdict::Permit)
}

fn determined(rule: &Rule) -> Determining {
    Determining {
        policy: rule.id.clone(),
        digest: rule.digest,
        effect: rule.effect(),
        reason: rule.reason.clone(),
        next: rule.next.clone(),
        explained_to_agents: rule.explained_to_agents,
    }
}

fn demand(rule: &Rule) -> Option<Demand> {
    let policy: Name = rule.id.clone();
    rule.lift().cloned().map(|lift| Demand { policy, lift })
}

fn shadow(rule: &Rule) -> Shadow {
    Shadow { policy: rule.id.clone(), digest: rule.digest, effect: rule.effect() }
}
