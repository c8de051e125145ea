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
    /// The arguments that the schema names; `None` where others were accepted, too.
    named: Option<BTreeSet<String>>,
}

/// A tool as far as it is known.
#[derive(Clone)]
pub struct ToolEntry {
    /// What was recorded of it.
    pub record: Arc<ToolRecord>,
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
        arguments: compile_schema(&record.definition, mapping.additional_arguments)?,
        named: (!mapping.additional_arguments).then(|| named(&record.definition)),
    })
}

impl ToolEntry {
    /// A tool with its mapping compiled. A definition that is not what was pinned, or a mapping that does not compile, leaves
    /// the tool not accepted.
    pub(crate) fn of(record: Arc<ToolRecord>, server: Option<&ServerRecord>) -> Self {
        let Some(server) = server else { return Self { record, accepted: None } };
        let pinned = sha256(&[record.definition.as_bytes()]) == record.digest;
        let mapping = record.mapping.as_ref().filter(|_| pinned && record.is_held());
        let accepted = mapping.and_then(|mapping| match compile(&record, mapping, &server.default_classes) {
            Ok(tool) => Some(Arc::new(tool)),
            Err(why) => {
                tracing::error!(code = "BW-1004", tool = record.name, %why, "an accepted mapping does not compile");
                None
            }
        });
        Self { record, accepted }
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

/// The validator of a tool's arguments. Members that the schema does not name are refused unless accepted otherwise, and
/// patterns run in linear time, since the schema's author is not trusted.
fn compile_schema(definition: &str, additional: bool) -> Result<Validator, MappingError> {
    let wrong = |why: String| MappingError::Definition(why);
    let limits = ijson::Limits { bytes: MAX_DEFINITION, depth: 64 };
    let definition =
        ijson::parse(definition.as_bytes(), limits).map_err(|why| wrong(why.to_string()))?;
    let schema = definition
        .member("inputSchema")
        .ok_or_else(|| wrong("it has no `inputSchema`".to_owned()))?;
    let mut schema = schema.to_value();
    let serde_json::Value::Object(members) = &mut schema else {
        return Err(wrong("its `inputSchema` is not an object".to_owned()));
    };
    if !additional && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), serde_json::Value::Bool(false));
    }
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|why| wrong(why.to_string()))
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

