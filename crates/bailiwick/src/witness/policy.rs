//! Whom a ledger, or an auditor, trusts to witness.

use std::path::Path;

use ledger::TlogPolicy;

use crate::{
    failure::{Exit, Failure, Result},
    files,
};

/// Reads a policy for witnesses.
pub(crate) fn read_policy(file: &Path) -> Result<TlogPolicy> {
    TlogPolicy::parse(&files::read(file)?).map_err(|error| {
        Failure::new("policy_invalid", format!("`{}` is no policy for witnesses", file.display()))
            .because(&error)
            .next("correct it; `docs/ledger.md` shows one")
            .exit(Exit::Usage)
    })
}
