//! What entries are found by, and what is asked for.

use decide::sha256;
use ledger::{Entry, Leaf};
use model::{Timestamp, ijson::Json};
use store::{SearchBatch, Term};

/// Which terms entries are given. A change of what [`each_fact`] tells, or of what is hashed, is another form: indexes of the
/// old one are made anew.
pub(crate) const FORM: u32 = 1;

/// Keeps our hashes apart from all others.
const LABEL: &[u8] = b"search/v1";

/// What kind of thing an entry is found by. The number is part of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// The kind of entry, for example `decision`.
    Kind = 1,
    /// How it was decided.
    Verdict = 2,
    /// The agent that acted, or that a task was opened for: `agent/support-bot`.
    Agent = 3,
    /// The person at the root of the chain: `person/p1f…`.
    Person = 4,
    /// The task.
    Task = 5,
    /// The attempt.
    Action = 6,
    /// The system.
    System = 7,
    /// The tool, as the catalog names it.
    Tool = 8,
    /// A resource, by its blind index.
    Resource = 9,
    /// What an entry stands on, by leaf hash; of a token also its own entry.
    Credential = 10,
    /// The entry that issued a token, by the token's id.
    Token = 11,
    /// The kind of a governed object, for example `agent`.
    Object = 12,
    /// The key of a governed object, for example `agent/support-bot`.
    Key = 13,
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    field: Field,
    value: String,
}

/// What is asked for: entries with all of these facts, from one moment on and before another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The facts, at most 32.
    pub(crate) facts: Vec<Fact>,
    /// From this moment on.
    pub(crate) since: Option<Timestamp>,
    /// Before this one.
    pub(crate) until: Option<Timestamp>,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Verdict => "verdict",
            Self::Agent => "agent",
            Self::Person => "person",
            Self::Task => "task",
            Self::Action => "action",
            Self::System => "system",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Credential => "credential",
            Self::Token => "token",
            Self::Object => "object",
            Self::Key => "key",
        }
    }

    fn term(self, value: &str) -> Term {
        let hash = sha256(&[LABEL, &[self as u8], value.as_bytes()]);
        let (first, _) = hash.0.split_first_chunk().expect("a digest is longer than four bytes");
        Term::of(u32::from_be_bytes(*first))
    }
}

impl Query {
    /// Asks for one more fact; all that are asked for must hold.
    #[must_use]
    pub fn with(mut self, field: Field, value: &(impl ToString + ?Sized)) -> Self {
        self.facts.push(Fact { field, value: value.to_string() });
        self
    }

    /// Asks for what was made from one moment on and before another.
    #[must_use]
    pub fn within(self, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self { since, until, ..self }
    }

    /// Whether every entry is asked for.
    pub(crate) fn is_for_all(&self) -> bool {
        self.facts.is_empty() && self.since.is_none() && self.until.is_none()
    }

    /// The terms of what is asked for.
    pub(crate) fn terms(&self) -> impl Iterator<Item = Term> {
        self.facts.iter().map(|Fact { field, value }| field.term(value))
    }

    /// Whether an entry is what is asked for.
    pub fn fits(&self, entry: &Entry) -> bool {
        let at = entry.leaf.at;
        if self.since.is_some_and(|since| at < since) || self.until.is_some_and(|until| at >= until)
        {
            return false;
        }
        let mut met = vec![false; self.facts.len()];
        each_fact(entry, |field, value| {
            for (fact, met) in self.facts.iter().zip(&mut met) {
                *met |= fact.field == field && fact.value == value;
            }
        });
        met.into_iter().all(|met| met)
    }

    /// What is asked for, as an object; the same for the same question in any order.
    pub fn to_json(&self) -> Json {
        let mut facts = self.facts.clone();
        facts.sort();
        let facts =
            facts.into_iter().map(|Fact { field, value }| (field.name(), Json::String(value)));
        let moments = [("since", self.since), ("until", self.until)].into_iter();
        let moments = moments.filter_map(|(name, at)| Some((name, Json::Integer(at?.millis()))));
        Json::object(facts.chain(moments))
    }
}

/// Adds what an entry is found by.
///
/// # Errors
/// The position is beyond what an index can hold.
pub fn add_entry(batch: &mut SearchBatch, entry: &Entry) -> Result<(), store::Error> {
    let mut terms = Vec::with_capacity(16);
    each_fact(entry, |field, value| terms.push(field.term(value)));
    batch.add(entry.index, entry.leaf.at, terms)
}

/// Tells everything that an entry is found by. A fact may be told twice.
fn each_fact(entry: &Entry, mut tell: impl FnMut(Field, &str)) {
    let Entry { leaf, hash, .. } = entry;
    let Leaf { action, agent, body, id, kind, parents, person, task, verdict, .. } = leaf;
    tell(Field::Kind, kind);
    if let Some(verdict) = verdict {
        tell(Field::Verdict, verdict);
    }
    if let Some(agent) = agent {
        tell(Field::Agent, &agent.id.to_string());
    }
    if let Some(person) = person {
        tell(Field::Person, &person.to_string());
    }
    if let Some(task) = task {
        tell(Field::Task, &task.to_string());
    }
    if let Some(action) = action {
        tell(Field::Action, &action.to_string());
    }
    if kind == "token" {
        tell(Field::Token, &id.to_string());
        tell(Field::Credential, &hash.to_string());
    }
    for parent in parents {
        tell(Field::Credential, &parent.to_string());
    }
    const SAID: [(&str, Field); 5] = [
        ("agent", Field::Agent),
        ("key", Field::Key),
        ("object", Field::Object),
        ("system", Field::System),
        ("tool", Field::Tool),
    ];
    for (member, field) in SAID {
        // A token's `key` is a thumbprint, which nobody asks for.
        let is_told = kind == "governance" || !matches!(field, Field::Key | Field::Object);
        if let Some(value) = body.member(member).and_then(Json::as_str).filter(|_| is_told) {
            tell(field, value);
        }
    }
    if let Some(Json::Array(effects)) = body.member("effects") {
        let ids = effects.iter().filter_map(|effect| effect.member("id")?.as_str());
        ids.for_each(|id| tell(Field::Resource, id));
    }
}
