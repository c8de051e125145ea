//! Tasks: each is opened once and ends once, and its end counts the entries that the log holds of it.

use std::collections::HashMap;

use model::{Digest, Money, TaskId, ijson::Json};

use super::{
    super::report::{Class, OpenTask},
    Seen, Wrong,
    actions::permits,
    incorrect,
};
use crate::leaf::Leaf;

#[derive(Default)]
pub(super) struct Tasks {
    known: HashMap<TaskId, Task>,
    /// Ends whose count is not what was there, with their entry.
    miscounted: Vec<(u64, Miscount)>,
}

struct Task {
    opened: u64,
    hash: Digest,
    counts: Counts,
    /// The entry that closed it; also where its opening lapsed.
    closed: Option<u64>,
}

/// The entries of a task or an agent, as its end counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    entries: u64,
    permits: u64,
    refusals: u64,
    outcomes: u64,
    tokens: u64,
    /// What its outcomes say that was spent, in minor units.
    pub(super) spent: u64,
}

/// What an end says, where that is not what was there.
pub(super) struct Miscount {
    pub(super) there: Counts,
    pub(super) said: Counts,
}

impl Tasks {
    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        let Seen { index, hash, leaf, .. } = *seen;
        let Some(id) = leaf.task else {
            return match leaf.kind.as_str() {
                "task" | "task_end" | "parked" | "unparked" => Err(incorrect("it names no task")),
                _ => Ok(()),
            };
        };
        if leaf.kind == "task" {
            let counts = Counts { entries: 1, ..Counts::default() };
            let task = Task { opened: index, hash, counts, closed: None };
            return match self.known.insert(id, task) {
                None => Ok(()),
                Some(before) => {
                    let what = format!("its task was opened by entry {} already", before.opened);
                    Err(incorrect(what))
                }
            };
        }
        let Some(task) = self.known.get_mut(&id) else {
            return Err(incorrect("it is of a task that was not opened before"));
        };
        match leaf.kind.as_str() {
            "task_end" => {
                if let Some(before) = task.closed.replace(index) {
                    let what = format!("its task was closed by entry {before} already");
                    return Err(incorrect(what));
                }
                if !leaf.parents.contains(&task.hash) {
                    let what =
                        format!("it does not name entry {}, which opened its task", task.opened);
                    return Err(incorrect(what));
                }
                let there = task.counts;
                let Some(said) = Counts::said(&leaf.body, &there) else {
                    return Err(incorrect("it does not count the entries of its task"));
                };
                if said != there {
                    self.miscounted.push((index, Miscount { there, said }));
                }
            }
            "lapsed" if leaf.parents.contains(&task.hash) => task.closed = Some(index),
            _ => {}
        }
        task.counts.add(leaf);
        Ok(())
    }

    /// Ends whose counts do not fit, where that is not explained by so many entries that the log says it lost.
    pub(super) fn miscounted(&mut self, lost: u64) -> Vec<(u64, Wrong)> {
        let wrong = std::mem::take(&mut self.miscounted);
        unexplained(wrong, lost).map(|(at, wrong)| (at, wrong.told("task"))).collect()
    }

    /// Opened ones without an end, the first first.
    pub(super) fn open(&self) -> Vec<OpenTask> {
        let open = self.known.iter().filter(|(_, task)| task.closed.is_none());
        let open = open.map(|(task, known)| OpenTask { task: *task, index: known.opened });
        let mut open: Vec<OpenTask> = open.collect();
        open.sort_unstable_by_key(|open| open.index);
        open
    }
}

impl Counts {
    pub(super) fn add(&mut self, leaf: &Leaf) {
        self.entries += 1;
        match leaf.kind.as_str() {
            "decision" if permits(leaf) => self.permits += 1,
            "decision" => self.refusals += 1,
            "outcome" => {
                self.outcomes += 1;
                self.spent = self.spent.saturating_add(spent(&leaf.body).unwrap_or(0));
            }
            "token" => self.tokens += 1,
            _ => {}
        }
    }

    /// What the body of an end says; `None` where it counts nothing. Money is counted only in tasks that have a budget.
    pub(super) fn said(body: &Json, there: &Self) -> Option<Self> {
        let count = |member| {
            let count = body.member(member).and_then(Json::as_integer);
            count.and_then(|count| u64::try_from(count).ok())
        };
        Some(Self {
            entries: count("entries")?,
            permits: count("permits")?,
            refusals: count("refusals")?,
            outcomes: count("outcomes")?,
            tokens: count("tokens")?,
            spent: spent(body).unwrap_or(there.spent),
        })
    }
}

fn spent(body: &Json) -> Option<u64> {
    let spent: Money = serde_json::from_value(body.member("spent")?.to_value()).ok()?;
    Some(spent.minor_units())
}

/// Those that are not explained by so many entries that the log says it lost. What one of them lacks explains no other.
pub(super) fn unexplained(
    wrong: Vec<(u64, Miscount)>,
    mut lost: u64,
) -> impl Iterator<Item = (u64, Miscount)> {
    wrong.into_iter().filter(move |(_, wrong)| match wrong.explained(lost) {
        Some(rest) => {
            lost = rest;
            false
        }
        None => true,
    })
}

impl Miscount {
    /// What of the lost entries is left where nothing is missing but what is recorded without being waited for, and no more of it
    /// than was lost.
    fn explained(&self, lost: u64) -> Option<u64> {
        let Self { there, said } = self;
        let missing = |of: fn(&Counts) -> u64| of(said).checked_sub(of(there));
        let (Some(entries), Some(refusals), Some(outcomes), Some(spent)) = (
            missing(|it| it.entries),
            missing(|it| it.refusals),
            missing(|it| it.outcomes),
            missing(|it| it.spent),
        ) else {
            return None;
        };
        let is_noted = said.permits == there.permits
            && said.tokens == there.tokens
            && (spent == 0 || outcomes > 0)
            && refusals.saturating_add(outcomes) <= entries;
        lost.checked_sub(entries).filter(|_| is_noted)
    }

    pub(super) fn told(&self, of: &str) -> Wrong {
        let Self { there, said } = self;
        let rows = [
            ("entries", said.entries, there.entries),
            ("permits", said.permits, there.permits),
            ("refusals", said.refusals, there.refusals),
            ("outcomes", said.outcomes, there.outcomes),
            ("tokens", said.tokens, there.tokens),
            ("money", said.spent, there.spent),
        ];
        let (name, said, there) =
            rows.into_iter().find(|(_, said, there)| said != there).unwrap_or(rows[0]);
        let what =
            format!("of its {of} it counts {name}: {said}, and this log holds {there} before it");
        (if said > there { Class::Completeness } else { Class::Correctness }, what)
    }
}
