//! The one place that prints: data on stdout, talk on stderr.

use std::io::{self, IsTerminal as _, Write};

use model::Foreign;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line, for a command that tells as it goes.
    #[value(skip)]
    Lines,
}

/// What a command has to say: the same for programs and for people.
pub(crate) struct Answer {
    pub(crate) document: Value,
    pub(crate) text: String,
    pub(crate) exit: Exit,
    /// What to do where this cannot be printed, for what is done all the same.
    unprinted: Option<String>,
}

impl Answer {
    pub(crate) fn new(document: Value, text: impl Into<String>) -> Self {
        Self { document, text: text.into(), exit: Exit::Done, unprinted: None }
    }

    /// What to do next where this cannot be printed.
    pub(crate) fn unprinted(self, next: impl Into<String>) -> Self {
        Self { unprinted: Some(next.into()), ..self }
    }

    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// Prints how a command ended, and gives its exit status.
pub(crate) fn finish(ended: Result<Answer, Failure>, form: Form) -> Exit {
    match ended {
        Ok(answer) => {
            let text = match form {
                Form::Table => answer.text,
                Form::Json | Form::Lines if answer.document.is_null() => String::new(),
                Form::Json => pretty(&answer.document),
                Form::Lines => answer.document.to_string(),
            };
            let Err(error) = written(&mut io::stdout().lock(), &text) else { return answer.exit };
            let failure = unprintable(&error, answer.unprinted);
            talk(&failure.text());
            failure.exit
        }
        Err(failure) => {
            let printed = match form {
                Form::Table => Ok(()),
                Form::Json => data(&pretty(&failure.document())),
                Form::Lines => data(&failure.document().to_string()),
            };
            talk(&failure.text());
            // What failed first decides how it ends.
            if let Err(unprinted) = printed {
                talk(&unprinted.text());
            }
            failure.exit
        }
    }
}

/// Writes data.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    written(&mut io::stdout().lock(), text).map_err(|error| unprintable(&error, None))
}

/// Writes what is not data: progress, questions, errors. Where even that fails, nobody is left to be told.
pub(crate) fn talk(text: &str) {
    let _ = written(&mut io::stderr().lock(), text);
}

fn unprintable(error: &io::Error, next: Option<String>) -> Failure {
    let next = next.unwrap_or_else(|| {
        "make room where stdout goes; what was asked for may be done, so look before you ask again"
            .to_owned()
    });
    Failure::new("output_unwritable", "the answer cannot be written to stdout")
        .because(error)
        .next(next)
}

/// Asks on the terminal; `None` where nobody sits at one.
pub(crate) fn ask(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} ");
    let _ = stderr.flush();
    let mut line = String::new();
    io::stdin().read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

fn pretty(document: &Value) -> String {
    format!("{document:#}")
}

/// Writes all of a text. Whoever closed the pipe has read enough.
fn written(out: &mut impl Write, text: &str) -> io::Result<()> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

/// A word of a command line, quoted where a shell would take it apart.
pub(crate) fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Rows under headings, aligned. Every cell passes the escape for foreign text.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| Foreign::new(cell).to_string()).collect());
    }

    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Names and values below each other, aligned. Values pass the escape for foreign text.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("  {name:width$}  {}", Foreign::new(value.as_str())).trim_end().to_owned()
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Breaks a text at spaces into lines of at most so many characters, where its words allow that.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_broken_at_its_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable words", 3), ["unbreakable", "words"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn columns_are_aligned_and_foreign_text_cannot_move_the_cursor() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["support-bot".to_owned(), "active".to_owned()]);
        table.row(["x\u{1b}[2J".to_owned(), String::new()]);
        let expected = "NAME         STATE\nsupport-bot  active\nx\\u{1b}[2J";
        assert_eq!(table.text(), expected);
    }
}
