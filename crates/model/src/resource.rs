use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::is_nfc;

use crate::Name;

/// The longest id of a resource, in bytes.
const MAX_ID: usize = 256;
/// The longest kind of a resource, in bytes.
const MAX_KIND: usize = 64;

/// One thing in a system, for example the order `4711` of `support-desk`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    system: Name,
    kind: Arc<str>,
    id: Arc<str>,
}

/// Why a resource or a pattern of resources is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The kind is not a type name.
    #[error(
        "a resource's kind is a type name such as `Refund`: one upper-case letter, then letters and digits"
    )]
    Kind,
    /// The id is empty or too long.
    #[error("a resource's id has 1 to 256 bytes")]
    Length,
    /// The id hides something.
    #[error(
        "a resource's id is normalized (NFC), without control characters, `..`, `%`, `*`, and `//` but behind a scheme"
    )]
    Characters,
    /// Not `system/Kind/id`.
    #[error("a pattern is `system/Kind/id`; each part may be `*`, and the id may end in `/*`")]
    Shape,
}

impl Resource {
    /// Names a thing; the parts are checked, so that two spellings of one thing cannot pass as two.
    ///
    /// # Errors
    /// The kind is no type name, or the id is empty, too long, or hides something.
    pub fn new(system: Name, kind: &str, id: &str) -> Result<Self, ResourceError> {
        check_kind(kind)?;
        check_id(id)?;
        Ok(Self { system, kind: kind.into(), id: id.into() })
    }

    /// The system it is in.
    pub fn system(&self) -> &Name {
        &self.system
    }

    /// Its type, for example `Refund`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its id within system and kind.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.system, self.kind, self.id)
    }
}

/// Checks that a text may be a resource's kind.
fn check_kind(kind: &str) -> Result<(), ResourceError> {
    let mut letters = kind.bytes();
    let starts = letters.next().is_some_and(|first| first.is_ascii_uppercase());
    if starts && kind.len() <= MAX_KIND && letters.all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(ResourceError::Kind)
    }
}

fn check_id(id: &str) -> Result<(), ResourceError> {
    if id.is_empty() || id.len() > MAX_ID {
        return Err(ResourceError::Length);
    }
    let hidden = id.chars().any(|c| c.is_control() || c == '%' || c == '*');
    if hidden || id.contains("..") || below_scheme(id).contains("//") || !is_nfc(id) {
        return Err(ResourceError::Characters);
    }
    Ok(())
}

/// What follows the scheme of a URI, or the whole of what is none. A scheme has one spelling here, the lower-case one.
fn below_scheme(id: &str) -> &str {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    match id.split_once("://") {
        Some((scheme, rest))
            if scheme.starts_with(|first: char| first.is_ascii_lowercase())
                && scheme.bytes().all(plain) =>
        {
            rest
        }
        _ => id,
    }
}

/// Which ids a pattern covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every id.
    Any,
    /// One id.
    Exactly(Arc<str>),
    /// Every id below this one; the text ends in `/`.
    Below(Arc<str>),
}

/// A set of resources: a system or any, a kind or any, and a scope of ids. Written `system/Kind/id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    system: Option<Name>,
    kind: Option<Arc<str>>,
    id: Scope,
}

impl Scope {
    fn covers(&self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(one) => **one == *id,
            Self::Below(prefix) => id.len() > prefix.len() && id.starts_with(&**prefix),
        }
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, scope) | (scope, Self::Any) => Some(scope.clone()),
            (Self::Exactly(id), scope) | (scope, Self::Exactly(id)) => {
                scope.covers(id).then(|| Self::Exactly(id.clone()))
            }
            (Self::Below(a), Self::Below(b)) if a.starts_with(&**b) => Some(self.clone()),
            (Self::Below(a), Self::Below(b)) if b.starts_with(&**a) => Some(other.clone()),
            (Self::Below(_), Self::Below(_)) => None,
        }
    }
}

fn meet<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (None, one) | (one, None) => Some(one.clone()),
        (Some(a), Some(b)) => (a == b).then(|| Some(a.clone())),
    }
}

impl Pattern {
    /// Every resource of one system.
    pub fn system(system: Name) -> Self {
        Self { system: Some(system), kind: None, id: Scope::Any }
    }

    /// Whether the resource is in the set.
    pub fn covers(&self, resource: &Resource) -> bool {
        self.system.as_ref().is_none_or(|system| *system == resource.system)
            && self.kind.as_ref().is_none_or(|kind| *kind == resource.kind)
            && self.id.covers(&resource.id)
    }

    /// Whether some resource of that system and type is in the set.
    pub fn reaches(&self, system: &Name, kind: &str) -> bool {
        self.system.as_ref().is_none_or(|own| own == system)
            && self.kind.as_deref().is_none_or(|own| own == kind)
    }

    /// Whether every resource of `other` is in this set.
    pub fn contains(&self, other: &Self) -> bool {
        self.intersect(other).as_ref() == Some(other)
    }

    /// The resources in both; `None` when there are none.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Some(Self {
            system: meet(&self.system, &other.system)?,
            kind: meet(&self.kind, &other.kind)?,
            id: self.id.intersect(&other.id)?,
        })
    }
}

impl FromStr for Pattern {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let mut parts = text.splitn(3, '/');
        let (Some(system), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ResourceError::Shape);
        };
        let system = match system {
            "*" => None,
            name => Some(name.parse().map_err(|_| ResourceError::Shape)?),
        };
        let kind = match kind {
            "*" => None,
            kind => {
                check_kind(kind)?;
                Some(kind.into())
            }
        };
        let id = match id.strip_suffix("/*") {
            _ if id == "*" => Scope::Any,
            Some(prefix) => {
                check_id(prefix)?;
                Scope::Below(format!("{prefix}/").into())
            }
            None => {
                check_id(id)?;
                Scope::Exactly(id.into())
            }
        };
        Ok(Self { system, kind, id })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.system.as_ref().map_or("*", Name::as_str);
        write!(f, "{system}/{}/", self.kind.as_deref().unwrap_or("*"))?;
        match &self.id {
            Scope::Any => f.write_str("*"),
            Scope::Exactly(id) => f.write_str(id),
            Scope::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> Result<(), ResourceError> {
        Resource::new("files".parse().unwrap(), "File", id).map(drop)
    }

    #[test]
    fn a_uri_is_an_id_and_no_thing_has_two_spellings() {
        for good in ["A-1001", "a/b/c", "file:///srv/note.txt", "git+ssh://host/repository", "a:b"]
        {
            assert_eq!(id(good), Ok(()), "{good}");
        }
        let bad =
            ["a//b", "//a", "file:///a//b", "FILE://a", "://a", "1a://b", "a/b://c", "x://y://z"];
        for bad in bad.into_iter().chain(["a/../b", "file://a/%2e", "a*", "e\u{301}", "a\n"]) {
            assert_eq!(id(bad), Err(ResourceError::Characters), "{bad}");
        }
        assert_eq!(id(""), Err(ResourceError::Length));
    }

    #[test]
    fn a_pattern_covers_what_is_below_a_uri() {
        let pattern: Pattern = "files/File/file:///srv/*".parse().unwrap();
        let covers =
            |id| pattern.covers(&Resource::new("files".parse().unwrap(), "File", id).unwrap());
        assert!(covers("file:///srv/note.txt") && !covers("file:///etc/note.txt"));
        assert_eq!(pattern.to_string(), "files/File/file:///srv/*");
    }
}
