//! One task as a tree: each entry under the one that it follows from, by the leaf hashes that the entries name.

use std::collections::{BTreeMap, HashMap};

use ledger::Leaf;
use model::{Digest, Foreign};

use super::{
    record::{Entry, text},
    tell::{Teller, wrapped},
};

/// Where the ledger's index of an entry stands in its line.
const INDEX: usize = 86;

/// Draws everything that follows from the opening of a task; the teller knows who is who.
pub(super) fn tree(entries: &[Entry], opening: &Entry, prompt: &str, teller: &Teller) -> String {
    let mut below: HashMap<Digest, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        for parent in &entry.leaf.parents {
            below.entry(*parent).or_default().push(entry);
        }
    }
    let drawing = Drawing { below, answered: answered(entries), teller };
    let prompt = wrapped(&format!("“{}”", Foreign::new(prompt)), INDEX - PROMPT.len());
    let margins = std::iter::once(PROMPT).chain(std::iter::repeat("  │         "));
    let mut lines: Vec<String> =
        margins.zip(prompt).map(|(margin, line)| format!("{margin}{line}")).collect();
    drawing.draw(opening, "  ", true, &mut lines);
    lines.join("\n")
}

/// How the first line begins.
const PROMPT: &str = "  prompt    ";

struct Drawing<'e> {
    below: HashMap<Digest, Vec<&'e Entry>>,
    /// The last entry about each request for approval.
    answered: BTreeMap<String, u64>,
    teller: &'e Teller,
}

impl Drawing<'_> {
    fn draw(&self, entry: &Entry, margin: &str, last: bool, lines: &mut Vec<String>) {
        let line =
            format!("{margin}{} {}", if last { "└─" } else { "├─" }, self.words(&entry.leaf));
        let gap = INDEX.saturating_sub(line.chars().count());
        lines.push(format!("{line}{:gap$}  #{}", "", entry.index));
        let margin = format!("{margin}{}", if last { "   " } else { "│  " });
        let children = self.below.get(&entry.hash).map(Vec::as_slice).unwrap_or_default();
        for (at, child) in children.iter().enumerate() {
            self.draw(child, &margin, at + 1 == children.len(), lines);
        }
    }

    /// An entry in a few words.
    fn words(&self, leaf: &Leaf) -> String {
        let text = |member: &str| {
            text(leaf, member).map(|text| Foreign::new(text).to_string()).unwrap_or_default()
        };
        let agent =
            leaf.agent.as_ref().map(|agent| agent.id.name().to_string()).unwrap_or_default();
        let person =
            leaf.person.as_ref().map(|id| self.teller.name(&id.to_string())).unwrap_or_default();
        match leaf.kind.as_str() {
            "task" => {
                let agent = text("agent");
                let agent = agent.trim_start_matches("agent/");
                format!("task      {person} asks {agent} for help, purpose {}", text("purpose"))
            }
            "token" => match text("use_as").as_str() {
                "task" => format!("token     {person} hands the task over"),
                "hand_over" => format!("exchange  {agent} hands a narrower part on"),
                _ => format!("exchange  {agent} acts for {person}"),
            },
            "decision" => {
                let verdict = leaf.verdict.as_deref().unwrap_or("undecided");
                let code = format!(" ({})", text("code"));
                let approval = leaf.approval.and_then(|id| self.answered.get(&id.to_string()));
                let approval = approval.filter(|_| verdict == "permit");
                let approval =
                    approval.map(|at| format!(", approved in #{at}")).unwrap_or_default();
                let code = if verdict == "deny" { code } else { String::new() };
                format!("{verdict:<9} {agent}: {}{code}{approval}", text("tool"))
            }
            "outcome" => format!("outcome   {}", text("status")),
            "governance" => format!("asked     for {} {}", text("object"), text("key")),
            kind => kind.to_owned(),
        }
    }
}

fn answered(entries: &[Entry]) -> BTreeMap<String, u64> {
    let about =
        entries.iter().filter(|entry| text(&entry.leaf, "object").as_deref() == Some("approval"));
    about.filter_map(|entry| Some((text(&entry.leaf, "key")?, entry.index))).collect()
}
