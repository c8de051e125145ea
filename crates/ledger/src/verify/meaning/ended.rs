//! What was taken away: no call leaves on what was stopped, withdrawn, closed or over before its permit was recorded.
//!
//! A permit may still be recorded behind such an end: it was decided before. But it is read again before its call leaves, so
//! it lapses; a call that left nevertheless is the finding.

use std::collections::HashMap;

use model::{ActionId, Digest, IdentityId, LinkId, TaskId, Timestamp, ijson::Json};

use super::{Seen, Wrong, actions::permits, incorrect};
use crate::leaf::Leaf;

/// How an outcome says that its call left, whatever came of it. Of one that is `unknown` it is not known.
const LEFT: [&str; 4] = ["completed", "input_required", "failed", "cut"];

#[derive(Default)]
pub(super) struct Ends {
    /// Stops in force: who ordered each by which entry, and what it halts.
    stops: Vec<Stop>,
    /// Those that an action ended: where that lapses, they go on.
    resumed: HashMap<ActionId, Vec<Stop>>,
    withdrawn: HashMap<LinkId, u64>,
    tasks: HashMap<TaskId, Task>,
    /// When tokens end.
    tokens: HashMap<Digest, Timestamp>,
    /// Who got each delegation.
    holders: HashMap<LinkId, IdentityId>,
    /// Permits whose calls must not leave, and why.
    barred: HashMap<Digest, String>,
}

struct Stop {
    id: String,
    index: u64,
    scope: String,
}

#[derive(Default)]
struct Task {
    deadline: Option<Timestamp>,
    closed: Option<u64>,
}

impl Ends {
    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        let Seen { index, hash, leaf, .. } = *seen;
        let text = |member| leaf.body.member(member).and_then(Json::as_str);
        match leaf.kind.as_str() {
            "token" => {
                self.tokens.extend(moment(leaf, "expires").map(|at| (hash, at)));
                if let (Some(link), Some(agent)) = (leaf.chain.last(), &leaf.agent) {
                    self.holders.insert(*link, agent.id.clone());
                }
            }
            "task" => {
                let deadline = moment(leaf, "deadline");
                self.tasks.extend(leaf.task.map(|task| (task, Task { deadline, closed: None })));
            }
            "task_end" => {
                let task = leaf.task.map(|task| self.tasks.entry(task).or_default());
                task.into_iter().for_each(|task| task.closed = Some(index));
            }
            "revoked" => {
                let Some(Json::Array(links)) = leaf.body.member("links") else { return Ok(()) };
                let links = links.iter().filter_map(|link| link.as_str()?.parse().ok());
                self.withdrawn.extend(links.map(|link| (link, index)));
            }
            "stop" => {
                let stop =
                    |scope: &str| Stop { id: leaf.id.to_string(), index, scope: scope.to_owned() };
                self.stops.extend(text("scope").map(stop));
            }
            "resume" => {
                let is_ended = |stop: &mut Stop| Some(stop.id.as_str()) == text("order");
                let ended = self.stops.extract_if(.., is_ended);
                if let Some(action) = leaf.action {
                    self.resumed.entry(action).or_default().extend(ended);
                }
            }
            "lapsed" => {
                let again = leaf.action.and_then(|action| self.resumed.remove(&action));
                self.stops.extend(again.into_iter().flatten());
            }
            "outcome" if text("status").is_some_and(|status| LEFT.contains(&status)) => {
                let why = leaf.parents.iter().find_map(|parent| self.barred.get(parent));
                return why
                    .map_or(Ok(()), |why| Err(incorrect(format!("its call left, and {why}"))));
            }
            // What a person decides for themself is done with the decision, and nothing leaves behind it.
            "decision" if permits(leaf) && leaf.agent.is_some() => {
                self.barred.extend(self.ended(leaf).map(|why| (hash, why)));
            }
            _ => {}
        }
        Ok(())
    }

    /// What had ended before this was permitted.
    fn ended(&self, leaf: &Leaf) -> Option<String> {
        let stop = self.stops.iter().find(|stop| self.halts(&stop.scope, leaf));
        if let Some(Stop { index, scope, .. }) = stop {
            return Some(format!("entry {index} had stopped `{scope}` before it was permitted"));
        }
        if let Some(by) = leaf.chain.iter().find_map(|link| self.withdrawn.get(link)) {
            return Some(format!("entry {by} had withdrawn a delegation that it was permitted on"));
        }
        let task = leaf.task.and_then(|task| self.tasks.get(&task));
        if let Some(by) = task.and_then(|task| task.closed) {
            return Some(format!("entry {by} had closed its task before it was permitted"));
        }
        let is_over = |end: &Timestamp| *end <= leaf.at;
        if task.and_then(|task| task.deadline).as_ref().is_some_and(is_over) {
            return Some("the time of its task was over before it was permitted".to_owned());
        }
        let mut tokens = leaf.parents.iter().filter_map(|parent| self.tokens.get(parent));
        tokens.any(is_over).then(|| "its token had ended before it was permitted".to_owned())
    }

    /// Whether a stop halts what a leaf is about, as far as a leaf tells: blueprint, owner and model of an agent stand in none.
    fn halts(&self, scope: &str, leaf: &Leaf) -> bool {
        let Some((what, name)) = scope.split_once(':') else { return scope == "all" };
        let is = |id: &IdentityId| id.name().as_str() == name;
        match what {
            "agent" => {
                let above = leaf.chain.iter().filter_map(|link| self.holders.get(link));
                above.chain(leaf.agent.iter().map(|agent| &agent.id)).any(is)
            }
            "system" => leaf.body.member("system").and_then(Json::as_str) == Some(name),
            "task" => leaf.task.is_some_and(|task| task.to_string() == name),
            "delegation" => leaf.chain.iter().any(|link| link.to_string() == name),
            "action" => leaf.action.is_some_and(|action| action.to_string() == name),
            _ => false,
        }
    }
}

fn moment(leaf: &Leaf, member: &str) -> Option<Timestamp> {
    leaf.body.member(member).and_then(Json::as_integer).map(Timestamp::from_millis)
}
