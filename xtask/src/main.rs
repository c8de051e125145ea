//! All automation of the project, run as `cargo xtask`.
//!
//! Built before everything else, so it must not use a crate of the house and takes few dependencies.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks there"
)]

mod bench;
mod faults;
mod fuzz;
mod mutants;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};

const COMMANDS: &str = "\
cargo xtask COMMAND

  tidy                          check the rules of the house that no compiler checks
  bench [NAME] [--json] [--entries N]
                                build the programs for release and measure them: all, or NAME alone
  fuzz [TARGET] [--minutes N]   let the parsers on the path of a call be fuzzed for 30 minutes, or N altogether
  faults [--kills N] [--seeds N]
                                live 100,000 seeds of the ledger, or N, on simulated disks, kill its writer 10,000 times, or
                                N, a quarter as often on a disk that forgets, and fail each of its system calls
  mutants [--shard K/N]         change the ledger's verifier in each place, or part K of N of them, and see a test fail
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}"); // what went wrong and why, without a trace of the stack
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => print!("{COMMANDS}"),
        ["tidy"] => tidy::run(&root()?)?,
        ["bench", options @ ..] => bench::run(&root()?, options)?,
        ["fuzz", options @ ..] => fuzz::run(&root()?, options)?,
        ["faults", options @ ..] => faults::run(&root()?, options)?,
        ["mutants", options @ ..] => mutants::run(&root()?, options)?,
        unknown => bail!("`{}` is not a command\n\n{COMMANDS}", unknown.join(" ")),
    }
    Ok(())
}

/// The folder of the root manifest. Taken from the environment and not compiled in, because two checkouts may
/// share one target folder.
fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = Path::new(&here).parent().context("xtask stands one folder below the root")?;
    Ok(root.to_path_buf())
}

/// The cargo that runs this program, at the root of the checkout.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}
