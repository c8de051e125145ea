//! The one-time code: 50 random bits that a person can read aloud.

use token::Secret;

use crate::{failure::Result, random};

/// Crockford's base 32: no letter that looks like another.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 10;

/// A code that is shown once and compared in constant time.
pub(crate) struct Code(Secret);

impl Code {
    /// A fresh code.
    pub(crate) fn draw() -> Result<Self> {
        // 256 is a multiple of 32: every letter is as likely as any other.
        let letters = random::bytes::<LENGTH>()?.map(|byte| LETTERS[usize::from(byte % 32)]);
        Ok(Self(Secret::new(letters)))
    }

    /// The form for the terminal: two groups of five.
    pub(crate) fn shown(&self) -> String {
        let text = self.0.expose_text().unwrap_or_default();
        let (first, second) = text.split_at(LENGTH / 2);
        format!("{first}-{second}")
    }

    /// Whether somebody typed this code; case, hyphens and spaces do not matter, nor letters that look alike.
    pub(crate) fn matches(&self, typed: &str) -> bool {
        self.0.matches(Secret::new(plain(typed)).expose())
    }
}

fn plain(typed: &str) -> String {
    let letters = typed.chars().filter(|letter| !matches!(letter, '-' | ' '));
    let read = |letter: char| match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        letter => letter,
    };
    letters.take(2 * LENGTH).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it_and_no_other_is() {
        let code = Code(Secret::new(*b"01ABCDEFGH"));
        assert_eq!(code.shown(), "01ABC-DEFGH");
        for typed in ["01ABC-DEFGH", "olabcdefgh", " 0iabc defgh "] {
            assert!(code.matches(typed), "{typed}");
        }
        for typed in ["", "01ABC-DEFG", "01ABC-DEFGHH", "01ABC-DEFGJ", &"0".repeat(5000)] {
            assert!(!code.matches(typed), "{typed}");
        }
        assert_ne!(Code::draw().unwrap().shown(), Code::draw().unwrap().shown());
    }
}
