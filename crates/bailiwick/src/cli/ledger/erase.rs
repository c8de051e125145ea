//! `ledger erase` and `ledger hold`.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    cli::show,
    client::{Client, Context},
    failure::Result,
    output::{Answer, fields},
};

/// Whose payloads, and why.
#[derive(Args)]
pub(crate) struct Subject {
    #[command(flatten)]
    context: Context,
    /// `agent/NAME`, a person by handle or pseudonym, or `handle/NAME` of somebody who was never enrolled; to be held, also `task/ID`.
    #[arg(long, value_name = "ID")]
    subject: String,
    /// Why, and on which legal basis; kept in the record, sealed.
    #[arg(long)]
    reason: String,
}

#[derive(Subcommand)]
pub(crate) enum Hold {
    /// Keep what is sealed for somebody from being erased.
    Add(Subject),
    /// Let it be erased again. Needs a second person.
    Remove(Subject),
    /// The holds in force.
    List(Context),
}

impl Subject {
    pub(super) async fn erase(self) -> Result<Answer> {
        let document = self.post("/v1/ledger/erasures").await?;
        let keys = document["keys"].as_array().map_or(0, Vec::len);
        let text = fields([
            ("erased", show::cell(&document, "subject")),
            ("entry", show::cell(&document, "entry")),
            ("keys", format!("{keys} destroyed")),
            ("payloads", format!("{} written over", show::cell(&document, "payloads"))),
        ]);
        Ok(Answer::new(document, text))
    }

    async fn post(self, path: &str) -> Result<serde_json::Value> {
        let body = json!({ "subject": self.subject, "reason": self.reason });
        Client::sign_in(&self.context).await?.post(path, body).await
    }
}

impl Hold {
    pub(super) async fn run(self) -> Result<Answer> {
        let said = |document: serde_json::Value, what: &str| {
            let text = format!("{} {what}", show::cell(&document, "subject"));
            Answer::new(document, text)
        };
        match self {
            Self::Add(subject) => {
                let document = subject.post("/v1/ledger/holds").await?;
                Ok(said(document, "is under a legal hold: nothing of it is erased"))
            }
            Self::Remove(subject) => {
                let document = subject.post("/v1/ledger/holds/lift").await?;
                Ok(said(document, "is under no legal hold any more"))
            }
            Self::List(context) => {
                let document = Client::sign_in(&context).await?.get("/v1/ledger/holds").await?;
                let columns = [("SUBJECT", "subject"), ("REASON", "reason"), ("BY", "by")];
                let text = show::table(&document, &columns);
                Ok(Answer::new(document, text))
            }
        }
    }
}
