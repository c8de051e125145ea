//! The course of a task as a tree: each entry under the one that it follows from, by the leaf hashes that entries name.

use std::collections::{BTreeMap, HashMap};

use ledger::Leaf;
use model::{Digest, Foreign, Money};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::output::wrapped;

/// Where the ledger's index of an entry stands in its line.
const INDEX: usize = 86;
/// How the first line begins.
const PROMPT: &str = "  prompt    ";
/// How deep a tree is drawn: deeper than any chain of delegations can be. What is deeper hangs at this depth.
const MAX_DEPTH: usize = 64;

/// One entry as the server shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) hash: Digest,
    pub(crate) leaf: Leaf,
}

/// Entries under each other. Each stands once, below the first of those that it names and that are here; an answer to a request
/// for approval, which follows from the session of whoever gave it, below the request.
pub(crate) struct Tree<'e> {
    entries: &'e [Entry],
    roots: Vec<usize>,
    below: Vec<Vec<usize>>,
}

/// Who is who to the reader.
type Names<'n> = &'n dyn Fn(&str) -> String;

impl<'e> Tree<'e> {
    /// Puts entries under each other; they come in the ledger's order.
    pub(crate) fn of(entries: &'e [Entry]) -> Self {
        let mut places: HashMap<Digest, usize> = HashMap::new();
        let mut requests: HashMap<String, usize> = HashMap::new();
        let mut tree = Self { entries, roots: Vec::new(), below: vec![Vec::new(); entries.len()] };
        // Where each hangs, and how deep. What an entry follows from is before it, so there is no way round in a circle.
        let mut hung: Vec<(Option<usize>, usize)> = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let parent = entry.leaf.parents.iter().find_map(|hash| places.get(hash).copied());
            let request = approval(&entry.leaf).map(|key| *requests.entry(key).or_insert(at));
            let parent = parent.or(request.filter(|request| *request != at));
            let parent = match parent.map(|parent| (parent, hung[parent])) {
                Some((_, (above, depth))) if depth >= MAX_DEPTH => above,
                found => found.map(|(parent, _)| parent),
            };
            hung.push((parent, parent.map_or(0, |parent| hung[parent].1 + 1)));
            match parent {
                Some(parent) => tree.below[parent].push(at),
                None => tree.roots.push(at),
            }
            places.insert(entry.hash, at);
        }
        tree
    }

    /// The tree for programs; `documents` are the entries as the server gave them.
    pub(crate) fn document(&self, documents: &[Value]) -> Value {
        self.roots.iter().map(|root| self.branch(*root, documents)).collect()
    }

    fn branch(&self, at: usize, documents: &[Value]) -> Value {
        let below = self.below[at].iter().map(|child| self.branch(*child, documents));
        let mut branch = documents.get(at).cloned().unwrap_or_default();
        branch["below"] = json!(below.collect::<Vec<_>>());
        branch
    }

    /// Draws the tree, under the prompt where it is known.
    pub(crate) fn drawing(&self, prompt: Option<&str>, names: Names<'_>) -> String {
        let mut lines = Vec::new();
        if let Some(prompt) = prompt {
            let prompt = wrapped(&format!("“{}”", Foreign::new(prompt)), INDEX - PROMPT.len());
            let margins = std::iter::once(PROMPT).chain(std::iter::repeat("  │         "));
            lines.extend(margins.zip(prompt).map(|(margin, line)| format!("{margin}{line}")));
        }
        let drawing = Drawing { tree: self, answered: answered(self.entries), names };
        drawing.draw_all(&self.roots, "  ", &mut lines);
        lines.join("\n")
    }
}

struct Drawing<'t> {
    tree: &'t Tree<'t>,
    /// The last entry about each request for approval.
    answered: BTreeMap<String, u64>,
    names: Names<'t>,
}

