//! What a stranger finds in the folder of a demo: the ledger, by its files and a key, and the desk's books.

use std::{collections::BTreeSet, fs, path::Path};

use ledger::Leaf;
use model::Digest;
use rusqlite::Connection;
use serde_json::Value;

const MEMBERS: [&str; 8] =
    ["step", "actor", "verb", "resource", "verdict", "reason", "ledger_index", "ms"];

/// What the desk wrote down.
pub(super) struct Books {
    /// Amount in minor units, and when, in order.
    pub(super) refunds: Vec<(i64, i64)>,
    pub(super) exports: i64,
    /// Tool and how the call ended, in order.
    calls: Vec<(String, String)>,
}

/// One entry, as the published tiles have it.
struct Entry {
    index: u64,
    hash: Digest,
    leaf: Leaf,
}

/// Holds what a demo told against what it left behind.
pub(super) fn check_story(folder: &Path, lines: &[String]) -> Result<(), String> {
    let entries = check_ledger(folder)?;
    let books = books(folder)?;
    check_desk(&books)?;
    check_calls(&books, &entries)?;
    check_approval(&books, &entries)?;
    check_lines(lines, &entries)
}

pub(super) fn books(folder: &Path) -> Result<Books, String> {
    let read = || {
        let books = Connection::open(folder.join("desk/desk.db"))?;
        let exports = books.query_row("SELECT COUNT(*) FROM exports", [], |row| row.get(0))?;
        let mut refunds = books.prepare("SELECT amount, at_ms FROM refunds ORDER BY id")?;
        let refunds = refunds.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut calls = books.prepare("SELECT tool, outcome FROM calls ORDER BY id")?;
        let calls = calls.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Books {
            refunds: refunds.collect::<Result<_, _>>()?,
            exports,
            calls: calls.collect::<Result<_, _>>()?,
        })
    };
    read().map_err(|error: rusqlite::Error| error.to_string())
}

/// The whole ledger verifies with the auditor's key, and tells how every dispatched call ended.
fn check_ledger(folder: &Path) -> Result<Vec<Entry>, String> {
    let key = fs::read_to_string(folder.join("ledger.key")).map_err(|error| error.to_string())?;
    let place = folder.join("acme/data/ledger");
    let report = ledger::verify::log(&place, key.trim(), &[], None);
    holds(report.is_clean(), || format!("the ledger does not verify: {:?}", report.findings))?;
    holds(report.open.is_empty(), || format!("calls without an outcome: {:?}", report.open))?;
    let entries = read_entries(&place)?;
    holds(entries.len() as u64 == report.entries, || {
        "entries are missing from the tiles".to_owned()
    })?;
    Ok(entries)
}

/// 40.00 once, 4,000.00 once, nothing exported, and the long call cut.
fn check_desk(books: &Books) -> Result<(), String> {
    let paid: Vec<i64> = books.refunds.iter().map(|(amount, _)| *amount).collect();
    holds(paid == [4_000, 400_000], || format!("the desk paid back {paid:?}"))?;
    holds(books.exports == 0, || format!("the desk exported customers {} times", books.exports))?;
    let cut: Vec<&String> =
        books.calls.iter().filter(|(_, end)| end == "cut").map(|(tool, _)| tool).collect();
    holds(cut == ["reindex_search"], || format!("the desk had these calls cut: {cut:?}"))?;
    let ended = books.calls.iter().all(|(_, end)| end == "finished" || end == "cut");
    holds(ended, || format!("the desk's calls did not end well: {:?}", books.calls))
}

/// What reached the desk is what was permitted and dispatched: no call more, none less, in the same order. And of each
/// the ledger knows how it ended.
fn check_calls(books: &Books, entries: &[Entry]) -> Result<(), String> {
    let mut dispatched = Vec::new();
    for permit in permits(entries) {
        let ended = entries.iter().find(|entry| entry.leaf.parents.contains(&permit.hash));
        let ended =
            ended.ok_or_else(|| format!("the ledger does not know how {} ended", permit.index))?;
        let not_sent = text(&ended.leaf, "status").as_deref() == Some("not_sent");
        if ended.leaf.kind == "outcome" && !not_sent {
            dispatched.extend(text(&permit.leaf, "tool"));
        }
    }
    let reached: Vec<String> = books.calls.iter().map(|(tool, _)| tool.clone()).collect();
    holds(dispatched == reached, || {
        format!("dispatched were {dispatched:?}, the desk saw {reached:?}")
    })
}

