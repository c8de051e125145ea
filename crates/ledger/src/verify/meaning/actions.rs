//! Actions: each is permitted once, and ends once, after its permit.

use std::collections::{HashMap, HashSet};

use model::{ActionId, Digest};

use super::{super::report::OpenAction, Seen, Wrong, incorrect};
use crate::leaf::Leaf;

#[derive(Default)]
pub(super) struct Actions {
    known: HashMap<ActionId, Action>,
    permits: HashSet<Digest>,
}

/// What is known of one action.
#[derive(Default)]
struct Action {
    permitted: Option<(u64, Digest)>,
    /// Whether an agent is to dispatch it. What a person decides for themself is done with the decision.
    dispatched: bool,
    ended: Option<u64>,
    /// What else was given in its course, such as a token, and with which entry it lapsed.
    given: Vec<(Digest, Option<u64>)>,
}

/// Whether a leaf permits something.
pub(super) fn permits(leaf: &Leaf) -> bool {
    leaf.kind == "decision" && leaf.verdict.as_deref() == Some("permit")
}

impl Actions {
    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        let Seen { index, hash, leaf, rooted } = *seen;
        if permits(leaf) {
            self.permits.insert(hash);
        }
        if leaf.kind == "input"
            && rooted
            && !leaf.parents.iter().any(|it| self.permits.contains(it))
        {
            return Err(incorrect("it is an answer to a call that was not permitted"));
        }
        let Some(action) = leaf.action else { return Ok(()) };
        self.known.entry(action).or_default().see(index, hash, leaf).map_err(incorrect)
    }

    /// Permitted ones without an outcome, the first first.
    pub(super) fn open(&self) -> Vec<OpenAction> {
        let open = self.known.iter().filter_map(|(action, known)| match known.permitted {
            Some((index, _)) if known.dispatched && known.ended.is_none() => {
                Some(OpenAction { action: *action, index })
            }
            _ => None,
        });
        let mut open: Vec<OpenAction> = open.collect();
        open.sort_unstable_by_key(|open| open.index);
        open
    }
}

impl Action {
    /// One permit at most, and an end at most, and the end follows from the permit. What else is given may lapse, once.
    fn see(&mut self, index: u64, hash: Digest, leaf: &Leaf) -> Result<(), String> {
        match leaf.kind.as_str() {
            "decision" if permits(leaf) => {
                if let Some((before, _)) = self.permitted {
                    return Err(format!("its action was permitted by entry {before} already"));
                }
                self.permitted = Some((index, hash));
                self.dispatched = leaf.agent.is_some();
            }
            end @ ("outcome" | "lapsed") => {
                let mut given = self.given.iter_mut();
                let lapses = given.find(|(given, _)| leaf.parents.contains(given));
                if let Some((_, ended)) = lapses.filter(|_| end == "lapsed") {
                    return match ended.replace(index) {
                        None => Ok(()),
                        Some(before) => {
                            Err(format!("its parent had lapsed with entry {before} already"))
                        }
                    };
                }
                if let Some(before) = self.ended.replace(index) {
                    return Err(format!("its action had ended with entry {before} already"));
                }
                match self.permitted {
                    None => return Err(format!("{end} of an action that was not permitted")),
                    Some((permit, permit_hash)) if !leaf.parents.contains(&permit_hash) => {
                        return Err(format!("it does not name entry {permit}, its permit"));
                    }
                    Some(_) => {}
                }
            }
            "decision" => {}
            _ => self.given.push((hash, None)),
        }
        Ok(())
    }
}
