//! What a check found, in words for people and as a document for programs: the same from every program that checks.

use std::fmt;

use model::Foreign;
use serde_json::{Value, json};

use super::report::{Class, Level, Report, Stamped, Verdict};
use crate::anchor;

const LEVELS: [Level; 5] =
    [Level::Signature, Level::Tree, Level::History, Level::Payloads, Level::Meaning];
const CLASSES: [Class; 3] = [Class::Integrity, Class::Completeness, Class::Correctness];

impl Report {
    /// What must not be concluded from it, whatever it says.
    pub fn does_not_say(&self) -> Vec<String> {
        let Some(signed) = &self.checkpoint else { return Vec::new() };
        let witnessed = self.witnessed.as_ref().map_or(0, |head| head.checkpoint.size);
        let held = witnessed.max(self.held);
        let mut lines = vec![
            "that the log's node told the truth when it wrote an entry, or wrote each".to_owned(),
        ];
        if held < signed.size {
            let from = if held == 0 { String::new() } else { format!(" from entry {held} on") };
            lines.push(format!(
                "that this is the history{from} that others were shown: whoever has the log's key can sign another one. A head \
                 that you kept (`--older`) or witnesses whom you trust (`--policy`) show that"
            ));
        }
        if witnessed > 0 {
            lines.push(
                "that the witnesses are independent of each other, and of whoever runs the log"
                    .to_owned(),
            );
        }
        if let Some(Stamped { file, .. }) = self.stamped.last() {
            let token = anchor::timestamp_of(file);
            lines.push(format!(
                "that an authority gave these timestamps: that is checked with its certificate, by `openssl ts -verify -data {file} \
                 -in {token} -CAfile CERTIFICATE` in this folder"
            ));
        }
        if self.commitments < self.payloads {
            lines.push(format!(
                "what {} payloads hold: without their key only the sealed bytes were compared",
                self.payloads - self.commitments
            ));
        }
        lines
    }

