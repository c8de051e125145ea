//! What a tool call does: (verb, resource) pairs from a tool's accepted mapping and a call's arguments.
//!
//! Expressions are a pure, total part of CEL: a path (`args.order_id`), a text (`"order"`), a whole number, and `+` between
//! texts. They are compiled once; an expression that cannot give its value refuses the call.

use std::{collections::BTreeSet, fmt, sync::Arc};

use jsonschema::{PatternOptions, Validator};
use model::{Digest, Money, Name, Resource, Verb, ijson, ijson::Json};

use crate::{
    hash::sha256,
    inputs::InputMethod,
    records::{Effect, Mapping, ServerRecord, ToolRecord},
};

mod differences;
mod effort;
mod pinned;
mod unnamed;

pub use differences::{Difference, differences};
pub use pinned::ToolState;
pub use unnamed::check_named;

/// How the name of an entry starts that is no tool but a request of the protocol, such as `mcp:resources/read`.
pub const METHOD: &str = "mcp:";

/// The most effects of one tool.
const MAX_EFFECTS: usize = 16;
/// The longest expression, in bytes.
const MAX_EXPRESSION: usize = 1024;
/// The longest tool definition, in bytes.
const MAX_DEFINITION: usize = 256 * 1024;

/// A tool whose mapping a person accepted, ready to be asked about calls.
pub struct Tool {
    /// The server.
    pub server: Name,
    /// The tool's name.
    pub name: Arc<str>,
    /// The pin of the definition.
    pub definition: Digest,
    /// SHA-256 over the accepted mapping: the catalog row that an approval binds.
    pub mapping: Digest,
    /// The definition as the server sent it.
    pub text: Arc<str>,
    /// What the server may ask of the client in the middle of a call.
    pub input_requests: BTreeSet<InputMethod>,
    effects: Vec<Compiled>,
    arguments: Validator,
    /// What `arguments` was made of.
    schema: Json,
    /// The arguments that the schema names; `None` where others were accepted, too.
    named: Option<BTreeSet<String>>,
}

/// A tool as far as it is known.
#[derive(Clone)]
pub struct ToolEntry {
    /// What was recorded of it.
    pub record: Arc<ToolRecord>,
    /// The digest of the row, by which its ledger entry is found.
    pub row: Digest,
    /// Ready to be asked, once accepted.
    pub accepted: Option<Arc<Tool>>,
}

/// One effect of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub resource: Resource,
    /// Its data classes.
    pub classes: BTreeSet<Name>,
    /// For how much.
    pub amount: Option<Money>,
}

/// Why a mapping or a definition cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// None, or too many.
    #[error("a tool has 1 to {MAX_EFFECTS} effects, not {0}")]
    Effects(usize),
    /// Not an expression of the accepted part of CEL.
    #[error(
        "`{expression}` is not an expression: {why}; write a path such as `args.order_id`, a text in quotes, or texts joined by `+`"
    )]
    Expression {
        /// The text.
        expression: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The resource's type name is not one.
    #[error(transparent)]
    Resource(#[from] model::ResourceError),
    /// The resource's type name is one that policies use for something else.
    #[error("`{0}` means something else in policies; rename it, for example to `{0}Item`")]
    Reserved(String),
    /// An amount without a currency, or the reverse.
    #[error("an amount and its currency come together")]
    HalfAnAmount,
    /// It reads an argument that the tool's schema does not name.
    #[error("`args.{path}` is no argument of the tool: {hint}")]
    Unnamed {
        /// What it reads.
        path: String,
        /// What was probably meant, and what there is.
        hint: String,
    },
    /// The definition is not a tool.
    #[error("the tool's definition is not usable: {0}")]
    Definition(String),
}

/// Why a call's arguments give no effects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// They miss the tool's schema.
    #[error("the arguments do not fit the tool's schema: {0}")]
    Schema(String),
    /// An expression has no value.
    #[error("the mapping cannot be applied: {0}")]
    Expression(String),
}

