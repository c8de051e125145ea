use model::{ijson::Json, nearest};

use super::{Expression, MappingError, named};
use crate::records::Mapping;

/// The most arguments that one refusal lists.
const MAX_LISTED: usize = 20;

/// Refuses a mapping that reads arguments which the tool's schema does not name: it compiles, and would refuse every call.
///
/// # Errors
/// [`MappingError::Unnamed`]; [`MappingError::Expression`] where something is no expression.
pub fn check_named(definition: &str, mapping: &Mapping) -> Result<(), MappingError> {
    if mapping.additional_arguments {
        return Ok(());
    }
    let parsed: Option<Json> = serde_json::from_str(definition).ok();
    let schema = parsed.as_ref().and_then(|definition| definition.member("inputSchema"));
    let top: Vec<String> = named(definition).into_iter().collect();
    for effect in &mapping.effects {
        let texts = [Some(&effect.id), effect.amount.as_ref(), effect.currency.as_ref()];
        for text in texts.into_iter().flatten() {
            let (expression, mut paths) = (text.parse::<Expression>()?, Vec::new());
            expression.paths(&mut paths);
            paths.iter().try_for_each(|path| check_path(path, &top, schema))?;
        }
    }
    Ok(())
}

fn check_path(path: &[String], top: &[String], schema: Option<&Json>) -> Result<(), MappingError> {
    if path.first().is_some_and(|first| !top.contains(first)) {
        return Err(unnamed(path, 0, top));
    }
    // Below the top a schema may say the same in many ways; only where it says it plainly is a name known to be wrong.
    let mut schema = schema;
    for (at, name) in path.iter().enumerate() {
        let Some(Json::Object(properties)) = schema.and_then(|schema| schema.member("properties"))
        else {
            return Ok(());
        };
        let Some((_, inner)) = properties.iter().find(|(known, _)| known == name) else {
            let closed =
                schema.is_some_and(|schema| !OPEN.iter().any(|word| schema.member(word).is_some()));
            let known: Vec<String> = properties.iter().map(|(known, _)| known.clone()).collect();
            return if at > 0 && closed { Err(unnamed(path, at, &known)) } else { Ok(()) };
        };
        schema = Some(inner);
    }
    Ok(())
}

/// Words of JSON Schema by which an object may have more members than its `properties`.
const OPEN: [&str; 9] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "if",
    "oneOf",
    "patternProperties",
    "unevaluatedProperties",
    "$dynamicRef",
];

fn unnamed(path: &[String], at: usize, known: &[String]) -> MappingError {
    let below = |last: &str| [&path[..at], &[last.to_owned()]].concat().join(".");
    let meant = nearest(&path[at], known.iter().map(String::as_str)).map(below);
    let known: Vec<String> =
        known.iter().take(MAX_LISTED).map(|known| format!("`{}`", below(known))).collect();
    let hint = match (meant, known.is_empty()) {
        (Some(meant), _) => {
            format!("did you mean `args.{meant}`? The tool names {}", known.join(", "))
        }
        (None, false) => format!("the tool names {}", known.join(", ")),
        (None, true) => "the tool names no arguments".to_owned(),
    };
    MappingError::Unnamed { path: path.join("."), hint }
}

impl Expression {
    fn paths<'a>(&'a self, found: &mut Vec<&'a [String]>) {
        match self {
            Self::Path(path) => found.push(path),
            Self::Join(terms) => terms.iter().for_each(|term| term.paths(found)),
            Self::Text(_) | Self::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Effect;

    const DEFINITION: &str = r#"{"name":"refund","inputSchema":{"type":"object","properties":{
        "order":{"type":"object","properties":{"id":{},"line":{}}},"amount":{},
        "more":{"type":"object","properties":{"a":{}},"additionalProperties":true}}}}"#;

    fn verdict(id: &str, additional_arguments: bool) -> String {
        let effect = Effect {
            verb: model::Verb::Pay,
            resource: "Refund".to_owned(),
            id: id.to_owned(),
            amount: None,
            currency: None,
            classes: None,
        };
        let mapping = Mapping { effects: vec![effect], additional_arguments, ..Mapping::default() };
        check_named(DEFINITION, &mapping)
            .map_or_else(|why| why.to_string(), |()| "named".to_owned())
    }

    #[test]
    fn a_mapping_reads_only_arguments_that_the_schema_names() {
        for id in ["args.order.id", "args.amount", "'x'", "7", "args.more.b", "args.amount.any"] {
            assert_eq!(verdict(id, false), "named", "{id}");
        }
        assert_eq!(
            verdict("'x' + args.amout", false),
            "`args.amout` is no argument of the tool: did you mean `args.amount`? The tool names `amount`, `more`, `order`"
        );
        assert_eq!(
            verdict("args.order.idd", false),
            "`args.order.idd` is no argument of the tool: did you mean `args.order.id`? The tool names `order.id`, `order.line`"
        );
        assert_eq!(
            verdict("args.customer", false),
            "`args.customer` is no argument of the tool: the tool names `amount`, `more`, `order`"
        );
    }

    #[test]
    fn who_accepts_arguments_that_nobody_names_may_read_them() {
        assert_eq!(verdict("args.customer", true), "named");
    }
}