/// The large refund was paid after a person's approval, by a permit that names it.
fn check_approval(books: &Books, entries: &[Entry]) -> Result<(), String> {
    let approved: Vec<&Entry> =
        permits(entries).filter(|permit| permit.leaf.approval.is_some()).collect();
    let [permit] = approved[..] else {
        return Err(format!("{} permits of calls name an approval", approved.len()));
    };
    let id = permit.leaf.approval.map(|id| id.to_string());
    let about = |entry: &&Entry| {
        text(&entry.leaf, "object").as_deref() == Some("approval") && text(&entry.leaf, "key") == id
    };
    let answered = entries.iter().rfind(about).ok_or("the approval is not in the ledger")?;
    let by = |entry: &Entry| entry.leaf.person.clone();
    holds(by(answered).is_some() && by(answered) != by(permit), || {
        "who asked has approved".to_owned()
    })?;
    holds(answered.index < permit.index, || "the permit came before the approval".to_owned())?;
    let paid_at = books.refunds.iter().find(|(amount, _)| *amount == 400_000).map(|(_, at)| *at);
    let after = paid_at.is_some_and(|at| at >= answered.leaf.at.millis());
    holds(after, || {
        format!("4,000.00 was paid at {paid_at:?}, approved at {}", answered.leaf.at.millis())
    })
}

/// Each line has its members, names its entry, and says what that entry says; the summary claims what is so.
fn check_lines(lines: &[String], entries: &[Entry]) -> Result<(), String> {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}")))
        .collect::<Result<_, _>>()?;
    let (summary, steps) = lines.split_last().ok_or("nothing was told")?;
    for step in steps {
        let members: BTreeSet<&str> =
            step.as_object().ok_or("a step is no object")?.keys().map(String::as_str).collect();
        holds(members == MEMBERS.into(), || format!("a step has the members {members:?}"))?;
        check_step(step, entries)?;
    }
    let summary = &summary["summary"];
    for claim in ["ledger_verified", "stopped_refused", "sub_agent_narrowed", "cut_at_both_sides"] {
        holds(summary[claim] == true, || format!("`{claim}` is not claimed"))?;
    }
    let told = summary["entries"].as_u64().unwrap_or_default();
    holds(told > 0 && told <= entries.len() as u64, || format!("{told} entries were told of"))
}

fn check_step(step: &Value, entries: &[Entry]) -> Result<(), String> {
    let Some(index) = step["ledger_index"].as_u64() else {
        // The desk and the auditor are no part of the deployment; everybody else leaves a trace in its ledger.
        return holds(["desk", "auditor"].iter().any(|actor| step["actor"] == *actor), || {
            format!("{step} names no entry")
        });
    };
    let leaf = entries.iter().find(|entry| entry.index == index).map(|entry| &entry.leaf);
    let leaf = leaf.ok_or_else(|| format!("there is no entry {index}"))?;
    let said = match leaf.kind.as_str() {
        "decision" => leaf.verdict.clone().unwrap_or_default(),
        "outcome" => text(leaf, "status").unwrap_or_default(),
        // A token that was issued, a person that was enrolled.
        _ => "permit".to_owned(),
    };
    holds(step["verdict"] == said, || format!("{step}, but entry {index} says `{said}`"))?;
    let agent = leaf.agent.as_ref().map(|agent| agent.id.name().to_string());
    let acts = agent.is_none_or(|agent| step["actor"] == agent);
    holds(acts, || format!("{step}, but entry {index} is about somebody else"))
}

fn permits(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| {
        let permitted =
            entry.leaf.kind == "decision" && entry.leaf.verdict.as_deref() == Some("permit");
        permitted && text(&entry.leaf, "system").as_deref() == Some("support-desk")
    })
}

/// Reads the entry bundles: each leaf behind its length in two bytes ([C2SP tlog-tiles](https://c2sp.org/tlog-tiles)).
fn read_entries(place: &Path) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for bundle in 0.. {
        let Some(bytes) = widest(&place.join(format!("tile/entries/{bundle:03}"))) else { break };
        let mut rest = &bytes[..];
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (leaf, more) = more
                .split_at_checked(usize::from(u16::from_be_bytes(*length)))
                .ok_or("a bundle breaks off")?;
            let (index, hash) = (entries.len() as u64, ledger::leaf_hash(leaf));
            entries.push(Entry {
                index,
                hash,
                leaf: Leaf::parse(leaf).map_err(|error| error.to_string())?,
            });
            rest = more;
        }
    }
    Ok(entries)
}

/// A full tile, or the widest partial one.
fn widest(tile: &Path) -> Option<Vec<u8>> {
    if let Ok(full) = fs::read(tile) {
        return Some(full);
    }
    let partial = fs::read_dir(tile.with_extension("p")).ok()?;
    let width =
        partial.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u16>().ok()).max()?;
    fs::read(tile.with_extension("p").join(width.to_string())).ok()
}

fn text(leaf: &Leaf, member: &str) -> Option<String> {
    Some(leaf.body.member(member)?.as_str()?.to_owned())
}

fn holds(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