struct Compiled {
    verb: Verb,
    kind: Arc<str>,
    id: Expression,
    amount: Option<(Expression, Expression)>,
    classes: BTreeSet<Name>,
}

/// Compiles an accepted tool.
///
/// # Errors
/// The definition is no tool, or the mapping is not one that can be applied to calls.
pub fn compile(
    record: &ToolRecord,
    mapping: &Mapping,
    default_classes: &[Name],
) -> Result<Tool, MappingError> {
    if mapping.effects.is_empty() || mapping.effects.len() > MAX_EFFECTS {
        return Err(MappingError::Effects(mapping.effects.len()));
    }
    let effects = mapping.effects.iter().map(|effect| compile_effect(effect, default_classes));
    let schema = schema(&record.definition)?;
    let canonical =
        ijson::Canonical::of(mapping).map_err(|why| MappingError::Definition(why.to_string()))?;
    Ok(Tool {
        server: record.server.clone(),
        name: record.name.as_str().into(),
        definition: record.digest,
        mapping: sha256(&[b"mapping/v1\0", canonical.as_bytes()]),
        text: record.definition.as_str().into(),
        input_requests: mapping.input_requests.clone(),
        effects: effects.collect::<Result<_, _>>()?,
        arguments: compile_schema(&schema, mapping.additional_arguments)?,
        schema,
        named: (!mapping.additional_arguments).then(|| named(&record.definition)),
    })
}

impl ToolEntry {
    /// A tool with its mapping compiled. A definition that is not what was pinned, or a mapping that does not compile, leaves
    /// the tool not accepted.
    pub(crate) fn of(record: Arc<ToolRecord>, row: Digest, server: Option<&ServerRecord>) -> Self {
        let Some(server) = server else { return Self { record, row, accepted: None } };
        let pinned = sha256(&[record.definition.as_bytes()]) == record.digest;
        let mapping = record.mapping.as_ref().filter(|_| pinned && record.is_held());
        let accepted = mapping.and_then(|mapping| match compile(&record, mapping, &server.default_classes) {
            Ok(tool) => Some(Arc::new(tool)),
            Err(why) => {
                tracing::error!(code = "BW-1004", tool = record.name, %why, "an accepted mapping does not compile");
                None
            }
        });
        Self { record, row, accepted }
    }

    /// The same tool, of a server that has changed.
    pub(crate) fn of_server(&self, server: &ServerRecord) -> Self {
        Self::of(self.record.clone(), self.row, Some(server))
    }
}

fn compile_effect(effect: &Effect, default_classes: &[Name]) -> Result<Compiled, MappingError> {
    let amount = match (&effect.amount, &effect.currency) {
        (Some(amount), Some(currency)) => Some((amount.parse()?, currency.parse()?)),
        (None, None) => None,
        _ => return Err(MappingError::HalfAnAmount),
    };
    // A throw-away resource checks the type name once, so that no call can fail on it.
    Resource::new("x".parse().expect("`x` is a name"), &effect.resource, "x")?;
    if policy::is_reserved_kind(&effect.resource) {
        return Err(MappingError::Reserved(effect.resource.clone()));
    }
    let classes = effect.classes.as_deref().unwrap_or(default_classes);
    Ok(Compiled {
        verb: effect.verb,
        kind: effect.resource.as_str().into(),
        id: effect.id.parse()?,
        amount,
        classes: classes.iter().cloned().collect(),
    })
}

/// The schema of a tool's arguments, whose author is not trusted.
fn schema(definition: &str) -> Result<Json, MappingError> {
    let wrong = |why: String| MappingError::Definition(why);
    let limits = ijson::Limits { bytes: MAX_DEFINITION, depth: 64 };
    let definition =
        ijson::parse(definition.as_bytes(), limits).map_err(|why| wrong(why.to_string()))?;
    let schema = definition
        .member("inputSchema")
        .ok_or_else(|| wrong("it has no `inputSchema`".to_owned()))?;
    if !matches!(schema, Json::Object(_)) {
        return Err(wrong("its `inputSchema` is not an object".to_owned()));
    }
    effort::check(schema)?;
    Ok(schema.clone())
}