impl Drawing<'_> {
    fn draw_all(&self, places: &[usize], margin: &str, lines: &mut Vec<String>) {
        for (at, place) in places.iter().enumerate() {
            self.draw(*place, margin, at + 1 == places.len(), lines);
        }
    }

    fn draw(&self, place: usize, margin: &str, last: bool, lines: &mut Vec<String>) {
        let entry = &self.tree.entries[place];
        let words = Foreign::new(self.words(&entry.leaf));
        let line = format!("{margin}{} {words}", if last { "└─" } else { "├─" });
        let gap = INDEX.saturating_sub(line.chars().count());
        lines.push(format!("{line}{:gap$}  #{}", "", entry.index));
        let margin = format!("{margin}{}", if last { "   " } else { "│  " });
        self.draw_all(&self.tree.below[place], &margin, lines);
    }

    /// An entry in a few words.
    fn words(&self, leaf: &Leaf) -> String {
        let text = |member: &str| text(leaf, member).unwrap_or_default();
        let agent = leaf.agent.as_ref().map(|agent| agent.id.name().to_string());
        let person = leaf.person.as_ref().map(|id| (self.names)(&id.to_string()));
        let person = person.unwrap_or_default();
        let who = agent.unwrap_or_else(|| person.clone());
        match leaf.kind.as_str() {
            "task" => {
                let agent = text("agent");
                let agent = agent.trim_start_matches("agent/");
                format!("task      {person} asks {agent} for help, purpose {}", text("purpose"))
            }
            "token" => match text("use_as").as_str() {
                "task" => format!("token     {person} hands the task over"),
                "hand_over" => format!("exchange  {who} hands a narrower part on"),
                _ => format!("exchange  {who} acts for {person}"),
            },
            "decision" => self.decision(leaf, &who),
            "outcome" => {
                let spent = money(leaf, "spent").map(|spent| format!(", spent {spent}"));
                format!("outcome   {}{}", text("status"), spent.unwrap_or_default())
            }
            "input" => format!("answer    to `{}`, which the server asked", text("method")),
            "lapsed" => format!("lapsed    {}: it was not used", text("code")),
            "parked" => {
                format!("parked    {who}: {} times {}", number(leaf, "refusals"), text("code"))
            }
            "unparked" => format!("unparked  by {person}"),
            "task_end" => ended(leaf, &person),
            "governance" if number(leaf, "version") == 1 => {
                format!("asked     for {} {}", text("object"), text("key"))
            }
            "governance" => format!("answered  by {person}: {} {}", text("object"), text("key")),
            kind => kind.to_owned(),
        }
    }

    fn decision(&self, leaf: &Leaf, who: &str) -> String {
        let verdict = leaf.verdict.as_deref().unwrap_or("undecided");
        let what = text(leaf, "tool").unwrap_or_else(|| effects(leaf));
        let why = match verdict {
            "permit" => {
                let approval = leaf.approval.and_then(|id| self.answered.get(&id.to_string()));
                approval.map(|at| format!(", approved in #{at}")).unwrap_or_default()
            }
            "deny" => format!(" ({})", text(leaf, "code").unwrap_or_default()),
            _ => {
                let policies = policies(leaf);
                if policies.is_empty() { String::new() } else { format!(" ({policies})") }
            }
        };
        format!("{verdict:<9} {who}: {what}{why}")
    }
}

/// How a task came to its end, and what it came to.
fn ended(leaf: &Leaf, person: &str) -> String {
    let by = match text(leaf, "by").as_deref() {
        Some("person") => format!(" by {person}"),
        Some("deadline") => " by its deadline".to_owned(),
        _ => String::new(),
    };
    let spent = money(leaf, "spent").map(|spent| format!(", spent {spent}")).unwrap_or_default();
    let [entries, calls, refusals] =
        ["entries", "calls", "refusals"].map(|member| number(leaf, member));
    format!("end      {by}: {entries} entries, {calls} calls, {refusals} refusals{spent}")
}

fn answered(entries: &[Entry]) -> BTreeMap<String, u64> {
    entries.iter().filter_map(|entry| Some((approval(&entry.leaf)?, entry.index))).collect()
}

/// The request for approval that an entry made or changed.
fn approval(leaf: &Leaf) -> Option<String> {
    text(leaf, "object").filter(|object| object == "approval").and_then(|_| text(leaf, "key"))
}

/// A text in the body of an entry.
pub(crate) fn text(leaf: &Leaf, member: &str) -> Option<String> {
    Some(leaf.body.member(member)?.as_str()?.to_owned())
}

