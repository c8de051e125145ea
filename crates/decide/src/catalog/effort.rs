//! How much work a tool's schema makes. The schema is a server's word, and references let a short one ask for more steps than
//! there is time: then neither the schema is compiled nor the call decided on.

use std::collections::HashMap;

use model::ijson::Json;

use super::MappingError;

/// How many steps the check of one call may take. A call of a few hundred arguments takes some thousand.
const MAX_STEPS: usize = 200_000;
/// How deep schemas may stand within each other, references followed: each level is a frame on somebody's stack.
const MAX_HEIGHT: usize = 128;
/// How deep a check may go, references followed: more than any value and schema need that are no trap.
const MAX_DEPTH: usize = 512;
/// How much of a text is read in the time of one step, in bytes.
const TEXT_OF_A_STEP: usize = 64;
/// Ways to refer to a schema of which it cannot be said beforehand where they lead.
const OPAQUE: [&str; 4] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// The schema's steps would not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Refuses a schema that stands too deep within itself, or refers to something else than a part of itself by its path.
pub(super) fn check(schema: &Json) -> Result<(), MappingError> {
    let wrong = |why: String| MappingError::Definition(format!("its `inputSchema` {why}"));
    Heights { root: schema, known: HashMap::new() }.of(schema, 0).map_err(wrong)?;
    Ok(())
}

/// Counts the steps of checking these arguments, and stops where they are too many.
pub(super) fn count(schema: &Json, arguments: &Json) -> Result<(), TooMuch> {
    Steps { root: schema, left: MAX_STEPS }.apply(schema, arguments, 0).ok_or(TooMuch)
}

/// The part of a schema that a reference names; `None` where it names none by its path.
fn target<'s>(root: &'s Json, reference: &str) -> Option<&'s Json> {
    let path = reference.strip_prefix('#')?;
    if path.contains('%') {
        return None;
    }
    let mut parts = path.split('/');
    if parts.next() != Some("") {
        return None;
    }
    parts.try_fold(root, |place, part| match place {
        Json::Array(values) => values.get(part.parse::<usize>().ok()?),
        place => place.member(&part.replace("~1", "/").replace("~0", "~")),
    })
}

