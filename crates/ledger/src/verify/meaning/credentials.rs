//! Credentials: whoever acts does so by a token that was issued to them, for these delegations and this task, and a token adds
//! one delegation at most to what it was issued on.

use std::collections::HashMap;

use model::{Digest, IdentityId, LinkId, TaskId, ijson::Json};

use super::{Seen, Wrong, actions::permits, incorrect};
use crate::leaf::Leaf;

#[derive(Default)]
pub(super) struct Credentials {
    tokens: HashMap<Digest, Token>,
    /// What opened a task, by its hash.
    openings: HashMap<Digest, TaskId>,
}

/// What a token was issued for, and to whom.
struct Token {
    chain: Box<[LinkId]>,
    task: Option<TaskId>,
    person: Option<IdentityId>,
    agent: Option<IdentityId>,
}

impl Credentials {
    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        let (leaf, hash) = (seen.leaf, seen.hash);
        // What an entry follows from that is not there is a finding already; whether that would have covered it is unknown.
        let judged = match leaf.kind.as_str() {
            _ if !seen.rooted => Ok(()),
            "token" => self.issued(seen),
            "decision" if permits(leaf) => self.used(seen),
            _ => Ok(()),
        };
        match (leaf.kind.as_str(), leaf.task) {
            ("token", task) => {
                let chain = leaf.chain.clone().into_boxed_slice();
                let (person, agent) = (leaf.person.clone(), acting(leaf).cloned());
                self.tokens.insert(hash, Token { chain, task, person, agent });
            }
            ("task", Some(task)) => {
                self.openings.insert(hash, task);
            }
            _ => {}
        }
        judged.map_err(incorrect)
    }

    /// A permit follows from a token of the same delegations and the same task, for the same person and of who acts.
    fn used(&self, seen: &Seen<'_>) -> Result<(), &'static str> {
        let leaf = seen.leaf;
        let covers = |token: &Token| {
            *token.chain == *leaf.chain
                && token.task == leaf.task
                && token.person == leaf.person
                && token.agent.as_ref() == acting(leaf)
        };
        match self.parents(seen).any(covers) {
            true => Ok(()),
            false => Err("it permits what no token that it follows from was issued for"),
        }
    }

    /// A token adds one delegation of its own to those of the token that it was bought with, in the same task, or begins with
    /// its own: a person's session, or a task that was opened.
    fn issued(&self, seen: &Seen<'_>) -> Result<(), &'static str> {
        let leaf = seen.leaf;
        let Some((own, above)) = leaf.chain.split_last() else {
            return Err("it is a token of no delegation");
        };
        let named = leaf.body.member("link").and_then(Json::as_str);
        if named.and_then(|link| link.parse().ok()) != Some(*own) {
            return Err("the delegation that it adds is not the last of its chain");
        }
        let widens = |token: &Token| *token.chain == *above && token.task == leaf.task;
        let opens = |parent| self.openings.get(parent).copied() == leaf.task;
        let covered = match (above, leaf.task) {
            ([], None) => true,
            ([], Some(_)) => leaf.parents.iter().any(opens),
            _ => self.parents(seen).any(widens),
        };
        if covered { Ok(()) } else { Err("it is a token for more than it was issued on") }
    }

    fn parents(&self, seen: &Seen<'_>) -> impl Iterator<Item = &Token> {
        seen.leaf.parents.iter().filter_map(|parent| self.tokens.get(parent))
    }
}

/// The agent that acts, where it is no person.
fn acting(leaf: &Leaf) -> Option<&IdentityId> {
    leaf.agent.as_ref().map(|agent| &agent.id)
}
