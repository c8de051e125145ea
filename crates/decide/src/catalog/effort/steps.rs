//! The steps of one check, counted as the validator takes them and stopped where they are too many.

use model::ijson::Json;

use super::{UNEVALUATED, beside};

/// How many steps the check of one call may take. A call of a few hundred arguments takes some thousand.
const MAX_STEPS: usize = 200_000;
/// How deep a check may go, references followed: more than any value and schema need that are no trap.
const MAX_DEPTH: usize = 512;
/// How much is read in the time of one step: bytes of a text, or names that are compared.
const READ_IN_A_STEP: usize = 64;
/// How many names are compared in the time that finding one in a hash table takes.
const HASHED: usize = 8;

/// The schema's steps would not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) struct TooMuch;

/// Counts the steps of checking these arguments, and stops where they are too many.
pub(in crate::catalog) fn count(schema: &Json, arguments: &Json) -> Result<(), TooMuch> {
    Steps { root: schema, left: MAX_STEPS }.apply(schema, arguments, 0).ok_or(TooMuch)
}

/// The steps that are left.
struct Steps<'s> {
    root: &'s Json,
    left: usize,
}

impl<'s> Steps<'s> {
    fn take(&mut self, steps: usize) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    /// Takes what reading this much costs.
    fn read(&mut self, length: usize) -> Option<()> {
        self.take(length / READ_IN_A_STEP)
    }

    /// Takes what one schema and all below it cost for a value. Of alternatives all are counted.
    fn apply(&mut self, schema: &'s Json, value: &Json, depth: usize) -> Option<()> {
        let Json::Object(keywords) = schema else { return self.take(1) };
        (depth <= MAX_DEPTH).then_some(())?;
        self.take(1)?;
        self.read(value.as_str().map_or(0, str::len) + keywords.len())?;
        for (keyword, below) in keywords {
            match (keyword.as_str(), value) {
                ("unevaluatedProperties", Json::Object(_))
                | ("unevaluatedItems", Json::Array(_)) => self.look(keywords, value, depth + 1)?,
                (keyword, _) => self.keyword(keyword, below, value, depth + 1)?,
            }
        }
        Some(())
    }

    fn keyword(&mut self, name: &str, below: &'s Json, value: &Json, depth: usize) -> Option<()> {
        match (name, below) {
            ("not", schema) => self.apply(schema, value, depth),
            ("dependencies", Json::Object(schemas)) => {
                schemas.iter().try_for_each(|(_, schema)| match schema {
                    Json::Array(names) => self.take(names.len()),
                    schema => self.apply(schema, value, depth),
                })
            }
            ("properties", Json::Object(schemas)) => self.properties(schemas, value, depth),
            ("pattern", Json::String(pattern)) => {
                value.as_str().into_iter().try_for_each(|text| self.matches(pattern, text))
            }
            ("patternProperties", Json::Object(schemas)) => {
                self.pattern_names(schemas, value)?;
                schemas.iter().try_for_each(|(_, schema)| self.each(schema, value, depth))
            }
            ("propertyNames", schema) => match value {
                Json::Object(members) => members.iter().try_for_each(|(name, _)| {
                    self.apply(schema, &Json::String(name.clone()), depth)
                }),
                _ => Some(()),
            },
            ("items" | "prefixItems", Json::Array(schemas)) => match value {
                Json::Array(values) => schemas
                    .iter()
                    .zip(values)
                    .try_for_each(|(schema, value)| self.apply(schema, value, depth)),
                _ => Some(()),
            },
            ("items" | "contains" | "additionalItems" | "additionalProperties", schema) => {
                self.each(schema, value, depth)
            }
            ("enum" | "const", known) => self.whole(known),
            // A few values are compared each with each, many are hashed.
            ("uniqueItems", Json::Bool(true)) => (0..4).try_for_each(|_| self.whole(value)),
            ("dependentRequired", Json::Object(lists)) => {
                lists.iter().try_for_each(|(_, names)| self.whole(names))
            }
            ("required", Json::Array(names)) => self.take(names.len()),
            _ => {
                let (schemas, read) = beside(self.root, name, below);
                self.read(read)?;
                schemas.into_iter().try_for_each(|schema| self.apply(schema, value, depth))
            }
        }
    }

    fn properties(
        &mut self,
        schemas: &'s [(String, Json)],
        value: &Json,
        depth: usize,
    ) -> Option<()> {
        let Json::Object(members) = value else { return Some(()) };
        self.read(schemas.len().saturating_mul(members.len() + HASHED))?;
        schemas.iter().try_for_each(|(name, schema)| match value.member(name) {
            Some(value) => self.apply(schema, value, depth),
            None => Some(()),
        })
    }