    /// The same for programs.
    pub fn document(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "level": finding.level.number(),
                "class": finding.class.to_string(),
                "place": finding.place.to_string(),
                "what": finding.what,
            })
        });
        let levels =
            LEVELS.map(|level| (level.name().to_owned(), json!(self.verdict(level).answer())));
        let mut document = json!({
            "verified": self.is_clean(),
            "size": self.checkpoint.as_ref().map(|head| head.size),
            "root": self.checkpoint.as_ref().map(|head| head.root),
            "successor": self.successor.as_ref().map(ToString::to_string),
            "entries": self.entries,
            "tiles": self.tiles,
            "payloads": self.payloads,
            "commitments": self.commitments,
            "erased": self.erased,
            "erasures": self.erasures.iter().map(|erasure| json!({ "entry": erasure.index, "expired": erasure.expired, "payloads": erasure.payloads })).collect::<Vec<_>>(),
            "uncovered": self.uncovered,
            "witnessed": self.witnessed.as_ref().map(|witnessed| json!({
                "size": witnessed.checkpoint.size,
                "by": witnessed.by.iter().map(|(name, at)| json!({ "name": name, "at": at.millis() })).collect::<Vec<_>>(),
            })),
            "stamped": self.stamped.iter().map(|head| json!({ "size": head.size, "at": head.at.millis(), "file": head.file })).collect::<Vec<_>>(),
            "unanchored": self.unanchored().map(|tail| json!({ "from": tail.start(), "to": tail.end() })),
            "levels": levels.into_iter().collect::<serde_json::Map<_, _>>(),
            "open": self.open.iter().map(|open| json!({ "action": open.action, "index": open.index })).collect::<Vec<_>>(),
            "open_tasks": self.open_tasks.iter().map(|open| json!({ "task": open.task, "index": open.index })).collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(|gap| json!({
                "index": gap.index, "lost": gap.lost, "from": gap.from.millis(), "to": gap.to.millis(),
            })).collect::<Vec<_>>(),
            "truncations": self.truncations.iter().map(|cut| json!({
                "index": cut.index, "kept": cut.kept, "name": cut.name, "lost_to": cut.lost_to,
            })).collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
            "further": self.further,
            "does_not_say": self.does_not_say(),
        });
        for class in CLASSES {
            document[class.to_string()] = json!(self.answer(class));
        }
        document
    }

    /// Whether a question is answered with yes; `None` where it was never asked, because no head could be accepted.
    fn answer(&self, class: Class) -> Option<bool> {
        let asked = self.checkpoint.is_some() || !self.holds(class);
        asked.then(|| self.holds(class))
    }

    /// What a level looked at.
    fn looked_at(&self, level: Level) -> String {
        match (level, &self.checkpoint) {
            (_, None) => String::new(),
            (Level::Signature, Some(head)) => format!("{} entries, root {}", head.size, head.root),
            (Level::Tree, _) => format!("{} entries, {} tiles", self.entries, self.tiles),
            (Level::History, _) if self.verdict(level) == Verdict::NotChecked => {
                "there is no older head to compare with".to_owned()
            }
            (Level::History | Level::Meaning, _) => String::new(),
            (Level::Payloads, _) => {
                format!("{} sealed, {} commitments opened", self.payloads, self.commitments)
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_clean() { "VERIFIED" } else { "NOT VERIFIED" })?;
        for level in LEVELS {
            let (verdict, seen) = (self.verdict(level), self.looked_at(level));
            let colon = if seen.is_empty() { "" } else { ": " };
            write!(f, "\n  {} {:13} {verdict}{colon}{seen}", level.number(), level.name())?;
        }
        for class in CLASSES {
            let verdict = match self.answer(class) {
                Some(true) => "holds",
                Some(false) => "FAILS",
                None => "not checked: without a signed head there is nothing to check against",
            };
            write!(f, "\n  {:15} {verdict}", class.to_string())?;
        }
        if let Some(key) = &self.successor {
            write!(f, "\n  signed by `{key}`, to which the given key leads")?;
        }
        if let Some(witnessed) = &self.witnessed {
            let who: Vec<String> =
                witnessed.by.iter().map(|(name, at)| format!("`{name}` at {at}")).collect();
            let size = witnessed.checkpoint.size;
            write!(f, "\n  witnessed: {size} entries, by {}", who.join(", "))?;
        }
        // Of a pack it is a finding, and stands among these.
        if let (Some(tail), false) = (self.unwitnessed(), self.is_pack) {
            write!(f, "\n  not witnessed: entries {} to {}", tail.start(), tail.end())?;
        }
        if let [older @ .., newest] = &self.stamped[..] {
            write!(
                f,
                "\n  stamped: {} entries, at {} by the token's own word",
                newest.size, newest.at
            )?;
            if let Some(first) = older.first() {
                let count = older.len();
                write!(
                    f,
                    "; {count} older heads, the first of {} entries at {}",
                    first.size, first.at
                )?;
            }
        }
        if let Some(tail) = self.unanchored() {
            let (from, to) = (tail.start(), tail.end());
            write!(
                f,
                "\n  not anchored: entries {from} to {to}, of which no witnessed or stamped head speaks"
            )?;
        }
        if self.uncovered > 0 {
            write!(f, "\n  beside: {} files that no signed head covers", self.uncovered)?;
        }
        for erasure in &self.erasures {
            let (index, payloads) = (erasure.index, erasure.payloads);
            let gone = if erasure.expired { "expired" } else { "erased" };
            write!(f, "\n  {gone} by entry {index}: {payloads} payloads")?;
        }
        for open in &self.open {
            let (index, action) = (open.index, open.action);
            write!(f, "\n  open: entry {index} permitted {action}, and no outcome is recorded")?;
        }
        for open in &self.open_tasks {
            let (index, task) = (open.index, open.task);
            write!(f, "\n  open: entry {index} opened task {task}, and no end is recorded")?;
        }
        for gap in &self.gaps {
            let (index, lost, from, to) = (gap.index, gap.lost, gap.from, gap.to);
            write!(
                f,
                "\n  gap: entry {index} says that {lost} entries from {from} to {to} are missing"
            )?;
        }
        for finding in &self.findings {
            write!(f, "\n  {}", Foreign::new(finding.to_string()))?;
        }
        if self.further > 0 {
            write!(f, "\n  and {} more", self.further)?;
        }
        for line in self.does_not_say() {
            write!(f, "\n  does not say: {line}")?;
        }
        Ok(())
    }
}

impl Level {
    /// From 1, in the order in which each stands on those before it.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Tree => "tree",
            Self::History => "history",
            Self::Payloads => "payloads",
            Self::Meaning => "meaning",
        }
    }
}

impl Verdict {
    const fn answer(self) -> Option<bool> {
        match self {
            Self::Holds => Some(true),
            Self::Fails => Some(false),
            Self::NotChecked => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Fails => "FAILS",
            Self::NotChecked => "not checked",
        })
    }
}
