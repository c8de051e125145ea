//! `cargo xtask faults`: the ledger's writer is killed, its system calls fail and its disks are simulated, more often than
//! `./test` has time for.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// How often the writer is killed.
const KILLS: u64 = 10_000;
/// How many seeds are lived on simulated disks.
const SEEDS: u64 = 100_000;

/// Lives so many seeds, then kills the writer so many times, a quarter as often on a disk that forgets, and fails each of its
/// system calls in turn. Needs `strace` and `/dev/fuse`.
pub(crate) fn run(root: &Path, options: &[&str]) -> anyhow::Result<()> {
    let (mut kills, mut seeds) = (KILLS, SEEDS);
    for option in options.chunks(2) {
        let (count, number) = match *option {
            ["--kills", number] => (&mut kills, number),
            ["--seeds", number] => (&mut seeds, number),
            _ => bail!("faults knows `--kills N` and `--seeds N`, and nothing else"),
        };
        *count = number.parse().with_context(|| format!("`{}` wants a whole number", option[0]))?;
    }
    // Lives are computed, and the optimized program computes ten times as many; the writer waits for the disk.
    let lives: &[&str] = &["--release", "--lib", "simulated::", "--", "--nocapture"];
    for (part, more, often) in [
        (lives, "LEDGER_SEEDS", seeds),
        // All of the package: the writer is one of its examples.
        (&["dying::", "--", "--nocapture"], "LEDGER_KILLS", kills),
    ] {
        let mut tests = crate::cargo(root);
        tests.args(["test", "--locked", "--package", "ledger"]).args(part);
        tests.env(more, often.to_string()).env("LEDGER_EVERY", "1");
        tests.env("LEDGER_FORGETS", (kills / 4).to_string());
        let ran = tests.status().context("cannot run cargo")?;
        ensure!(ran.success(), "the ledger has lost something: see above");
    }
    println!(
        "faults: {seeds} seeds, {kills} kills, {} with a disk that forgets, and every system call that could fail: no loss",
        kills / 4
    );
    Ok(())
}
