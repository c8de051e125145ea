use clap::Subcommand;
use serde_json::json;

use super::ConfigArgs;
use crate::{
    config::{self, MasterRef},
    failure::Result,
    output::{Answer, fields},
    rotate::rotate,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Wrap all keys by another master key, offline. What was cut goes on where it was when it is started again.
    Rotate {
        /// `file:PATH`, which is drawn where it is not there, `env:NAME`, or `passphrase:` and a place.
        #[arg(long, value_name = "PLACE")]
        to: MasterRef,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Answer> {
        let Self::Rotate { to, config: ConfigArgs { config, set } } = self;
        let to = to.below(&std::env::current_dir().unwrap_or_default());
        let config = config::load(&config, &set)?;
        let rotated = rotate(&config, &to)?;
        let text = fields([
            ("keys", format!("{} wrapped anew", rotated.keys)),
            ("of subjects", format!("{} wrapped anew", rotated.subjects)),
            (
                "next",
                format!(
                    "set `data.master_key` to `{to}`, start the node, then destroy the former master key and every copy of it"
                ),
            ),
        ]);
        let document = json!({
            "keys": rotated.keys,
            "subject_keys": rotated.subjects,
            "master_key": to.to_string(),
        });
        Ok(Answer::new(document, text))
    }
}
