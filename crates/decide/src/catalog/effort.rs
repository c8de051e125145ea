//! How much work a tool's schema makes. The schema is a server's word, and references let a short one ask for more steps than
//! there is time: then neither the schema is compiled nor the call decided on.

use std::collections::{BTreeSet, HashMap};

use model::ijson::Json;

use super::MappingError;

mod steps;

pub(super) use steps::{TooMuch, count};

/// How deep schemas may stand within each other, references followed: each level is a frame on somebody's stack.
const MAX_HEIGHT: usize = 128;
/// How many different patterns a schema may have; each takes up to [`MAX_PATTERN`] of memory for as long as the tool is accepted.
const MAX_PATTERNS: usize = 100;
/// How large one pattern may become when it is compiled, in bytes.
pub(super) const MAX_PATTERN: usize = 1 << 20;
/// How many schemas all `unevaluatedProperties` and `unevaluatedItems` together may look into, references followed. A validator
/// makes each of them anew at each of these keywords, so that two references to the same double what stands behind them.
const MAX_LOOKS: usize = 2_000;
/// The two keywords that look into all schemas beside them for what those have evaluated.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Ways to refer to a schema of which it cannot be said beforehand where they lead.
const OPAQUE: [&str; 4] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// Refuses a schema that stands too deep within itself, refers to something else than a part of itself by its path, or takes too
/// much to compile.
pub(super) fn check(schema: &Json) -> Result<(), MappingError> {
    let wrong = |why: String| MappingError::Definition(format!("its `inputSchema` {why}"));
    let mut heights = Heights { root: schema, known: HashMap::new(), patterns: BTreeSet::new() };
    heights.of(schema, 0).map_err(wrong)?;
    if heights.patterns.len() > MAX_PATTERNS {
        return Err(wrong(format!("has more than {MAX_PATTERNS} patterns")));
    }
    let mut looks = Looks { root: schema, left: MAX_LOOKS, under_way: Vec::new() };
    looks.within(schema).ok_or_else(|| {
        wrong(format!(
            "lets `{}` look into more than {MAX_LOOKS} schemas",
            UNEVALUATED.join("` and `")
        ))
    })
}

/// The part of a schema that a reference names, with how many members had to be read for it; `None` where it names none by its
/// path.
fn target<'s>(root: &'s Json, reference: &str) -> Option<(&'s Json, usize)> {
    let path = reference.strip_prefix('#')?;
    if path.contains('%') {
        return None;
    }
    let mut parts = path.split('/');
    if parts.next() != Some("") {
        return None;
    }
    parts.try_fold((root, 0), |(place, read), part| match place {
        Json::Array(values) => Some((values.get(part.parse::<usize>().ok()?)?, read)),
        Json::Object(members) => {
            let part = part.replace("~1", "/").replace("~0", "~");
            Some((place.member(&part)?, read + members.len()))
        }
        _ => None,
    })
}

/// How deep every part of a schema is, by where it stands in memory. A part that is being measured is known with none, so that
/// recursion ends: a validator follows it one value at a time.
struct Heights<'s> {
    root: &'s Json,
    known: HashMap<*const Json, usize>,
    patterns: BTreeSet<&'s str>,
}

impl<'s> Heights<'s> {
    fn of(&mut self, part: &'s Json, depth: usize) -> Result<usize, String> {
        let place: *const Json = part;
        let known = self.known.get(&place).copied();
        if depth + known.unwrap_or(0) > MAX_HEIGHT {
            return Err(format!("is more than {MAX_HEIGHT} schemas deep"));
        }
        if let Some(height) = known {
            return Ok(height);
        }
        self.known.insert(place, 0);
        let mut height = 0;
        match part {
            Json::Array(values) => {
                for value in values {
                    height = height.max(self.of(value, depth + 1)? + 1);
                }
            }
            Json::Object(members) => {
                for (name, value) in members {
                    self.note_patterns(name, value);
                    let below = match (name.as_str(), value) {
                        ("$ref", Json::String(reference)) => {
                            let (target, _) = target(self.root, reference).ok_or_else(|| {
                                "refers to something else than a part of itself".to_owned()
                            })?;
                            self.of(target, depth + 1)?
                        }
                        ("$id", _) if depth > 0 => return Err("has an `$id` within".to_owned()),
                        (name, Json::String(_)) if OPAQUE.contains(&name) => {
                            return Err(format!("has `{name}`"));
                        }
                        _ => self.of(value, depth + 1)?,
                    };
                    height = height.max(below + 1);
                }
            }
            _ => {}
        }
        self.known.insert(place, height);
        Ok(height)
    }

    fn note_patterns(&mut self, name: &str, value: &'s Json) {
        match (name, value) {
            ("pattern", Json::String(pattern)) => {
                self.patterns.insert(pattern);
            }
            ("patternProperties", Json::Object(schemas)) => {
                self.patterns.extend(schemas.iter().map(|(pattern, _)| pattern.as_str()));
            }
            _ => {}
        }
    }
}

/// The schemas that `unevaluated…` may still look into.
struct Looks<'s> {
    root: &'s Json,
    left: usize,
    /// Those that it is looking into: a validator makes none of them a second time.
    under_way: Vec<*const Json>,
}

impl<'s> Looks<'s> {
    /// Takes what all these keywords in a part look into.
    fn within(&mut self, part: &'s Json) -> Option<()> {
        match part {
            Json::Array(values) => values.iter().try_for_each(|value| self.within(value)),
            Json::Object(members) => {
                for _ in members.iter().filter(|(name, _)| UNEVALUATED.contains(&name.as_str())) {
                    self.look(part)?;
                }
                members.iter().try_for_each(|(_, value)| self.within(value))
            }
            _ => Some(()),
        }
    }

    fn look(&mut self, schema: &'s Json) -> Option<()> {
        let Json::Object(keywords) = schema else { return Some(()) };
        let place: *const Json = schema;
        if self.under_way.contains(&place) {
            return Some(());
        }
        self.left = self.left.checked_sub(1)?;
        (self.under_way.len() < MAX_HEIGHT).then_some(())?;
        self.under_way.push(place);
        for (keyword, below) in keywords {
            // The names beside it are copied each time.
            let names = if let Json::Object(members) = below { members.len() } else { 0 };
            self.left = self.left.checked_sub(names / 64)?;
            let (schemas, _) = beside(self.root, keyword, below);
            schemas.into_iter().try_for_each(|schema| self.look(schema))?;
        }
        self.under_way.pop();
        Some(())
    }
}

/// The schemas that a keyword applies to the same value, of which `unevaluated…` wants to know what they evaluate; with how
/// many members had to be read to find them.
fn beside<'s>(root: &'s Json, keyword: &str, below: &'s Json) -> (Vec<&'s Json>, usize) {
    match (keyword, below) {
        ("$ref", Json::String(reference)) => match target(root, reference) {
            Some((target, read)) => (vec![target], read),
            None => (Vec::new(), 0),
        },
        ("allOf" | "anyOf" | "oneOf", Json::Array(schemas)) => (schemas.iter().collect(), 0),
        ("if" | "then" | "else", schema) => (vec![schema], 0),
        ("dependentSchemas", Json::Object(schemas)) => {
            (schemas.iter().map(|(_, schema)| schema).collect(), 0)
        }
        _ => (Vec::new(), 0),
    }
}

#[cfg(test)]
mod tests;
