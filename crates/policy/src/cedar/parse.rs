use std::sync::Arc;

use cedar_policy::{Effect, Policy, PolicySet, Template};
use cedar_policy_core::{ast, parser::Loc};
use miette::Diagnostic;

use super::condition;
use crate::{GUARD_PREFIX, annotation::Annotation, source::Spot};

/// The longest message that is repeated from Cedar, in characters: it may quote what it found.
const MAX_MESSAGE: usize = 400;

/// One policy of a file, parsed and not yet validated.
pub(crate) struct Parsed {
    pub(super) policy: Policy,
    annotations: Vec<Annotation>,
    start: usize,
    text: Arc<str>,
}

/// Parses one file; the policies come in the order in which they stand there.
///
/// # Errors
/// Every syntax error, template and condition that is too much.
pub(crate) fn parse(text: &str) -> Result<Vec<Parsed>, Vec<Spot>> {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: cedar_policy::ParseErrors = errors;
            return Err(errors.iter().map(|error| spot(error, 0)).collect());
        }
    };
    let templates: Vec<Spot> = set.templates().map(template).collect();
    if !templates.is_empty() {
        return Err(templates);
    }
    let mut parsed: Vec<Parsed> =
        set.policies().filter_map(|policy| Parsed::new(policy.clone())).collect();
    parsed.sort_by_key(|parsed| parsed.start);
    let too_much: Vec<Spot> = parsed.iter().filter_map(Parsed::too_much).collect();
    if too_much.is_empty() { Ok(parsed) } else { Err(too_much) }
}

impl Parsed {
    fn new(policy: Policy) -> Option<Self> {
        let core: &ast::Policy = policy.as_ref();
        let location = core.loc()?;
        let (start, text) = (location.start(), location.snippet()?.into());
        let annotation = |(key, annotation): (&ast::AnyId, &ast::Annotation)| Annotation {
            key: key.to_string(),
            value: annotation.val.to_string(),
            offset: annotation.loc.as_ref().map_or(start, Loc::start),
        };
        let annotations = core.annotations().map(annotation).collect();
        Some(Self { policy, annotations, start, text })
    }

    fn too_much(&self) -> Option<Spot> {
        let policy: &ast::Policy = self.policy.as_ref();
        let what = condition::check(policy.non_scope_constraints()).err()?;
        let hint = "split the policy, or write `[…].contains(…)` for a list of comparisons";
        Some(Spot::new(self.start, what, hint))
    }

    /// Where it starts, in bytes.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Its text, annotations included.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn forbids(&self) -> bool {
        self.policy.effect() == Effect::Forbid
    }

    pub(crate) fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// Whether its id is one of those kept for what ships with Bailiwick.
    pub(crate) fn is_guard(&self) -> bool {
        self.policy.annotation("id").is_some_and(|id| id.starts_with(GUARD_PREFIX))
    }
}

fn template(template: &Template) -> Spot {
    let core: &ast::Template = template.as_ref();
    let offset = core.loc().map_or(0, Loc::start);
    let what = "templates (`?principal`, `?resource`) are not supported";
    Spot::new(offset, what, "write a policy over a team, a blueprint or a system")
}

/// What Cedar says about a file, at the first place that it names.
pub(super) fn spot(diagnostic: &dyn Diagnostic, otherwise: usize) -> Spot {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let offset = label.as_ref().map_or(otherwise, miette::LabeledSpan::offset);
    let help = diagnostic.help().map(|help| help.to_string());
    let label = label.and_then(|label| label.label().map(str::to_owned));
    let hint = help.or(label).map(|hint| cut(&hint));
    Spot { offset, what: cut(&diagnostic.to_string()), hint }
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}
