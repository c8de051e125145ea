//! What people write into files and flags, turned into what the server reads.

use std::path::{Path, PathBuf};

use model::{Currency, Money, Name, Pattern, Timestamp, Verb};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Result},
    files,
};

/// `[[allow]]`: some verbs on some resources, until an end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    verbs: Vec<Verb>,
    resources: Pattern,
    /// `2027-01-31` or `2027-01-31T12:00:00Z`.
    until: String,
    /// `"50.00 EUR"`
    amount_at_most: Option<Amount>,
    classes_within: Option<Vec<Name>>,
}

/// An amount of money as people write it: `50.00 EUR`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Amount(pub(crate) Money);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no amount: write it as `50.00 EUR`")]
pub(crate) struct NotAnAmount(String);

/// An authority in the form of tokens and rows.
pub(crate) fn authority(allow: &[Allow], depth: u8) -> Result<Value> {
    let clauses = allow.iter().map(clause).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "clauses": clauses, "depth": depth }))
}

fn clause(allow: &Allow) -> Result<Value> {
    let expires = Timestamp::parse(&allow.until).ok_or_else(|| {
        Failure::new("input_invalid", format!("`{}` is no moment", allow.until))
            .why("a right ends at a moment, given as a day or to the second")
            .next("write `until` as `2027-01-31` or `2027-01-31T12:00:00Z` (UTC)")
    })?;
    let mut clause =
        json!({ "verbs": allow.verbs, "resources": allow.resources, "expires": expires });
    let mut conditions = serde_json::Map::new();
    if let Some(Amount(money)) = allow.amount_at_most {
        conditions.insert("amount_at_most".to_owned(), json!(money));
    }
    if let Some(classes) = &allow.classes_within {
        conditions.insert("classes_within".to_owned(), json!(classes));
    }
    if !conditions.is_empty() {
        clause["conditions"] = Value::Object(conditions);
    }
    Ok(clause)
}

/// A digest, or `file:PATH` whose bytes are hashed; relative paths are relative to the file that names them.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Part(String);

impl Part {
    pub(crate) fn digest(&self, named_in: &Path) -> Result<model::Digest> {
        match self.0.strip_prefix("file:") {
            Some(path) => Ok(decide::sha256(&[&files::read(&beside(named_in, Path::new(path)))?])),
            None => self.0.parse().map_err(|_| {
                Failure::new("input_invalid", format!("`{}` is no digest", self.0))
                    .why("a part of a version is named by the SHA-256 of its bytes")
                    .next("write 64 hexadecimal digits of a SHA-256, or `file:PATH` to have a file hashed")
            }),
        }
    }
}

/// A path that a file names, relative to that file.
pub(crate) fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// A public key from a file with a JWK.
pub(crate) fn public_key(path: &Path) -> Result<Value> {
    let bytes = files::read(path)?;
    let jwk = token::Jwk::parse(&bytes).map_err(|error| {
        Failure::new("key_invalid", format!("`{}` is no public key", path.display()))
            .because(&error)
            .next("name the FILE.pub that `bailiwick key new FILE` writes: a JWK")
    })?;
    Ok(jwk.key().to_jwk().to_value())
}

impl TryFrom<String> for Amount {
    type Error = NotAnAmount;

    fn try_from(text: String) -> std::result::Result<Self, NotAnAmount> {
        text.parse()
    }
}

impl std::str::FromStr for Amount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> std::result::Result<Self, NotAnAmount> {
        let read = || {
            let (amount, currency) = text.split_once(' ')?;
            let currency: Currency = currency.parse().ok()?;
            let (whole, cents) = amount.split_once('.').unwrap_or((amount, "00"));
            let digits =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if cents.len() != 2 || !digits(whole) || !digits(cents) {
                return None;
            }
            Money::new(format!("{whole}{cents}").parse().ok()?, currency).ok()
        };
        read().map(Self).ok_or_else(|| NotAnAmount(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_it_is_shown_and_nothing_else_is_one() {
        for text in ["0.00 EUR", "50.00 EUR", "12345.67 USD"] {
            assert_eq!(text.parse::<Amount>().unwrap().0.to_string(), text);
        }
        assert_eq!("7 EUR".parse::<Amount>().unwrap().0.minor_units(), 700);
        for text in [
            "",
            "50",
            "50.0 EUR",
            "-1.00 EUR",
            "5O.00 EUR",
            "50.00 eur",
            "50,00 EUR",
            ".50 EUR",
            "99999999999999999.00 EUR",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
