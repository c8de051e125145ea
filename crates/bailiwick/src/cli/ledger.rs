mod at;
mod chain;
mod erase;
mod export;
mod place;
mod proof;
mod recompute;
mod show;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::{failure::Result, output::Answer};
use at::At;
pub(super) use at::standing;
use chain::ShowChain;
use erase::{Hold, Subject};
use place::Place;
use proof::{Prove, VerifyProof};
use recompute::Recompute;
use show::Show;
pub(super) use show::behind;
pub(crate) use verify::Verify;
pub(super) use verify::given_key;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show entries, from the server: the newest first, or those that fit all that is said.
    Show(Box<Show>),
    /// Show the course of a task as a tree: who asked, what was decided, done and changed, and how it ended.
    Chain(ShowChain),
    /// Show governance as it was at a moment: every object with what it held then. That is recorded.
    At(At),
    /// Make decisions of the past again, from the ledger alone; exit status 3 where one comes out otherwise.
    Recompute(Recompute),
    /// Check a ledger or a pack, offline; exit status 3 where something is wrong.
    Verify(Verify),
    /// Copy the published ledger into a folder for an auditor, offline.
    Export {
        /// An empty or new folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// As far as the log has signed, not only as far as its witnesses have cosigned.
        #[arg(long)]
        unwitnessed: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Write what proves one entry to somebody who has its bytes and the ledger's key (C2SP tlog-proof).
    Proof(Prove),
    /// Check such a proof, offline; exit status 3 where it does not hold.
    VerifyProof(VerifyProof),
    /// Destroy the keys of everything that is sealed for a person or an agent. Needs a second person; nobody brings it back.
    Erase(Subject),
    /// Legal holds: who is not erased.
    #[command(subcommand)]
    Hold(Hold),
    /// Print the key that checks the ledger's signatures, offline. Give it to auditors by another way than the pack.
    Key {
        #[command(flatten)]
        place: Place,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Answer> {
        match self {
            Self::Show(show) => show.run().await,
            Self::Chain(chain) => chain.run().await,
            Self::At(at) => at.run().await,
            Self::Recompute(recompute) => recompute.run().await,
            Self::Verify(verify) => verify.run(),
            Self::Export { out, unwitnessed, place } => export::export(&place, &out, unwitnessed),
            Self::Proof(prove) => prove.run().await,
            Self::VerifyProof(verify) => verify.run(),
            Self::Erase(subject) => subject.erase().await,
            Self::Hold(hold) => hold.run().await,
            Self::Key { place } => {
                let key = place.key()?;
                Ok(Answer::new(json!({ "key": &key }), key))
            }
        }
    }
}
