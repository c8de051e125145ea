use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Money, Name, Pattern, Resource, Timestamp, Verb, Verbs};

/// The most clauses that one authority carries; intersections that would grow beyond it are refused.
pub const MAX_CLAUSES: usize = 256;
/// The longest chain of delegations below an authority.
pub const MAX_DEPTH: u8 = 8;

/// What a token, a grant or a delegation allows: the union of its clauses, and how often it may be passed on.
///
/// Authorities only ever narrow: [`Authority::attenuate`] proves that a wish lies within what one holds, and
/// [`Authority::intersect`] keeps what two have in common. Nothing here can widen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// What is allowed; an empty list allows nothing.
    #[serde(deserialize_with = "bounded")]
    pub clauses: Vec<Clause>,
    /// How many further delegations may hang below this authority.
    pub depth: u8,
}

/// One thing allowed: these verbs on these resources, under these conditions, until an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// What may be done.
    pub verbs: Verbs,
    /// To what.
    pub resources: Pattern,
    /// When it holds; all of them.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub conditions: Conditions,
    /// The first moment at which the clause allows nothing any more.
    pub expires: Timestamp,
}

/// What must be true of an action, beside verb and resource. A condition that cannot be judged is not met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The action names an amount, in this currency and no larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_at_most: Option<Money>,
    /// Every data class of the resource is one of these; an unknown class is none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes_within: Option<BTreeSet<Name>>,
}

/// What an authority is asked about one action.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// To what.
    pub resource: &'a Resource,
    /// For how much, where the action moves money.
    pub amount: Option<Money>,
    /// The data classes of the resource.
    pub classes: &'a BTreeSet<Name>,
    /// When.
    pub at: Timestamp,
}

/// A wish that goes beyond what is held: nothing of it is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Widened {
    /// No clause that is held contains the wished one.
    #[error("`{verbs:?}` on `{resources}` goes beyond the authority that is held")]
    Clause {
        /// The wished verbs.
        verbs: Verbs,
        /// The wished resources.
        resources: Pattern,
    },
    /// The chain would become too long.
    #[error("this authority may be passed on {held} more times, not {wished}")]
    Depth {
        /// How often it may be passed on.
        held: u8,
        /// How often the delegate wishes to pass it on.
        wished: u8,
    },
    /// More clauses than one authority carries.
    #[error("an authority carries at most {MAX_CLAUSES} clauses")]
    Clauses,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn hold(&self, question: &Question<'_>) -> bool {
        let amount = match (self.amount_at_most, question.amount) {
            (None, _) => true,
            (Some(limit), Some(amount)) => amount.within(limit),
            (Some(_), None) => false,
        };
        let classes =
            self.classes_within.as_ref().is_none_or(|within| question.classes.is_subset(within));
        amount && classes
    }

    /// Whether everything that meets `other` meets these.
    fn contains(&self, other: &Self) -> bool {
        let amount = match (self.amount_at_most, other.amount_at_most) {
            (None, _) => true,
            (Some(limit), Some(amount)) => amount.within(limit),
            (Some(_), None) => false,
        };
        let classes = match (&self.classes_within, &other.classes_within) {
            (None, _) => true,
            (Some(held), Some(wished)) => wished.is_subset(held),
            (Some(_), None) => false,
        };
        amount && classes
    }

    /// Both together; `None` when nothing can meet both.
    fn and(&self, other: &Self) -> Option<Self> {
        let amount_at_most = match (self.amount_at_most, other.amount_at_most) {
            (None, limit) | (limit, None) => limit,
            (Some(a), Some(b)) if a.currency() != b.currency() => return None,
            (Some(a), Some(b)) => Some(if a.within(b) { a } else { b }),
        };
        let classes_within = match (&self.classes_within, &other.classes_within) {
            (None, classes) | (classes, None) => classes.clone(),
            (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect()),
        };
        Some(Self { amount_at_most, classes_within })
    }
}

impl Clause {
    fn allows(&self, question: &Question<'_>) -> bool {
        question.at < self.expires
            && self.verbs.contains(question.verb)
            && self.resources.covers(question.resource)
            && self.conditions.hold(question)
    }

