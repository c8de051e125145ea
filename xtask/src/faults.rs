//! `cargo xtask faults`: the ledger's writer is killed and its system calls fail, more often than `./test` has time for.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// How often the writer is killed.
const KILLS: u64 = 10_000;

/// Kills the writer so many times, and fails each of its system calls in turn. Needs `strace`.
pub(crate) fn run(root: &Path, options: &[&str]) -> anyhow::Result<()> {
    let kills = match options {
        [] => KILLS,
        ["--kills", kills] => kills.parse().context("`--kills` wants a whole number")?,
        _ => bail!("faults knows `--kills N` and nothing else"),
    };
    let mut tests = crate::cargo(root);
    tests.args(["test", "--locked", "--package", "ledger", "--test", "it", "dying::"]);
    tests.env("LEDGER_KILLS", kills.to_string()).env("LEDGER_EVERY", "1");
    let ran = tests.status().context("cannot run cargo")?;
    ensure!(ran.success(), "the ledger has lost something: see above");
    println!("faults: {kills} kills, and every system call that could fail, without a loss");
    Ok(())
}
