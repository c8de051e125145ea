use std::fmt;

/// Text that somebody outside wrote: a prompt, a tool's name, an agent's reason.
///
/// It prints only through an escape that shows control, bidirectional and invisible characters as `\u{…}`, so that
/// foreign words can neither move a terminal's cursor nor pretend to be ours.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Foreign(String);

impl Foreign {
    /// Wraps foreign text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The raw text, for storing and hashing, never for showing.
    pub fn raw(&self) -> &str {
        &self.0
    }
}

fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if hides(character) {
                write!(f, "\\u{{{:x}}}", u32::from(character))
            } else {
                write!(f, "{character}")
            }
        })
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_move_the_cursor_or_reverse_the_line() {
        let text = Foreign::new("ok\u{1b}[2J\u{202e}evil\u{200b}\n");
        assert_eq!(text.to_string(), "ok\\u{1b}[2J\\u{202e}evil\\u{200b}\\u{a}");
    }
}
