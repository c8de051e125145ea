//! `ledger chain`.

use clap::Args;
use model::TaskId;
use serde_json::Value;

use super::show::behind;
use crate::{
    chain::{Entry, Tree},
    cli::show::{self, People},
    client::{Client, Context},
    failure::{Failure, Result},
    output::Answer,
};

/// Show the course of a task as a tree: who asked, what was decided, done and changed, and how it ended.
#[derive(Args)]
pub(crate) struct ShowChain {
    #[command(flatten)]
    context: Context,
    task: TaskId,
    /// Open the prompt, too. That is recorded.
    #[arg(long)]
    payload: bool,
}

impl ShowChain {
    pub(super) async fn run(self) -> Result<Answer> {
        let mut client = Client::sign_in(&self.context).await?;
        let mut document = client.get(&format!("/v1/ledger/chain/{}", self.task)).await?;
        let documents = document["entries"].take();
        let entries: Vec<Entry> = serde_json::from_value(documents.clone()).map_err(|error| {
            Failure::new("answer_unreadable", "the server shows entries in an unknown form")
                .because(&error)
                .next("use a program of the server's version")
        })?;
        let opening = entries.iter().find(|entry| entry.leaf.kind == "task");
        let prompt = match opening.filter(|_| self.payload) {
            Some(opening) => {
                let path = format!("/v1/ledger/entries/{}?payload=true", opening.index);
                client.get(&path).await?["payload"].take()
            }
            None => Value::Null,
        };
        let tree = Tree::of(&entries);
        let people = People::of(&document);
        let said = prompt["content"]["prompt"].as_str().or_else(|| prompt["reason"].as_str());
        let mut text = tree.drawing(said, &|id| people.handle(id.to_owned()));
        if document["cut"] == true {
            text += &format!(
                "\n\nolder entries are left out; all of them: bailiwick ledger show --task {}",
                self.task
            );
        }
        text += &behind(&document);
        let documents = show::rows(&documents).to_vec();
        if let Value::Object(members) = &mut document {
            members.remove("entries");
            members.insert("tree".to_owned(), tree.document(&documents));
            if !prompt.is_null() {
                members.insert("payload".to_owned(), prompt);
            }
        }
        Ok(Answer::new(document, text))
    }
}
