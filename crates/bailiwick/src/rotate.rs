//! Another master key: everything that the former one wraps is wrapped anew. Whatever of it is done stays done, so a rotation
//! that was cut is finished by starting it again.

use std::sync::Arc;

use ledger::{Files, HandOverError, OpenError};
use model::EntryId;
use token::MasterKey;

use crate::{
    client::now,
    config::{Config, Held, MasterRef},
    failure::{Exit, Failure, Result},
    files, keys,
    kms::{Kms as _, Token},
    random,
};

/// What was wrapped anew.
pub(crate) struct Rotated {
    /// How many of the node's own keys.
    pub(crate) keys: u64,
    /// How many keys of subjects.
    pub(crate) subjects: u64,
}

/// Wraps all keys by the master key at `to`, which is drawn where `to` is a file that is not there.
pub(crate) fn rotate(config: &Config, to: &MasterRef) -> Result<Rotated> {
    // A link, or another way to write a path, is no other place.
    let real = |place: &MasterRef| place.file().map(files::real);
    let is_same_file = to.file().is_some() && real(to) == real(&config.master_key);
    if *to == config.master_key || is_same_file && to.held == config.master_key.held {
        return Err(in_use(to));
    }
    // Held until the end: a node that runs would go on with the former one.
    let _lock = Files::take(&config.ledger_dir()).map_err(|error| {
        Failure::new("node_running", "the master key is replaced while no node runs")
            .because(&error)
            .next("stop the node, rotate, set `data.master_key`, and start it again")
            .exit(Exit::Conflict)
    })?;
    let former = keys::master(&config.master_key, &config.keys_dir())?;
    let new = found_or_drawn(config, to)?;
    // A copy of it would pass for a rotation, and the former key be destroyed.
    if new.to_base64() == former.to_base64() {
        return Err(in_use(to));
    }
    let keys = keys::rewrap(&config.keys_dir(), &former, &new)?;
    let subjects = keys::rewrap_subjects(&config.subject_keys, former, new)?;
    // With its token it opens what old copies hold, and a way back to that token would take it for the key there.
    if let Held::Token(key) = &config.master_key.held {
        files::remove(&key.wrapped_in(&config.keys_dir()))?;
    }
    Ok(Rotated { keys, subjects })
}

/// Has another key sign the ledger's heads beside the present one, which signs for it first; gives what checks the new one's
/// signatures. What was cut goes on where it was. Blocks.
pub(crate) fn rotate_checkpoint(config: &Config) -> Result<String> {
    let dir = config.keys_dir();
    if let (true, false) = keys::passing(&dir) {
        return Err(Failure::new("overlap_not_over", "two checkpoint keys sign already")
            .why("a third would leave whoever holds only the first behind")
            .next("once auditors and witnesses have the newer key line, run `bailiwick keys retire-checkpoint`")
            .exit(Exit::Conflict));
    }
    let master = keys::master(&config.master_key, &dir)?;
    let checkpoint = keys::load(&master, &dir)?.checkpoint;
    let subjects = Arc::new(keys::subjects(&config.subject_keys, master.clone())?);
    let next = keys::next_checkpoint(&master, &dir)?;
    let at = now();
    let id = EntryId::compose(at, config.realm.node, u64::from_le_bytes(random::bytes()?));
    let ledger_keys = ledger::Keys { checkpoint, subjects };
    let line = ledger::hand_over(config.ledger(), ledger_keys, next, (id, at));
    let line = line.map_err(|error| {
        let failed = Failure::new("not_rotated", "the checkpoint key stays what it is").because(&error);
        match error {
            HandOverError::Open(OpenError::InUse(_)) => {
                failed.next("stop the node, rotate, and start it again").exit(Exit::Conflict)
            }
            _ => failed.next("see that the ledger opens (`bailiwick verify`) and that there is room, then rotate again: what is done stays done"),
        }
    })?;
    keys::take_next_checkpoint(&master, &dir, &line)?;
    Ok(line)
}

/// Destroys the former checkpoint key.
pub(crate) fn retire_checkpoint(config: &Config) -> Result<()> {
    let dir = config.keys_dir();
    let _lock = taken(config)?;
    match keys::passing(&dir) {
        (true, false) => keys::forget_former_checkpoint(&dir),
        (_, true) => Err(Failure::new(
            "rotation_not_over",
            "a rotation of the checkpoint key was begun and is not over",
        )
        .why("the newer key has not taken its place")
        .next("run `bailiwick keys rotate-checkpoint` again first")
        .exit(Exit::Conflict)),
        (false, false) => Err(Failure::new("no_former_key", "only one checkpoint key signs")
            .why("there is no former one to destroy")
            .next("`bailiwick keys rotate-checkpoint` has another one sign")
            .exit(Exit::Conflict)),
    }
}

/// The ledger's folder, which no node has meanwhile.
fn taken(config: &Config) -> Result<Files> {
    Files::take(&config.ledger_dir()).map_err(|error| {
        Failure::new("node_running", "keys are replaced while no node runs")
            .because(&error)
            .next("stop the node, run it again, and start the node")
            .exit(Exit::Conflict)
    })
}

fn in_use(to: &MasterRef) -> Failure {
    Failure::new("same_master_key", format!("`{to}` is the master key in use"))
        .why("a key that may be known has to be replaced by another one")
        .next("name another place with `--to file:PATH`, `--to env:NAME`, `--to passphrase:file:PATH` or `--to pkcs11:…`")
        .exit(Exit::Usage)
}

fn found_or_drawn(config: &Config, to: &MasterRef) -> Result<MasterKey> {
    let found = || keys::master(to, &config.keys_dir());
    if to.file().is_some_and(|path| files::real(path).starts_with(files::real(&config.data))) {
        return Err(Failure::new(
            "master_key_inside",
            "the master key, and what opens it, must lie outside the data folder",
        )
        .why("whoever gets a copy of the data would get the key that opens it")
        .next("choose another place with `--to file:PATH`"));
    }
    if let Held::Token(key) = &to.held {
        let wrapped = key.wrapped_in(&config.keys_dir());
        if wrapped.symlink_metadata().is_err() {
            let drawn = keys::new_master()?.to_base64();
            let sealed = Token::new(key, to.place.read()?).wrap(&drawn)?;
            // Durable before anything is wrapped by it.
            files::write_new_secret(&wrapped, &sealed)?;
        }
        return found();
    }
    let Some(path) = to.file() else { return found() };
    if to.held == Held::Key && path.symlink_metadata().is_err() {
        let drawn = keys::new_master()?;
        // Durable before anything is wrapped by it.
        files::write_new_secret(path, &[drawn.to_base64().expose(), b"\n"].concat())?;
    }
    found()
}
