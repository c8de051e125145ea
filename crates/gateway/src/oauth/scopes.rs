use std::fmt;

/// The most scopes that are asked for at once.
const MAX_SCOPES: usize = 64;
/// The longest scope, in bytes.
const MAX_SCOPE: usize = 256;

/// Scopes in the order in which they were named, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// The scopes of a text with spaces between them; what cannot be a scope
    /// ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)) is left out.
    pub fn of(text: &str) -> Self {
        text.split(' ').collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of `other` are here.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.0.contains(scope))
    }

    /// These, then those of `other` that are not here: what a person granted is not dropped when more is asked for.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).map(String::as_str).collect()
    }

    /// Those of these that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter().filter(|scope| !other.0.iter().any(|has| has == scope)).collect()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'s> FromIterator<&'s str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'s str>>(scopes: I) -> Self {
        let mut known: Vec<String> = Vec::new();
        for scope in scopes {
            let sound = !scope.is_empty() && scope.len() <= MAX_SCOPE;
            let plain =
                scope.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
            if sound && plain && known.len() < MAX_SCOPES && known.iter().all(|has| has != scope) {
                known.push(scope.to_owned());
            }
        }
        Self(known)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}
