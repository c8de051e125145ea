//! What a stranger finds in the folder of a demo: the ledger, by its files and a key, and the desk's books.

use std::{collections::BTreeSet, fs, path::Path};

use ledger::Leaf;
use model::{Digest, ijson::Json};
use rusqlite::Connection;
use serde_json::Value;

const MEMBERS: [&str; 8] =
    ["step", "actor", "verb", "resource", "verdict", "reason", "ledger_index", "ms"];

/// What the agents attempt at the desk, and what becomes of it: who, tool, verdict, and the code of a refusal.
const ATTEMPTS: [(&str, &str, &str, &str); 11] = [
    ("support-bot", "get_order", "permit", ""),
    ("support-bot", "refund_order", "permit", ""),
    ("support-bot", "refund_order", "hold", "held"),
    ("support-bot", "refund_order", "permit", ""),
    ("support-bot", "refund_order", "hold", "held"),
    ("support-bot", "export_customers", "deny", "forbidden"),
    ("lookup", "get_order", "permit", ""),
    ("lookup", "refund_order", "deny", "beyond_authority"),
    ("support-bot", "reindex_search", "permit", ""),
    ("support-bot", "get_order", "deny", "stopped"),
    ("lookup", "get_order", "deny", "stopped"),
];
/// Which of the attempts is stopped on its way: what stands behind it is refused.
const CUT: usize = 8;

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
    check_attempts(&entries)?;
    check_stop(&entries)?;
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

/// The ledger tells of these attempts and no others, in this order; each with what was asked for, sealed, and the links of
/// its chain: the sub-agent's is longer by one than that of the agent above it.
fn check_attempts(entries: &[Entry]) -> Result<(), String> {
    let attempts: Vec<&Entry> = attempts(entries).collect();
    let told: Vec<[String; 4]> = attempts.iter().map(|entry| attempt(&entry.leaf)).collect();
    let expected = ATTEMPTS.map(|(who, tool, verdict, code)| [who, tool, verdict, code]);
    holds(told == expected, || format!("the ledger tells of these attempts: {told:#?}"))?;
    for Entry { index, leaf, .. } in attempts {
        let sealed = leaf.payload.as_ref().is_some_and(|payload| payload.size > 2);
        holds(sealed, || format!("entry {index} does not keep what was asked for"))?;
        let lookup = leaf.agent.as_ref().is_some_and(|agent| agent.id.name().as_str() == "lookup");
        let links = if lookup { 3 } else { 2 };
        let length = leaf.chain.len();
        holds(length == links, || format!("the chain of entry {index} has {length} links"))?;
        holds(leaf.task.is_some() && leaf.person.is_some(), || {
            format!("entry {index} does not say for whom, or in which task")
        })?;
    }
    Ok(())
}

/// The owner's stop is in the ledger; it cut the call on its way, and the agent's next token was refused.
fn check_stop(entries: &[Entry]) -> Result<(), String> {
    let stop = |entry: &&Entry| {
        entry.leaf.kind == "stop"
            && text(&entry.leaf, "scope").as_deref() == Some("agent:support-bot")
    };
    let stop = entries.iter().find(stop).ok_or("no entry tells of the stop")?;
    let reindex = attempts(entries).nth(CUT).ok_or("no attempt was on its way")?;
    let outcome = entries.iter().find(|entry| entry.leaf.parents.contains(&reindex.hash));
    let cut = outcome.and_then(|entry| text(&entry.leaf, "status")).as_deref() == Some("cut");
    holds(cut && reindex.index < stop.index, || "the stop cut nothing on its way".to_owned())?;
    let late = permits(entries).find(|permit| permit.index > stop.index);
    holds(late.is_none(), || {
        format!("{:?} was permitted after the stop", late.map(|it| it.index))
    })?;
    let issued = entries.iter().any(|entry| {
        entry.index > stop.index && entry.leaf.kind == "token" && entry.leaf.agent.is_some()
    });
    holds(!issued, || "an agent got a token after the stop".to_owned())?;
    let refused = entries.iter().any(|entry| {
        let [who, tool, verdict, code] = attempt(&entry.leaf);
        entry.index > stop.index
            && [&*who, &*tool, &*verdict, &*code] == ["support-bot", "token", "deny", "stopped"]
    });
    holds(refused, || "no entry tells of a refused token".to_owned())
}

/// The large refund was paid after a person's approval of exactly that call, by a permit that names it.
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
    let said_yes = answered.leaf.body.member("widens") == Some(&Json::Bool(true));
    holds(said_yes, || "the last answer was a no".to_owned())?;
    holds(answered.index < permit.index, || "the permit came before the approval".to_owned())?;
    let call = text(&permit.leaf, "call");
    let held: Vec<&Entry> = attempts(entries)
        .filter(|one| {
            one.leaf.verdict.as_deref() == Some("hold") && text(&one.leaf, "call") == call
        })
        .collect();
    let [first, second] = held[..] else {
        return Err(format!("exactly this call was held {} times", held.len()));
    };
    let asked = first.index < answered.index && first.leaf.approval == permit.leaf.approval;
    holds(asked, || "approved was something else than what was held".to_owned())?;
    let anew = second.index > permit.index && second.leaf.approval != permit.leaf.approval;
    holds(anew, || "the second try was not held for an approval of its own".to_owned())?;
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
    let told: BTreeSet<u64> =
        steps.iter().filter_map(|step| step["ledger_index"].as_u64()).collect();
    let untold = attempts(entries).find(|entry| !told.contains(&entry.index));
    holds(untold.is_none(), || {
        format!("nothing was told of entry {:?}", untold.map(|entry| entry.index))
    })?;
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
    let last = steps.iter().filter_map(|step| step["ledger_index"].as_u64()).max().unwrap_or(0);
    holds(last < told && told <= entries.len() as u64, || {
        format!("{told} entries were told of, there are {}", entries.len())
    })
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
    holds(acts, || format!("{step}, but entry {index} is about somebody else"))?;
    let same = effect(leaf).is_none_or(|(verb, kind)| {
        let resource = step["resource"].as_str().unwrap_or_default();
        step["verb"] == verb && resource.split('/').nth(1) == Some(&kind)
    });
    holds(same, || format!("{step}, but entry {index} is about something else"))
}

/// What was attempted at the desk.
fn attempts(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| {
        entry.leaf.kind == "decision"
            && text(&entry.leaf, "system").as_deref() == Some("support-desk")
    })
}

fn permits(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    attempts(entries).filter(|entry| entry.leaf.verdict.as_deref() == Some("permit"))
}

/// Who, tool, verdict, and the code of a refusal.
fn attempt(leaf: &Leaf) -> [String; 4] {
    let agent = leaf.agent.as_ref().map(|agent| agent.id.name().to_string());
    [agent, text(leaf, "tool"), leaf.verdict.clone(), text(leaf, "code")]
        .map(Option::unwrap_or_default)
}

/// Verb and kind of the first thing that a decision is about.
fn effect(leaf: &Leaf) -> Option<(String, String)> {
    let Json::Array(effects) = leaf.body.member("effects")? else { return None };
    let member = |name| Some(effects.first()?.member(name)?.as_str()?.to_owned());
    Some((member("verb")?, member("kind")?))
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
