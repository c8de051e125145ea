//! A new installation: configuration, master key, data folder, wrapped keys. Nothing is ever overwritten.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use model::Realm;

use crate::{
    config,
    failure::{Exit, Failure, Result},
    files, keys,
};

/// What a new installation is like.
pub(crate) struct Wish {
    pub(crate) dir: PathBuf,
    pub(crate) realm: Realm,
    pub(crate) server: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) ops: SocketAddr,
    /// Another database than SQLite in the data folder.
    pub(crate) database: Option<String>,
    /// Another place for the master key than beside the configuration.
    pub(crate) master_key: Option<PathBuf>,
}

/// What was made.
pub(crate) struct Made {
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) master_key: PathBuf,
    /// Checks the ledger's signatures.
    pub(crate) verifier_key: String,
}

/// Makes an installation.
pub(crate) fn init(wish: &Wish) -> Result<Made> {
    files::make_private_dir(&wish.dir)?;
    let dir = wish.dir.canonicalize().unwrap_or_else(|_| wish.dir.clone());
    let (file, data) = (dir.join("bailiwick.toml"), dir.join("data"));
    let master_key = match &wish.master_key {
        None => dir.join("master.key"),
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
    };
    if files::real(&master_key).starts_with(&data) {
        return Err(Failure::new(
            "master_key_inside",
            "the master key must lie outside the data folder",
        )
        .why("whoever gets a copy of the data would get the key that opens it")
        .next("choose another place with `--master-key FILE`"));
    }
    for path in [&file, &data, &master_key] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                "already_initialized",
                format!("`{}` is there already", path.display()),
            )
            .why("an installation is never overwritten: its keys and its record would be lost")
            .next("choose another folder, or remove this one yourself")
            .exit(Exit::Conflict));
        }
    }
    let text = text(wish, &dir, &master_key)?;
    let master = keys::new_master()?;
    files::write_new_secret(&master_key, &[master.to_base64().expose(), b"\n"].concat())?;
    files::make_private_dir(&data)?;
    let verifier_key = keys::create(&master, &data.join("keys"), &config::origin(&wish.realm))?;
    keys::create_subjects(&data.join(config::SUBJECT_KEYS), master)?;
    // Last: a configuration that is there names an installation that is whole.
    files::write_new(&file, text.as_bytes())?;
    Ok(Made { config: file, data, master_key, verifier_key })
}

fn text(wish: &Wish, dir: &Path, master_key: &Path) -> Result<String> {
    let Realm { org, environment, node } = &wish.realm;
    let place = master_key.strip_prefix(dir).unwrap_or(master_key);
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let place = place.to_str().ok_or_else(|| {
        Failure::new("path_not_text", "the master key's place cannot be written down")
            .why("the configuration can only name paths that are UTF-8")
            .next("choose another place with `--master-key FILE`")
    })?;
    let database = wish
        .database
        .as_ref()
        .map_or(String::new(), |database| format!("database = {}\n", quote(database)));
    let master_key = quote(&format!("file:{place}"));
    let Wish { server, gateway, ops, .. } = wish;
    Ok(format!(
        "# Bailiwick. `bailiwick config explain` lists every setting with its value and where it comes from.\n\
         # Behind a proxy that speaks TLS, set `public_url` below [server] and [gateway].\n\n\
         [realm]\norg = \"{org}\"\nenvironment = \"{environment}\"\nnode = {node}\n\n\
         [data]\ndir = \"data\"\n{database}master_key = {master_key}\n\n\
         [server]\nlisten = \"{server}\"\n\n\
         [gateway]\nlisten = \"{gateway}\"\n\n\
         [ops]\nlisten = \"{ops}\"\n"
    ))
}
