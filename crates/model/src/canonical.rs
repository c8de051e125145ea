//! The canonical form of [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785), written straight from what serializes.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

use crate::ijson::{Json, JsonError, MAX_EXACT, utf16_order};

/// The deepest nesting that is written.
const MAX_DEPTH: u8 = 64;

/// One value in canonical form: I-JSON whose members are sorted and whose numbers every reader keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    bytes: Vec<u8>,
    depth: u8,
}

impl Canonical {
    /// Writes a value.
    ///
    /// # Errors
    /// It does not serialize, nests deeper than 64, names a member twice, or holds a number that readers would round.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let mut out = Writer { bytes: Vec::with_capacity(256), depth: 0, deepest: 0 };
        match value.serialize(&mut out) {
            Ok(()) => Ok(Self { bytes: out.bytes, depth: out.deepest }),
            Err(Refused(why)) => Err(JsonError::Malformed(why)),
        }
    }

    /// The object without members.
    pub fn empty() -> Self {
        Self { bytes: b"{}".to_vec(), depth: 1 }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How deep lists and objects nest; 0 for a plain value.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.bytes.first() == Some(&b'{')
    }
}

/// Writes a text as RFC 8785 §3.2.2.2 wants it, which is how serde_json writes it.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut plain = 0;
    let escaped = if is_plain(bytes) { &[] } else { bytes };
    for (at, byte) in escaped.iter().enumerate() {
        let escape = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Whether a text is written as it is, which most are: eight bytes at a time, without a branch for each.
fn is_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| !(*byte < 0x20 || *byte == b'"' || *byte == b'\\');
    let (eights, rest) = bytes.as_chunks::<8>();
    eights.iter().all(|eight| eight.iter().fold(true, |plain, byte| plain & is_plain(byte)))
        && rest.iter().all(is_plain)
}

/// Writes a whole number.
pub(crate) fn write_integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Why something was not written.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Writer {
    bytes: Vec<u8>,
    depth: u8,
    deepest: u8,
}

impl Writer {
    fn begin(&mut self, bracket: u8) -> Result<(), Refused> {
        if self.depth == MAX_DEPTH {
            return Err(ser::Error::custom("nested too deeply"));
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.bytes.push(bracket);
        Ok(())
    }

    fn end(&mut self, bracket: u8) {
        self.depth -= 1;
        self.bytes.push(bracket);
    }

    fn list(&mut self) -> Result<List<'_>, Refused> {
        self.begin(b'[')?;
        Ok(List { out: self, first: true, closes: false })
    }

    fn object(&mut self) -> Result<Object<'_>, Refused> {
        self.begin(b'{')?;
        let start = self.bytes.len();
        Ok(Object { out: self, start, members: Vec::new(), sorted: true, closes: false })
    }

    /// Opens the object of one member that stands for an enum's variant with content.
    fn variant(&mut self, name: &str) -> Result<(), Refused> {
        self.begin(b'{')?;
        write_text(name, &mut self.bytes);
        self.bytes.push(b':');
        Ok(())
    }
}

/// A list under construction. `closes` says that it is a variant's content, whose object ends with it.
struct List<'w> {
    out: &'w mut Writer,
    first: bool,
    closes: bool,
}

impl List<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if !std::mem::take(&mut self.first) {
            self.out.bytes.push(b',');
        }
        value.serialize(&mut *self.out)
    }

    fn finish(self) {
        self.out.end(b']');
        if self.closes {
            self.out.end(b'}');
        }
    }
}

/// An object under construction: its members are written as they come, and put in order at its end if need be.
struct Object<'w> {
    out: &'w mut Writer,
    /// Where the first member starts.
    start: usize,
    /// The members' names, and where each starts.
    members: Vec<(Key, usize)>,
    sorted: bool,
    closes: bool,
}

/// A member's name.
#[derive(PartialEq)]
enum Key {
    Known(&'static str),
    Made(String),
}

impl Key {
    fn text(&self) -> &str {
        match self {
            Self::Known(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl Object<'_> {
    /// Writes a member's name.
    fn name(&mut self, key: Key) {
        if let Some((last, _)) = self.members.last() {
            self.sorted &= utf16_order(last.text(), key.text()).is_lt();
            self.out.bytes.push(b',');
        }
        let start = self.out.bytes.len();
        write_text(key.text(), &mut self.out.bytes);
        self.out.bytes.push(b':');
        self.members.push((key, start));
    }

    fn finish(mut self) -> Result<(), Refused> {
        if !self.sorted {
            self.put_in_order()?;
        }
        self.out.end(b'}');
        if self.closes {
            self.out.end(b'}');
        }
        Ok(())
    }

    fn put_in_order(&mut self) -> Result<(), Refused> {
        // Each member's bytes end before the comma of the next one.
        let ends = self.members.iter().skip(1).map(|(_, next)| next - 1);
        let ends = ends.chain([self.out.bytes.len()]);
        let mut members: Vec<(&str, &[u8])> = (self.members.iter().zip(ends))
            .map(|((key, at), end)| (key.text(), &self.out.bytes[*at..end]))
            .collect();
        members.sort_by(|(one, _), (other, _)| utf16_order(one, other));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(ser::Error::custom("a member is named twice"));
        }
        let members: Vec<&[u8]> = members.into_iter().map(|(_, bytes)| bytes).collect();
        let sorted = members.join(&b',');
        self.out.bytes.truncate(self.start);
        self.out.bytes.extend_from_slice(&sorted);
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, number: $type) -> Result<(), Refused> {
            let exact = i64::try_from(number).ok().filter(|number| (-MAX_EXACT..=MAX_EXACT).contains(number));
            let number = exact.ok_or_else(|| ser::Error::custom("a whole number beyond 2^53, which readers round"))?;
            write_integer(number, &mut self.bytes);
            Ok(())
        }
    )*};
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'w>;
    type SerializeTuple = List<'w>;
    type SerializeTupleStruct = List<'w>;
    type SerializeTupleVariant = List<'w>;
    type SerializeMap = Object<'w>;
    type SerializeStruct = Object<'w>;
    type SerializeStructVariant = Object<'w>;

    integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128);
    integers!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Refused> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Refused> {
        match Json::of_float(number) {
            Some(number) => {
                number.write(&mut self.bytes);
                Ok(())
            }
            None => Err(ser::Error::custom("a number beyond 2^53, which readers round")),
        }
    }

    fn serialize_char(self, letter: char) -> Result<(), Refused> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        write_text(text, &mut self.bytes);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.bytes.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.end(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'w>, Refused> {
        self.list()
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'w>, Refused> {
        self.list()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'w>, Refused> {
        self.list()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'w>, Refused> {
        self.variant(variant)?;
        Ok(List { closes: true, ..self.list()? })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'w>, Refused> {
        self.object()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'w>, Refused> {
        self.object()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'w>, Refused> {
        self.variant(variant)?;
        Ok(Object { closes: true, ..self.object()? })
    }
}

macro_rules! lists {
    ($($trait:ident $method:ident),*) => {$(
        impl ser::$trait for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish();
                Ok(())
            }
        }
    )*};
}
lists!(SerializeSeq serialize_element, SerializeTuple serialize_element);
lists!(SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

macro_rules! objects {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Object<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.name(Key::Known(name));
                value.serialize(&mut *self.out)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish()
            }
        }
    )*};
}
objects!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Refused;

    /// A name is whatever is written as a text.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        match serde_json::to_value(key) {
            Ok(serde_json::Value::String(name)) => {
                self.name(Key::Made(name));
                Ok(())
            }
            _ => Err(ser::Error::custom("a member's name is not a text")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.out)
    }

    fn end(self) -> Result<(), Refused> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;
    use crate::ijson::{Limits, parse};

    #[derive(Serialize)]
    enum Shape {
        Nothing,
        One(u8),
        Two(u8, char),
        Named { z: bool, a: Option<()> },
    }

    #[derive(Serialize)]
    struct Thing {
        z: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        m: Option<u8>,
        a: Vec<f64>,
        shapes: Vec<Shape>,
        map: BTreeMap<String, &'static str>,
        pair: (u8, ()),
    }

    fn thing() -> Thing {
        Thing {
            z: -(1 << 53),
            m: None,
            a: vec![0.1, -0.0, 100.0, 1.5e-7],
            shapes: vec![
                Shape::Nothing,
                Shape::One(1),
                Shape::Two(2, '"'),
                Shape::Named { z: true, a: None },
            ],
            // By bytes the first comes first, by UTF-16 code units the second (RFC 8785 §3.2.3).
            map: BTreeMap::from([
                ("\u{fb33}".to_owned(), "\u{1f}\n\\"),
                ("\u{1f600}".to_owned(), "/"),
            ]),
            pair: (255, ()),
        }
    }

    #[test]
    fn what_is_written_directly_is_what_a_reader_would_write_again() {
        let direct = Canonical::of(&thing()).unwrap();
        let limits = Limits { bytes: 4096, depth: 8 };
        let read = parse(&serde_json::to_vec(&thing()).unwrap(), limits).unwrap();
        assert_eq!(
            String::from_utf8(direct.as_bytes().to_vec()),
            String::from_utf8(read.canonical())
        );
        assert_eq!(direct.depth(), 4);
        assert!(direct.is_object());
    }

    #[test]
    fn what_readers_would_understand_differently_is_not_written() {
        assert!(Canonical::of(&(1_u64 << 54)).is_err());
        assert!(Canonical::of(&i128::MIN).is_err());
        assert!(Canonical::of(&f64::NAN).is_err());
        assert!(Canonical::of(&1e300).is_err());
        assert!(Canonical::of(&BTreeMap::from([((1, 2), 3)])).is_err());
        let twice = Json::Object(vec![
            ("b".into(), Json::Null),
            ("a".into(), Json::Null),
            ("b".into(), Json::Null),
        ]);
        assert!(Canonical::of(&twice).is_err());
        let deep = (0..65).fold(Json::Null, |inner, _| Json::Array(vec![inner]));
        assert!(Canonical::of(&deep).is_err());
    }
}
