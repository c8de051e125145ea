//! What legal holds keep under keys that are not of whom they name: what an agent does is sealed under the key of the person for
//! whom it does it, and so is a task.

use std::collections::{BTreeSet, HashMap};

use ledger::{Entry, Log, ReadError};

use crate::subject::Subject;

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
    for entry in log.entries(0) {
        let entry = entry?;
        let Some(mark) = &entry.leaf.payload else { continue };
        if let Some(subject) = of_entry(&entry).find(|subject| held.contains(subject)) {
            kept.insert(mark.key.clone(), subject);
        }
    }
    Ok(kept)
}

/// Whose an entry is, besides the person's.
fn of_entry(entry: &Entry) -> impl Iterator<Item = Subject> {
    let agent = entry.leaf.agent.as_ref().map(|agent| Subject::Identity(agent.id.clone()));
    agent.into_iter().chain(entry.leaf.task.map(Subject::Task))
}
