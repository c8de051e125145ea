//! A process that cannot outlive the demo, whatever happens to it.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::{RERUN, program};
use crate::failure::{Failure, Result};

/// Becomes this program with other arguments, after asking the system for its own end when the parent ends.
#[derive(Args)]
pub(super) struct Leash {
    /// Who holds the leash.
    #[arg(long)]
    parent: u32,
    /// What to run.
    #[arg(last = true, required = true)]
    arguments: Vec<OsString>,
}

impl Leash {
    /// Returns only when it failed.
    pub(super) fn run(&self) -> Failure {
        match self.become_it() {
            Ok(never) => never,
            Err(failure) => failure,
        }
    }

    fn become_it(&self) -> Result<Failure> {
        let failed = || Failure::new("leash_failed", "a process of the demo could not be started");
        // The request stays in force across `exec`. SIGTERM lets a node close its ledger.
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| failed().because(&error).next(RERUN))?;
        // A parent that ended before the request would never be missed.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(self.parent) {
            return Err(failed().why("the demo has ended already").next(RERUN));
        }
        let error = Command::new(program::path()?).args(&self.arguments).exec();
        Err(failed().because(&error).next(RERUN))
    }
}
