//! How the story is told: to a person as numbered steps, to a program as one JSON object a line.

use std::io::{self, IsTerminal as _};

use model::Foreign;
use serde_json::json;

use super::Summary;
use crate::{
    failure::{Failure, Result},
    output::{self, wrapped},
};

/// Widths of the columns; a line fits 100 characters.
const ACTOR: usize = 11;
const SAYS: usize = 50;
const VERDICT: usize = 8;
/// The widest line of a reason.
const REASON: usize = 78;

/// A step as the story expects it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Names the step to programs.
    pub(super) name: &'static str,
    pub(super) actor: &'static str,
    pub(super) verb: Option<&'static str>,
    pub(super) resource: Option<&'static str>,
    /// What is done, in plain words.
    pub(super) says: &'static str,
    /// The verdict without which the story is wrong.
    pub(super) expect: &'static str,
}

/// A step that is no verb on a resource.
pub(super) const fn by(
    actor: &'static str,
    name: &'static str,
    says: &'static str,
    expect: &'static str,
) -> Step {
    Step { name, actor, verb: None, resource: None, says, expect }
}

/// A step that is one.
pub(super) const fn call(
    actor: &'static str,
    name: &'static str,
    does: (&'static str, &'static str),
    says: &'static str,
    expect: &'static str,
) -> Step {
    Step { verb: Some(does.0), resource: Some(does.1), ..by(actor, name, says, expect) }
}

/// What a step came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Came {
    pub(super) verdict: String,
    pub(super) reason: Option<String>,
    /// What to do next, where somebody was refused.
    pub(super) next: Option<String>,
    pub(super) index: Option<u64>,
    pub(super) ms: Option<u64>,
}

/// Tells the story, and remembers what was not as expected.
pub(super) struct Teller {
    json: bool,
    colour: bool,
    steps: usize,
    failed: Vec<String>,
    /// People by their pseudonyms, which are in reasons and mean nothing to a reader.
    names: Vec<(String, &'static str)>,
}

/// A colour of the terminal, by its number in ECMA-48.
#[derive(Clone, Copy)]
enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Magenta = 35,
}

impl Teller {
    pub(super) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colour = !json && wanted && io::stdout().is_terminal();
        Self { json, colour, steps: 0, failed: Vec::new(), names: Vec::new() }
    }

    /// From now on this pseudonym is told as a name, to people.
    pub(super) fn introduce(&mut self, pseudonym: &str, name: &'static str) {
        self.names.push((pseudonym.to_owned(), name));
    }

    /// Whom a pseudonym stands for.
    pub(super) fn name(&self, pseudonym: &str) -> String {
        let known = self.names.iter().find(|(known, _)| known == pseudonym);
        known.map_or(pseudonym, |(_, name)| name).to_owned()
    }

    /// A heading, for people.
    pub(super) fn chapter(&self, title: &str) {
        self.note(&format!("\n{}", self.paint(Colour::Bold, title)));
    }

    /// Plain words, for people.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            // The story goes on unheard; that it was is said when its last line cannot be written either.
            let _ = output::data(text);
        }
    }

    /// Tells one step and holds it against what was expected.
    pub(super) fn step(&mut self, step: &Step, came: &Came) {
        self.steps += 1;
        if self.json {
            let line = json!({
                "step": step.name,
                "actor": step.actor,
                "verb": step.verb,
                "resource": step.resource,
                "verdict": came.verdict,
                "reason": came.reason,
                "ledger_index": came.index,
                "ms": came.ms,
            });
            // The same: the summary says whether anybody could hear.
            let _ = output::data(&line.to_string());
        } else {
            self.line(step, came);
        }
        if came.verdict != step.expect {
            let why = came.reason.as_deref().unwrap_or("no reason was given");
            let what =
                format!("`{}` came to `{}`, not `{}`: {why}", step.name, came.verdict, step.expect);
            self.check(false, &what);
        }
    }

    /// Remembers what is not so.
    pub(super) fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            let what = Foreign::new(what).to_string();
            self.note(&self.paint(Colour::Red, &format!("      !! {what}")));
            self.failed.push(what);
        }
    }

    /// The last line of the story.
    pub(super) fn summarize(&self, summary: &Summary, seconds: f64) -> Result<()> {
        if self.json {
            return output::data(&summary.document(self.steps, &self.failed, seconds).to_string());
        }
        let text = match self.failed.len() {
            0 => self.paint(Colour::Green, "Everything was as it should be"),
            some => self.paint(Colour::Red, &format!("{some} things were not as they should be")),
        };
        let (steps, entries) = (self.steps, summary.entries);
        output::data(&format!("\n{text}: {steps} steps, {entries} ledger entries, {seconds:.1} s."))
    }

    /// An error that names what did not hold.
    pub(super) fn verdict(&self) -> Result<()> {
        match self.failed.as_slice() {
            [] => Ok(()),
            failed => Err(Failure::new("demo_failed", "the story did not come out as it must")
                .why(failed.join("; "))
                .next("run it again with `--keep DIR`, and look at what it left there")),
        }
    }

    fn line(&self, step: &Step, came: &Came) {
        let colour = match came.verdict.as_str() {
            "permit" | "verified" | "agrees" => Colour::Green,
            "hold" => Colour::Yellow,
            "cut" => Colour::Magenta,
            _ => Colour::Red,
        };
        let says = Foreign::new(step.says).to_string();
        let verdict = self.paint(
            colour,
            &format!("{:VERDICT$}", Foreign::new(came.verdict.to_uppercase()).to_string()),
        );
        let index = came.index.map(|index| format!("#{index}")).unwrap_or_default();
        let ms = came.ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
        let facts = self.paint(Colour::Dim, &format!("{index:>5} {ms:>8}"));
        self.note(&format!(
            "  {:>2}  {:ACTOR$}  {says:SAYS$}  {verdict} {facts}",
            self.steps, step.actor
        ));
        for (word, text) in [("", &came.reason), ("next: ", &came.next)] {
            let Some(text) = text else { continue };
            let named = |text: String, (id, name): &(String, &'static str)| text.replace(id, name);
            let text = self.names.iter().fold(text.clone(), named);
            for line in wrapped(&format!("{word}{}", Foreign::new(text)), REASON) {
                self.note(&self.paint(Colour::Dim, &format!("      {:ACTOR$}  {line}", "")));
            }
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_expected_fails_the_demo_and_is_named() {
        let mut teller = Teller::new(true);
        let step = Step {
            name: "export",
            actor: "bot",
            verb: None,
            resource: None,
            says: "exports",
            expect: "deny",
        };
        teller.step(&step, &Came { verdict: "deny".to_owned(), ..Came::default() });
        assert!(teller.verdict().is_ok());
        teller.step(&step, &Came { verdict: "permit".to_owned(), ..Came::default() });
        let failure = teller.verdict().unwrap_err();
        assert!(
            failure.text().contains("`export` came to `permit`, not `deny`"),
            "{}",
            failure.text()
        );
    }
}
