//! Checking a log from outside: offline, from its files and the key that an auditor already holds.
//!
//! It trusts nothing that lies beside the entries: the checkpoint's signature, every entry, **every tile**, every leaf and
//! every payload is checked, and a finding names the file or entry that is wrong. The key never comes from what is checked.
//!
//! Three questions have three answers. *Integrity*: are these the bytes that were signed? *Completeness*: is something
//! missing that they speak of? *Correctness*: do they tell of a course of events that may not be? They are asked at five
//! levels ([`Level`]), each with a verdict of its own: who does not believe in a later one still has those before it.
//!
//! In a pack nothing may lie beside what was signed: who reads it would take that for a part of the log.

mod lines;
mod meaning;
mod payloads;
mod report;
mod stamps;
mod telling;
mod tree;

use std::{fs, path::Path};

use crate::{keys::SubjectKeys, tile::CHECKPOINT};

pub use report::{
    Class, Erasure, Finding, Gap, Level, OpenAction, OpenTask, Place, Report, Stamped, Truncation,
    Verdict,
};

/// Checks everything in a pack that [`crate::export`] made: signature, entries, tiles, older checkpoints, leaves, payloads,
/// what the entries tell, and that nothing is there of which the signed head does not speak, but for the `README`.
///
/// `verifier_key` is the line that [`crate::Log::verifier_key`] gave, `older` are signed checkpoints that the auditor has
/// kept, as files. With the keys of subjects the commitments are checked too; without them, the sealed bytes.
pub fn pack(
    place: &Path,
    verifier_key: &str,
    older: &[&[u8]],
    keys: Option<&SubjectKeys>,
) -> Report {
    whole(Form::Pack, place, verifier_key, older, keys)
}

/// Checks a node's own folder as [`pack`] checks a copy of it. A node writes ahead of its signed head, so what lies beside
/// or behind what the head covers is only counted, in [`Report::uncovered`].
pub fn log(
    place: &Path,
    verifier_key: &str,
    older: &[&[u8]],
    keys: Option<&SubjectKeys>,
) -> Report {
    let head = || fs::read(place.join(CHECKPOINT)).ok();
    settled(head, || whole(Form::Log, place, verifier_key, older, keys))
}

/// What is found of a log whose node may erase meanwhile: payloads go then that only a newer head accounts for. So what is wrong
/// is looked at once more where the head has moved.
fn settled(head: impl Fn() -> Option<Vec<u8>>, check: impl Fn() -> Report) -> Report {
    let before = head();
    let report = check();
    if report.is_clean() || head() == before { report } else { check() }
}

/// Checks signature, entries, tiles and older checkpoints, and nothing that the entries say: what any program that knows
/// the format can check. What no head covers is counted, as in [`log`].
pub fn tree(place: &Path, verifier_key: &str, older: &[&[u8]]) -> Report {
    let mut report = Report::default();
    if let Some(heads) = tree::read_heads(place, verifier_key, older, &mut report) {
        tree::check(place, Form::Log, &heads, &mut report, |_, _, _, _| ());
    }
    report.sort();
    report
}

/// What a folder is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A node's own, which may be growing.
    Log,
    /// A copy of what one signed head covers.
    Pack,
}

fn whole(
    form: Form,
    place: &Path,
    verifier_key: &str,
    older: &[&[u8]],
    keys: Option<&SubjectKeys>,
) -> Report {
    let mut report = Report::of(form == Form::Pack);
    let Some(heads) = tree::read_heads(place, verifier_key, older, &mut report) else {
        return report;
    };
    let payloads = payloads::Payloads::new(place, form, heads.signed.size);
    report.ask(Level::Payloads);
    report.ask(Level::Meaning);
    let mut meaning = meaning::Meaning::new(payloads, &heads.signed.origin, keys);
    tree::check(place, form, &heads, &mut report, |index, hash, bytes, report| {
        meaning.see(index, hash, bytes, report);
    });
    meaning.finish(&mut report);
    report.forget_false_stamps();
    report.sort();
    report
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often it is looked, where the first look finds something or not, and the head moves or not.
    fn looks(finds: bool, moves: bool) -> usize {
        let (looks, heads) = (Cell::new(0), Cell::new(0));
        let head = || {
            heads.set(heads.get() + usize::from(moves));
            Some(vec![heads.get() as u8])
        };
        let check = || {
            looks.set(looks.get() + 1);
            let mut report = Report::default();
            if finds && looks.get() == 1 {
                report.find(
                    Level::Payloads,
                    Class::Integrity,
                    Place::Entry(0),
                    "its payload is gone",
                );
            }
            report
        };
        assert_eq!(settled(head, check).is_clean(), !finds || moves);
        looks.get()
    }

    #[test]
    fn what_is_wrong_under_a_head_that_has_moved_is_looked_at_again() {
        assert_eq!(looks(true, true), 2);
        assert_eq!(looks(true, false), 1);
        assert_eq!(looks(false, true), 1);
    }
}
