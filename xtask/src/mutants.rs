//! `cargo xtask mutants`: the ledger's verifier is changed in one place after the other, and a test has to fail each time.
//! A check that no test would miss is none.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// The tests that have tampered with ledgers; others take long and say nothing of the verifier.
const CORPUS: &str = "test(/^(alone|levels|meaning|tamper|tampering|tiles|witnessed)::/)";

/// Tries all changes, or one part of them of equal size. Needs `cargo-mutants`.
pub(crate) fn run(root: &Path, options: &[&str]) -> anyhow::Result<()> {
    let shard = match options {
        [] => None,
        ["--shard", part] => Some(*part),
        _ => bail!("mutants knows `--shard K/N` and nothing else"),
    };
    let mut mutants = crate::cargo(root);
    mutants.args(["mutants", "--package", "ledger", "--jobs", "1", "--timeout", "300"]);
    mutants.args(["--file", "crates/ledger/src/verify.rs"]);
    mutants.args(["--file", "crates/ledger/src/verify/**"]);
    mutants.args(["--output", "target", "--test-tool", "nextest"]);
    mutants.args(shard.map(|part| ["--shard", part]).into_iter().flatten());
    mutants.args(["--", "-E", CORPUS]);
    let ran = mutants.status().context("cannot run cargo")?;
    ensure!(
        ran.success(),
        "changes that no test noticed stand in `target/mutants.out/missed.txt`; if nothing ran, install the program: \
         `cargo install --locked cargo-mutants`"
    );
    println!("mutants: every change of the verifier is noticed by a test");
    Ok(())
}