    /// Every value within one.
    fn each(&mut self, schema: &'s Json, value: &Json, depth: usize) -> Option<()> {
        match value {
            Json::Array(values) => {
                values.iter().try_for_each(|value| self.apply(schema, value, depth))
            }
            Json::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.read(name.len())?;
                self.apply(schema, value, depth)
            }),
            _ => Some(()),
        }
    }

    /// What `unevaluated…` asks of the schema that it stands in: all beside it are applied a second time, and looked into for
    /// what they evaluate, each in the same way.
    fn look(&mut self, keywords: &'s [(String, Json)], value: &Json, depth: usize) -> Option<()> {
        (depth <= MAX_DEPTH).then_some(())?;
        self.take(1)?;
        for (keyword, below) in keywords {
            match (keyword.as_str(), below) {
                ("patternProperties", Json::Object(schemas)) => {
                    self.pattern_names(schemas, value)?
                }
                ("properties" | "additionalProperties", _) => self.names(value)?,
                ("contains", schema) => self.each(schema, value, depth)?,
                (name, schema) if UNEVALUATED.contains(&name) => self.each(schema, value, depth)?,
                _ => {
                    let (schemas, read) = beside(self.root, keyword, below);
                    self.read(read)?;
                    for schema in schemas {
                        self.apply(schema, value, depth)?;
                        let Json::Object(keywords) = schema else { continue };
                        self.look(keywords, value, depth + 1)?;
                    }
                }
            }
        }
        Some(())
    }

    /// Finding every name of a value in a hash table.
    fn names(&mut self, value: &Json) -> Option<()> {
        let Json::Object(members) = value else { return Some(()) };
        self.read(
            members.len() * HASHED + members.iter().map(|(name, _)| name.len()).sum::<usize>(),
        )
    }

    /// Every name of a value against every pattern.
    fn pattern_names(&mut self, patterns: &[(String, Json)], value: &Json) -> Option<()> {
        let Json::Object(members) = value else { return Some(()) };
        patterns.iter().try_for_each(|(pattern, _)| {
            members.iter().try_for_each(|(name, _)| {
                self.take(1)?;
                self.matches(pattern, name)
            })
        })
    }

    /// Running a pattern over a text. It is linear in the text, and at the worst each byte visits every state.
    fn matches(&mut self, pattern: &str, text: &str) -> Option<()> {
        self.read(pattern.len())?;
        self.read(text.len().saturating_mul(states(pattern) + 1))
    }

    /// Reading all of a value, as comparing it with another may.
    fn whole(&mut self, value: &Json) -> Option<()> {
        self.take(1)?;
        match value {
            Json::String(text) => self.read(text.len()),
            Json::Array(values) => values.iter().try_for_each(|value| self.whole(value)),
            Json::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.read(name.len())?;
                self.whole(value)
            }),
            _ => Some(()),
        }
    }
}

/// About how many states a pattern has: one for whatever matches a character, as often as it is to be repeated. Never much
/// fewer than it has: what would need more of the grammar to be told counts as endless.
fn states(pattern: &str) -> usize {
    // Of each open group the sum, and what stands last in it: only that can be repeated.
    let mut groups = vec![(0_usize, 0_usize)];
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        match character {
            '{' => match repetition(rest.as_str()) {
                Some(times) => {
                    repeat(&mut groups, times);
                    rest.by_ref().take_while(|&one| one != '}').for_each(drop);
                }
                None => follow(&mut groups, 1),
            },
            '(' if is_verbose(rest.as_str()) => return usize::MAX,
            '(' => groups.push((0, 0)),
            ')' if groups.len() == 1 => return usize::MAX,
            ')' => {
                let (sum, last) = groups.pop().unwrap_or_default();
                follow(&mut groups, sum.saturating_add(last).max(1));
            }
            '[' if rest.as_str().trim_start_matches('^').starts_with(']') => return usize::MAX,
            '[' => {
                skip_class(&mut rest);
                follow(&mut groups, 1);
            }
            '*' | '+' | '?' | '|' => {}
            '\\' => {
                rest.next();
                follow(&mut groups, 1);
            }
            _ => follow(&mut groups, 1),
        }
    }
    match groups[..] {
        [(sum, last)] => sum.saturating_add(last),
        _ => usize::MAX,
    }
}

/// Something more stands at the end of the innermost group.
fn follow(groups: &mut [(usize, usize)], states: usize) {
    if let Some((sum, last)) = groups.last_mut() {
        *sum = sum.saturating_add(*last);
        *last = states;
    }
}

/// What stands at the end of the innermost group is there so often.
fn repeat(groups: &mut [(usize, usize)], times: usize) {
    if let Some((_, last)) = groups.last_mut() {
        *last = last.saturating_mul(times.max(1));
    }
}

/// How often at the most something is repeated, behind a brace; `None` where that is no repetition.
fn repetition(rest: &str) -> Option<usize> {
    let (counts, _) = rest.split_once('}')?;
    let counts = counts.split(',').map(str::trim).filter(|count| !count.is_empty());
    counts.map(|count| count.parse().ok()).collect::<Option<Vec<usize>>>()?.into_iter().max()
}

/// Whether a group turns on the flag by which comments may stand in a pattern.
fn is_verbose(group: &str) -> bool {
    let flags = group.strip_prefix('?').unwrap_or_default();
    flags.chars().take_while(char::is_ascii_alphabetic).any(|flag| flag == 'x')
}

/// Reads on to behind the end of a class, whose beginning was read.
fn skip_class(rest: &mut std::str::Chars<'_>) {
    while let Some(character) = rest.next() {
        match character {
            '\\' => drop(rest.next()),
            ']' => return,
            _ => {}
        }
    }
}
