use std::sync::Arc;

use model::Foreign;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::{
    Place, Remark,
    load::{FEWER_HINT, MAX_POLICIES, MAX_POLICY_BYTES, MAX_SOURCE_BYTES},
    remark::MAX_REMARKS,
};

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What remarks call it, for example `support.cedar`; 1 to 256 bytes, nothing hidden in it.
    pub name: String,
    /// Cedar, with our annotations.
    pub text: String,
}

/// A remark about a byte of one file, before line and column are known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) offset: usize,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Spot {
    pub(crate) fn new(offset: usize, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { offset, what: what.into(), hint: Some(hint.into()) }
    }
}

/// Turns byte offsets of one file into lines and columns; cheap as long as offsets ascend.
pub(crate) struct Places<'a> {
    file: Arc<str>,
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> Places<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        let file = Foreign::new(source.name.chars().take(MAX_NAME).collect::<String>());
        Self { file: file.to_string().into(), text: &source.text, offset: 0, line: 1, column: 1 }
    }

    pub(crate) fn at(&mut self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        if offset < self.offset {
            (self.offset, self.line, self.column) = (0, 1, 1);
        }
        for character in self.text[self.offset..offset].chars() {
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset = offset;
        Place { file: self.file.clone(), line: self.line, column: self.column }
    }

    /// Places the first spots, in their order within the file.
    pub(crate) fn remarks(&mut self, mut spots: Vec<Spot>) -> Vec<Remark> {
        spots.sort();
        spots.truncate(MAX_REMARKS);
        let place =
            |Spot { offset, what, hint }| Remark { place: Some(self.at(offset)), what, hint };
        spots.into_iter().map(place).collect()
    }
}

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 256;
/// The deepest nesting of brackets; Cedar's parser recurses for each.
const MAX_BRACKETS: usize = 64;

/// Checks what can be said of a file before it is parsed: its size, and that it reads as it looks.
///
/// A literal that is not normalized, or hides a character, would never equal a resource's id; a forbid that names it
/// would silently forbid nothing.
pub(crate) fn spots(source: &Source) -> Vec<Spot> {
    let Source { name, text } = source;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(hides) {
        let what = "a policy file's name has 1 to 256 bytes, none of them hidden";
        return vec![Spot::new(0, what, "rename the file")];
    }
    if text.len() > MAX_SOURCE_BYTES {
        let what = format!("{} bytes; a policy file has at most {MAX_SOURCE_BYTES}", text.len());
        return vec![Spot::new(0, what, "split the file")];
    }
    let hidden = text
        .char_indices()
        .find(|(_, character)| !matches!(character, '\n' | '\r' | '\t') && hides(*character));
    if let Some((offset, character)) = hidden {
        let what = format!("`{}` cannot be seen by who reads the policy", Foreign::new(character));
        return vec![Spot::new(offset, what, "remove the character")];
    }
    if !is_nfc(text) {
        let composed = text.nfc();
        let same = text.chars().zip(composed).take_while(|(written, composed)| written == composed);
        let offset = same.map(|(character, _)| character.len_utf8()).sum();
        let what = "this text is not normalized (NFC), and would equal no resource's id";
        return vec![Spot::new(offset, what, "save the file in Unicode normalization form C")];
    }
    lexical(text)
}

/// What can be said of the characters outside and inside strings: escapes other than those of quote, backslash and
/// star, which write what the checks above would refuse; and nesting and length that a parser should not be given.
fn lexical(text: &str) -> Vec<Spot> {
    let mut spots = Vec::new();
    let mut characters = text.char_indices().peekable();
    let mut in_string = false;
    let mut brackets = 0_usize;
    let mut statements = 0_usize;
    let mut statement: Option<usize> = None;
    while let Some((offset, character)) = characters.next() {
        let start = match statement {
            Some(start) => start,
            None if character.is_whitespace() => continue,
            None => *statement.insert(offset),
        };
        if offset - start > MAX_POLICY_BYTES {
            let what = format!(
                "a policy, with what stands before it, has at most {MAX_POLICY_BYTES} bytes"
            );
            spots.push(Spot::new(start, what, "split it; end every policy with `;`"));
            return spots;
        }
        match character {
            '"' => in_string = !in_string,
            '\\' if in_string => match characters.next() {
                Some((_, '"' | '\\' | '\'' | '*')) | None => {}
                Some((_, escaped)) => {
                    let what = format!("the escape `\\{escaped}` hides what the policy says");
                    spots.push(Spot::new(offset, what, "write the character itself"));
                }
            },
            _ if in_string => {}
            '/' if characters.peek().is_some_and(|(_, next)| *next == '/') => {
                characters.by_ref().find(|(_, character)| *character == '\n');
            }
            '(' | '[' | '{' if brackets == MAX_BRACKETS => {
                let what = format!("more than {MAX_BRACKETS} brackets in one another");
                spots.push(Spot::new(offset, what, "split the policy"));
                return spots;
            }
            '(' | '[' | '{' => brackets += 1,
            ')' | ']' | '}' => brackets = brackets.saturating_sub(1),
            ';' if statements == MAX_POLICIES => {
                let what = format!("a set has at most {MAX_POLICIES} policies");
                spots.push(Spot::new(start, what, FEWER_HINT));
                return spots;
            }
            ';' => {
                statements += 1;
                (statement, brackets) = (None, 0);
            }
            _ => {}
        }
    }
    spots
}

/// Whether the vocabulary would show this character only as an escape.
fn hides(character: char) -> bool {
    let plain = (' '..='~').contains(&character);
    !plain && Foreign::new(character).to_string() != character.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "a.cedar".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = source("é = 1\nab");
        let mut places = Places::new(&source);
        let mut at = |offset| {
            let Place { line, column, .. } = places.at(offset);
            (line, column)
        };
        assert_eq!([at(0), at(2), at(7), at(8), at(3)], [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3)]);
        assert_eq!(at(1), (1, 1), "an offset inside a character is the character's");
        assert_eq!(at(1_000), (2, 3), "an offset beyond the text is its end");
    }

    #[test]
    fn an_escape_in_a_comment_hides_nothing_and_a_comment_sign_in_a_string_opens_none() {
        assert_eq!(spots(&source("// C:\\users \"\n\"a\\\"//\" // \\u")), []);
        let found = spots(&source("// \"\n\"http://\\u{65}\""));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].offset, 13);
    }
}
