//! Where an installation's ledger lies, for the commands that work without its server.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    cli::{ConfigArgs, DEFAULT_CONFIG},
    config::{self, Config},
    failure::{Exit, Failure, Result},
    keys,
    output::word,
};

/// Which installation.
#[derive(Args)]
pub(crate) struct Place {
    /// Its data folder, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Place {
    pub(super) fn data(&self) -> Result<PathBuf> {
        match &self.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.load()?.data),
        }
    }

    pub(super) fn load(&self) -> Result<Config> {
        config::load(&self.config.config, &self.config.set)
    }

    pub(super) fn ledger(&self) -> Result<PathBuf> {
        let folder = self.data()?.join("ledger");
        if folder.join("checkpoint").is_file() {
            return Ok(folder);
        }
        Err(Failure::new("ledger_missing", format!("`{}` holds no ledger", folder.display()))
            .why("there is no signed head, `checkpoint`, in it")
            .next("name the data folder with `--data DIR`; a new installation has one once `serve` has run")
            .exit(Exit::NotFound))
    }

    /// The public line that `init` wrote.
    pub(super) fn key(&self) -> Result<String> {
        keys::verifier_line(&self.data()?.join("keys"))
    }

    /// What was said of the place on the command line, to be said again.
    pub(super) fn said(&self) -> String {
        let Self { data, config: ConfigArgs { config, set } } = self;
        let data = data.iter().map(|data| ("--data", data.display().to_string()));
        let named = Some(config).filter(|config| config.as_path() != Path::new(DEFAULT_CONFIG));
        let config = named.map(|config| ("--config", config.display().to_string()));
        let set = set.iter().map(|set| ("--set", set.clone()));
        let words = data.chain(config).chain(set);
        words.map(|(flag, value)| format!(" {flag} {}", word(&value))).collect()
    }
}
