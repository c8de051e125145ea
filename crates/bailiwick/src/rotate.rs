//! Another master key: everything that the former one wraps is wrapped anew. Whatever of it is done stays done, so a rotation
//! that was cut is finished by starting it again.

use ledger::Files;
use token::MasterKey;

use crate::{
    config::{Config, MasterRef},
    failure::{Exit, Failure, Result},
    files, keys,
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
    if *to == config.master_key
        || is_same_file && to.is_passphrase == config.master_key.is_passphrase
    {
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
    Ok(Rotated { keys, subjects })
}

fn in_use(to: &MasterRef) -> Failure {
    Failure::new("same_master_key", format!("`{to}` is the master key in use"))
        .why("a key that may be known has to be replaced by another one")
        .next("name another place with `--to file:PATH`, `--to env:NAME` or `--to passphrase:file:PATH`")
        .exit(Exit::Usage)
}

fn found_or_drawn(config: &Config, to: &MasterRef) -> Result<MasterKey> {
    let found = || keys::master(to, &config.keys_dir());
    let Some(path) = to.file() else { return found() };
    if files::real(path).starts_with(files::real(&config.data)) {
        return Err(Failure::new(
            "master_key_inside",
            "the master key must lie outside the data folder",
        )
        .why("whoever gets a copy of the data would get the key that opens it")
        .next("choose another place with `--to file:PATH`"));
    }
    if !to.is_passphrase && path.symlink_metadata().is_err() {
        let drawn = keys::new_master()?;
        // Durable before anything is wrapped by it.
        files::write_new_secret(path, &[drawn.to_base64().expose(), b"\n"].concat())?;
    }
    found()
}
