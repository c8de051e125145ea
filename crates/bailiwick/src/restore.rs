//! Going on with an installation that was brought back from a backup older than what its ledger has signed.

use std::{path::PathBuf, sync::Arc};

use ledger::{KnownHead, Loss, OpenError, Restore, RestoreError};
use model::EntryId;

use crate::{
    client::now,
    config::Config,
    failure::{Exit, Failure, Result, TELL_US},
    files, keys, random,
};

/// The longest reason, in bytes.
const MAX_REASON: usize = 1024;

/// What whoever restores knows.
pub(crate) struct Known {
    /// Signed heads that others have kept.
    pub(crate) heads: Vec<PathBuf>,
    /// Whether something is missing although nobody has a head that shows it.
    pub(crate) is_certain: bool,
    pub(crate) reason: String,
}

/// What came of it.
pub(crate) struct Restored {
    pub(crate) kept: u64,
    pub(crate) lost: Option<KnownHead>,
    pub(crate) verifier_key: String,
}

/// Records what is lost, and has the ledger go on under another name. Blocks.
pub(crate) fn restore(config: &Config, known: &Known) -> Result<Restored> {
    if known.reason.trim().is_empty() || known.reason.len() > MAX_REASON {
        return Err(Failure::new("reason_invalid", "a restore has a reason")
            .why(format!(
                "it is recorded for whoever reads the ledger later, in 1 to {MAX_REASON} bytes"
            ))
            .next("say why with `--reason TEXT`")
            .exit(Exit::Usage));
    }
    let heads = known.heads.iter().map(|file| files::read(file)).collect::<Result<Vec<_>>>()?;
    let master = keys::master(&config.master_key, &config.keys_dir())?;
    let checkpoint = keys::load(&master, &config.keys_dir())?.checkpoint;
    let subjects = Arc::new(keys::subjects(&config.subject_keys, master)?);
    let at = now();
    let id = EntryId::compose(at, config.realm.node, u64::from_le_bytes(random::bytes()?));
    let loss = Loss { heads: &heads, is_certain: known.is_certain, id, at };
    let ledger_keys = ledger::Keys { checkpoint, subjects };
    let restore =
        Restore::begin(config.ledger(), ledger_keys, &loss).map_err(|error| failure(&error))?;
    let (kept, lost) = (restore.kept(), restore.lost().cloned());
    let verifier_key = restore.verifier_key();
    keys::put_verifier_line(&config.keys_dir(), &verifier_key)?;
    let why = serde_json::json!({ "reason": scrub::text(&known.reason), "user": rustix::process::getuid().as_raw() });
    restore.finish(why.to_string().as_bytes()).map_err(|error| failure(&error))?;
    Ok(Restored { kept, lost, verifier_key })
}

fn failure(error: &RestoreError) -> Failure {
    let failed = Failure::new("not_restored", "the ledger was not restored").because(error);
    match error {
        RestoreError::NotNeeded(_) => failed
            .next("start the node; if it has lost entries all the same, name a head that shows it with `--head FILE`, or say `--unknown` where nobody has one")
            .exit(Exit::Conflict),
        RestoreError::Forked(_) => failed
            .next("bring back the whole data folder of one backup; what is there now never was this ledger"),
        RestoreError::Head { .. } => failed
            .next("name files with signed heads of this ledger, as `ledger export` writes them (`checkpoint`)")
            .exit(Exit::Usage),
        RestoreError::NoLog => {
            failed.next("bring back the data folder from a backup first").exit(Exit::NotFound)
        }
        RestoreError::Open(OpenError::InUse(_)) => {
            failed.next("stop the node, and restore then").exit(Exit::Conflict)
        }
        RestoreError::Open(_) => failed.next(
            "bring back the whole data folder of one backup, with its keys; `bailiwick verify` says what is damaged",
        ),
        RestoreError::Append(_) | RestoreError::Close(_) => {
            failed.next("see that there is room on the disk, and run it again: it goes on where it was")
        }
        RestoreError::Seal(_) => failed.next(TELL_US),
    }
}
