//! JSON without secrets: its texts, and the names of its members, which say what their values are.

use std::borrow::Cow;

use model::ijson::{self, Json, Limits};

use crate::find::{self, Found};

/// What a member holds whose name is one of these, or ends with the words of one, is a secret, whatever it looks like.
/// Compared in lower case and without `_`, `-`, `.`, spaces and digits at the end.
pub(crate) const NAMES: [&str; 24] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "authorization",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "cookie",
    "encryptionkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "proxyauthorization",
    "pwd",
    "refreshtoken",
    "secret",
    "secretaccesskey",
    "secretkey",
    "sessiontoken",
    "setcookie",
    "signingkey",
    "webhooksecret",
];

/// The rule of those names.
const NAMED: &str = "named";

/// The longest name that is looked at as one of those.
const NAME_BYTES: usize = 64;

/// How JSON inside a text of JSON is read, and how often one inside the other.
const NESTED: Limits = Limits { bytes: 1024 * 1024, depth: 64 };
const NESTED_DEPTH: u8 = 3;

/// JSON's bytes without the secrets in them: themselves where there are none, else in canonical form. What is no JSON is
/// scrubbed as the text that it is.
pub fn bytes(json: &[u8]) -> Cow<'_, [u8]> {
    if !find::is_suspect(json) {
        return Cow::Borrowed(json);
    }
    let limits = Limits { bytes: usize::MAX, depth: 128 };
    let Ok(mut read) = ijson::parse(json, limits) else {
        let text = String::from_utf8_lossy(json);
        return Cow::Owned(crate::text(&text).into_owned().into_bytes());
    };
    if value(&mut read) { Cow::Owned(read.canonical()) } else { Cow::Borrowed(json) }
}

/// Takes the secrets out of a value; whether there were any.
pub fn value(json: &mut Json) -> bool {
    scrub(json, None, 0)
}

fn scrub(json: &mut Json, name: Option<&str>, nested: u8) -> bool {
    match json {
        Json::Null | Json::Bool(_) => false,
        Json::Integer(_) | Json::Float(_) => {
            let named = name.is_some_and(is_secret_name);
            if named {
                *json = Json::String(find::mark(NAMED));
            }
            named
        }
        Json::String(text) => match without_secrets(text, name, nested) {
            Some(scrubbed) => {
                *text = scrubbed;
                true
            }
            None => false,
        },
        Json::Array(values) => {
            values.iter_mut().fold(false, |changed, one| scrub(one, name, nested) | changed)
        }
        Json::Object(members) => {
            let mut changed = false;
            let mut renamed = false;
            let above = name.filter(|name| is_secret_name(name));
            for (name, value) in members.iter_mut() {
                changed |= scrub(value, Some(above.unwrap_or(name)), nested);
                if let Cow::Owned(scrubbed) = crate::text(name) {
                    *name = scrubbed;
                    renamed = true;
                }
            }
            if renamed {
                *json = Json::object(with_names_of_their_own(std::mem::take(members)));
            }
            changed || renamed
        }
    }
}

/// Two members whose names held secrets must stay two.
fn with_names_of_their_own(members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    let members = members.into_iter().map(|(name, value)| {
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let name = if *times == 1 { name } else { format!("{name}#{times}") };
        (name, value)
    });
    members.collect()
}

/// A member's text without its secrets; `None` where it has none.
fn without_secrets(text: &str, name: Option<&str>, nested: u8) -> Option<String> {
    if name.is_some_and(is_secret_name) && !is_reference(text) {
        return Some(find::mark(NAMED));
    }
    let inside = (nested < NESTED_DEPTH && text.trim_start().starts_with(['{', '[']))
        .then(|| ijson::parse(text.as_bytes(), NESTED).ok())
        .flatten();
    if let Some(mut inside) = inside {
        return scrub(&mut inside, name, nested + 1)
            .then(|| String::from_utf8_lossy(&inside.canonical()).into_owned());
    }
    let found = beside(text, name);
    (!found.is_empty()).then(|| find::replaced(text, found))
}

/// The secrets of a text, with its member's name before it as the rules expect it in JSON.
fn beside(text: &str, name: Option<&str>) -> Vec<Found> {
    let Some(name) = name.filter(|name| find::is_suspect(name.as_bytes())) else {
        return find::secrets(text.as_bytes());
    };
    let before = name.len() + 3;
    let found = find::secrets(format!("{name}\":\"{text}\"").as_bytes());
    let inside = found.into_iter().filter_map(|one| {
        let start = one.at.start.max(before) - before;
        let end = one.at.end.min(before + text.len()).checked_sub(before)?;
        (start < end).then_some(Found { at: start..end, rule: one.rule })
    });
    inside.collect()
}

fn is_secret_name(name: &str) -> bool {
    if name.len() > NAME_BYTES {
        return false;
    }
    let (mut plain, mut words, mut before) = (String::new(), Vec::new(), ' ');
    for letter in name.trim_end_matches(|it: char| it.is_ascii_digit()).chars() {
        if !is_between(letter) {
            if is_between(before) || (letter.is_uppercase() && before.is_lowercase()) {
                words.push(plain.len());
            }
            plain.push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    words.into_iter().any(|start| NAMES.binary_search(&&plain[start..]).is_ok())
}

/// Whether a letter stands between the words of a name.
const fn is_between(letter: char) -> bool {
    matches!(letter, '_' | '-' | '.' | ' ')
}

/// Says where a secret is, or nothing.
fn is_reference(text: &str) -> bool {
    text.is_empty()
        || text.starts_with("env:")
        || text.starts_with("file:")
        || text.starts_with("[secret:")
}
