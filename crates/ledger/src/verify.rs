//! Checking a log from outside: offline, from its files and the key that an auditor already holds.
//!
//! It trusts nothing that lies beside the entries: the checkpoint's signature, every entry, **every tile**, every leaf and
//! every payload is checked, and a finding names the file or entry that is wrong. The key never comes from what is checked.
//!
//! Three questions have three answers. *Integrity*: are these the bytes that were signed? *Completeness*: is something
//! missing that they speak of? *Correctness*: do they tell of a course of events that may not be?

mod meaning;
mod report;
mod tree;

use std::path::Path;

use crate::payload::PayloadKey;

pub use report::{Class, Finding, OpenAction, Place, Report};

/// Checks everything: signature, entries, tiles, older checkpoints, leaves, payloads, and what the entries tell.
///
/// `place` is a log's folder or an exported pack, `verifier_key` the line that [`crate::Log::verifier_key`] gave, `older`
/// signed checkpoints that the auditor has kept, as files. With the payload key the commitments are checked too; without
/// it, the sealed bytes.
pub fn log(
    place: &Path,
    verifier_key: &str,
    older: &[&[u8]],
    payload_key: Option<&PayloadKey>,
) -> Report {
    let mut report = Report::default();
    let Some(heads) = tree::read_heads(place, verifier_key, older, &mut report) else {
        return report;
    };
    let org = heads.signed.origin.split('/').next().unwrap_or_default().to_owned();
    let mut meaning = meaning::Meaning::new(place, org, payload_key);
    tree::check(place, &heads, &mut report, |index, hash, bytes, report| {
        meaning.see(index, hash, bytes, report);
    });
    meaning.finish(&mut report);
    report.sort();
    report
}

/// Checks signature, entries, tiles and older checkpoints, and nothing that the entries say: what any program that knows
/// the format can check.
pub fn tree(place: &Path, verifier_key: &str, older: &[&[u8]]) -> Report {
    let mut report = Report::default();
    if let Some(heads) = tree::read_heads(place, verifier_key, older, &mut report) {
        tree::check(place, &heads, &mut report, |_, _, _, _| ());
    }
    report.sort();
    report
}
