//! I-JSON ([RFC 7493](https://www.rfc-editor.org/rfc/rfc7493)): JSON that every reader understands alike.
//!
//! Duplicate names, whole numbers beyond ±2^53, lone surrogates and unbounded depth are refused. The canonical form is
//! [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785): it sorts for itself and depends on no other crate's map order.

use std::{cmp::Ordering, fmt};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

pub use crate::canonical::Canonical;
use crate::canonical::{write_integer, write_text};

/// The largest whole number that every JSON reader keeps exact.
pub(crate) const MAX_EXACT: i64 = 1 << 53;

/// One JSON value. Members of an object keep the order of the canonical form.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number within ±2^53.
    Integer(i64),
    /// A number with a fraction or exponent; finite.
    Float(f64),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Members, sorted by UTF-16 code units of their names, each name once.
    Object(Vec<(String, Json)>),
}

/// How much input is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest input, in bytes.
    pub bytes: usize,
    /// The deepest nesting of lists and objects.
    pub depth: u8,
}

/// Why a text is not I-JSON within its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than the limit.
    #[error("{length} bytes of JSON; at most {limit} are read")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Not JSON, or JSON that two readers may understand differently.
    #[error("not I-JSON: {0}")]
    Malformed(String),
}

/// Reads one value.
///
/// # Errors
/// The input is too long, too deep, not JSON, names a member twice, or holds a number that readers would round.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Json, JsonError> {
    if bytes.len() > limits.bytes {
        return Err(JsonError::TooLong { length: bytes.len(), limit: limits.bytes });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Depth(limits.depth).deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(value)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed(error.to_string())
}

impl Json {
    /// The member of that name, where this is an object that has it.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text, where this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The whole number, where this is one.
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// An object of these members; a repeated name keeps its last value.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Self)>) -> Self {
        let members = members.into_iter().map(|(name, value)| (name.into(), value));
        let mut members: Vec<(String, Self)> = members.collect();
        // The last of those of one name comes first, and is the one that is kept.
        members.reverse();
        members.sort_by(|(one, _), (other, _)| utf16_order(one, other));
        members.dedup_by(|later, kept| later.0 == kept.0);
        Self::Object(members)
    }

    /// The one form of a number; `None` where readers would round it.
    pub(crate) fn of_float(number: f64) -> Option<Self> {
        // `-0.0`, `1e2` and `1.0` are whole numbers: one value, one form.
        if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole and within 2^53, checked above"
            )]
            return Some(Self::Integer(number as i64));
        }
        (number.is_finite() && number.fract() != 0.0).then_some(Self::Float(number))
    }

    /// The canonical bytes of [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785).
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Integer(number) => write_integer(*number, out),
            Self::Float(number) => {
                out.extend_from_slice(ryu_js::Buffer::new().format_finite(*number).as_bytes());
            }
            Self::String(text) => write_text(text, out),
            Self::Array(values) => {
                out.push(b'[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The same value for serde's readers.
    pub fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(number) => Value::from(*number),
            Self::Float(number) => Value::from(*number),
            Self::String(text) => Value::String(text.clone()),
            Self::Array(values) => Value::Array(values.iter().map(Self::to_value).collect()),
            Self::Object(members) => Value::Object(
                members.iter().map(|(name, value)| (name.clone(), value.to_value())).collect(),
            ),
        }
    }
}

/// The order of member names (RFC 8785 §3.2.3).
pub(crate) fn utf16_order(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        one.cmp(other)
    } else {
        one.encode_utf16().cmp(other.encode_utf16())
    }
}

/// Reads a value that nests no deeper than this.
struct Depth(u8);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Depth {
    fn below<E: de::Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Json, E> {
        if (-MAX_EXACT..=MAX_EXACT).contains(&number) {
            Ok(Json::Integer(number))
        } else {
            Err(E::custom("a whole number beyond 2^53, which readers round"))
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Json, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Json, E> {
        Json::of_float(number).ok_or_else(|| E::custom("a number beyond 2^53, which readers round"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(value) = values.next_element_seed(Depth(below))? {
            list.push(value);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut object: Vec<(String, Json)> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value_seed(Depth(below))?));
        }
        // Sorted once: to keep them sorted takes time by the square of their number.
        object.sort_by(|(one, _), (other, _)| utf16_order(one, other));
        if object.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(de::Error::custom("a member is named twice"));
        }
        Ok(Json::Object(object))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Depth(64).deserialize(deserializer)
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_sorted_whatever_the_order_and_the_number_of_its_members() {
        let names: Vec<String> = (0..60_000).rev().map(|number| format!("{number:06}")).collect();
        let text = names.iter().map(|name| format!("\"{name}\":1")).collect::<Vec<_>>().join(",");
        let limits = Limits { bytes: 1 << 20, depth: 2 };
        let Json::Object(members) = parse(format!("{{{text}}}").as_bytes(), limits).unwrap() else {
            panic!("an object")
        };
        assert!(members.iter().map(|(name, _)| name).eq(names.iter().rev()));
        parse(format!("{{{text},\"000001\":2}}").as_bytes(), limits).unwrap_err();
        let twice = Json::object([("b", Json::Null), ("a", Json::Null), ("b", Json::Bool(true))]);
        assert_eq!(twice.canonical(), br#"{"a":null,"b":true}"#);
    }

    fn read(text: &str) -> Result<String, String> {
        match parse(text.as_bytes(), Limits { bytes: 200, depth: 4 }) {
            Ok(json) => Ok(String::from_utf8(json.canonical()).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_canonical_form_sorts_by_utf16_and_writes_numbers_as_ecmascript_does() {
        // RFC 8785 §3.2.3: U+FB33 sorts after the surrogate pair of U+1F600.
        let text = r#"{"\ufb33":1,"\ud83d\ude00":2,"b":1e2,"a":[0.10,-0,1.5e-7,"\u001f\/"]}"#;
        assert_eq!(
            read(text).unwrap(),
            "{\"a\":[0.1,0,1.5e-7,\"\\u001f/\"],\"b\":100,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn what_two_readers_may_understand_differently_is_refused() {
        for text in [
            r#"{"amount":1,"amount":4000}"#,
            r#"{"a":1,"\u0061":2}"#,
            "9007199254740993",
            "1e300",
            "1e400",
            r#""\ud800""#,
            "[[[[[1]]]]]",
            "{} {}",
            "{'a':1}",
            "[1,]",
            "NaN",
            "",
        ] {
            assert!(read(text).is_err(), "{text} was read as {:?}", read(text));
        }
        assert!(read(&" ".repeat(201)).unwrap_err().contains("at most 200"));
    }

    #[test]
    fn reading_the_canonical_form_again_changes_nothing() {
        let text = r#"{"z":[true,null,{"k":"ä"}],"a":-9007199254740992}"#;
        let once = read(text).unwrap();
        assert_eq!(read(&once).unwrap(), once);
    }
}
