//! The program `bailiwick`: command line, configuration, wiring, the demo and its sample upstream.
//!
//! Never here: rules. What may happen is decided below; this only asks and shows.

mod again;
mod agent;
mod chain;
mod cli;
mod client;
mod config;
mod connect;
mod demo;
mod desk;
mod enroll;
mod failure;
mod files;
mod init;
mod input;
mod keys;
mod moment;
mod output;
mod passphrase;
mod proving;
mod random;
mod restore;
mod rotate;
mod serve;
mod told;
mod toml_input;
mod trace;
mod usage;
mod witness;

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::end(&error) as u8),
    };
    trace::start(cli.log);
    let form = cli.form();
    let ended = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(cli.run());
            // Whatever still runs has been told to stop; nobody waits for it any longer.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(failure::Failure::new("no_runtime", "no threads can be started")
            .because(&error)
            .next("raise the limit on processes of this user (`ulimit -u`)")),
    };
    ExitCode::from(output::finish(ended, form) as u8)
}
