use aws_lc_rs::constant_time;
use zeroize::Zeroizing;

/// Bytes that nobody but their user may see: not printable, compared in constant time, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over the bytes; a `String` or `Vec` moves in without leaving a copy behind.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether the candidate is this secret; the time taken depends on the lengths alone.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, candidate).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_and_nothing_else() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(secret.matches(b"hunter2") && secret == Secret::new(*b"hunter2"));
        assert!(!secret.matches(b"hunter3") && !secret.matches(b"hunter") && !secret.matches(b""));
        assert_eq!(secret.expose_text(), Some("hunter2"));
        assert_eq!(Secret::new([0xff]).expose_text(), None);
    }
}
