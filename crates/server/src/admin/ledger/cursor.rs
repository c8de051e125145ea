//! Where a search goes on: a position, and a tag by which it is known to belong to this very question.

use decide::Engine;
use model::ijson::Json;

use crate::problem::{Fault, Problem};

/// How many bytes of the tag a cursor carries: too many to be guessed.
const TAG: usize = 16;

/// What to say for the next page of a question.
pub(super) fn write(engine: &Engine, question: &Json, rest: u64) -> String {
    format!("{rest}-{}", tag(engine, question, rest))
}

/// Where the next page of a question begins.
///
/// # Errors
/// The text is no cursor of ours, or of another question.
pub(super) fn read(engine: &Engine, question: &Json, text: &str) -> Result<u64, Problem> {
    let parts = text.split_once('-');
    let rest = parts.and_then(|(rest, given)| {
        let rest = rest.parse::<u64>().ok()?;
        (given == tag(engine, question, rest)).then_some(rest)
    });
    rest.ok_or_else(|| {
        let what = "`after` is not the `next` of a page of this very search";
        Problem::new(Fault::Invalid, what).with_next(
            "Ask the same as before and pass its `next` unchanged, or begin without `after`.",
        )
    })
}

fn tag(engine: &Engine, question: &Json, rest: u64) -> String {
    let what = [b"ledger cursor\0", &rest.to_be_bytes()[..], &question.canonical()].concat();
    engine.tag(&what)[..TAG].iter().map(|byte| format!("{byte:02x}")).collect()
}
