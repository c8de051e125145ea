//! Takes a Rust file apart into code, comments and literals, so that a rule about SQL does not stumble over a
//! comment, nor a rule about comments over a string.
//!
//! Not a parser: it knows just enough of the lexical rules to tell the three apart, and must never fail.

/// The three parts of a file. Each has all its lines, with blanks where the other two stand.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) code: String,
    pub(crate) comments: String,
    /// Strings and characters, with their quotes.
    pub(crate) literals: String,
    /// How many lines stand before the tests at the end of the file.
    product: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Source {
    pub(crate) fn of(text: &str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, length) = first_piece(rest);
            let (piece, tail) = rest.split_at(length);
            source.add(part, piece);
            rest = tail;
        }
        source.product = lines_before_tests(&source.code);
        source
    }

    /// The lines of one part that ship: numbered from 1, without the tests at the end of the file.
    pub(crate) fn product<'a>(&self, part: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        numbered(part).take(self.product)
    }

    fn add(&mut self, part: Part, piece: &str) {
        let blank: String = piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        for (own, view) in [
            (Part::Code, &mut self.code),
            (Part::Comment, &mut self.comments),
            (Part::Literal, &mut self.literals),
        ] {
            view.push_str(if own == part { piece } else { &blank });
        }
    }
}

/// Lines with their numbers from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether `needle` stands in `line` and is not part of a longer word on either side.
pub(crate) fn has_word(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(start, found)| {
        let before = line[..start].chars().next_back();
        let after = line[start + found.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The part and length in bytes of what `rest` begins with; at least one character.
fn first_piece(rest: &str) -> (Part, usize) {
    let first = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        (Part::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Part::Comment, block_comment(rest))
    } else if rest.starts_with('"') {
        (Part::Literal, quoted(rest, '"'))
    } else if let Some(length) = raw_string(rest) {
        (Part::Literal, length)
    } else if rest.starts_with('\'') {
        let mut next = rest.chars().skip(1);
        match (next.next(), next.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => (Part::Literal, quoted(rest, '\'')),
            _ => (Part::Code, first), // a lifetime
        }
    } else {
        // A whole word at once: the `r` of `for` begins no raw string.
        (Part::Code, rest.find(|c| !is_word(c)).unwrap_or(rest.len()).max(first))
    }
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Length of a literal that begins and ends with `quote` and escapes with a backslash.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Length of a raw string, if `rest` begins with one.
fn raw_string(rest: &str) -> Option<usize> {
    let opening = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let inside = opening.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(opening.len() - inside.len()));
    let inside = inside.strip_prefix('"')?;
    let body = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + body)
}

/// Tests stand in one module at the end of a file, behind `#[cfg(test)]`.
fn lines_before_tests(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let opens_tests = |index: &usize| {
        let mut below = lines[index + 1..].iter().skip_while(|line| line.starts_with("#["));
        lines[*index] == "#[cfg(test)]"
            && below.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    (0..lines.len()).find(opens_tests).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::{Source, has_word};

    /// The text of each part, blanks squeezed.
    fn parts(text: &str) -> [String; 3] {
        let source = Source::of(text);
        [source.code, source.comments, source.literals]
            .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let [code, comments, literals] =
            parts("let a = \"b // c\"; // d \"e\"\n/* f /* g */ h */ i('j')");
        assert_eq!(code, "let a = ; i( )");
        assert_eq!(comments, "// d \"e\" /* f /* g */ h */");
        assert_eq!(literals, "\"b // c\" 'j'");
    }

    #[test]
    fn quotes_inside_raw_and_escaped_strings_do_not_end_them() {
        let [code, comments, literals] =
            parts(r###"x(r#"a " // b"#, "c\" // d", '\'', br"\") // e"###);
        assert_eq!(code, "x( , , , )");
        assert_eq!(comments, "// e");
        assert_eq!(literals, r###"r#"a " // b"# "c\" // d" '\'' br"\""###);
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        let text = "fn f<'a, 'b>(r#type: &'a str, other: &'b str) {}";
        assert_eq!(parts(text), [text, "", ""]);
    }

    #[test]
    fn unfinished_literals_and_comments_run_to_the_end() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "\"\\"] {
            assert_eq!(parts(text)[0], "", "{text}");
        }
    }

    #[test]
    fn each_part_keeps_the_lines_of_the_file() {
        let text = "a\n\"b\nc\"\n// d\n/* e\nf */\ng";
        let source = Source::of(text);
        for part in [&source.code, &source.comments, &source.literals] {
            assert_eq!(part.lines().count(), 7);
        }
        assert_eq!(source.code.lines().nth(6), Some("g"));
    }

    #[test]
    fn product_ends_where_the_tests_begin() {
        let source =
            Source::of("fn a() {}\n\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(source.product(&source.code).count(), 2);
        let elsewhere = Source::of("#[cfg(test)]\nmod tests;\n\nfn a() {}\n");
        assert_eq!(elsewhere.product(&elsewhere.code).count(), 4);
    }

    #[test]
    fn word_is_found_only_as_a_whole() {
        assert!(has_word("use tokio::net;", "tokio"));
        assert!(!has_word("use tokio_util::net;", "tokio"));
        assert!(has_word("xtokio tokio", "tokio"));
    }
}
