use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! verbs {
    ($($variant:ident $text:literal $doc:literal),* $(,)?) => {
        /// What is done to a resource. The set is closed; a tool that does something else maps to the nearest of these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb { $(#[doc = $doc] $variant),* }

        impl Verb {
            /// Every verb, in the order of the vocabulary.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The verb as policies, tokens and the ledger write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

verbs! {
    Read "read" "Look at one thing.",
    List "list" "Find out which things there are.",
    Create "create" "Make a thing.",
    Update "update" "Change a thing.",
    Delete "delete" "Remove a thing.",
    Execute "execute" "Run a thing.",
    Send "send" "Deliver something to somebody.",
    Export "export" "Take many things out at once.",
    Deploy "deploy" "Put a thing into operation.",
    Pay "pay" "Move money; a refund is `pay` on a refund.",
    Approve "approve" "Say yes for others.",
    Grant "grant" "Give a right.",
    Delegate "delegate" "Pass on a right that one holds.",
    Admin "admin" "Govern the system itself.",
}

/// Why a text is not a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a verb; the verbs are read list create update delete execute send export deploy pay approve grant delegate admin"
)]
pub struct NotAVerb(String);

impl Verb {
    /// Whether the verb changes, moves or spends something (`create update delete` are `write`).
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::List)
    }
}

impl FromStr for Verb {
    type Err = NotAVerb;

    fn from_str(text: &str) -> Result<Self, NotAVerb> {
        let found = Self::ALL.iter().find(|verb| verb.name() == text);
        found.copied().ok_or_else(|| NotAVerb(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Verb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A set of verbs; written as a list in the vocabulary's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Verbs(u16);

impl Verbs {
    /// The set of these verbs.
    pub fn of(verbs: &[Verb]) -> Self {
        verbs.iter().fold(Self::default(), |set, verb| Self(set.0 | 1 << *verb as u16))
    }

    /// Whether the verb is in the set.
    pub const fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u16) != 0
    }

    /// Whether every verb of `other` is in this set.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The verbs in both.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The verbs that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The verbs in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no verb is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The verbs in the vocabulary's order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.iter().copied().filter(move |verb| self.contains(*verb))
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<T: IntoIterator<Item = Verb>>(verbs: T) -> Self {
        verbs.into_iter().fold(Self::default(), |set, verb| Self(set.0 | 1 << verb as u16))
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Verb::name)).finish()
    }
}

impl Serialize for Verbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Verbs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let verbs = Vec::<Verb>::deserialize(deserializer)?;
        if verbs.is_empty() {
            Err(de::Error::custom("at least one verb"))
        } else {
            Ok(verbs.into_iter().collect())
        }
    }
}
