//! Whom a ledger, or an auditor, trusts to witness.

use std::{io::ErrorKind, path::Path};

use ledger::{HeadFile, TlogPolicy, VerifierKey, Witnessed};

use crate::{
    client::now,
    failure::{Exit, Failure, Result, chain},
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

/// The head that a ledger keeps for its witnesses, as the policy counts it now; the error says why it counts for nothing.
pub(crate) fn kept_head(
    ledger: &Path,
    key: &VerifierKey,
    policy: &TlogPolicy,
) -> std::result::Result<Witnessed, String> {
    if !policy.wants_witnesses() {
        return Err("by the policy's quorum, `none`, nobody has to witness a head".to_owned());
    }
    let kept = std::fs::read(ledger.join(HeadFile::Witnessed.name()));
    let kept = kept.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "too few of the witnesses have cosigned a head so far".to_owned(),
        _ => chain(&error),
    })?;
    policy.check(key, &kept, now()).map_err(|error| chain(&error))
}
