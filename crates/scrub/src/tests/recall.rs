//! One sample of every rule, made from its own regex, in every dress that is looked through.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    string::string_regex_parsed,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use regex_syntax::{
    Parser,
    hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition},
};

use crate::rules::{RULES, Rule, with_plain_braces};

/// How many samples are drawn for a rule until one passes its own entropy and its lists.
const DRAWS: usize = 20_000;

/// A text, the secret in it, and the rule that they are of.
pub(super) struct Sample {
    pub(super) rule: &'static str,
    pub(super) text: String,
    pub(super) secret: String,
}

/// One sample of each rule, the same in every run.
pub(super) fn samples() -> Vec<Sample> {
    RULES.all.iter().map(sample).collect()
}

fn sample(rule: &'static Rule) -> Sample {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let pattern = Parser::new().parse(&with_plain_braces(&rule.pattern)).expect("it compiles");
    let strategy = string_regex_parsed(&drawable(&pattern)).expect("nothing is left but letters");
    for _ in 0..DRAWS {
        let mut text = strategy.new_tree(&mut runner).expect("it has values").current();
        let low = text.to_ascii_lowercase();
        if !rule.keywords.iter().any(|word| low.contains(word)) {
            // A few rules want their keyword somewhere beside what they match.
            text = format!("{} {text}", rule.keywords[0]);
        }
        let secret = rule
            .hits(text.as_bytes())
            .find(|hit| !RULES.allow(rule, hit))
            .map(|hit| hit.secret.to_vec());
        if let Some(secret) = secret {
            let secret = String::from_utf8(secret).expect("it is drawn from ASCII");
            return Sample { rule: &rule.id, text, secret };
        }
    }
    panic!("no sample of `{}` in {DRAWS}", rule.id)
}

/// The pattern without what only looks around, and of each class what can be printed: the rest cannot be drawn.
fn drawable(pattern: &Hir) -> Hir {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.intersect(&ClassUnicode::new([
                ClassUnicodeRange::new('\n', '\n'),
                ClassUnicodeRange::new(' ', '~'),
            ]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(class) => Hir::class(class.clone()),
        HirKind::Repetition(of) => {
            // Few of what may be many, so that texts stay short.
            let max = of.max.map_or(of.min + 4, |max| max.min(of.min.max(48)));
            let sub = Box::new(drawable(&of.sub));
            Hir::repetition(Repetition { min: of.min, max: Some(max), greedy: true, sub })
        }
        HirKind::Capture(of) => drawable(&of.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(drawable).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(drawable).collect()),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Every third letter is written as JSON may write it.
fn escaped(text: &str) -> String {
    let letter = |(at, byte): (usize, u8)| match (at % 3, byte) {
        (0, _) | (_, b'\\' | b'\n') => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().enumerate().map(letter).collect()
}

fn thrice(text: &str) -> String {
    percent(&STANDARD.encode(hex(text)))
}

type Dress = (&'static str, fn(&str) -> String);

const DRESSES: [Dress; 7] = [
    ("plain", str::to_owned),
    ("base64", |text| STANDARD.encode(text)),
    ("base64url", |text| URL_SAFE_NO_PAD.encode(text)),
    ("hex", hex),
    ("percent", percent),
    ("escapes", escaped),
    ("hex in base64 in percent", thrice),
];

#[test]
fn a_sample_of_every_rule_is_found_in_every_dress() {
    let samples = samples();
    let mut misses = Vec::new();
    for (name, dress) in DRESSES {
        let missed = samples.iter().filter(|sample| {
            let scrubbed = crate::text(&dress(&sample.text)).into_owned();
            scrubbed.contains(&sample.secret)
                || scrubbed.contains(&dress(&sample.secret))
                || !scrubbed.contains("[secret:")
        });
        let missed: Vec<&str> = missed.map(|sample| sample.rule).collect();
        println!("recall {name}: {} of {}", samples.len() - missed.len(), samples.len());
        misses.extend(missed.into_iter().map(|rule| (name, rule)));
    }
    assert_eq!(misses, []);
}
