use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    Timestamp,
    digest::{hex, text_of},
};

/// A unique id that sorts by time and names the node that made it, so that two nodes never collide.
///
/// 128 bits in the form of a UUID version 8 ([RFC 9562 §5.8](https://www.rfc-editor.org/rfc/rfc9562#section-5.8)):
/// 48 bits of milliseconds, 16 bits of node (12 before and 4 after the variant), 58 random bits.
/// The type parameter says what the id names; ids of different things do not mix.
pub struct Id<Of> {
    bits: u128,
    of: PhantomData<fn() -> Of>,
}

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID in lower case, for example `0199f3a2-7c11-8001-8a2b-3c4d5e6f7081`")]
pub struct NotAnId;

const VERSION_8: u128 = 0x8 << 76;
const VARIANT: u128 = 0b10 << 62;
const RANDOM_MASK: u64 = (1 << 58) - 1;

impl<Of> Id<Of> {
    /// Composes an id from the moment, the node that makes it and fresh randomness (58 bits are used).
    pub fn compose(at: Timestamp, node: u16, random: u64) -> Self {
        let millis = (at.millis().max(0) as u128) & 0xffff_ffff_ffff;
        let node = u128::from(node);
        let bits = millis << 80
            | VERSION_8
            | (node >> 4) << 64
            | VARIANT
            | (node & 0xf) << 58
            | u128::from(random & RANDOM_MASK);
        Self::from_bits(bits)
    }

    /// The node that made this id.
    pub fn node(self) -> u16 {
        (((self.bits >> 64) & 0xfff) << 4 | (self.bits >> 58) & 0xf) as u16
    }

    /// The raw 128 bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// The form of a UUID: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
    pub fn ascii(self) -> [u8; 36] {
        let mut text = [b'-'; 36];
        let bytes = self.bits.to_be_bytes();
        for (from, to) in
            [(0..4, 0..8), (4..6, 9..13), (6..8, 14..18), (8..10, 19..23), (10..16, 24..36)]
        {
            hex(&bytes[from], &mut text[to]);
        }
        text
    }

    /// From raw bits that [`Id::bits`] gave.
    pub const fn from_bits(bits: u128) -> Self {
        Self { bits, of: PhantomData }
    }
}

impl<Of> Clone for Id<Of> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Of> Copy for Id<Of> {}
impl<Of> PartialEq for Id<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<Of> Eq for Id<Of> {}
impl<Of> PartialOrd for Id<Of> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<Of> Ord for Id<Of> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<Of> std::hash::Hash for Id<Of> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<Of> fmt::Display for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&self.ascii()))
    }
}

impl<Of> fmt::Debug for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<Of> FromStr for Id<Of> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hyphens = [8, 13, 18, 23];
        if text.len() != 36 {
            return Err(NotAnId);
        }
        let mut bits = 0_u128;
        for (at, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'-' if hyphens.contains(&at) => continue,
                _ if hyphens.contains(&at) => return Err(NotAnId),
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(NotAnId),
            };
            bits = bits << 4 | u128::from(digit);
        }
        Ok(Self::from_bits(bits))
    }
}

impl<Of> Serialize for Id<Of> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text_of(&self.ascii()))
    }
}

impl<'de, Of> Deserialize<'de> for Id<Of> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Names what an [`Id`] is of.
pub mod of {
    /// One piece of work.
    pub enum Task {}
    /// One edge of a delegation chain.
    pub enum Link {}
    /// One attempt.
    pub enum Action {}
    /// One record of the ledger.
    pub enum Entry {}
    /// One request for approval.
    pub enum Approval {}
}

/// Names one task.
pub type TaskId = Id<of::Task>;
/// Names one delegation edge.
pub type LinkId = Id<of::Link>;
/// Names one attempt.
pub type ActionId = Id<of::Action>;
/// Names one ledger entry.
pub type EntryId = Id<of::Entry>;
/// Names one request for approval.
pub type ApprovalId = Id<of::Approval>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_node_and_sorts_by_time() {
        let earlier = TaskId::compose(Timestamp::from_millis(1_000), 0xabcd, u64::MAX);
        let later = TaskId::compose(Timestamp::from_millis(1_001), 1, 0);
        assert_eq!(earlier.node(), 0xabcd);
        assert!(earlier < later);
        assert_eq!(earlier.to_string().parse(), Ok(earlier));
        assert_eq!(&earlier.to_string()[14..15], "8");
    }

    #[test]
    fn what_is_not_a_uuid_in_lower_case_is_refused() {
        for text in
            ["", "0199F3A2-7c11-8001-8a2b-3c4d5e6f7081", "0199f3a27c1180018a2b3c4d5e6f708100000"]
        {
            assert_eq!(text.parse::<TaskId>(), Err(NotAnId));
        }
    }
}
