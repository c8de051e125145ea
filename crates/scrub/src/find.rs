//! Where a text holds secrets, at any depth of encoding, and the text without them.

use std::ops::Range;

use crate::{
    decode,
    rules::{Hit, RULES, Rule},
};

/// How many encodings are looked through, one inside the other.
const MAX_DEPTH: u8 = 3;

/// The rules for anything that looks random beside a telling name begin so; a rule that knows whose secret it is says more.
const GENERIC: &str = "generic";

/// A secret, and the rule that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: Range<usize>,
    pub(crate) rule: &'static str,
}

/// What a text holds, in its order, nothing twice.
pub(crate) fn secrets(text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    if is_suspect(text) {
        look(text, 0, &mut found);
    }
    merged(found)
}

/// Whether a text can hold a secret at all: the quick look that most texts do not get beyond.
pub(crate) fn is_suspect(text: &[u8]) -> bool {
    RULES.is_near(text) || decode::is_encoded(text)
}

fn look(text: &[u8], depth: u8, found: &mut Vec<Found>) {
    for rule in RULES.near(text) {
        let secrets = rule.hits(text).filter(|hit| !RULES.allow(rule, hit));
        found.extend(secrets.map(|hit| Found::by(rule, &hit)));
    }
    if depth == MAX_DEPTH {
        return;
    }
    if let Some(decoded) = decode::once(text) {
        let mut inside = Vec::new();
        look(&decoded.bytes, depth + 1, &mut inside);
        found.extend(
            inside.into_iter().map(|one| Found { at: decoded.source(&one.at), rule: one.rule }),
        );
    }
}

impl Found {
    fn by(rule: &'static Rule, hit: &Hit<'_>) -> Self {
        Self { at: hit.start..hit.start + hit.secret.len(), rule: &rule.id }
    }
}

/// What overlaps is one secret, called by the rule that knows more of it.
fn merged(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| (one.at.start, one.at.end));
    let mut merged: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match merged.last_mut() {
            Some(last) if one.at.start < last.at.end => {
                last.at.end = last.at.end.max(one.at.end);
                if last.rule.starts_with(GENERIC) {
                    last.rule = one.rule;
                }
            }
            _ => merged.push(one),
        }
    }
    merged
}

/// The text with a mark in place of each secret.
pub(crate) fn replaced(text: &str, found: Vec<Found>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for Found { at, rule } in found {
        // The rules match bytes: a letter that one cuts through goes as a whole.
        let start = text.floor_char_boundary(at.start).max(done);
        let end = text.ceil_char_boundary(at.end);
        out.push_str(&text[done..start]);
        out.push_str(&mark(rule));
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

/// What stands where a secret was.
pub(crate) fn mark(rule: &str) -> String {
    format!("[secret:{rule}]")
}

/// Shannon's entropy, in bits a byte: what the rules compare with theirs.
pub(crate) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = bytes.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length);
    shares.map(|share| -share * share.log2()).sum()
}
