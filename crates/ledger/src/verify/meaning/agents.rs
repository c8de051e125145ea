//! Agents: the log of one that is retired ends once, its end counts the entries in which it acts, and it acts in none behind it.

use std::collections::HashMap;

use model::{IdentityId, ijson::Json};

use super::{
    Seen, Wrong,
    actions::permits,
    incorrect,
    tasks::{Counts, Miscount, unexplained},
};
use crate::leaf::Leaf;

#[derive(Default)]
pub(super) struct Agents {
    known: HashMap<IdentityId, Agent>,
    /// Ends whose count is not what was there, with their entry.
    miscounted: Vec<(u64, Miscount)>,
}

#[derive(Default)]
struct Agent {
    counts: Counts,
    /// The entry that closed its log.
    closed: Option<u64>,
}

impl Agents {
    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        let Seen { index, leaf, .. } = *seen;
        if leaf.kind == "agent_end" {
            return self.close(index, leaf);
        }
        if let Some(agent) = &leaf.agent {
            self.known.entry(agent.id.clone()).or_default().counts.add(leaf);
        }
        // What was refused to it, or ends what it had begun, may come behind its end.
        let acts = permits(leaf) || leaf.kind == "token";
        let acting = leaf.agent.as_ref().filter(|_| acts).map(|agent| &agent.id);
        match acting.and_then(|agent| Some((agent, self.known.get(agent)?.closed?))) {
            Some((agent, by)) => {
                Err(incorrect(format!("entry {by} had closed the log of `{agent}`")))
            }
            None => Ok(()),
        }
    }

    fn close(&mut self, index: u64, leaf: &Leaf) -> Result<(), Wrong> {
        let agent = named(&leaf.body).ok_or_else(|| incorrect("it closes the log of no agent"))?;
        let known = self.known.entry(agent).or_default();
        if let Some(before) = known.closed.replace(index) {
            return Err(incorrect(format!(
                "entry {before} had closed the log of its agent already"
            )));
        }
        let mut there = known.counts;
        there.spent = 0;
        match Counts::said(&leaf.body, &there) {
            None => return Err(incorrect("it does not count the entries of its agent")),
            Some(said) if said != there => {
                self.miscounted.push((index, Miscount { there, said }));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Ends whose counts do not fit, where that is not explained by so many entries that the log says it lost.
    pub(super) fn miscounted(&mut self, lost: u64) -> Vec<(u64, Wrong)> {
        let wrong = std::mem::take(&mut self.miscounted);
        unexplained(wrong, lost).map(|(at, wrong)| (at, wrong.told("agent"))).collect()
    }
}

/// The agent that a body names.
fn named(body: &Json) -> Option<IdentityId> {
    body.member("agent")?.as_str()?.parse().ok()
}