/// How deep every part of a schema is, by where it stands in memory. A part that is being measured is known with none, so that
/// recursion ends: a validator follows it one value at a time.
struct Heights<'s> {
    root: &'s Json,
    known: HashMap<*const Json, usize>,
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
                    let below = match (name.as_str(), value) {
                        ("$ref", Json::String(reference)) => {
                            let target = target(self.root, reference).ok_or_else(|| {
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

    /// Takes what one schema and all below it cost for a value. Of alternatives all are counted.
    fn apply(&mut self, schema: &'s Json, value: &Json, depth: usize) -> Option<()> {
        let Json::Object(keywords) = schema else { return self.take(1) };
        let text = value.as_str().map_or(0, str::len);
        (depth <= MAX_DEPTH).then_some(())?;
        self.take(1 + text / TEXT_OF_A_STEP)?;
        for (keyword, below) in keywords {
            self.keyword(keyword, below, value, depth + 1)?;
        }
        Some(())
    }

    fn keyword(&mut self, name: &str, below: &'s Json, value: &Json, depth: usize) -> Option<()> {
        match (name, below) {
            ("$ref", Json::String(reference)) => {
                let target = target(self.root, reference)?;
                self.apply(target, value, depth)
            }
            ("allOf" | "anyOf" | "oneOf", Json::Array(schemas)) => {
                schemas.iter().try_for_each(|schema| self.apply(schema, value, depth))
            }
            ("not" | "if" | "then" | "else", schema) => self.apply(schema, value, depth),
            ("dependentSchemas" | "dependencies", Json::Object(schemas)) => {
                schemas.iter().try_for_each(|(_, schema)| self.apply(schema, value, depth))
            }
            ("properties", Json::Object(schemas)) => {
                self.take(schemas.len() / TEXT_OF_A_STEP)?;
                schemas.iter().try_for_each(|(name, schema)| match value.member(name) {
                    Some(value) => self.apply(schema, value, depth),
                    None => Some(()),
                })
            }
            ("patternProperties", Json::Object(schemas)) => {
                schemas.iter().try_for_each(|(_, schema)| self.each(schema, value, depth))
            }
            ("items" | "prefixItems", Json::Array(schemas)) => match value {
                Json::Array(values) => schemas
                    .iter()
                    .zip(values)
                    .try_for_each(|(schema, value)| self.apply(schema, value, depth)),
                _ => Some(()),
            },
            (
                "items"
                | "contains"
                | "additionalItems"
                | "unevaluatedItems"
                | "propertyNames"
                | "additionalProperties"
                | "unevaluatedProperties",
                schema,
            ) => self.each(schema, value, depth),
            ("$defs" | "definitions", _) => Some(()),
            (_, Json::Array(values)) => self.take(values.len()),
            _ => Some(()),
        }
    }

    /// Every value within one.
    fn each(&mut self, schema: &'s Json, value: &Json, depth: usize) -> Option<()> {
        match value {
            Json::Array(values) => {
                values.iter().try_for_each(|value| self.apply(schema, value, depth))
            }
            Json::Object(members) => {
                members.iter().try_for_each(|(_, value)| self.apply(schema, value, depth))
            }
            _ => Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    /// A schema of so many parts, each of which is this with `NEXT` for the one behind it.
    fn chain(parts: usize, part: &str) -> Json {
        let next =
            |at: usize| part.replace("NEXT", &format!(r##"{{"$ref":"#/$defs/{}"}}"##, at + 1));
        let parts: Vec<String> = (0..parts).map(|at| format!(r#""{at}":{},"#, next(at))).collect();
        let (parts, count) = (parts.concat(), parts.len());
        json(&format!(
            r##"{{"$ref":"#/$defs/0","$defs":{{{parts}"{count}":{{"type":"integer"}}}}}}"##
        ))
    }

    #[test]
    fn schemas_as_tools_have_them_are_cheap() {
        for (schema, arguments) in [
            (r#"{"type":"object","properties":{"a":{"enum":["x","y"]}}}"#, r#"{"a":"x"}"#),
            (
                r##"{"properties":{"tree":{"$ref":"#/definitions/a~1b"}},"definitions":{"a/b":{"type":"object",
                    "properties":{"left":{"$ref":"#/definitions/a~1b"},"right":{"$ref":"#/definitions/a~1b"}}}}}"##,
                r#"{"tree":{"left":{"left":{},"right":{}},"right":{"left":{}}}}"#,
            ),
            (r##"{"items":{"$ref":"#"},"anyOf":[{"type":"array"},true]}"##, "[[[[[[1],2],3]]]]"),
        ] {
            let schema = json(schema);
            assert_eq!(check(&schema), Ok(()));
            assert_eq!(count(&schema, &json(arguments)), Ok(()));
        }
        assert_eq!(check(&chain(20, r#"{"not":NEXT}"#)), Ok(()));
    }

    #[test]
    fn a_short_schema_that_asks_for_endless_work_is_noticed_in_time() {
        let nested = json(&format!("{}1{}", "[".repeat(60), "]".repeat(60)));
        let twice = r##"{"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}"##;
        let list = json(&format!("[{}1]", "1,".repeat(20_000)));
        let many = format!(r#"{{"items":{{"enum":[{}1]}}}}"#, "1,".repeat(200));
        for (schema, arguments) in [
            (chain(30, r#"{"allOf":[NEXT,NEXT]}"#), json("1")),
            (json(twice), nested),
            (json(r##"{"$ref":"#"}"##), json("1")),
            (json(&many), list),
        ] {
            assert_eq!(check(&schema), Ok(()));
            assert_eq!(count(&schema, &arguments), Err(TooMuch));
        }
    }

    #[test]
    fn a_schema_too_deep_for_a_stack_or_that_leads_elsewhere_is_refused() {
        for schema in [
            chain(5_000, "NEXT"),
            chain(130, "NEXT"),
            chain(60, r#"{"not":{"not":NEXT}}"#),
            json(r##"{"$ref":"#anchor"}"##),
            json(r##"{"$ref":"#/nowhere"}"##),
            json(r##"{"$ref":"other.json"}"##),
            json(r##"{"properties":{"a":{"$id":"b","$ref":"#"}}}"##),
            json(r##"{"$dynamicRef":"#"}"##),
        ] {
            assert!(check(&schema).is_err(), "{schema:?}");
        }
    }
}