fn number(leaf: &Leaf, member: &str) -> i64 {
    leaf.body.member(member).and_then(|value| value.as_integer()).unwrap_or_default()
}

fn money(leaf: &Leaf, member: &str) -> Option<Money> {
    serde_json::from_value(leaf.body.member(member)?.to_value()).ok()
}

/// What is done to which types of things.
fn effects(leaf: &Leaf) -> String {
    let body = leaf.body.to_value();
    let effect = |it: &Value| {
        format!(
            "{} {}",
            it["verb"].as_str().unwrap_or_default(),
            it["kind"].as_str().unwrap_or_default()
        )
    };
    let effects = body["effects"].as_array().into_iter().flatten().map(effect);
    effects.collect::<Vec<_>>().join(", ")
}

/// The first of the policies that decided, and how many more did.
fn policies(leaf: &Leaf) -> String {
    let body = leaf.body.to_value();
    let policies = body["policies"].as_array().into_iter().flatten();
    let names: Vec<_> = policies.filter_map(|it| it["id"].as_str()).collect();
    match names[..] {
        [] => String::new(),
        [one] => one.to_owned(),
        [first, ..] => format!("{first} and {} more", names.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, kind: &str, parents: &[u8], body: &Value) -> Entry {
        let parents: Vec<_> = parents.iter().map(|hash| Digest([*hash; 32]).to_string()).collect();
        let leaf = json!({
            "at": 1, "body": body, "chain": [], "environment": "test", "id": "0199f3a2-7c11-8001-8a2b-3c4d5e6f7081",
            "kind": kind, "node": 1, "org": "acme", "parents": parents, "person": "person/p1", "v": 1,
        });
        let hash = Digest([index as u8; 32]);
        Entry { index, hash, leaf: serde_json::from_value(leaf).unwrap() }
    }

    #[test]
    fn each_entry_stands_once_below_the_first_that_it_follows_from() {
        let entries = [
            entry(
                1,
                "task",
                &[99],
                &json!({ "agent": "agent/bot\u{1b}[2J", "purpose": "support" }),
            ),
            entry(2, "token", &[1], &json!({ "use_as": "task" })),
            entry(3, "decision", &[2], &json!({ "tool": "refund", "code": "forbidden" })),
            entry(
                4,
                "task_end",
                &[1, 3],
                &json!({ "by": "person", "entries": 3, "calls": 0, "refusals": 1 }),
            ),
            entry(5, "stray", &[98], &json!({})),
            entry(
                6,
                "governance",
                &[2],
                &json!({ "object": "approval", "key": "a", "version": 1 }),
            ),
            entry(
                7,
                "governance",
                &[97],
                &json!({ "object": "approval", "key": "a", "version": 2 }),
            ),
        ];
        let tree = Tree::of(&entries);
        let drawn = tree.drawing(Some("please"), &|id| id.replace("person/p1", "olivia"));
        let expected = "\
  prompt    “please”
  ├─ task      olivia asks bot\\u{1b}[2J for help, purpose support                       #1
  │  ├─ token     olivia hands the task over                                             #2
  │  │  ├─ undecided olivia: refund                                                      #3
  │  │  └─ asked     for approval a                                                      #6
  │  │     └─ answered  by olivia: approval a                                            #7
  │  └─ end       by olivia: 3 entries, 0 calls, 1 refusals                              #4
  └─ stray                                                                               #5";
        let plain = |text: &str| {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect::<Vec<_>>()
        };
        assert_eq!(plain(&drawn), plain(expected), "{drawn}");
        let documents: Vec<_> = entries.iter().map(|it| json!({ "index": it.index })).collect();
        let document = tree.document(&documents);
        assert_eq!(document[0]["below"][0]["below"][0]["index"], 3);
        assert_eq!(document[0]["below"][1]["index"], 4);
        assert_eq!(document[1]["below"], json!([]));
    }

    #[test]
    fn a_tree_of_any_depth_is_drawn() {
        let entries: Vec<_> =
            (1..=250).map(|at| entry(at, "token", &[at as u8 - 1], &json!({}))).collect();
        let tree = Tree::of(&entries);
        assert_eq!(tree.drawing(None, &str::to_owned).lines().count(), 250);
    }
}
