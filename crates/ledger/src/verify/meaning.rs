//! What the entries say: that each is a leaf of this organization, that its payload is there and is the one it names, and
//! that together they tell a course of events that may be.
//!
//! It knows the words of a leaf and how entries follow from each other. Never here: who may do what.

mod actions;
mod agents;
mod credentials;
mod ended;
mod sealed;
mod tasks;
mod truncated;

use std::collections::HashSet;

use model::{Digest, EntryId, Timestamp, ijson::Json};

use self::{
    actions::Actions, agents::Agents, credentials::Credentials, ended::Ends, sealed::Sealed,
    tasks::Tasks, truncated::Truncated,
};
use super::{
    payloads::Payloads,
    report::{Class, Gap, Level, Place, Report},
};
use crate::{gap, keys::SubjectKeys, leaf::Leaf};

/// The most open actions, open tasks, gaps and erasures that are listed, of each.
const MAX_LISTED: usize = 1000;

pub(super) struct Meaning<'a> {
    org: String,
    payloads: Payloads<'a>,
    sealed: Sealed<'a>,
    ids: HashSet<EntryId>,
    leaves: HashSet<Digest>,
    /// Parents that were not known when they were named, with the entry that names them.
    unknown: Vec<(Digest, u64)>,
    actions: Actions,
    credentials: Credentials,
    ends: Ends,
    tasks: Tasks,
    truncated: Truncated,
    agents: Agents,
    /// How many entries the log says that it lost.
    lost: u64,
}

/// An entry as the rules see it.
struct Seen<'a> {
    index: u64,
    hash: Digest,
    leaf: &'a Leaf,
    /// Whether everything that it follows from is in the log before it.
    rooted: bool,
}

/// What is wrong with an entry.
type Wrong = (Class, String);

fn incorrect(what: impl Into<String>) -> Wrong {
    (Class::Correctness, what.into())
}

impl<'a> Meaning<'a> {
    pub(super) fn new(payloads: Payloads<'a>, origin: &str, keys: Option<&'a SubjectKeys>) -> Self {
        Self {
            org: origin.split('/').next().unwrap_or_default().to_owned(),
            truncated: Truncated::new(origin),
            payloads,
            sealed: Sealed::new(keys),
            ids: HashSet::new(),
            leaves: HashSet::new(),
            unknown: Vec::new(),
            actions: Actions::default(),
            credentials: Credentials::default(),
            ends: Ends::default(),
            tasks: Tasks::default(),
            agents: Agents::default(),
            lost: 0,
        }
    }

    /// Looks at one entry; they come in order.
    pub(super) fn see(&mut self, index: u64, hash: Digest, bytes: &[u8], report: &mut Report) {
        self.leaves.insert(hash);
        // Also of an entry that cannot be read: the next one's record lies behind it.
        let record = self.payloads.record(index, report);
        let wrong = |report: &mut Report, (class, what): Wrong| {
            report.find(Level::Meaning, class, Place::Entry(index), what);
        };
        let leaf = match Leaf::parse(bytes) {
            Ok(leaf) => leaf,
            Err(error) => return wrong(report, incorrect(error.to_string())),
        };
        if leaf.org.as_str() != self.org {
            wrong(report, incorrect(format!("it is of the organization `{}`", leaf.org)));
        }
        if !self.ids.insert(leaf.id) {
            wrong(report, incorrect(format!("another entry has its id `{}`", leaf.id)));
        }
        let before = self.unknown.len();
        let missing = leaf.parents.iter().filter(|parent| !self.leaves.contains(parent));
        self.unknown.extend(missing.map(|parent| (*parent, index)));
        let rooted = self.unknown.len() == before;
        self.sealed.see(index, &leaf, record, report);
        if leaf.kind == gap::KIND {
            self.gap(index, &leaf, report);
        }
        let seen = Seen { index, hash, leaf: &leaf, rooted };
        self.truncated.see(&seen, report);
        let rules = [
            self.credentials.see(&seen),
            self.actions.see(&seen),
            self.tasks.see(&seen),
            self.ends.see(&seen),
            self.agents.see(&seen),
        ];
        for found in rules.into_iter().filter_map(Result::err) {
            wrong(report, found);
        }
    }

    /// What only the end shows: parents that never came, what has no end, and whether counts fit what is there.
    pub(super) fn finish(mut self, report: &mut Report) {
        self.payloads.close(report);
        self.sealed.finish(report);
        self.unknown.retain(|(parent, _)| !self.leaves.contains(parent));
        let gone = self.unknown.iter().map(|(parent, _)| parent).collect::<HashSet<_>>().len();
        // What was lost, by the log's own word, may have been followed by something.
        if gone as u64 > self.lost {
            for (parent, index) in self.unknown {
                let what = format!("its parent {parent} is not in this log");
                report.find(Level::Meaning, Class::Completeness, Place::Entry(index), what);
            }
        }
        report.gaps.truncate(MAX_LISTED);
        self.truncated.finish(report);
        report.open = self.actions.open();
        report.open.truncate(MAX_LISTED);
        let miscounted = self.tasks.miscounted(self.lost).into_iter();
        for (index, (class, what)) in miscounted.chain(self.agents.miscounted(self.lost)) {
            report.find(Level::Meaning, class, Place::Entry(index), what);
        }
        report.open_tasks = self.tasks.open();
        report.open_tasks.truncate(MAX_LISTED);
    }

    fn gap(&mut self, index: u64, leaf: &Leaf, report: &mut Report) {
        let number = |member| leaf.body.member(member).and_then(Json::as_integer);
        let lost = number("n").and_then(|lost| u64::try_from(lost).ok());
        let (Some(lost), Some(from), Some(to)) = (lost, number("from"), number("to")) else {
            let what = "it says of a gap neither how much is missing nor from when to when";
            return report.find(Level::Meaning, Class::Correctness, Place::Entry(index), what);
        };
        self.lost = self.lost.saturating_add(lost);
        let [from, to] = [from, to].map(Timestamp::from_millis);
        report.gaps.push(Gap { index, lost, from, to });
    }
}
