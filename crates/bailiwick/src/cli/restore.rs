use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{ConfigArgs, confirm};
use crate::{
    config,
    failure::{Failure, Result, TELL_US},
    output::{Answer, fields},
    restore::{Known, Restored, restore},
};

/// Go on with a ledger that was brought back from a backup: what is lost is recorded first, and the ledger gets another name.
#[derive(Args)]
pub(crate) struct Restore {
    /// A signed head of the ledger that a witness or an auditor has kept; may be repeated. The newest one says what is lost.
    #[arg(long = "head", value_name = "FILE")]
    heads: Vec<PathBuf>,
    /// Entries are lost, and nobody has a head that says how many.
    #[arg(long)]
    unknown: bool,
    /// Why; it is sealed into the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Restore {
    pub(super) async fn run(self) -> Result<Answer> {
        let config = config::load(&self.config.config, &self.config.set)?;
        confirm(
            self.yes,
            "The ledger goes on under another name, and auditors and witnesses need its new key line. Go on?",
        )?;
        let known = Known { heads: self.heads, is_certain: self.unknown, reason: self.reason };
        let restored = tokio::task::spawn_blocking(move || restore(&config, &known)).await;
        let Restored { kept, lost, verifier_key } = restored.map_err(|error| {
            Failure::new("not_restored", "the restore did not come to its end")
                .because(&error)
                .next(TELL_US)
        })??;
        let range = match &lost {
            Some(head) => {
                format!("entries {kept} to {} of `{}`", head.size.saturating_sub(1), head.name)
            }
            None => format!("entries from {kept} on, nobody knows how many"),
        };
        let text = fields([
            ("kept", format!("{kept} entries")),
            ("lost", range),
            ("key", verifier_key.clone()),
            ("next", "give the key line to auditors and witnesses (`witness add-log`), put it into a policy that lists logs, and start the node".to_owned()),
        ]);
        let document = json!({ "kept": kept, "lost": lost, "key": verifier_key });
        Ok(Answer::new(document, text))
    }
}
