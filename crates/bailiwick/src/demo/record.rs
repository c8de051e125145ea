//! The ledger, read in an administrator's session: where a step stands, and what a task left behind.

use std::time::Duration;

use ledger::Leaf;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{ODD, RERUN, node::LOOK};
use crate::{
    chain::Entry,
    client::{Client, Context},
    failure::{Failure, Result},
};

/// How long an entry may take to be there: refusals do not wait for their record.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most entries in one answer.
const PAGE: usize = 1000;

/// A session that reads, and how far it has read.
pub(super) struct Record {
    client: Client,
    seen: u64,
}

impl Record {
    /// Signs in.
    pub(super) async fn open(context: &Context) -> Result<Self> {
        Ok(Self { client: Client::sign_in(context).await?, seen: 0 })
    }

    /// The next entry that fits, behind everything found before; `None` when it does not come.
    pub(super) async fn next(&mut self, fits: impl Fn(&Leaf) -> bool) -> Result<Option<Entry>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.from(self.seen).await?.into_iter().find(|entry| fits(&entry.leaf));
            if let Some(entry) = found {
                self.seen = entry.index + 1;
                return Ok(Some(entry));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    /// Everything of one task, in order.
    pub(super) async fn chain(&mut self, task: &str) -> Result<Vec<Entry>> {
        read(self.client.get(&format!("/v1/ledger/chain/{task}")).await?)
    }

    /// Opens the sealed payload of an entry. That is recorded, too.
    pub(super) async fn payload(&mut self, index: u64) -> Result<Value> {
        let entry = self.client.get(&format!("/v1/ledger/entries/{index}?payload=true")).await?;
        Ok(entry["payload"]["content"].clone())
    }

    /// Waits until everything that was recorded is signed for; how many entries that are.
    pub(super) async fn signed(&mut self) -> Result<u64> {
        let until = Instant::now() + PATIENCE;
        loop {
            let head = self.client.get("/v1/ledger/key").await?["size"].as_u64();
            let last = self.client.get("/v1/ledger/entries?limit=1").await?["size"].as_u64();
            match head {
                Some(head) if Some(head) == last => return Ok(head),
                _ if Instant::now() >= until => {
                    let what = "the ledger's newest entries are not signed for";
                    return Err(Failure::new("demo_failed", what).why(ODD).next(RERUN));
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    async fn from(&mut self, index: u64) -> Result<Vec<Entry>> {
        read(self.client.get(&format!("/v1/ledger/entries?from={index}&limit={PAGE}")).await?)
    }
}

fn read(mut page: Value) -> Result<Vec<Entry>> {
    serde_json::from_value(page["entries"].take()).map_err(|error| {
        Failure::new("demo_failed", "the server shows entries in an unknown form")
            .because(&error)
            .next(RERUN)
    })
}

/// Whether an entry is this decision on an act of governance by this person.
pub(super) fn is_act(leaf: &Leaf, person: &str, verb: &str, verdict: &str) -> bool {
    let by = leaf.person.as_ref().is_some_and(|by| by.to_string() == person);
    let decided = leaf.kind == "decision" && leaf.verdict.as_deref() == Some(verdict);
    decided && by && leaf.agent.is_none() && verb_of(leaf).as_deref() == Some(verb)
}

fn verb_of(leaf: &Leaf) -> Option<String> {
    leaf.body.to_value()["effects"][0]["verb"].as_str().map(str::to_owned)
}
