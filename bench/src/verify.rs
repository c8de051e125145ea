//! `ledger-verify`: checking a ledger from its files, beside bare hashing of its leaves in memory. Both are on one thread.

use std::{hint::black_box, path::Path, time::Duration};

use anyhow::ensure;
use aws_lc_rs::digest::{SHA256, digest};
use ledger::verify::{self, Report as Verified};

use crate::{
    actions::Actions,
    clock::now,
    figure::{Figure, Report, median},
};

/// How many entries are verified when nobody says.
const ENTRIES: u64 = 200_000;
/// How often each side is measured.
const ROUNDS: usize = 5;

/// Verifies levels 1 to 3, and then all five.
pub(crate) fn run(report: &mut Report, entries: Option<u64>) -> anyhow::Result<()> {
    let Actions { folder, key, leaves, .. } = Actions::record(entries.unwrap_or(ENTRIES))?;
    let place = folder.path().join("ledger");
    let older = std::fs::read(place.join("checkpoint"))?;
    let (mut hashed, mut tree, mut whole) = <(Vec<f64>, Vec<f64>, Vec<f64>)>::default();
    for _ in 0..ROUNDS {
        hashed.push(taken(|| {
            for leaf in &leaves {
                black_box(digest(&SHA256, leaf));
            }
        }));
        tree.push(verified(&place, |place| verify::tree(place, &key, &[&older]))?);
        whole.push(verified(&place, |place| verify::log(place, &key, &[&older], None))?);
    }
    let [hashed, tree, whole] = [hashed, tree, whole].map(median);
    let bytes = leaves.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
    let entries = leaves.len() as f64;
    report.add(&Figure::rate("ledger-verify", bytes / tree, "MB/s", bytes / hashed));
    report.add(&Figure::alone("ledger-verify/entries", entries / tree, "1/s"));
    report.add(&Figure::alone("ledger-verify/levels-4-5", entries / (whole - tree), "1/s"));
    report.add(&Figure::alone("ledger-verify/leaf", bytes * 1e6 / entries, "bytes"));
    Ok(())
}

fn verified(place: &Path, verify: impl Fn(&Path) -> Verified) -> anyhow::Result<f64> {
    let mut found = Verified::default();
    let seconds = taken(|| found = verify(place));
    ensure!(found.is_clean(), "the ledger does not verify: {:?}", found.findings.first());
    Ok(seconds)
}

/// How long something takes, in seconds.
fn taken(run: impl FnOnce()) -> f64 {
    let start = now();
    run();
    Duration::as_secs_f64(&start.elapsed())
}
