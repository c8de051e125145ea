use clap::Subcommand;
use serde_json::json;

use super::ConfigArgs;
use crate::{
    config::{self, MasterRef},
    failure::{Failure, Result, TELL_US},
    output::{Answer, fields},
    rotate::{retire_checkpoint, rotate},
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
    /// Have another key sign the ledger's heads, too, offline. The ledger says so first, under the key before it.
    RotateCheckpoint {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Destroy the former checkpoint key, offline: only the newer one signs from then on.
    RetireCheckpoint {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Answer> {
        match self {
            Self::Rotate { to, config } => rotate_master(to, &config),
            Self::RotateCheckpoint { config } => rotate_checkpoint(&config).await,
            Self::RetireCheckpoint { config } => {
                retire_checkpoint(&config::load(&config.config, &config.set)?)?;
                let text =
                    "the former checkpoint key is destroyed; destroy its copies in backups, too";
                Ok(Answer::new(json!({}), text))
            }
        }
    }
}

async fn rotate_checkpoint(ConfigArgs { config, set }: &ConfigArgs) -> Result<Answer> {
    let config = config::load(config, set)?;
    let rotated = tokio::task::spawn_blocking(move || crate::rotate::rotate_checkpoint(&config));
    let line = rotated.await.map_err(|error| {
        Failure::new("not_rotated", "the rotation did not come to its end")
            .because(&error)
            .next(TELL_US)
    })??;
    let text = fields([
        ("key", line.clone()),
        ("next", "start the node; give the new key line to auditors and witnesses, then end the overlap with `keys retire-checkpoint`".to_owned()),
    ]);
    Ok(Answer::new(json!({ "key": line }), text))
}

fn rotate_master(to: MasterRef, ConfigArgs { config, set }: &ConfigArgs) -> Result<Answer> {
    let to = to.below(&std::env::current_dir().unwrap_or_default());
    let config = config::load(config, set)?;
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