    /// Whether this clause alone allows all that `other` allows for one verb.
    fn contains_for(&self, verb: Verb, other: &Self) -> bool {
        self.verbs.contains(verb)
            && self.resources.contains(&other.resources)
            && self.conditions.contains(&other.conditions)
            && other.expires <= self.expires
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        let verbs = self.verbs.intersect(other.verbs);
        if verbs.is_empty() {
            return None;
        }
        Some(Self {
            verbs,
            resources: self.resources.intersect(&other.resources)?,
            conditions: self.conditions.and(&other.conditions)?,
            expires: self.expires.min(other.expires),
        })
    }
}

impl Authority {
    /// Allows nothing.
    pub const fn nothing() -> Self {
        Self { clauses: Vec::new(), depth: 0 }
    }

    /// Whether some clause allows the action.
    pub fn allows(&self, question: &Question<'_>) -> bool {
        self.clauses.iter().any(|clause| clause.allows(question))
    }

    /// Whether some clause allows the verb on some resource of that system and type, whatever its id and conditions.
    pub fn reaches(&self, verb: Verb, system: &Name, kind: &str, at: Timestamp) -> bool {
        let may = |clause: &Clause| {
            at < clause.expires
                && clause.verbs.contains(verb)
                && clause.resources.reaches(system, kind)
        };
        self.clauses.iter().any(may)
    }

    /// Whether nothing is allowed at `at` any more.
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.clauses.iter().all(|clause| clause.expires <= at)
    }

    /// Whether all that `other` allows is allowed here, and `other` can be passed on no more often.
    ///
    /// Sound, not complete: a clause that only several of ours together would cover counts as not contained.
    pub fn contains(&self, other: &Self) -> bool {
        other.depth <= self.depth && other.clauses.iter().all(|wished| self.contains_clause(wished))
    }

    fn contains_clause(&self, wished: &Clause) -> bool {
        let covered = |verb| self.clauses.iter().any(|held| held.contains_for(verb, wished));
        wished.verbs.iter().all(covered)
    }

    /// What a delegate gets who asks for `wish`: exactly the wish, ending no later than `until`, one delegation deeper.
    ///
    /// # Errors
    /// [`Widened`] when the wish goes beyond what is held in any respect; it is never cut down silently.
    pub fn attenuate(&self, wish: &Self, until: Timestamp) -> Result<Self, Widened> {
        if wish.clauses.len() > MAX_CLAUSES {
            return Err(Widened::Clauses);
        }
        let held = self.depth.checked_sub(1);
        if held.is_none_or(|held| wish.depth > held) {
            return Err(Widened::Depth { held: self.depth, wished: wish.depth.saturating_add(1) });
        }
        let cut = |clause: &Clause| Clause { expires: clause.expires.min(until), ..clause.clone() };
        let clauses: Vec<Clause> = wish.clauses.iter().map(cut).collect();
        match clauses.iter().find(|clause| !self.contains_clause(clause)) {
            Some(beyond) => {
                Err(Widened::Clause { verbs: beyond.verbs, resources: beyond.resources.clone() })
            }
            None => Ok(Self { clauses, depth: wish.depth }),
        }
    }

    /// What both allow, passed on no more often than the stricter of the two.
    ///
    /// # Errors
    /// [`Widened::Clauses`] when the result would carry more than [`MAX_CLAUSES`] clauses.
    pub fn intersect(&self, other: &Self) -> Result<Self, Widened> {
        let mut clauses: Vec<Clause> = Vec::new();
        for mine in &self.clauses {
            for clause in other.clauses.iter().filter_map(|theirs| mine.intersect(theirs)) {
                let covered = clauses
                    .iter()
                    .any(|kept| clause.verbs.iter().all(|verb| kept.contains_for(verb, &clause)));
                if !covered {
                    clauses.push(clause);
                }
                if clauses.len() > MAX_CLAUSES {
                    return Err(Widened::Clauses);
                }
            }
        }
        Ok(Self { clauses, depth: self.depth.min(other.depth) })
    }
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Clause>, D::Error> {
    let clauses = Vec::<Clause>::deserialize(deserializer)?;
    if clauses.len() > MAX_CLAUSES { Err(de::Error::custom(Widened::Clauses)) } else { Ok(clauses) }
}

#[cfg(test)]
mod tests;
