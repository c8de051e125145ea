use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};
use model::{Name, Verb};

use super::parse::{Parsed, spot};
use crate::{
    schema::{BUILT_IN_KINDS, PRINCIPALS, never_matches, schema_naming, words},
    source::Spot,
};

/// How many steps a condition may look: at the principal, the resource and the invoker, and no further. Whatever a
/// condition can ask is then among the inputs of every request.
const MAX_STEPS: u32 = 1;

/// Policies are validated in batches of this many that name similar things: a schema takes as long to read as some
/// policies to validate.
const BATCH: usize = 64;

/// Remarks, each with the index of the policy that it is about.
pub(crate) type Spots = Vec<(usize, Spot)>;

/// Validates policies strictly against the schema for these kinds of resource.
///
/// # Errors
/// What is wrong; else what is allowed and looks like a mistake.
pub(crate) fn validate(
    policies: &[(&Name, &Parsed)],
    kinds: &BTreeSet<String>,
) -> Result<Spots, Spots> {
    let vocabulary = vocabulary(kinds);
    let named = |(index, (_, parsed)): (usize, &(&Name, &'_ Parsed))| {
        let words = words(parsed.text()).filter_map(|word| vocabulary.get(word).copied());
        (words.collect::<BTreeSet<&str>>(), index)
    };
    let mut order: Vec<_> = policies.iter().enumerate().map(named).collect();
    order.sort();
    let mut findings = Findings::default();
    let mut batch = Batch::default();
    for (words, index) in order {
        if batch.indices.len() >= BATCH && !words.is_subset(&batch.words) {
            findings.validate(&std::mem::take(&mut batch), policies, kinds);
        }
        batch.words.extend(words);
        batch.indices.push(index);
    }
    if !batch.indices.is_empty() {
        findings.validate(&batch, policies, kinds);
    }
    if findings.errors.is_empty() { Ok(findings.warnings) } else { Err(findings.errors) }
}

/// Every word by which a policy can tell types and actions apart.
fn vocabulary(kinds: &BTreeSet<String>) -> HashSet<&str> {
    let verbs = Verb::ALL.iter().map(|verb| verb.name());
    let types = kinds.iter().map(String::as_str).chain(BUILT_IN_KINDS).chain(PRINCIPALS);
    types.chain(verbs).collect()
}

/// Policies that are validated together, and what they name.
#[derive(Default)]
struct Batch<'a> {
    words: BTreeSet<&'a str>,
    indices: Vec<usize>,
}

#[derive(Default)]
struct Findings {
    errors: Spots,
    warnings: Spots,
}

impl Findings {
    fn validate(
        &mut self,
        batch: &Batch<'_>,
        policies: &[(&Name, &Parsed)],
        kinds: &BTreeSet<String>,
    ) {
        let mut set = PolicySet::new();
        let mut indices = HashMap::new();
        for index in &batch.indices {
            let (id, parsed) = policies[*index];
            let id = PolicyId::new(id.as_str());
            if let Err(error) = set.add(parsed.policy.new_id(id.clone())) {
                self.errors.push((*index, spot(&error, parsed.start())));
            }
            self.errors.extend(unmatchable(parsed).map(|spot| (*index, spot)));
            indices.insert(id, (*index, parsed.start()));
        }
        let schema = match Schema::from_cedarschema_str(&schema_naming(kinds, &batch.words)) {
            Ok((schema, _)) => schema,
            Err(error) => {
                let first = batch.indices.first().copied().unwrap_or_default();
                return self.errors.push((first, spot(&error, 0)));
            }
        };
        let validator = Validator::new(schema);
        let result = validator.validate_with_level(&set, ValidationMode::Strict, MAX_STEPS);
        let at = |id: &PolicyId| indices.get(id).copied().unwrap_or_default();
        let error = |error: &ValidationError| {
            let (index, start) = at(error.policy_id());
            let mut spot = spot(error, start);
            if let ValidationError::EntityDerefLevelViolation(_) = error {
                spot.hint = Some(STEP_HINT.to_owned());
            }
            (index, spot)
        };
        let warning = |warning: &ValidationWarning| {
            let (index, start) = at(warning.policy_id());
            (index, spot(warning, start))
        };
        self.errors.extend(first_of_each_place(result.validation_errors().map(error)));
        self.warnings.extend(first_of_each_place(result.validation_warnings().map(warning)));
    }
}

/// One finding for each place: Cedar finds the same mistake again for every action and type.
fn first_of_each_place(spots: impl Iterator<Item = (usize, Spot)>) -> Spots {
    let mut spots: Spots = spots.collect();
    spots.sort();
    spots.dedup_by_key(|(index, spot)| (*index, spot.offset));
    spots
}

const STEP_HINT: &str = "a condition looks at the principal, the resource and the invoker, and no further: compare \
                         `principal.owner` or `resource.owner` with a person instead of asking about them";

/// Names in a policy that no request can ever have.
fn unmatchable(parsed: &Parsed) -> impl Iterator<Item = Spot> {
    let literals = parsed.policy.entity_literals().into_iter();
    literals.filter_map(|uid| {
        let hint = never_matches(&uid.type_name().to_string(), uid.id().unescaped())?;
        let what = format!("nothing can be named `{uid}`");
        Some(Spot::new(parsed.start(), what, hint))
    })
}
