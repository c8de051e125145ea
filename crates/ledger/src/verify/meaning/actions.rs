//! Actions: each is permitted once, and ends once, after its permit; and what only a permit brings about follows from one.

use std::collections::{HashMap, HashSet};

use model::{ActionId, ApprovalId, Digest, ijson::Json};

use super::{super::report::OpenAction, Seen, Wrong, incorrect};
use crate::leaf::Leaf;

#[derive(Default)]
pub(super) struct Actions {
    known: HashMap<ActionId, Action>,
    permits: HashSet<Digest>,
    /// Approvals that were used, with the action that used each last.
    used: HashMap<ApprovalId, ActionId>,
}

/// What is known of one action.
#[derive(Default)]
struct Action {
    permitted: Option<(u64, Digest)>,
    /// Whether an agent is to dispatch it. What a person decides for themself is done with the decision.
    dispatched: bool,
    ended: Option<u64>,
    /// Whether its end says that nothing came of the permit: what was used for it is free again.
    unused: bool,
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
        if rooted
            && self.needs_permit(leaf)
            && !leaf.parents.iter().any(|it| self.permits.contains(it))
        {
            return Err(incorrect("no entry that it follows from permits it"));
        }
        if permits(leaf) {
            self.permits.insert(hash);
        }
        let Some(action) = leaf.action else {
            return match leaf.kind.as_str() {
                "decision" | "outcome" | "lapsed" | "input" => Err(incorrect("it names no action")),
                _ => Ok(()),
            };
        };
        let approved = match leaf.approval.filter(|_| permits(leaf)) {
            Some(approval) => self.approved(approval, action),
            None => Ok(()),
        };
        self.known
            .entry(action)
            .or_default()
            .see(index, hash, leaf)
            .and(approved)
            .map_err(incorrect)
    }

    /// Whether it is brought about by a decision alone. The first person gets in while there is nobody to decide.
    fn needs_permit(&self, leaf: &Leaf) -> bool {
        let is_decided = !self.permits.is_empty();
        match leaf.kind.as_str() {
            "input" => true,
            "task" | "stop" | "resume" | "unparked" | "searched" | "erasure" => is_decided,
            "governance" => {
                // What the store keeps of a stop stands in an entry of its own.
                let is_stop = leaf.body.member("object").and_then(Json::as_str) == Some("stop");
                let widens = leaf.body.member("widens") == Some(&Json::Bool(true));
                widens && !is_stop && is_decided
            }
            _ => false,
        }
    }

    /// An approval lifts a hold once, unless nothing came of that.
    fn approved(&mut self, approval: ApprovalId, action: ActionId) -> Result<(), String> {
        let before = self.used.insert(approval, action).and_then(|before| self.known.get(&before));
        match before.and_then(|before| before.permitted.filter(|_| !before.unused)) {
            None => Ok(()),
            Some((index, _)) => Err(format!("its approval was used by entry {index} already")),
        }
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
                let status = leaf.body.member("status").and_then(Json::as_str);
                self.unused = end == "lapsed" || status == Some("not_sent");
            }
            "decision" => {}
            _ => self.given.push((hash, None)),
        }
        Ok(())
    }
}