impl Tool {
    /// What a call with these arguments does.
    ///
    /// # Errors
    /// The arguments miss the schema, or an expression has no value for them.
    pub fn resolve(&self, arguments: &Json) -> Result<Vec<Pair>, ResolveError> {
        let value = arguments.to_value();
        self.arguments.validate(&value).map_err(|why| {
            let path = why.instance_path().to_string();
            let place = if path.is_empty() { "arguments".to_owned() } else { path };
            ResolveError::Schema(format!("{place}: {}", why.masked()))
        })?;
        self.only_named(arguments)?;
        self.effects.iter().map(|effect| self.apply(effect, arguments)).collect()
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
mod tests {
    use super::*;

    const DEFINITION: &str = r#"{"name":"refund","inputSchema":{"type":"object","properties":{
        "order":{"type":"string"},"amount":{},"meta":{"type":"object"}},"required":["order"]}}"#;

    fn tool(id: &str, amount: Option<&str>) -> Result<Tool, MappingError> {
        tool_on("Refund", id, amount)
    }

    fn tool_on(kind: &str, id: &str, amount: Option<&str>) -> Result<Tool, MappingError> {
        let record = ToolRecord {
            server: "desk".parse().unwrap(),
            name: "refund".to_owned(),
            definition: DEFINITION.to_owned(),
            digest: Digest::default(),
            mapping: None,
            accepted_by: None,
            former: None,
            gone: false,
        };
        let effect = Effect {
            verb: Verb::Pay,
            resource: kind.to_owned(),
            id: id.to_owned(),
            amount: amount.map(str::to_owned),
            currency: amount.map(|_| "'EUR'".to_owned()),
            classes: None,
        };
        compile(
            &record,
            &Mapping { effects: vec![effect], ..Mapping::default() },
            &["pii".parse().unwrap()],
        )
    }

    fn resolve(id: &str, amount: Option<&str>, arguments: &str) -> Result<String, String> {
        let arguments =
            ijson::parse(arguments.as_bytes(), ijson::Limits { bytes: 1000, depth: 8 }).unwrap();
        let pairs = tool(id, amount)
            .map_err(|why| why.to_string())?
            .resolve(&arguments)
            .map_err(|why| why.to_string())?;
        let [pair] = &pairs[..] else { panic!("one effect, one pair") };
        let amount = pair.amount.map(|amount| format!(" {amount}")).unwrap_or_default();
        Ok(format!("{} {}{amount} {:?}", pair.verb, pair.resource, pair.classes))
    }

    #[test]
    fn a_call_becomes_pairs_by_its_arguments() {
        let arguments = r#"{"order":"A-1","amount":4000,"meta":{"n":7}}"#;
        assert_eq!(
            resolve("args.order", Some("args.amount"), arguments).unwrap(),
            "pay desk/Refund/A-1 40.00 EUR {pii}"
        );
        assert_eq!(
            resolve("'o/' + args.meta.n", None, arguments).unwrap(),
            "pay desk/Refund/o/7 {pii}"
        );
    }

    #[test]
    fn what_the_mapping_needs_and_the_call_lacks_refuses_the_call() {
        for (arguments, why) in [
            (r#"{"order":"A-1"}"#, "`args.amount` is missing"),
            (r#"{"order":"A-1","amount":"4000"}"#, "`args.amount` is not a whole number"),
            (r#"{"order":"A-1","amount":40.5}"#, "`args.amount` is not a whole number"),
            (r#"{"order":"A-1","amount":-1}"#, "between 0 and 2^53"),
            (r#"{"order":"../x","amount":1}"#, "without control characters"),
            (r#"{"order":"","amount":1}"#, "1 to 256 bytes"),
            (r#"{"order":"e\u0301","amount":1}"#, "normalized"),
            (r#"{"amount":1}"#, "required"),
            (r#"{"order":7,"amount":1}"#, "schema"),
            (r#"{"order":"A-1","amount":1,"extra":1}"#, "schema"),
        ] {
            let error = resolve("args.order", Some("args.amount"), arguments).unwrap_err();
            assert!(error.contains(why), "{arguments}: {error}");
        }
    }

    #[test]
    fn arguments_that_the_mapping_cannot_know_are_refused_whatever_the_servers_schema_says() {
        for open in [r#""additionalProperties":true"#, r#""patternProperties":{".*":{}}"#] {
            let definition = format!(
                r#"{{"name":"t","inputSchema":{{"type":"object","properties":{{"order":{{}}}},{open}}}}}"#
            );
            let record = ToolRecord {
                server: "desk".parse().unwrap(),
                name: "t".to_owned(),
                definition,
                digest: Digest::default(),
                mapping: None,
                accepted_by: None,
                former: None,
                gone: false,
            };
            let effect = Effect {
                verb: Verb::Read,
                resource: "Order".to_owned(),
                id: "args.order".to_owned(),
                amount: None,
                currency: None,
                classes: None,
            };
            let mapping = Mapping { effects: vec![effect], ..Mapping::default() };
            let tool = compile(&record, &mapping, &[]).unwrap();
            let arguments = |text: &str| serde_json::from_str::<Json>(text).unwrap();
            assert!(tool.resolve(&arguments(r#"{"order":"A-1"}"#)).is_ok());
            assert!(tool.resolve(&arguments(r#"{"order":"A-1","really":9}"#)).is_err(), "{open}");
        }
    }

    #[test]
    fn an_expression_outside_the_accepted_part_is_refused_at_acceptance() {
        for expression in [
            "",
            "order",
            "args",
            "args.",
            "args.a[0]",
            "args.x.map(y, y)",
            "'a",
            "'a'b'",
            "args.a ? 1 : 2",
            "\"\\n\"",
        ] {
            assert!(tool(expression, None).is_err(), "{expression} was accepted");
        }
        assert!(tool(&"a".repeat(2000), None).is_err());
    }

    /// What is accepted is loaded with the policies from then on; a type that does not load would freeze them.
    #[test]
    fn a_mapping_is_refused_exactly_where_no_policies_could_be_loaded_with_its_resource_type() {
        for (kind, taken) in [
            ("System", true),
            ("Team", true),
            ("Blueprint", true),
            ("Person", true),
            ("Agent", true),
            ("ServiceAccount", true),
            ("Workload", true),
            ("Pipeline", true),
            ("Bot", true),
            ("OauthApp", true),
            ("FoundCredential", true),
            ("Action", true),
            ("Facts", true),
            ("Bool", true),
            ("Long", true),
            ("String", true),
            ("Set", true),
            ("Record", false),
            ("Entity", false),
            ("Extension", false),
            ("Boolean", false),
            ("Decimal", false),
            ("Datetime", false),
            ("Order", false),
            ("Resource", false),
            ("Task", false),
            ("Approval", false),
            ("Stop", false),
            ("Ledger", false),
            ("Cedar", false),
            ("Set2", false),
            ("Type", false),
        ] {
            let compiled = tool_on(kind, "args.order", None);
            let reserved = matches!(&compiled, Err(MappingError::Reserved(named)) if named == kind);
            assert_eq!((reserved, compiled.is_err()), (taken, taken), "{kind}");
            let text = format!(
                "@id(\"uses\") permit (principal, action == Action::\"read\", resource is {kind});"
            );
            for text in [String::new(), text] {
                let sources = [policy::Source { name: "a.cedar".to_owned(), text }];
                let loaded = policy::Policies::load(&sources, &[kind.to_owned()].into());
                assert_eq!(loaded.is_err(), taken, "{kind}");
            }
        }
    }
}
