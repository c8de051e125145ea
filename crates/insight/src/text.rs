//! Words in what is sealed. Payloads are opened one after the other, so it is bounded by their number and by time.

use std::time::Duration;

use ledger::PayloadError;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    facts::Query,
    find::Keep,
    index::{Index, Page, SearchError},
};

/// The most payloads that one search opens, and how long it goes on doing so.
const MAX_OPENED: u64 = 2_000;
const MAX_TIME: Duration = Duration::from_secs(2);
/// The longest text that is searched for, in bytes.
const MAX_TEXT: usize = 256;

/// Words that must all occur, in any order and wherever in a payload, whatever their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// Why a text holds no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("words to search for are 1 to 256 bytes with something else than spaces in it")]
pub struct NotWords;

/// What was found in payloads.
#[derive(Debug)]
pub struct TextFound {
    /// The entries.
    pub page: Page,
    /// How many payloads were opened.
    pub opened: u64,
    /// How many could not be: erased, lost or damaged. What they said is not known.
    pub gone: u64,
}

impl Words {
    /// Reads the words of a text.
    ///
    /// # Errors
    /// It is too long, or there are none.
    pub fn parse(text: &str) -> Result<Self, NotWords> {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() || text.len() > MAX_TEXT { Err(NotWords) } else { Ok(Self(words)) }
    }

    /// Whether all of them occur in a payload: in its texts and numbers and in the names of its members.
    fn occur_in(&self, payload: &[u8]) -> bool {
        let mut text = String::new();
        match serde_json::from_slice(payload) {
            Ok(value) => write_texts(&value, &mut text),
            Err(_) => text.push_str(&String::from_utf8_lossy(payload)),
        }
        let text = text.to_lowercase();
        self.0.iter().all(|word| text.contains(word))
    }
}

impl Index {
    /// Finds entries that fit and in whose payloads these words occur, the newest first, at or before a position. Blocks.
    ///
    /// # Errors
    /// Index or ledger cannot be read.
    pub fn search_text(
        &self,
        query: &Query,
        words: &Words,
        at_most: Option<u64>,
        limit: usize,
    ) -> Result<TextFound, SearchError> {
        let (mut opened, mut gone) = (0, 0);
        // From the first payload on, so that each search gets on, however long it waited for the index.
        let mut until = None;
        let page = self.search_keeping(query, at_most, limit, |_, _, entry| {
            let now = Instant::now();
            if opened + gone >= MAX_OPENED || now >= *until.get_or_insert(now + MAX_TIME) {
                return Ok(Keep::Stop);
            }
            match self.log().open_payload(entry) {
                Ok(Some(payload)) => {
                    opened += 1;
                    Ok(if words.occur_in(&payload) { Keep::Yes } else { Keep::No })
                }
                Ok(None) => Ok(Keep::No),
                Err(why) => {
                    gone += 1;
                    if !matches!(why, PayloadError::Erased(_) | PayloadError::Expired(_) | PayloadError::Gone(_)) {
                        tracing::error!(code = "BW-1903", index = entry.index, %why, "a payload could not be opened to be searched");
                    }
                    Ok(Keep::No)
                }
            }
        })?;
        Ok(TextFound { page, opened, gone })
    }
}

fn write_texts(value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            text.push_str(&value.to_string());
            text.push('\n');
        }
        Value::String(said) => {
            text.push_str(said);
            text.push('\n');
        }
        Value::Array(values) => values.iter().for_each(|value| write_texts(value, text)),
        Value::Object(members) => {
            for (name, value) in members {
                text.push_str(name);
                text.push('\n');
                write_texts(value, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotWords, Words};

    #[test]
    fn every_word_has_to_occur_somewhere() {
        let payload = r#"{"prompt":"Refund \"Mara\" Lindqvist","amount":[4000,null],"ok":true}"#;
        for (text, occurs) in [
            ("mara refund", true),
            ("LINDQVIST 4000", true),
            ("\"mara\"", true),
            ("amount", true),
            ("mara berlin", false),
            ("mara\nlind", true),
        ] {
            assert_eq!(Words::parse(text).unwrap().occur_in(payload.as_bytes()), occurs, "{text}");
        }
        assert!(Words::parse("no json").unwrap().occur_in(b"This is No JSON"));
        assert!(!Words::parse("refund").unwrap().occur_in(b""));
    }

    #[test]
    fn a_text_without_words_or_too_long_is_none() {
        for text in ["", " \t\n", &"x".repeat(257)] {
            assert_eq!(Words::parse(text), Err(NotWords));
        }
    }
}
