//! How a command ends when it does not do what was asked: what, why, what next, a stable code, an exit status.

use std::{error::Error, fmt::Write as _};

use serde_json::{Value, json};

/// The exit status of the program; documented in `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// A clean no: denied, or proven wrong.
    No = 3,
    /// Nobody is signed in, or the server does not believe who is.
    SignIn = 4,
    /// Whoever is signed in may not do this.
    NotPermitted = 5,
    /// There is no such thing.
    NotFound = 6,
    /// Something else stands in the way.
    Conflict = 7,
    /// Somebody has to approve first.
    Waiting = 8,
    /// The server cannot be reached, or cannot serve now.
    Unreachable = 9,
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) what: String,
    why: Option<String>,
    next: Option<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: impl Into<String>, what: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, code: code.into(), what: what.into(), why: None, next: None }
    }

    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    pub(crate) fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// The reason is an error; its whole chain is told.
    pub(crate) fn because(self, error: &dyn Error) -> Self {
        self.why(chain(error))
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// For people: one line what, one why, one what to do next.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {} [{}]", self.what, self.code);
        for (word, line) in [("why", &self.why), ("next", &self.next)] {
            if let Some(line) = line {
                // Writing into a string does not fail.
                let _ = write!(text, "\n  {word}: {line}");
            }
        }
        text
    }

    /// For programs.
    pub(crate) fn document(&self) -> Value {
        json!({ "error": {
            "code": self.code,
            "exit": self.exit as u8,
            "next": self.next,
            "what": self.what,
            "why": self.why,
        }})
    }
}

/// An error and everything behind it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next_with_its_code() {
        let failure = Failure::new("some_code", "it broke").why("worn out").next("mend it");
        assert_eq!(failure.text(), "error: it broke [some_code]\n  why: worn out\n  next: mend it");
        assert_eq!(failure.document()["error"]["exit"], 1);
    }
}