/// The validator of a tool's arguments. Members that the schema does not name are refused unless accepted otherwise, and
/// patterns run in linear time.
fn compile_schema(schema: &Json, additional: bool) -> Result<Validator, MappingError> {
    let mut schema = schema.to_value();
    if let serde_json::Value::Object(members) = &mut schema
        && !additional
        && !members.contains_key("additionalProperties")
    {
        members.insert("additionalProperties".to_owned(), serde_json::Value::Bool(false));
    }
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(effort::MAX_PATTERN))
        .build(&schema)
        .map_err(|why| MappingError::Definition(why.to_string()))
}

/// The arguments that a definition's schema names, whatever else it says about others.
fn named(definition: &str) -> BTreeSet<String> {
    let definition: Option<Json> = serde_json::from_str(definition).ok();
    let schema = definition.as_ref().and_then(|definition| definition.member("inputSchema"));
    match schema.and_then(|schema| schema.member("properties")) {
        Some(Json::Object(properties)) => properties.iter().map(|(name, _)| name.clone()).collect(),
        _ => BTreeSet::new(),
    }
}

/// Of arguments up to this length in canonical form it is said where they miss their schema.
const EXPLAINED_BYTES: usize = 4 * 1024;

impl Tool {
    /// What a call with these arguments does.
    ///
    /// # Errors
    /// The arguments miss the schema, or an expression has no value for them.
    pub fn resolve(&self, arguments: &Json) -> Result<Vec<Pair>, ResolveError> {
        effort::count(&self.schema, arguments).map_err(|effort::TooMuch| {
            ResolveError::Schema("checking them takes too many steps".to_owned())
        })?;
        let value = arguments.to_value();
        if !self.arguments.is_valid(&value) {
            return Err(ResolveError::Schema(self.why_not(arguments, &value)));
        }
        self.only_named(arguments)?;
        self.effects.iter().map(|effect| self.apply(effect, arguments)).collect()
    }

    /// Why arguments miss the schema. The validator says it with a copy of the way to everything that misses it, so only of
    /// short ones it is asked.
    fn why_not(&self, arguments: &Json, value: &serde_json::Value) -> String {
        if arguments.canonical().len() > EXPLAINED_BYTES {
            return format!(
                "arguments: they miss it, and are too long ({EXPLAINED_BYTES} bytes) to say where"
            );
        }
        let Err(why) = self.arguments.validate(value) else {
            return "arguments: they miss it".to_owned();
        };
        let path = why.instance_path().to_string();
        let place = if path.is_empty() { "arguments".to_owned() } else { path };
        format!("{place}: {}", why.masked())
    }

    /// The schema is the server's word; what a person accepted is the mapping, which speaks of named arguments alone.
    fn only_named(&self, arguments: &Json) -> Result<(), ResolveError> {
        let (Some(named), Json::Object(members)) = (&self.named, arguments) else { return Ok(()) };
        if members.iter().all(|(name, _)| named.contains(name)) {
            return Ok(());
        }
        Err(ResolveError::Schema("an argument that its properties do not name".to_owned()))
    }

    /// The verbs of the tool, with a resource type each: what a listing shows without arguments.
    pub fn verbs(&self) -> impl Iterator<Item = (Verb, &str, &BTreeSet<Name>)> {
        self.effects.iter().map(|effect| (effect.verb, &*effect.kind, &effect.classes))
    }

