//! What Bailiwick costs, each figure beside a ceiling that is measured in the same run.
//!
//! `bench [NAME] [--json] [--entries N]` measures `ledger-append`, `ledger-append-slow-disk`, `ledger-verify`, `ledger-export`
//! and `ledger-search` (these three of N entries), `gateway`, `gateway-stream`, `gateway-peers` and `start`, or one of them. What
//! serves during a measurement runs in a process of its own (`bench --role …`), so that the load generator's time is never counted.
//! Machines differ and are shared: read the ratios, not the values.

mod actions;
mod append;
mod clock;
mod export;
mod figure;
mod gateway;
mod http;
mod memory;
mod role;
mod search;
mod start;
mod verify;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use figure::Report;
use mimalloc::MiMalloc;

/// The one that the program has.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A measurement; one of a ledger is told how many entries that has, where somebody says.
type Bench = fn(&mut Report, Option<u64>) -> anyhow::Result<()>;

const BENCHES: [(&str, Bench); 9] = [
    ("ledger-append", |report, _| append::run(report)),
    ("ledger-append-slow-disk", |report, _| append::run_slow(report)),
    ("ledger-verify", verify::run),
    ("ledger-export", export::run),
    ("ledger-search", search::run),
    ("gateway", |report, _| gateway::run(report)),
    ("gateway-stream", |report, _| gateway::run_streams(report)),
    ("gateway-peers", |report, _| gateway::run_peers(report)),
    ("start", |report, _| start::run(report)),
];

fn main() -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let done = match options.as_slice() {
        ["--role", role, argument] => role::play(role, argument),
        options => measure(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            figure::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &[&str]) -> anyhow::Result<()> {
    let (options, entries) = match options.iter().position(|option| *option == "--entries") {
        Some(at) => {
            let entries = options.get(at + 1).and_then(|text| text.parse::<u64>().ok());
            let entries = entries.filter(|entries| *entries > 0);
            let entries = entries.context("`--entries` wants a number above zero")?;
            ([&options[..at], &options[at + 2..]].concat(), Some(entries))
        }
        None => (options.to_vec(), None),
    };
    let (flags, names): (Vec<&str>, Vec<&str>) =
        options.iter().partition(|option| option.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|flag| **flag != "--json") {
        bail!("`{unknown}` is not an option of bench: it knows `--json` and `--entries N`");
    }
    let chosen = match names.as_slice() {
        [] => BENCHES.to_vec(),
        [name] => BENCHES.iter().copied().filter(|(known, _)| known == name).collect(),
        _ => bail!("bench takes one name or none: `{}`", names.join(" ")),
    };
    if chosen.is_empty() {
        let known = BENCHES.map(|(known, _)| known).join("`, `");
        bail!("there is no bench `{}`; there are `{known}`", names.concat());
    }
    let mut report = Report::new(flags.contains(&"--json"));
    for (name, bench) in chosen {
        bench(&mut report, entries).with_context(|| format!("`{name}` could not be measured"))?;
    }
    Ok(())
}
