//! How a command ends when it does not do what was asked: what, why, what next, a stable code, an exit status.

use std::{error::Error, fmt::Write as _};

use model::ijson::Json;
use serde_json::{Value, json};

/// The exit status of the program; documented in `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line cannot be read.
    Usage = 2,
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

/// A command that did not do what was asked. It is made in three steps, so that none is told without all three lines:
/// `Failure::new(code, what).why(…).next(…)`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) what: String,
    why: String,
    next: String,
}

/// What failed; why comes next.
pub(crate) struct Named {
    code: String,
    what: String,
}

/// What failed and why; what to do about it comes next.
pub(crate) struct Reasoned {
    named: Named,
    why: String,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What to do about something that no user can do anything about.
pub(crate) const TELL_US: &str =
    "this is a fault of the program: report it with the whole command line";

impl Failure {
    /// A stable code, and what failed in one line.
    #[expect(
        clippy::new_ret_no_self,
        reason = "it is whole only with its reason and its next step"
    )]
    pub(crate) fn new(code: impl Into<String>, what: impl Into<String>) -> Named {
        Named { code: code.into(), what: what.into() }
    }

    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// For people: one line what, one why, one what to do next. Further lines of one are set in below it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {} [{}]", self.what, self.code);
        for (word, lines) in [("why", &self.why), ("next", &self.next)] {
            let lines = lines.replace('\n', "\n       ");
            // Writing into a string does not fail.
            let _ = write!(text, "\n  {word}: {lines}");
        }
        text
    }

    /// For people, where what was asked for is done all the same.
    pub(crate) fn warning(&self) -> String {
        format!("warning: {} ({}) [{}]", self.what, self.why, self.code)
    }

    /// What and why, in one line.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.what, self.why).replace('\n', " ")
    }

    /// The rest, for a program that has read that line.
    pub(crate) fn data(&self) -> Json {
        Json::object([
            ("code", Json::String(self.code.clone())),
            ("next", Json::String(self.next.clone())),
        ])
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

impl Named {
    pub(crate) fn why(self, why: impl Into<String>) -> Reasoned {
        Reasoned { named: self, why: why.into() }
    }

    /// The reason is an error; its whole chain is told.
    pub(crate) fn because(self, error: &dyn Error) -> Reasoned {
        self.why(chain(error))
    }
}

impl Reasoned {
    pub(crate) fn next(self, next: impl Into<String>) -> Failure {
        let Self { named: Named { code, what }, why } = self;
        Failure { exit: Exit::Failed, code, what, why, next: next.into() }
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
