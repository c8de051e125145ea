//! What legal holds keep under keys that are not of whom they name: what an agent does is sealed under the key of the person for
//! whom it does it, and so is a task.

use std::collections::{BTreeSet, HashMap};

use ledger::{Entry, Leaf, Log, ReadError};
use model::{ApprovalId, ijson::Json};
use store::Governed as _;

use crate::{records::ApprovalRecord, subject::Subject};

/// The names of keys that seal something which a hold keeps, each with whom or what the hold names.
pub(crate) type Kept = HashMap<String, Subject>;

/// Looks for what these holds keep. Reads all entries, where one of the holds is on an agent or a task; blocks.
pub(crate) fn kept(log: &Log, held: &BTreeSet<Subject>) -> Result<Kept, ReadError> {
    let elsewhere = held.iter().any(|subject| match subject {
        Subject::Identity(id) => !id.is_person(),
        Subject::Task(_) => true,
        Subject::Handle(_) => false,
    });
    let mut kept = Kept::new();
    if !elsewhere {
        return Ok(kept);
    }
    let of_held = |entry: &Entry| of_entry(entry).find(|subject| held.contains(subject));
    // What was approved of theirs names neither agent nor task, but the same action or approval, before them or behind.
    let (mut actions, mut approvals) = (HashMap::new(), HashMap::new());
    for entry in log.entries(0) {
        let entry = entry?;
        let Some(subject) = of_held(&entry) else { continue };
        actions.extend(entry.leaf.action.map(|action| (action, subject.clone())));
        approvals.extend(entry.leaf.approval.map(|approval| (approval, subject)));
    }
    for entry in log.entries(0) {
        let entry = entry?;
        let leaf = &entry.leaf;
        let Some(mark) = &leaf.payload else { continue };
        let found = of_held(&entry)
            .or_else(|| actions.get(leaf.action.as_ref()?).cloned())
            .or_else(|| approvals.get(leaf.approval.as_ref()?).cloned())
            .or_else(|| approvals.get(&asked(leaf)?).cloned());
        kept.extend(found.map(|subject| (mark.key.clone(), subject)));
    }
    Ok(kept)
}

/// Whose an entry is, besides the person's.
fn of_entry(entry: &Entry) -> impl Iterator<Item = Subject> {
    let leaf = &entry.leaf;
    let agent = leaf.agent.as_ref().map(|agent| agent.id.clone());
    // Whoever opens a task says for whom; the agent has not acted yet.
    let named = leaf.body.member("agent").and_then(Json::as_str).and_then(|id| id.parse().ok());
    agent.into_iter().chain(named).map(Subject::Identity).chain(leaf.task.map(Subject::Task))
}

/// The request for an approval that an entry of governance is about.
fn asked(leaf: &Leaf) -> Option<ApprovalId> {
    let text = |member| leaf.body.member(member).and_then(Json::as_str);
    text("key").filter(|_| text("object") == Some(ApprovalRecord::KIND))?.parse().ok()
}