    fn apply(&self, effect: &Compiled, arguments: &Json) -> Result<Pair, ResolveError> {
        let wrong = |why: &dyn fmt::Display| ResolveError::Expression(why.to_string());
        let id = effect.id.text(arguments)?;
        let resource =
            Resource::new(self.server.clone(), &effect.kind, &id).map_err(|why| wrong(&why))?;
        let amount = match &effect.amount {
            None => None,
            Some((amount, currency)) => {
                let minor_units = amount.whole_number(arguments)?;
                let currency = currency
                    .text(arguments)?
                    .parse()
                    .map_err(|why: model::MoneyError| wrong(&why))?;
                Some(Money::new(minor_units, currency).map_err(|why| wrong(&why))?)
            }
        };
        Ok(Pair { verb: effect.verb, resource, classes: effect.classes.clone(), amount })
    }
}

/// A compiled expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Path(Vec<String>),
    Text(String),
    Number(i64),
    Join(Vec<Expression>),
}

impl std::str::FromStr for Expression {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let wrong =
            |why| MappingError::Expression { expression: text.chars().take(80).collect(), why };
        if text.len() > MAX_EXPRESSION {
            return Err(wrong("longer than 1 KiB"));
        }
        let mut terms = split_terms(text)
            .map_err(wrong)?
            .into_iter()
            .map(|term| parse_term(term).map_err(wrong));
        let first = terms.next().ok_or_else(|| wrong("empty"))??;
        let rest: Vec<Self> = terms.collect::<Result<_, _>>()?;
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Self::Join([vec![first], rest].concat()))
    }
}

/// Splits at every `+` that stands outside quotes.
fn split_terms(text: &str) -> Result<Vec<&str>, &'static str> {
    let (mut terms, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '+') => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    terms.push(&text[start..]);
    Ok(terms)
}

fn parse_term(term: &str) -> Result<Expression, &'static str> {
    let term = term.trim();
    if let Some(quote @ ('"' | '\'')) = term.chars().next() {
        let inside = term
            .len()
            .checked_sub(1)
            .and_then(|end| term.get(1..end))
            .ok_or("a quote is not closed")?;
        if !term.ends_with(quote) || inside.contains(['"', '\'', '\\']) {
            return Err("a text contains neither quotes nor backslashes");
        }
        return Ok(Expression::Text(inside.to_owned()));
    }
    if let Ok(number) = term.parse::<i64>() {
        return Ok(Expression::Number(number));
    }
    let mut parts = term.split('.');
    if parts.next() != Some("args") {
        return Err("it starts with neither `args.` nor a quote");
    }
    let path: Vec<String> = parts.map(str::to_owned).collect();
    let plain = |part: &String| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if path.is_empty() || !path.iter().all(plain) {
        return Err("a path has the form `args.name.name`");
    }
    Ok(Expression::Path(path))
}

impl Expression {
    fn value<'a>(path: &[String], arguments: &'a Json) -> Result<&'a Json, ResolveError> {
        let found = path.iter().try_fold(arguments, |value, name| value.member(name));
        found.ok_or_else(|| {
            ResolveError::Expression(format!("`args.{}` is missing", path.join(".")))
        })
    }

    fn text(&self, arguments: &Json) -> Result<String, ResolveError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number.to_string()),
            Self::Join(terms) => terms.iter().map(|term| term.text(arguments)).collect(),
            Self::Path(path) => match Self::value(path, arguments)? {
                Json::String(text) => Ok(text.clone()),
                Json::Integer(number) => Ok(number.to_string()),
                _ => Err(ResolveError::Expression(format!(
                    "`args.{}` is neither a text nor a whole number",
                    path.join(".")
                ))),
            },
        }
    }

    fn whole_number(&self, arguments: &Json) -> Result<i64, ResolveError> {
        let wrong = |what: &str| {
            ResolveError::Expression(format!("{what} is not a whole number of minor units"))
        };
        match self {
            Self::Number(number) => Ok(*number),
            Self::Path(path) => {
                let value = Self::value(path, arguments)?;
                value.as_integer().ok_or_else(|| wrong(&format!("`args.{}`", path.join("."))))
            }
            Self::Text(_) | Self::Join(_) => Err(wrong("a text")),
        }
    }
}

#[cfg(test)]
mod tests;
