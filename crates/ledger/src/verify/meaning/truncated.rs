//! Restores from older copies: what was lost is said once, where it happened, under the name that the log has from then on.

use model::ijson::Json;

use super::Seen;
use crate::{
    gap, restore,
    verify::report::{Class, Level, Place, Report, Truncation},
};

/// What the log's name says of restores, and what its entries do.
pub(super) struct Truncated {
    origin: String,
    /// The entry before is a gap, which may come before the one that says what is lost.
    behind_gap: bool,
}

impl Truncated {
    pub(super) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), behind_gap: false }
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let behind_gap = std::mem::replace(&mut self.behind_gap, seen.leaf.kind == gap::KIND);
        if seen.leaf.kind != restore::TRUNCATED {
            return;
        }
        let index = seen.index;
        let mut find = |class, what: String| {
            report.find(Level::Meaning, class, Place::Entry(index), what);
        };
        let Some(cut) = read(seen) else {
            let what = "it says of a restore neither what was kept nor the log's name since";
            return find(Class::Correctness, what.to_owned());
        };
        if index != cut.kept && !(behind_gap && index == cut.kept + 1) {
            let what = format!("it says that {} entries were kept, and is not the next", cut.kept);
            find(Class::Correctness, what);
        }
        let former = report.truncations.last().map_or(0, |last| restore::generation(&last.name));
        let is_next = restore::base(&cut.name) == restore::base(&self.origin)
            && restore::generation(&cut.name) > former;
        let mut find = |class, what: String| {
            report.find(Level::Meaning, class, Place::Entry(index), what);
        };
        if !is_next {
            let what = format!("`{}` is no later name of this log", cut.name);
            find(Class::Correctness, what);
        }
        let lost = match cut.lost_to.filter(|to| *to > cut.kept) {
            Some(to) => format!("entries {} to {} were signed for and are lost", cut.kept, to - 1),
            None => format!("entries from {} on are lost, nobody knows how many", cut.kept),
        };
        find(Class::Completeness, format!("{lost}: the log was restored from an older copy"));
        if report.truncations.len() < super::MAX_LISTED {
            report.truncations.push(cut);
        }
    }

    /// A name that speaks of a restore wants the entry that does.
    pub(super) fn finish(self, report: &mut Report) {
        let last = report.truncations.last().map(|cut| restore::generation(&cut.name));
        if last.unwrap_or(0) != restore::generation(&self.origin) {
            let what = format!("no entry says what was lost when the log became `{}`", self.origin);
            report.find(Level::Meaning, Class::Completeness, Place::Checkpoint, what);
        }
    }
}

fn read(seen: &Seen<'_>) -> Option<Truncation> {
    let body = &seen.leaf.body;
    let size = |json: &Json| json.as_integer().and_then(|size| u64::try_from(size).ok());
    let kept = body.member("kept").and_then(size)?;
    let name = body.member("name").and_then(Json::as_str)?.to_owned();
    let lost_to = match body.member("head") {
        None => None,
        Some(head) => Some(head.member("size").and_then(size)?),
    };
    Some(Truncation { index: seen.index, kept, name, lost_to })
}
