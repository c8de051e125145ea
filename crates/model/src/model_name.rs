use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name of a model, in bytes: what a stop's scope takes.
const MAX_MODEL_NAME: usize = 200;

/// The name and revision of a language model, such as `meta-llama/Llama-3.1-70B-Instruct`: 1 to 200 visible ASCII
/// characters, without `%`, `*`, `..` and `//`.
///
/// A model is a scope of stops, and a stop is decided on as a resource. A model that no scope could name could not be
/// stopped; two that look the same would be mistaken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelName(String);

/// Why a text is not the name of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no name of a model that a stop could name: write 1 to {MAX_MODEL_NAME} visible ASCII characters, without `%`, `*`, `..` and `//`"
)]
pub struct NotAModelName;

impl ModelName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = NotAModelName;

    fn from_str(text: &str) -> Result<Self, NotAModelName> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%' && byte != b'*';
        let sound = !text.is_empty()
            && text.len() <= MAX_MODEL_NAME
            && text.bytes().all(plain)
            && !text.contains("..")
            && !text.contains("//");
        if sound { Ok(Self(text.to_owned())) } else { Err(NotAModelName) }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resource;

    #[test]
    fn names_that_providers_give_are_names() {
        for name in [
            "claude-opus-4-5-20251101",
            "gpt-4o",
            "meta-llama/Llama-3.1-70B-Instruct",
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            "arn:aws:bedrock:us-east-1::foundation-model/x",
            "llama3:70b@sha256:0a1b",
        ] {
            assert_eq!(name.parse::<ModelName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_no_stop_could_name_is_no_name_of_a_model() {
        let long = "m".repeat(MAX_MODEL_NAME + 1);
        for name in [
            "",
            "a..b",
            "a//b",
            "a b",
            " a",
            "a\u{a0}b",
            "a\tb",
            "a\n",
            "a\u{7f}",
            "a%20b",
            "*",
            "modèle",
            "a\u{200b}",
            &long,
        ] {
            assert_eq!(name.parse::<ModelName>(), Err(NotAModelName), "{name:?}");
        }
    }

    #[test]
    fn every_name_of_a_model_is_a_resource_that_a_stop_can_be_decided_on() {
        let long = "m".repeat(MAX_MODEL_NAME);
        let visible: Vec<String> = (0x21..=0x7e_u8).map(|byte| char::from(byte).into()).collect();
        for name in visible.iter().chain([&long]) {
            if let Ok(name) = name.parse::<ModelName>() {
                let id = format!("model:{name}");
                let resource = Resource::new("bailiwick".parse().unwrap(), "Stop", &id);
                assert!(resource.is_ok(), "{name}");
            }
        }
    }
}
